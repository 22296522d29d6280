//! What a worker has started ends with it, also what has left its process group: a daemon, a helper in a session of its own, whatever
//! its parents were. A worker is gone when nothing of it is left.
//!
//! Nobody looks for such strays while all is well: only when a worker is told to stop, when its group has ended, and after that until
//! nothing is left. They hear the worker's stop signal once, when nobody is left above them who could tell them, and SIGKILL together
//! with the group; so does what they start meanwhile.
//!
//! Where a main process had the stop signal, caught it and has ended, it has told the others of its group, or it has not: nobody can see
//! that. A second signal may end a server in the middle of an answer, and none at all leaves one that goes on serving. So each of those
//! is looked at: who has no connection can lose none and is told, and so is who after a while still waits for new ones.

pub(super) mod ending;
mod search;

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use nix::unistd::Pid;
use segue_lifecycle::{Number, Worker};

use crate::descent::Tie;
use crate::state::{Field as _, Fields as _, Flaw, Row, Rows, Whole as _, fields};
use crate::sys::{self, ProcessRow};

/// The kind of the rows.
const ROW: &str = "stray";

/// How long a child of ours may be in the middle of execve(2), or of its end, before it is a stranger like others: the disk of its program
/// may not answer, and others wait for this.
const LONGEST_UNSEEN: Duration = Duration::from_secs(1);

/// A process of a worker that has nobody above it: it has left the group, or it is left of it.
#[derive(Debug)]
struct Stray {
    worker: Worker,
    /// When it was started; with the pid it tells the process from every other.
    began: u64,
    pidfd: OwnedFd,
    /// What ties it to the worker.
    tie: Tie,
    /// Whether it had the stop signal from us.
    told: bool,
    /// Whether only a listener that it has ties it to the worker, and what is below it has no other tie: the monitor of a container.
    is_monitor: bool,
}

fields!(Stray { "began" began; "told" told; "monitor" is_monitor or false; });

impl Stray {
    fn lives(&self) -> bool {
        !sys::is_dead_by_pidfd(self.pidfd.as_fd())
    }
}

/// The strays that were seen.
#[derive(Debug, Default)]
pub(crate) struct Strays {
    known: BTreeMap<Pid, Stray>,
    /// Workers of whom nothing but strays is left.
    held: BTreeSet<Worker>,
    /// Workers with a stray of which we could get no pidfd, in the last look.
    unnamed: BTreeSet<Worker>,
    /// Children of ours that did not show in the last look whose they are, and will in a moment; since when each is so.
    unseen: BTreeMap<(Pid, u64), Instant>,
    /// Whether that look found one for which it is worth waiting: then another follows.
    awaits_unseen: bool,
    /// A worker was told something, and a look is due at the end of the turn.
    due: bool,
}

impl Strays {
    /// Whether somebody waits for the end of a stray, for the moment at which one may be told, or at which it is seen whose it is.
    pub(crate) fn are_waited_for(&self) -> bool {
        !self.held.is_empty()
            || self.awaits_unseen
            || self.known.values().any(|stray| stray.tie == Tie::Group)
    }

    /// Whether nothing but strays is left of a worker.
    pub(crate) fn are_all_of(&self, worker: Worker) -> bool {
        self.held.contains(&worker)
    }

    /// A worker was told to end.
    pub(crate) fn expect(&mut self) {
        self.due = true;
    }

    /// Whether a look is due, which is made now.
    pub(crate) fn take_due(&mut self) -> bool {
        std::mem::take(&mut self.due)
    }

    /// The group of a worker has ended: it is gone, unless the next look shows strays.
    pub(crate) fn hold(&mut self, worker: Worker) {
        self.held.insert(worker);
    }

    /// Whether this process is known, and not another that had its pid.
    fn knows(&self, row: &ProcessRow) -> bool {
        self.known
            .get(&row.pid)
            .is_some_and(|stray| stray.began == row.began)
    }

    /// Those of the last look that did not show whose they are. Returns which of them have not for so long that nobody waits any more.
    fn note_unseen(&mut self, rows: &[ProcessRow], now: Instant) -> Vec<ProcessRow> {
        let before = std::mem::take(&mut self.unseen);
        for key in rows.iter().map(|row| (row.pid, row.began)) {
            self.unseen.insert(key, before.get(&key).copied().unwrap_or(now));
        }
        let is_late = |row: &ProcessRow| now >= self.unseen[&(row.pid, row.began)] + LONGEST_UNSEEN;
        let late: Vec<ProcessRow> = rows.iter().copied().filter(is_late).collect();
        self.awaits_unseen = late.len() < rows.len();
        late
    }

