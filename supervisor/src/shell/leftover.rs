//! Processes of a predecessor's app that are not adopted: it was killed while it stopped, or they have closed their listeners, and a new
//! app is started beside them. They have the deadline that the predecessor gave them, or else the drain timeout; whoever has not
//! ended by then, or when this supervisor stops, is killed.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Instant;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use segue_lifecycle::Ending;

use super::recover::{self, Proved};
use super::remains::Remnant;
use super::{Alarm, Shell};
use crate::clock;
use crate::sources::Source;
use crate::state::{Fds, Flaw, Row, Rows};
use crate::sys::{self, errno_text};

/// The kind of its row.
const ROW: &str = "leftover";

/// One that drains.
#[derive(Debug)]
pub(crate) struct Leftover {
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
pub(super) enum Deadline {
    /// Nobody has said: it has the drain timeout, from now on.
    NotGiven,
    /// Until then; `None` is for ever, which a setting has asked for.
    At(Option<Instant>),
}

impl Deadline {
    /// The earlier of the two.
    pub(super) fn or_earlier(self, other: Option<Instant>) -> Self {
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

impl Leftover {
    /// `None` if it has ended meanwhile.
    pub(super) fn of(remnant: Remnant, signal: Option<Signal>, deadline: Deadline) -> Option<Self> {
        let proved = remnant.proved;
        let began = sys::start_time(proved.pid);
        (!sys::is_dead_by_pidfd(proved.pidfd.as_fd())).then_some(Self {
            proved,
            began,
            signal,
            deadline,
        })
    }

    /// Its pidfd, for the next supervisor.
    pub(super) fn pass_on(&self) -> (String, BorrowedFd<'_>) {
        (name_of(self.proved.pid), self.proved.pidfd.as_fd())
    }

    /// Tell it to stop, if nobody has.
    pub(crate) fn tell_to_stop(&mut self) {
        if let Some(signal) = self.signal.take() {
            // One that has ended meanwhile needs nothing.
            let _ = sys::signal_by_pidfd(self.proved.pidfd.as_fd(), Some(signal));
        }
    }

    pub(super) fn save(&self, rows: &mut Rows) {
        rows.begin(ROW).text("pid", &self.proved.pid.to_string());
        if let Some(began) = self.began {
            rows.number("began", began);
        }
        if let Some(moment) = self.deadline.moment() {
            rows.number("at", clock::to_nanos(moment));
        }
    }

    /// Those of the rows that live, all of whom have been told to stop.
    pub(super) fn restore(rows: &[Row<'_>], stored: &mut Fds) -> Result<Vec<Self>, Flaw> {
        let mut living = Vec::new();
        for row in rows.iter().filter(|row| row.kind() == ROW) {
            let pid = Pid::from_raw(row.parsed("pid")?);
            let began = row.number_if_any("began")?;
            let moment = row.number_if_any("at")?.map(clock::from_nanos);
            let deadline = moment.map_or(Deadline::NotGiven, |moment| Deadline::At(Some(moment)));
            let proved = match stored.take(&name_of(pid)) {
                Some(pidfd) => recover::prove_by_pidfd(pid, pidfd),
                None => began.and_then(|began| recover::prove(pid, began)),
            };
            living.extend(proved.map(|proved| Self {
                proved,
                began,
                signal: None,
                deadline,
            }));
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

impl Shell {
    /// From now on they are watched, and have the time that is left to them.
    pub(super) fn tend_leftovers(&mut self) {
        let drain = self.begin.config.drain_timeout;
        let in_full = drain.and_then(|limit| clock::now().checked_add(limit));
        for leftover in &mut self.leftovers {
            if leftover.deadline == Deadline::NotGiven {
                leftover.deadline = Deadline::At(in_full);
            }
            let pid = leftover.proved.pid;
            let pidfd = leftover.proved.pidfd.as_fd();
            if let Err(errno) = self.sources.add(Source::Leftover(pid.as_raw()), pidfd) {
                // Its deadline holds all the same.
                self.log
                    .error(&format!("epoll: pid {pid}: {}", errno_text(errno)));
            }
        }
        self.arm_leftovers();
    }

    /// The timer of whoever has the least time.
    fn arm_leftovers(&mut self) {
        let moments = self
            .leftovers
            .iter()
            .filter_map(|leftover| leftover.deadline.moment());
        match moments.min() {
            Some(next) => {
                let now = clock::now();
                let wait = next.saturating_duration_since(now);
                self.timers.arm(Alarm::Leftovers, Some(wait), now);
            }
            None => self.timers.disarm(Alarm::Leftovers),
        }
    }

    /// One of them has ended.
    pub(super) fn leftover_ended(&mut self, pid: i32) {
        let is_it = |leftover: &Leftover| leftover.proved.pid.as_raw() == pid;
        if let Some(place) = self.leftovers.iter().position(is_it) {
            let ended = self.leftovers.swap_remove(place);
            self.let_go(&ended);
            self.log.info(&format!(
                "pid {pid}, which an earlier segue left draining, has ended"
            ));
            self.arm_leftovers();
        }
    }

    fn let_go(&mut self, leftover: &Leftover) {
        let source = Source::Leftover(leftover.proved.pid.as_raw());
        self.sources.remove(source, leftover.proved.pidfd.as_fd());
        self.manager.unstore(&name_of(leftover.proved.pid));
    }

    /// Whether this supervisor, which has nothing else to do any more, waits for some of them: whoever keeps their deadline may not
    /// go before it. A stop has had the time that they would have had, and those without a deadline would be waited for without end.
    pub(super) fn waits_for_leftovers(&self, ending: Ending) -> bool {
        match ending {
            Ending::Stopped => false,
            Ending::NeverServed(_) => self
                .leftovers
                .iter()
                .any(|leftover| leftover.deadline.moment().is_some()),
        }
    }

    /// For whom it waits.
    pub(super) fn say_whom_it_waits_for(&self) {
        let pids: Vec<String> = self
            .leftovers
            .iter()
            .map(|one| one.proved.pid.to_string())
            .collect();
        self.log.warning(&format!(
            "segue ends when what an earlier segue left draining has ended (pid {}), or has had its time; a stop signal ends both at once",
            pids.join(" ")
        ));
    }

    /// Those for whom nobody keeps a deadline.
    pub(super) fn tell_of_leftovers(&self) {
        for leftover in &self.leftovers {
            let pid = leftover.proved.pid;
            self.log.warning(&format!(
                "pid {pid}, which an earlier segue left draining, is left alone (kill {pid} ends it)"
            ));
        }
    }

    /// Those who have had their time are killed.
    pub(super) fn end_overdue_leftovers(&mut self) {
        let now = clock::now();
        let is_due = |leftover: &mut Leftover| leftover.deadline.moment().is_some_and(|moment| moment <= now);
        let due: Vec<Leftover> = self.leftovers.extract_if(.., is_due).collect();
        self.end_all(due);
        self.arm_leftovers();
    }

    /// All of them are killed: this supervisor stops.
    pub(super) fn end_leftovers(&mut self) {
        let all = std::mem::take(&mut self.leftovers);
        self.end_all(all);
    }

    fn end_all(&mut self, leftovers: Vec<Leftover>) {
        for leftover in leftovers {
            self.let_go(&leftover);
            if leftover.end() {
                self.log.warning(&format!(
                    "pid {}, which an earlier segue left draining, has not ended: it is killed",
                    leftover.proved.pid
                ));
            }
        }
    }
}
