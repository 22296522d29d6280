//! Hooks: commands of the user's, run before a reload and at what has happened. Each is in a session of its own and has a deadline;
//! nothing waits for one but the reload that it may refuse.
//!
//! No row tells of them: an upgrade in place waits until they are over, and what a supervisor that was killed has left is ended by
//! the next one, which prepares an unfinished reload anew, its hook included.

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use segue_lifecycle::{Number, Plan, Record};

use crate::children::{Children, ExitStatus};
use crate::clock::{self, Timers};
use crate::config::{Moment, Word as _};
use crate::launch::{self, Errand, WorkerIdentity};
use crate::log::Log;
use crate::protocol::setting;
use crate::shell::fleet::hook_output::{Output, Rest};
use crate::shell::fleet::probe::ForkedCommand;
use crate::shell::fleet::{Fleet, Ground};
use crate::shell::records::births::lend;
use crate::shell::{Alarm, Child, PollSet};
use crate::sources::Source;
use crate::sys::errno_text;

/// So many that tell of something run at once at most: ten reloads a second with a slow hook each must not fill the machine. One that
/// decides on a reload runs beside them, since there is only one reload.
const MOST_AT_ONCE: usize = 8;

/// How long the kernel has, when the supervisor leaves, to end hooks that were killed: it takes milliseconds, and one that it cannot
/// end is left behind.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// The pause between two looks at them.
const LAST_PAUSE: Duration = Duration::from_millis(2);

/// What a hook is run for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// To let the reload that brings this generation begin, with what was prepared for it.
    BeforeReload(Number, Plan),
    /// To tell of something that has happened to this generation.
    Tell(Moment, Number),
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BeforeReload(number, _) => write!(f, "before-reload (generation {number})"),
            Self::Tell(moment, number) => write!(f, "on {} (generation {number})", moment.word()),
        }
    }
}

/// How a reload's hook has ended: whether the reload goes on.
#[derive(Debug)]
pub(crate) struct Decision {
    pub(crate) number: Number,
    pub(crate) plan: Plan,
    pub(crate) outcome: Result<(), String>,
}

/// The hooks that run.
#[derive(Debug, Default)]
pub(crate) struct Hooks {
    running: BTreeMap<u32, Running>,
    last: u32,
}

#[derive(Debug)]
struct Running {
    purpose: Purpose,
    output: Output,
    limit: Duration,
    deadline: Instant,
}

impl Running {
    fn unwatch(&self, id: u32, sources: &mut PollSet) {
        if let Some(fd) = self.output.fd() {
            sources.remove(Source::Hook(id), fd);
        }
    }
}

impl Hooks {
    /// Whether none runs.
    pub(crate) fn are_over(&self) -> bool {
        self.running.is_empty()
    }

    /// Whether one runs that decides whether this generation is started.
    pub(crate) fn decides_on(&self, number: Number) -> bool {
        let mut running = self.running.values();
        running.any(|running| matches!(running.purpose, Purpose::BeforeReload(of, _) if of == number))
    }

    /// Wake up when the first of them is overdue.
    pub(crate) fn watch(&self, timers: &mut Timers<Alarm>) {
        let first = self.running.values().map(|running| running.deadline).min();
        timers.disarm(Alarm::Hooks);
        if let Some(first) = first {
            let now = clock::now();
            timers.arm(Alarm::Hooks, Some(first.saturating_duration_since(now)), now);
        }
    }

    /// How many run that tell of something.
    fn telling(&self) -> usize {
        let running = self.running.values();
        running
            .filter(|running| matches!(running.purpose, Purpose::Tell(..)))
            .count()
    }

    /// One is over, however it ended. What it has left running may hold its output open; it is not waited for.
    fn end(
        &mut self,
        id: u32,
        end: Result<(), String>,
        log: &Log,
        sources: &mut PollSet,
    ) -> Option<Decision> {
        let mut ended = self.running.remove(&id)?;
        while ended.output.read() == Rest::Waiting {}
        ended.unwatch(id, sources);
        let Running { purpose, output, .. } = ended;
        let lines = output.last_lines();
        for line in &lines {
            log.info(&format!("{purpose}: {line}"));
        }
        match purpose {
            Purpose::BeforeReload(number, plan) => {
                let last = lines.last().map(|line| format!(": {line}")).unwrap_or_default();
                let outcome = end.map_err(|why| format!("before-reload: {why}{last}"));
                Some(Decision {
                    number,
                    plan,
                    outcome,
                })
            }
            Purpose::Tell(..) => {
                if let Err(why) = end {
                    log.warning(&format!("{purpose}: {why}"));
                }
                None
            }
        }
    }

    fn ids(&self, is_meant: impl Fn(&Running) -> bool) -> Vec<u32> {
        let meant = self.running.iter().filter(|(_, running)| is_meant(running));
        meant.map(|(id, _)| *id).collect()
    }

    fn kill(id: u32, children: &Children<Child>) {
        let _ = children.signal_group(Child::Hook(id), Signal::SIGKILL);
    }
}

/// What a hook is started with, beside what its birth record has.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) purpose: Purpose,
    pub(crate) command: &'a str,
    pub(crate) facts: &'a [(&'static str, String)],
    /// From whose record it is started: whose user, directory and environment it has.
    pub(crate) record: Record,
    pub(crate) limit: Duration,
}