    fn mark_monitor(&mut self, pid: Pid) {
        if let Some(stray) = self.known.get_mut(&pid) {
            stray.is_monitor = true;
        }
    }

    /// The living monitors, and whose they are.
    pub(in crate::shell::fleet) fn monitors(&self) -> Vec<(Pid, Worker)> {
        let monitors = self
            .known
            .iter()
            .filter(|(_, stray)| stray.is_monitor && stray.lives());
        monitors.map(|(pid, stray)| (*pid, stray.worker)).collect()
    }

    fn living_of(&self, worker: Worker) -> Vec<Pid> {
        let of_worker = self.known.iter().filter(|(_, stray)| stray.worker == worker);
        let living = of_worker.filter(|(_, stray)| stray.lives());
        living.map(|(pid, _)| *pid).collect()
    }

    /// How many of a generation live, as far as they were seen.
    pub(crate) fn count(&self, generation: Number) -> u64 {
        let living = self.known.values().filter(|stray| stray.lives());
        let of_it = living.filter(|stray| stray.worker.generation == generation && stray.tie != Tie::Group);
        of_it.count() as u64
    }

    /// Writes a row for each.
    pub(crate) fn save(&self, rows: &mut Rows) {
        for (pid, stray) in &self.known {
            stray.worker.save_fields(rows.begin(ROW));
            pid.write("pid", rows);
            stray.save_fields(rows);
        }
    }

    /// Whose the processes of the rows are, their pids, and when they were started.
    pub(crate) fn in_rows(rows: &[Row<'_>]) -> Result<Vec<(Worker, Pid, u64)>, Flaw> {
        let rows = rows.iter().filter(|row| row.kind() == ROW);
        let of_row = |row: &Row<'_>| {
            Ok((
                Worker::of_row(*row)?,
                Pid::read("pid", *row)?,
                row.number("began")?,
            ))
        };
        rows.map(of_row).collect()
    }

    /// Those of the rows that live.
    pub(crate) fn restore(rows: &[Row<'_>]) -> Result<Self, Flaw> {
        let mut strays = Self::default();
        for row in rows.iter().filter(|row| row.kind() == ROW) {
            let (pid, began) = (Pid::read("pid", *row)?, row.number("began")?);
            if let Some(pidfd) = identify(pid, began) {
                let mut stray = Stray {
                    worker: Worker::of_row(*row)?,
                    began,
                    pidfd,
                    tie: Tie::Birth,
                    told: false,
                    is_monitor: false,
                };
                stray.restore_fields(*row)?;
                strays.known.insert(pid, stray);
            }
        }
        Ok(strays)
    }
}

/// A pidfd of the process that was started then: the pid may have come to mean another between the look and the opening (pidfd_open(2)).
fn identify(pid: Pid, began: u64) -> Option<OwnedFd> {
    let pidfd = sys::open_pidfd(pid).ok()?;
    let is_it = sys::start_time(pid) == Some(began) && !sys::is_dead_by_pidfd(pidfd.as_fd());
    is_it.then_some(pidfd)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn one_that_shows_nothing_is_waited_for_a_second_and_then_a_stranger() {
        let row = |pid, began| ProcessRow {
            pid: Pid::from_raw(pid),
            began,
            ..sys::process_row(Pid::this().as_raw()).unwrap()
        };
        let (mut strays, begin) = (Strays::default(), clock::now());
        assert_eq!(strays.note_unseen(&[row(2, 5)], begin), []);
        assert!(strays.awaits_unseen);
        // Another one with the same pid has a second of its own.
        let later = begin + LONGEST_UNSEEN;
        let late = strays.note_unseen(&[row(2, 5), row(2, 6)], later);
        assert_eq!(late, [row(2, 5)]);
        assert!(strays.awaits_unseen);
        assert_eq!(strays.note_unseen(&[row(2, 5)], later), [row(2, 5)]);
        assert!(!strays.awaits_unseen);
        assert_eq!(strays.note_unseen(&[], later), []);
        assert_eq!(strays.note_unseen(&[row(2, 5)], later), []);
    }
}
