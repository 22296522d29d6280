//! Workers of a predecessor that are not adopted: it was killed while it stopped, or somebody has told them to drain, and a new app is
//! started beside them. They have the drain timeout; whoever has not ended by then, or when this supervisor stops, is killed.

use nix::unistd::Pid;

use super::recover::{self, Proved};
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
}

impl Leftover {
    /// It was proved to be a worker of the predecessor.
    pub(super) fn of(proved: Proved) -> Option<Self> {
        let began = sys::start_time(proved.pid)?;
        Some(Self { proved, began })
    }

    pub(super) fn save(&self, rows: &mut Rows) {
        rows.begin(ROW)
            .text("pid", &self.proved.pid.to_string())
            .number("began", self.began);
    }

    /// Those of the rows that live.
    pub(super) fn restore(rows: &[Row<'_>]) -> Result<Vec<Self>, Flaw> {
        let mut living = Vec::new();
        for row in rows.iter().filter(|row| row.kind() == ROW) {
            let (pid, began) = (Pid::from_raw(row.parsed("pid")?), row.number("began")?);
            let proved = recover::prove(pid, began);
            living.extend(proved.map(|proved| Self { proved, began }));
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
                    "pid {}, which an earlier segue left draining, did not end in time: it is killed",
                    leftover.proved.pid
                ));
            }
        }
    }
}
