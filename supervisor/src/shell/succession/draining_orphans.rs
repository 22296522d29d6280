//! Processes of a predecessor's app that are not adopted: it was killed while it stopped, or they have closed their listeners, and a new
//! app is started beside them. They have the deadline that the predecessor gave them, or else the drain timeout; one that has not
//! ended by then, or when this supervisor stops, is killed.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use segue_lifecycle::Ending;

use crate::clock::{self, Timers};
use crate::log::Log;
use crate::manager::Manager;
use crate::place::Place;
use crate::shell::succession::orphan_processes::OrphanProcess;
use crate::shell::succession::recover::{self, Proved};
use crate::shell::{Alarm, PollSet};
use crate::sources::Source;
use crate::state::{Fds, Field, Fields as _, Flaw, Row, Rows, fields};
use crate::sys::{self, errno_text};

/// The kind of its row.
const ROW: &str = "draining-orphan";

/// One that drains.
#[derive(Debug)]
pub(crate) struct DrainingOrphan {
    proved: Proved,
    /// When it was started; with the pid it tells the process from every other. Where /proc does not show it (it has a user
    /// namespace of its own), its pidfd alone does, which systemd keeps.
    began: Option<u64>,
    /// Who must be told to stop still. A main process was told by the predecessor, unless that was killed before.
    signal: Option<Signal>,
    deadline: Deadline,
}

/// Until when one may drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deadline {
    /// Nobody has said: it has the drain timeout, from now on.
    NotGiven,
    /// Until then; `None` is for ever, which a setting has asked for.
    At(Option<Instant>),
}

impl Deadline {
    /// The earlier of the two.
    pub(crate) fn or_earlier(self, other: Option<Instant>) -> Self {
        match self {
            Deadline::NotGiven => Deadline::At(other),
            Deadline::At(known) => Deadline::At(known.into_iter().chain(other).min()),
        }
    }

    fn moment(self) -> Option<Instant> {
        match self {
            Deadline::NotGiven => None,
            Deadline::At(moment) => moment,
        }
    }
}

fields!(DrainingOrphan { "began" began; "at" deadline; });

/// One without end is written as one that nobody has given.
impl Field for Deadline {
    fn write(&self, key: &str, rows: &mut Rows) {
        self.moment().write(key, rows);
    }

    fn read_if_any(key: &str, row: Row<'_>) -> Result<Option<Self>, Flaw> {
        let moment = Instant::read_if_any(key, row)?;
        Ok(moment.map(|moment| Deadline::At(Some(moment))))
    }

    fn absent() -> Option<Self> {
        Some(Deadline::NotGiven)
    }
}

impl DrainingOrphan {
    /// `None` if it has ended meanwhile.
    pub(crate) fn of(orphan: OrphanProcess, signal: Option<Signal>, deadline: Deadline) -> Option<Self> {
        let proved = orphan.proved;
        let began = sys::start_time(proved.pid);
        (!sys::is_dead_by_pidfd(proved.pidfd.as_fd())).then_some(Self {
            proved,
            began,
            signal,
            deadline,
        })
    }

    /// Its pidfd, for the next supervisor.
    pub(crate) fn pass_on(&self) -> (String, BorrowedFd<'_>) {
        (name_of(self.proved.pid), self.proved.pidfd.as_fd())
    }

    /// Tell it to stop, if nobody has.
    pub(crate) fn tell_to_stop(&mut self) {
        if let Some(signal) = self.signal.take() {
            // One that has ended meanwhile needs nothing.
            let _ = sys::signal_by_pidfd(self.proved.pidfd.as_fd(), Some(signal));
        }
    }

    pub(crate) fn save(&self, rows: &mut Rows) {
        self.proved.pid.write("pid", rows.begin(ROW));
        self.save_fields(rows);
    }

    /// Those of the rows that live, all of whom have been told to stop.
    pub(crate) fn restore(rows: &[Row<'_>], stored: &mut Fds) -> Result<Vec<Self>, Flaw> {
        let mut living = Vec::new();
        for row in rows.iter().filter(|row| row.kind() == ROW) {
            let pid = Pid::read("pid", *row)?;
            let began: Option<u64> = Field::read("began", *row)?;
            let proved = match stored.take(&name_of(pid)) {
                Some(pidfd) => recover::prove_by_pidfd(pid, pidfd),
                None => began.and_then(|began| recover::prove(pid, began)),
            };
            if let Some(proved) = proved {
                let mut orphan = Self {
                    proved,
                    began,
                    signal: None,
                    deadline: Deadline::NotGiven,
                };
                orphan.restore_fields(*row)?;
                living.push(orphan);
            }
        }
        Ok(living)
    }

    /// Kill it with its group. Returns whether it still lived.
    fn end(&self) -> bool {
        self.proved.kill_group()
    }
}

/// The name of its pidfd.
fn name_of(pid: Pid) -> String {
    format!("{ROW}-{pid}")
}

/// Those that are watched.
#[derive(Debug)]
pub(crate) struct DrainingOrphans {
    all: Vec<DrainingOrphan>,
    /// Whether it was said that this supervisor stays for them.
    told: bool,
}

impl DrainingOrphans {
    /// Those that an earlier supervisor has left.
    pub(crate) const fn new(all: Vec<DrainingOrphan>) -> Self {
        Self { all, told: false }
    }

