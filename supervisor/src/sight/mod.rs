//! Processes seen from outside, through /proc: which sockets they hold, and whether somebody waits on them.
//!
//! It judges nothing and changes nothing: a process is neither stopped nor traced, and never notices. A process that
//! cannot be looked into is named, so that the caller guesses nothing. It knows neither generations nor workers.
//!
//! Somebody *waits* on a socket where it is in an epoll set for input (proc_pid_fdinfo(5)), or where a thread is
//! blocked in accept(2), poll(2) or select(2) on it (proc_pid_syscall(5)). The kernel shows a socket to those who may
//! trace the process, ptrace(2): the same uid, or CAP_SYS_PTRACE.
//!
//! Code map: `process` reads one process, `syscall` what its threads are blocked in, `tables` reads the tables of
//! /proc/PID/net.

mod process;
mod syscall;
mod tables;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::fmt;
use std::os::fd::RawFd;

use nix::unistd::Pid;

pub(crate) use process::{Sockets, has_event_loop, is_halted};
pub(crate) use tables::{Connection, accepted_connections, connection, is_any_unlisted, listening_addresses};

/// What processes have to do with one socket; the greater, the more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hold {
    /// None has it open.
    Absent,
    /// At least one has it open; nobody was seen waiting on it.
    Held,
    /// Somebody waits on it.
    Awaited,
}

/// Why a process may have more to do with a socket than can be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blind {
    /// The kernel does not show us its files, or what it is blocked in.
    NotShown,
    /// It has an io_uring, in which it may wait for anything.
    Ring,
    /// It has more files open than are looked through.
    Crowded,
}

impl fmt::Display for Blind {
    /// A clause that follows the name of the process.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotShown => "may not be looked into",
            Self::Ring => "uses io_uring",
            Self::Crowded => "has too many files open to look through",
        })
    }
}

/// Where somebody was seen waiting who was looked at before: the next generation of an app mostly waits there as well. It is looked at
/// first, and proves nothing by itself.
#[derive(Debug, Default)]
pub(crate) struct Hint {
    /// The fd of the epoll set.
    set: Cell<Option<RawFd>>,
}

impl Hint {
    /// Whether a process waits for input on all of these sockets there, and has them open: what [`Sight::look_at`] finds out as well, by
    /// a look at all of its files.
    pub(crate) fn proves(&self, pid: Pid, sockets: &[u64]) -> bool {
        let set = self.set.get();
        set.is_some_and(|set| process::waits_in_set(pid, set, sockets))
    }
}

/// Sockets, and who was seen waiting on all of them.
#[derive(Debug, Default)]
pub(crate) struct Awaited {
    sockets: Vec<u64>,
    by: Vec<Pid>,
}

impl Awaited {
    /// Nobody has been seen yet. The sockets are named by their inodes.
    pub(crate) fn of(sockets: impl IntoIterator<Item = u64>) -> Self {
        Self {
            sockets: sockets.into_iter().collect(),
            by: Vec::new(),
        }
    }

    /// Whether a process waits on all of them, as far as one look shows. Once somebody does, nobody else is looked at.
    pub(crate) fn look_at(&mut self, pid: Pid, hint: &Hint) -> bool {
        let is_of_interest = self.by.is_empty() && !self.sockets.is_empty();
        let waits = is_of_interest && hint.proves(pid, &self.sockets);
        self.by.extend(waits.then_some(pid));
        waits
    }

    /// Whether this process was seen so.
    pub(crate) fn is_by(&self, pid: Pid) -> bool {
        self.by.contains(&pid)
    }
}

/// What was seen of some sockets in the processes looked at so far.
#[derive(Debug)]
pub(crate) struct Sight {
    /// The sockets in question, by inode.
    wanted: Vec<(u64, Hold)>,
    /// Every other socket that they have open.
    others: Vec<u64>,
    blind: Option<(Pid, Blind)>,
    looked_at: Vec<Pid>,
    /// An epoll set in which one of them was seen.
    set: Option<RawFd>,
}

impl Sight {
    /// Nobody has been looked at. The sockets are named by their inodes.
    pub(crate) fn of(wanted: impl IntoIterator<Item = u64>) -> Self {
        Self {
            wanted: wanted.into_iter().map(|inode| (inode, Hold::Absent)).collect(),
            others: Vec::new(),
            blind: None,
            looked_at: Vec::new(),
            set: None,
        }
    }

    /// Looks at a process. One that has ended has nothing open.
    pub(crate) fn look_at(&mut self, pid: Pid) {
        if self.looked_at.contains(&pid) {
            return;
        }
        self.looked_at.push(pid);
        let seen = process::look(pid, &self.wanted);
        for ((_, known), hold) in self.wanted.iter_mut().zip(seen.holds) {
            *known = hold.max(*known);
        }
        self.others.extend(seen.others);
        self.set = self.set.or(seen.set);
        if let Some(blind) = seen.blind {
            self.blind.get_or_insert((pid, blind));
        }
    }

    /// Remember where somebody was seen waiting.
    pub(crate) fn remember(&self, hint: &Hint) {
        hint.set.set(self.set);
    }

    /// What is known of a socket. One that was not asked for is absent.
    pub(crate) fn hold(&self, inode: u64) -> Hold {
        let found = self.wanted.iter().find(|(wanted, _)| *wanted == inode);
        found.map_or(Hold::Absent, |(_, hold)| *hold)
    }

    /// A process of which not all could be seen, if there is one.
    pub(crate) fn blind(&self) -> Option<(Pid, Blind)> {
        self.blind
    }

    /// The other sockets that these processes have open, by inode.
    pub(crate) fn others(&self) -> &[u64] {
        &self.others
    }
}
