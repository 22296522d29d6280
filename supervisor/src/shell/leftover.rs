//! Processes of a predecessor's app that are not adopted: it was killed while it stopped, or they have closed their listeners, and a new
//! app is started beside them. They have the drain timeout; whoever has not ended by then, or when this supervisor stops, is killed.

use std::os::fd::AsFd as _;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::recover::{self, Proved};
use super::remains::{Remnant, Role};
use super::{Alarm, Shell};
use crate::clock;
use crate::state::{Flaw, Row, Rows};
use crate::sys;

/// The kind of its row.
const ROW: &str = "leftover";

/// One that drains.
#[derive(Debug)]
pub(crate) struct Leftover {
    proved: Proved,
    /// When it was started; with the pid it tells the process from every other.
    began: u64,
    role: Role,
}

impl Leftover {
    pub(super) fn of(remnant: Remnant) -> Option<Self> {
        let Remnant { proved, role, .. } = remnant;
        let began = sys::start_time(proved.pid)?;
        Some(Self { proved, began, role })
    }

    /// Its pid.
    pub(super) fn pid(&self) -> Pid {
        self.proved.pid
    }

    /// A main process was told to stop by the predecessor, or by somebody else. What is left of its group would have been told when it
    /// had ended.
    pub(crate) fn tell_survivor_to_stop(&self, signal: Signal) {
        match self.role {
            // One that has ended meanwhile needs nothing.
            Role::Survivor => drop(sys::signal_by_pidfd(self.proved.pidfd.as_fd(), Some(signal))),
            Role::Main => {}
        }
    }

    pub(super) fn save(&self, rows: &mut Rows) {
        rows.begin(ROW)
            .text("pid", &self.proved.pid.to_string())
            .number("began", self.began);
    }

    /// Those of the rows that live, all of whom have been told to stop.
    pub(super) fn restore(rows: &[Row<'_>]) -> Result<Vec<Self>, Flaw> {
        let mut living = Vec::new();
        for row in rows.iter().filter(|row| row.kind() == ROW) {
            let (pid, began) = (Pid::from_raw(row.parsed("pid")?), row.number("began")?);
            let proved = recover::prove(pid, began);
            let role = Role::Main;
            living.extend(proved.map(|proved| Self { proved, began, role }));
        }
        Ok(living)
    }
}

impl Shell {
    /// From now on they have the drain timeout.
    pub(super) fn give_leftovers_time(&mut self) {
        let limit = self.begin.config.drain_timeout;
        if let Some(limit) = limit.filter(|_| !self.leftovers.is_empty()) {
            self.timers.arm(Alarm::Leftovers, Some(limit), clock::now());
        }
    }

    /// Nobody keeps their deadline any more.
    pub(super) fn tell_of_leftovers(&self) {
        for leftover in &self.leftovers {
            let pid = leftover.proved.pid;
            self.log.warning(&format!(
                "pid {pid}, which an earlier segue left draining, is left alone (kill {pid} ends it)"
            ));
        }
    }

    /// They have had their time.
    pub(super) fn end_leftovers(&mut self) {
        for leftover in std::mem::take(&mut self.leftovers) {
            if leftover.proved.kill_group() {
                self.log.warning(&format!(
                    "pid {}, which an earlier segue left draining, has not ended: it is killed",
                    leftover.proved.pid
                ));
            }
        }
    }
}