    /// From now on they are watched, and have the time that is left to them.
    pub(crate) fn tend(&mut self, drain: Option<Duration>, tools: &mut Tools<'_>) {
        let in_full = drain.and_then(|limit| clock::now().checked_add(limit));
        for orphan in &mut self.all {
            if orphan.deadline == Deadline::NotGiven {
                orphan.deadline = Deadline::At(in_full);
            }
            let pid = orphan.proved.pid;
            let pidfd = orphan.proved.pidfd.as_fd();
            if let Err(errno) = tools.sources.add(Source::DrainingOrphan(pid.as_raw()), pidfd) {
                // Its deadline holds all the same.
                let text = format!("epoll: pid {pid}: {}", errno_text(errno));
                tools.log.error(&text);
            }
        }
        self.arm(tools.timers);
    }

    /// The timer of the one that has the least time.
    fn arm(&self, timers: &mut Timers<Alarm>) {
        let moments = self.all.iter().filter_map(|orphan| orphan.deadline.moment());
        match moments.min() {
            Some(next) => {
                let now = clock::now();
                let wait = next.saturating_duration_since(now);
                timers.arm(Alarm::DrainingOrphans, Some(wait), now);
            }
            None => timers.disarm(Alarm::DrainingOrphans),
        }
    }

    /// One of them has ended.
    pub(crate) fn note_end(&mut self, pid: i32, tools: &mut Tools<'_>) {
        let is_it = |orphan: &DrainingOrphan| orphan.proved.pid.as_raw() == pid;
        if let Some(place) = self.all.iter().position(is_it) {
            tools.let_go(&self.all.swap_remove(place));
            tools.log.info(&format!(
                "pid {pid}, which an earlier supervisor left draining, has ended"
            ));
            self.arm(tools.timers);
            self.clear_up(tools);
        }
    }

    /// Whether this supervisor, which has nothing else to do any more, waits for some of them: the process that keeps their deadline may not
    /// go before it. A stop has had the time that they would have had, and those without a deadline would be waited for without end.
    /// It is said once.
    pub(crate) fn are_waited_for(&mut self, ending: Ending, log: &Log) -> bool {
        let are = match ending {
            Ending::Stopped => false,
            Ending::NeverServed(_) => self.all.iter().any(|orphan| orphan.deadline.moment().is_some()),
        };
        if are && !std::mem::replace(&mut self.told, true) {
            self.say_whom_it_waits_for(log);
        }
        are
    }

    fn say_whom_it_waits_for(&self, log: &Log) {
        let pids: Vec<String> = self.all.iter().map(|one| one.proved.pid.to_string()).collect();
        log.warning(&format!(
            "segue ends when the processes that an earlier supervisor left draining (pid {}) have ended or have reached their deadline; a stop signal ends all at once",
            pids.join(" ")
        ));
    }

    /// Those for whom nobody keeps a deadline.
    pub(crate) fn say_who_stays(&self, log: &Log) {
        for orphan in &self.all {
            let pid = orphan.proved.pid;
            log.warning(&format!(
                "pid {pid}, which an earlier supervisor left draining, is left alone (kill {pid} ends it)"
            ));
        }
    }

    /// Those who have had their time are killed.
    pub(crate) fn end_overdue(&mut self, tools: &mut Tools<'_>) {
        let now = clock::now();
        let is_due =
            |orphan: &mut DrainingOrphan| orphan.deadline.moment().is_some_and(|moment| moment <= now);
        let due = self.all.extract_if(.., is_due).collect();
        self.end(due, tools);
        self.arm(tools.timers);
    }

    /// All of them are killed: this supervisor stops.
    pub(crate) fn end_all(&mut self, tools: &mut Tools<'_>) {
        let all = std::mem::take(&mut self.all);
        self.end(all, tools);
    }

    fn end(&self, orphans: Vec<DrainingOrphan>, tools: &mut Tools<'_>) {
        if orphans.is_empty() {
            return;
        }
        for orphan in orphans {
            tools.let_go(&orphan);
            if orphan.end() {
                tools.log.warning(&format!(
                    "pid {}, which an earlier supervisor left draining, has not ended: it is killed",
                    orphan.proved.pid
                ));
            }
        }
        self.clear_up(tools);
    }

    /// The directories of their generations go with the last of them.
    fn clear_up(&self, tools: &Tools<'_>) {
        if self.all.is_empty() {
            for error in tools.place.remove_stale_directories() {
                tools.log.warning(&error.to_string());
            }
        }
    }

    /// Their rows.
    pub(crate) fn save(&self, rows: &mut Rows) {
        self.all.iter().for_each(|orphan| orphan.save(rows));
    }

    /// Their pidfds, for the next supervisor.
    pub(crate) fn pass_on(&self) -> impl Iterator<Item = (String, BorrowedFd<'_>)> {
        self.all.iter().map(DrainingOrphan::pass_on)
    }
}

/// What is used of the loop to watch and end them.
#[derive(Debug)]
pub(crate) struct Tools<'a> {
    pub(crate) sources: &'a mut PollSet,
    pub(crate) timers: &'a mut Timers<Alarm>,
    pub(crate) manager: &'a mut Manager,
    pub(crate) place: &'a Place,
    pub(crate) log: &'a Log,
}

/// What watching the draining orphans takes of the loop, where the whole shell is at hand.
macro_rules! tools {
    ($shell:expr) => {
        Tools {
            sources: &mut $shell.sources,
            timers: &mut $shell.timers,
            manager: &mut $shell.narrator.manager,
            place: &$shell.given.place,
            log: &$shell.log,
        }
    };
}

pub(crate) use tools;

impl Tools<'_> {
    fn let_go(&mut self, orphan: &DrainingOrphan) {
        let source = Source::DrainingOrphan(orphan.proved.pid.as_raw());
        self.sources.remove(source, orphan.proved.pidfd.as_fd());
        self.manager.unstore(&name_of(orphan.proved.pid));
    }
}
