//! One child: what has become of the process that leads its group, and of the group.

use super::ExitStatus;
use super::group::{self, Members};
use crate::clock;
use crate::sys::{self, ProcessRow, Told, Who};
use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long an adopted process that has ended may wait for its parent to reap it, after which the kernel tells how it ended.
/// A parent that does its duty needs a millisecond; a caller that waits for the end of the process waits for this, too.
const UNTIL_REAPED: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Child {
    pub(super) pid: Pid,
    /// When it was started, in the kernel's own count; with the pid it tells the process from every other.
    pub(super) began: Option<u64>,
    /// `None` if it was dead before anybody who is left could open one. Then its group is named by its number.
    pub(super) pidfd: Option<OwnedFd>,
    pub(super) leader: Leader,
    pub(super) kin: Kin,
}

/// Whose child it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kin {
    /// Ours: we reap it.
    Own,
    /// Somebody else's.
    Adopted,
}

/// What has become of the process that leads the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leader {
    /// It has not ended, as far as a sweep has seen.
    Alive,
    /// Adopted and ended. Its parent has time until then to reap it.
    Unreaped(Instant),
    /// Adopted, and its end is told by this very sweep.
    Told,
    /// Dead and kept as a zombie; its number is safe.
    Zombie,
    /// Reaped, though the group has members still: because a pidfd names the group all the same, or because /proc showed
    /// no member, and yet the kernel says that there are some (another uid's under `hidepid`, or one that was forked while we
    /// looked). The group's number is safe as long as they live. An adopted one may have nobody who reaps it; all the same it
    /// is not waited for any more.
    Reaped,
}

impl Child {
    pub(super) fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(OwnedFd::as_fd)
    }

    /// Sends `signal` to the group, or with `None` asks whether it has members.
    pub(super) fn signal_group(&self, signal: Option<Signal>) -> Result<(), Errno> {
        match self.pidfd() {
            Some(pidfd) if self.leader == Leader::Reaped && signal.is_none() => {
                group::ask_without_leader(self.pid, pidfd)
            }
            Some(pidfd) => group::signal(self.pid, pidfd, signal),
            None if self.number_is_anothers() => Err(Errno::ESRCH),
            None => killpg(self.pid, signal),
        }
    }

    /// Whether another process than the leader has its pid. No process is given a number that a group has, so that the group is
    /// empty then, and the number another's.
    fn number_is_anothers(&self) -> bool {
        sys::start_time(self.pid).is_some_and(|began| Some(began) != self.began)
    }

    /// What has come of a signal by pidfd, or if that was refused of one by number (kill(2)).
    pub(super) fn or_by_number(
        &self,
        sent: Result<(), Errno>,
        by_number: impl FnOnce() -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        match sent {
            Err(errno) if errno != Errno::ESRCH && self.is_unreaped() => by_number(),
            outcome => outcome,
        }
    }

    /// Whether its number is its own for certain: nobody but us can give it back to the kernel, and we have not.
    pub(super) fn is_unreaped(&self) -> bool {
        match (self.kin, self.leader) {
            (Kin::Own, Leader::Alive | Leader::Zombie) => true,
            (Kin::Own, Leader::Unreaped(_) | Leader::Told | Leader::Reaped) | (Kin::Adopted, _) => false,
        }
    }

    /// How its leader ended, if that is new.
    pub(super) fn note_exit(&mut self) -> Option<ExitStatus> {
        let until = match self.leader {
            Leader::Alive => None,
            Leader::Unreaped(until) => Some(until),
            Leader::Told | Leader::Zombie | Leader::Reaped => return None,
        };
        match self.kin {
            Kin::Own => {
                let status = look(self.pid, self.pidfd()?)?;
                self.leader = Leader::Zombie;
                Some(status)
            }
            Kin::Adopted => self.note_exit_of_adopted(until),
        }
    }

    fn note_exit_of_adopted(&mut self, until: Option<Instant>) -> Option<ExitStatus> {
        let pidfd = self.pidfd()?;
        if !sys::is_dead_by_pidfd(pidfd) {
            return None;
        }
        let now = clock::now();
        let until = until.unwrap_or(now + UNTIL_REAPED);
        let status = match sys::exit_status_by_pidfd(pidfd) {
            Told::Status(status) => status,
            Told::NotYet if now < until => {
                self.leader = Leader::Unreaped(until);
                return None;
            }
            Told::NotYet | Told::Never => ExitStatus::Unknown,
        };
        self.leader = Leader::Told;
        Some(status)
    }

    /// The next look at it has to do with what is known by then.
    pub(super) fn end_patience(&mut self) {
        if self.kin == Kin::Adopted
            && self.leader == Leader::Alive
            && self.pidfd().is_some_and(sys::is_dead_by_pidfd)
        {
            self.leader = Leader::Unreaped(clock::now());
        }
    }

    /// Whether its end was told by an earlier sweep, or by this one if it is our child.
    pub(super) fn has_exited(&self) -> bool {
        match self.leader {
            Leader::Alive | Leader::Unreaped(_) | Leader::Told => false,
            Leader::Zombie | Leader::Reaped => true,
        }
    }

    pub(super) fn forget_that_it_was_told(&mut self) {
        if self.leader == Leader::Told {
            self.leader = Leader::Reaped;
        }
    }

    /// Reaps the leader if its group has no other living member, and tells whether the group has ended.
    pub(super) fn end(&mut self, rows: &[ProcessRow]) -> bool {
        if self.pidfd.is_none() && self.number_is_anothers() {
            return true;
        }
        let seen = group::members(self.pid, rows);
        // Dead members that their own parent does not reap count as gone; they do nothing any more.
        let only_dead = seen == Members::Dead || self.is_kept_by_its_parent(rows);
        seen != Members::Living && (self.leaves_an_empty_group() || only_dead)
    }

    /// Whether an adopted leader is a zombie that its own parent does not reap.
    fn is_kept_by_its_parent(&self, rows: &[ProcessRow]) -> bool {
        let kept = |row: &ProcessRow| row.pid == self.pid && row.zombie;
        self.kin == Kin::Adopted && rows.iter().any(kept)
    }

    /// If that fails, the next sweep tries again.
    fn reap(&mut self) {
        match sys::reap(Who::Process(self.pid)) {
            Ok(_) | Err(Errno::ECHILD) => self.leader = Leader::Reaped,
            Err(_) => {}
        }
    }

    /// Reaps the leader and asks the kernel whether that has emptied the group. Zombies count as members.
    pub(super) fn leaves_an_empty_group(&mut self) -> bool {
        if self.leader == Leader::Zombie {
            self.reap();
        }
        self.signal_group(None) == Err(Errno::ESRCH)
    }
}

/// How the child ended, if it has; it stays a zombie. One of which the kernel does not tell (somebody else has reaped it, or
/// waitid fails) counts as killed once its pidfd says that it has ended, lest anyone wait for it for ever; not before, for it may
/// be serving.
pub(super) fn look(pid: Pid, pidfd: BorrowedFd<'_>) -> Option<ExitStatus> {
    match sys::peek(Who::Process(pid)) {
        Ok(dead) => dead.map(|dead| dead.status),
        Err(_) if sys::is_dead_by_pidfd(pidfd) => Some(ExitStatus::Signal {
            number: Signal::SIGKILL as i32,
            core_dumped: false,
        }),
        Err(_) => None,
    }
}
