//! Two generations in memory: whether a candidate fits, and whether the kernel has killed a worker because something did not.

use std::time::{Duration, Instant};

use segue_lifecycle::{Event, Handoff, Number, Role, Worker};

use super::{Alarm, Child, Shell};
use crate::children::ExitStatus;
use crate::clock;
use crate::config::{Config, Mode};
use crate::memory::{Kills, Room, Roots, Verdict, compare};
use crate::sys;

/// How often free memory is looked at while a start waits for it: the kernel tells nobody when there is some.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What the loop knows of memory.
#[derive(Debug)]
pub(super) struct Memory {
    roots: Roots,
    kills: Kills,
    /// The candidate whose start waits, and until when.
    waiting: Option<(Number, Option<Instant>)>,
}

/// Whether a candidate may be started now.
pub(super) enum Start {
    Now,
    Later,
    Refused(String),
}

impl Memory {
    pub(super) fn new() -> Self {
        let roots = Roots::real();
        Self {
            kills: Kills::new(roots.clone()),
            roots,
            waiting: None,
        }
    }

    /// Whether a start waits.
    pub(super) const fn waits(&self) -> bool {
        self.waiting.is_some()
    }

    /// Deaths so far explain no later one.
    pub(super) fn look_at_kills(&mut self) {
        self.kills.look();
    }
}

impl Shell {
    /// Compare free memory with what these settings ask for. One in queue mode does not ask, for nothing else of the app runs
    /// then; nor does one while nobody serves (the first start, or a reload that is to mend a crash): it can only get better.
    pub(super) fn may_start(&mut self, number: Number, config: &Config) -> Start {
        let waiting = self.memory.waiting.take().filter(|(of, _)| *of == number);
        let Some(asked) = config
            .min_free_memory
            .filter(|_| config.mode == Mode::Overlap && self.serving().is_some())
        else {
            return Start::Now;
        };
        let lack = match compare(&self.memory.roots, asked) {
            Room::Enough(unseen) => {
                if let Some(unseen) = unseen {
                    let text = format!("--min-free-memory: only the limits of cgroups count: {unseen}");
                    self.log.warning(&text);
                }
                return Start::Now;
            }
            Room::Unknown(unseen) => return Start::Refused(format!("--min-free-memory: {unseen}")),
            Room::Lacking(lack) => lack,
        };
        let now = clock::now();
        let until = waiting.map_or_else(
            || config.start_timeout.map(|limit| now + limit),
            |(_, until)| until,
        );
        let drains = self
            .core
            .generations()
            .any(|generation| generation.role == Role::Retired);
        if !drains || until.is_some_and(|until| until <= now) {
            return Start::Refused(lack.to_string());
        }
        if waiting.is_none() {
            let text =
                format!("reload waits: {lack}; it goes on when old generations that drain have left enough");
            self.log.warning(&text);
        }
        self.memory.waiting = Some((number, until));
        self.timers.arm(Alarm::Memory, Some(LOOK_AGAIN), now);
        Start::Later
    }

    /// Look again whether what waits for memory fits by now, at once: something is gone, or it is time.
    pub(super) fn look_for_memory(&mut self) {
        let Some((number, _)) = self.memory.waiting else {
            return;
        };
        self.timers.disarm(Alarm::Memory);
        if self.core.handoff() == Handoff::Preparing(number) {
            self.prepare(number);
        } else {
            // A stop came in between. Every preparation is answered all the same.
            self.memory.waiting = None;
            self.events.push_back(Event::PrepareFailed(number));
        }
    }

    /// A worker has died: whether the kernel has killed it for memory. To be asked before its end is told.
    pub(super) fn note_killer(&mut self, worker: Worker, status: ExitStatus) {
        let Some(info) = self.workers.get_mut(&worker) else {
            return;
        };
        if status.is_sigkill() && !info.killed {
            info.verdict = self.memory.kills.explain();
            match info.verdict {
                Verdict::Innocent => {}
                Verdict::Certain | Verdict::Probable => self.history.oom_kills += 1,
            }
        }
    }

    /// A worker that drains is killed by the kernel rather than one that serves.
    pub(super) fn sacrifice(&self, worker: Worker) {
        let child = Child::Worker(worker);
        if let (Some(pid), Some(pidfd)) = (self.children.pid(child), self.children.pidfd(child)) {
            sys::raise_oom_score(pid, pidfd);
        }
    }
}
