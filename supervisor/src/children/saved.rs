//! What is left to the next supervisor: who is in our charge, and what has become of the leader of each.

use super::{Children, Kin, Leader};
use crate::state::{Field, Flaw, Row, Rows, words};
use nix::unistd::Pid;
use std::os::fd::{BorrowedFd, OwnedFd};

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

/// An end that was not told yet will be seen again.
impl Field for Leader {
    fn write(&self, key: &str, rows: &mut Rows) {
        rows.text(
            key,
            match self {
                Leader::Alive | Leader::Unreaped(_) => "alive",
                Leader::Zombie => "zombie",
                Leader::Told | Leader::Reaped => "reaped",
            },
        );
    }

    fn read_if_any(key: &str, row: Row<'_>) -> Result<Option<Self>, Flaw> {
        match row.text_if_any(key)?.as_deref() {
            None => Ok(None),
            Some("alive") => Ok(Some(Leader::Alive)),
            Some("zombie") => Ok(Some(Leader::Zombie)),
            Some("reaped") => Ok(Some(Leader::Reaped)),
            Some(_) => Err(row.lacks(key)),
        }
    }
}

words!(Kin { "own" Own; "adopted" Adopted; });