impl Fleet {
    /// Fork a hook.
    ///
    /// # Errors
    /// One line: it cannot be forked, or too many run already.
    pub(crate) fn fork_hook(
        &mut self,
        call: &Call<'_>,
        ground: &Ground<'_>,
        sources: &mut PollSet,
    ) -> Result<ForkedCommand, String> {
        match call.purpose {
            Purpose::Tell(..) if self.hooks.telling() >= MOST_AT_ONCE => {
                return Err(format!("not run: {MOST_AT_ONCE} hooks run already"));
            }
            Purpose::Tell(..) | Purpose::BeforeReload(..) => {}
        }
        let (output, writer) = Output::open()?;
        let spawned = spawn(call, writer.as_fd(), ground)?;
        self.hooks.last = self.hooks.last.wrapping_add(1);
        let watched = output
            .fd()
            .map(|fd| sources.add(Source::Hook(self.hooks.last), fd));
        if let Some(Err(errno)) = watched {
            let why = errno_text(errno);
            ground
                .log
                .warning(&format!("{}: watch its output: {why}", call.purpose));
        }
        let running = Running {
            purpose: call.purpose,
            output,
            limit: call.limit,
            deadline: clock::now() + call.limit,
        };
        self.hooks.running.insert(self.hooks.last, running);
        let child = Child::Hook(self.hooks.last);
        self.children.add(child, spawned.pid, spawned.pidfd);
        let began = self.children.began(child);
        Ok(ForkedCommand::new(child, spawned.pid, began, spawned.go))
    }

    /// A hook has written something, or closed its output.
    pub(crate) fn read_hook(&mut self, id: u32, sources: &mut PollSet) {
        let Some(running) = self.hooks.running.get_mut(&id) else {
            return;
        };
        match running.output.read() {
            Rest::Empty | Rest::Waiting => {}
            Rest::Over => {
                running.unwatch(id, sources);
                running.output.close();
            }
        }
    }

    /// A hook has ended; what it left running in its group ends with it.
    pub(crate) fn hook_exited(
        &mut self,
        id: u32,
        status: ExitStatus,
        log: &Log,
        sources: &mut PollSet,
    ) -> Option<Decision> {
        Hooks::kill(id, &self.children);
        let end = match status {
            ExitStatus::Code(0) => Ok(()),
            ExitStatus::Code(_) | ExitStatus::Signal { .. } | ExitStatus::Unknown => Err(status.to_string()),
        };
        self.hooks.end(id, end, log, sources)
    }

    /// Kill those that are overdue. They count as ended, whether or not the kernel can end them.
    pub(crate) fn end_overdue_hooks(
        &mut self,
        now: Instant,
        log: &Log,
        sources: &mut PollSet,
    ) -> Vec<Decision> {
        let overdue = self.hooks.ids(|running| running.deadline <= now);
        let ended = overdue.into_iter().filter_map(|id| {
            Hooks::kill(id, &self.children);
            let limit = self.hooks.running.get(&id)?.limit;
            let why = format!("killed after {} (--hook-timeout)", setting(limit));
            self.hooks.end(id, Err(why), log, sources)
        });
        ended.collect()
    }

    /// A stop was asked for: no reload begins any more.
    pub(crate) fn end_before_reload(&mut self, log: &Log, sources: &mut PollSet) -> Vec<Decision> {
        let waiting = self
            .hooks
            .ids(|running| matches!(running.purpose, Purpose::BeforeReload(..)));
        let ended = waiting.into_iter().filter_map(|id| {
            Hooks::kill(id, &self.children);
            self.hooks
                .end(id, Err("ended by a stop".to_owned()), log, sources)
        });
        ended.collect()
    }

    /// The supervisor leaves, and nobody would end them.
    pub(crate) fn end_all_hooks(&mut self, log: &Log, sources: &mut PollSet) {
        for id in self.hooks.ids(|_| true) {
            Hooks::kill(id, &self.children);
            let why = "ended, since segue ends".to_owned();
            self.hooks.end(id, Err(why), log, sources);
        }
        self.await_killed_hooks();
    }

    /// SIGKILL takes a moment. Whoever waits for the supervisor is to find nothing of it, so its last act waits for that moment.
    fn await_killed_hooks(&mut self) {
        let until = clock::now() + LAST_WAIT;
        while self
            .children
            .saved()
            .any(|child| matches!(child.key, Child::Hook(_)))
            && clock::now() < until
        {
            // The loop is over: what else is seen here concerns nobody any more.
            self.children.sweep();
            std::thread::sleep(LAST_PAUSE);
        }
    }
}

fn spawn(call: &Call<'_>, output: BorrowedFd<'_>, ground: &Ground<'_>) -> Result<launch::Spawned, String> {
    let number = match call.purpose {
        Purpose::BeforeReload(number, _) | Purpose::Tell(_, number) => number,
    };
    let birth = ground.records.births.get(&call.record);
    let birth = birth.ok_or_else(|| "its birth record is gone".to_owned())?;
    let record = birth.usable()?;
    let place = &ground.given.place;
    let runtime = record.has_runtime().then(|| place.runtime_directory(number));
    let listeners: Vec<_> = birth.listeners.iter().map(|listener| lend(listener)).collect();
    let errand = Errand {
        name: &ground.given.config.name,
        command: call.command,
        facts: call.facts,
        runtime: runtime.as_deref(),
        output,
    };
    let identity = WorkerIdentity {
        generation: number,
        slot: 0,
    };
    record
        .spawn_hook(&listeners, identity, &errand)
        .map_err(|error| error.to_string())
}
