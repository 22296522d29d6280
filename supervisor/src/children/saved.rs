//! What is left to the next supervisor: who is in our charge, and what has become of the leader of each.

use super::{Children, Kin, Leader};
use nix::unistd::Pid;
use std::fmt;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::str::FromStr;

/// A process that is in our charge. Its pidfd travels beside the rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Saved<'a, K> {
    /// The caller's name for it.
    pub(crate) key: K,
    /// Its pid, which is also its group's number.
    pub(crate) pid: Pid,
    /// When it was started.
    pub(crate) began: Option<u64>,
    /// Its pidfd, if it has one.
    pub(crate) pidfd: Option<BorrowedFd<'a>>,
    /// Whose child it is.
    pub(crate) kin: Kin,
    /// What has become of it. As text: `alive`, `zombie` or `reaped`; its exit was told unless it is alive.
    pub(crate) leader: Leader,
}

impl<K: Copy + Ord> Children<K> {
    /// Everybody in our charge.
    pub(crate) fn saved(&self) -> impl Iterator<Item = Saved<'_, K>> {
        self.known.iter().map(|(key, child)| Saved {
            key: *key,
            pid: child.pid,
            began: child.began,
            pidfd: child.pidfd(),
            kin: child.kin,
            leader: child.leader,
        })
    }

    /// Takes charge again of one that was saved. An own child is one of this same process, after an upgrade in place;
    /// whatever it was to a supervisor that has died, it is adopted by another.
    pub(crate) fn restore(&mut self, key: K, pid: Pid, pidfd: OwnedFd, kin: Kin, leader: Leader) {
        let leader = match (kin, leader) {
            (_, Leader::Alive | Leader::Unreaped(_)) => Leader::Alive,
            (Kin::Own, Leader::Zombie) => Leader::Zombie,
            // Who reaps an adopted one is not our business.
            (Kin::Adopted, Leader::Zombie) | (_, Leader::Told | Leader::Reaped) => Leader::Reaped,
        };
        self.insert(key, pid, pidfd, kin, leader);
    }
}

impl fmt::Display for Leader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            // Its end was not told yet, and will be seen again.
            Leader::Alive | Leader::Unreaped(_) => "alive",
            Leader::Zombie => "zombie",
            Leader::Told | Leader::Reaped => "reaped",
        })
    }
}

impl FromStr for Leader {
    type Err = ();

    fn from_str(text: &str) -> Result<Leader, ()> {
        match text {
            "alive" => Ok(Leader::Alive),
            "zombie" => Ok(Leader::Zombie),
            "reaped" => Ok(Leader::Reaped),
            _ => Err(()),
        }
    }
}

impl fmt::Display for Kin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kin::Own => "own",
            Kin::Adopted => "adopted",
        })
    }
}

impl FromStr for Kin {
    type Err = ();

    fn from_str(text: &str) -> Result<Kin, ()> {
        match text {
            "own" => Ok(Kin::Own),
            "adopted" => Ok(Kin::Adopted),
            _ => Err(()),
        }
    }
}
