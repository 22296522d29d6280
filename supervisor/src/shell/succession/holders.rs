//! After `kill -9`: who has the listeners of the dead supervisor open, and can they be had back?
//!
//! Its workers are asked first, those that only a mark in its log tells of among them. A listener that none of them has may be in
//! the hands of a process that nobody has counted (a helper in a session of its own, say): so everybody is asked whose fds can be
//! seen. A socket tells who it is by its cookie, which the kernel gives to no other.

use std::cell::OnceCell;
use std::os::fd::{AsFd as _, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::unistd::Pid;
use segue_lifecycle::Worker;

use crate::listeners::{self, SocketIdentity};
use crate::shell::succession::orphan_processes::{OrphanProcess, Role};
use crate::shell::succession::recover::{self, is_that};
use crate::state::{Flaw, Row};
use crate::sys;

/// Those who may have them.
#[derive(Debug)]
pub(crate) struct Holders<'a> {
    remains: &'a [OrphanProcess],
    wanted: Vec<SocketIdentity>,
    /// Looked for when it is first needed, for it takes a look at each fd of the machine.
    others: OnceCell<Vec<Other>>,
}

/// A process that is no worker, and the number of one of the listeners there.
#[derive(Clone, Copy, Debug)]
struct Other {
    pid: Pid,
    inode: u64,
    number: RawFd,
}

/// A listener that somebody had.
#[derive(Debug)]
pub(crate) struct HadBack {
    pub(crate) fd: OwnedFd,
    /// The process that had it, if that is no worker.
    pub(crate) stranger: Option<Pid>,
}

/// A worker that has it, or may have it, and from which it cannot be had.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Withheld {
    pub(crate) worker: Worker,
    pub(crate) pid: Pid,
    pub(crate) errno: Errno,
}

impl<'a> Holders<'a> {
    /// Nobody is asked yet.
    ///
    /// # Errors
    /// A row is not whole.
    pub(crate) fn new(rows: &[Row<'_>], remains: &'a [OrphanProcess]) -> Result<Self, Flaw> {
        Ok(Self {
            remains,
            wanted: listeners::identities(rows)?,
            others: OnceCell::new(),
        })
    }

    /// Takes a duplicate of this listener from a process that has it.
    ///
    /// # Errors
    /// Nobody who can be seen has it; or a worker does not let us have it.
    pub(crate) fn take_back(&self, wanted: SocketIdentity) -> Result<HadBack, Option<Withheld>> {
        let mut withheld = None;
        for orphan in self.remains {
            match recover::take_back(&orphan.proved, wanted) {
                Ok(fd) => return Ok(HadBack { fd, stranger: None }),
                Err(Errno::ENOENT) => {}
                Err(errno) if orphan.role == Role::Main => {
                    withheld = withheld.or(Some(Withheld {
                        worker: orphan.worker,
                        pid: orphan.proved.pid,
                        errno,
                    }));
                }
                // If it has it, that is told when the listener cannot be made anew.
                Err(_) => {}
            }
        }
        self.take_from_others(wanted).ok_or(withheld)
    }

    /// Without a cookie an inode alone would have to tell the socket, and that may have come to mean another.
    fn take_from_others(&self, wanted: SocketIdentity) -> Option<HadBack> {
        wanted.cookie?;
        let others = self.others.get_or_init(|| self.look_for_others());
        let mut having = others.iter().filter(|other| other.inode == wanted.inode);
        having.find_map(|other| {
            let pidfd = sys::open_pidfd(other.pid).ok()?;
            let fd = sys::fd_of(pidfd.as_fd(), other.number).ok()?;
            is_that(fd.as_fd(), wanted).then_some(HadBack {
                fd,
                stranger: Some(other.pid),
            })
        })
    }

    fn look_for_others(&self) -> Vec<Other> {
        let mut others = Vec::new();
        let all = sys::process_rows().unwrap_or_default();
        for pid in all.iter().map(|row| row.pid).filter(|pid| *pid != Pid::this()) {
            let sockets = sys::open_sockets(pid.as_raw()).unwrap_or_default();
            let of_ours = |(inode, _): &(u64, RawFd)| self.wanted.iter().any(|wanted| wanted.inode == *inode);
            others.extend(sockets.into_iter().filter(of_ours).map(|(inode, number)| Other {
                pid,
                inode,
                number,
            }));
        }
        others
    }
}
