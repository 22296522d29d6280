//! systemd's file descriptor store (sd_notify(3), `FDSTORE=1`): what lies in it outlives this process, and is given to the next
//! one as inherited fds whose names begin with [`PREFIX`].
//!
//! Storing does not wait either. What finds no room in the manager's queue is kept here, as a duplicate, until there is.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;

use super::outlet::Outlet;
use crate::state::PREFIX;

/// How much may wait here: as many as `FileDescriptorStoreMax=` of our unit takes. What comes on top is not stored.
const MOST_OWED: usize = 4096;

/// Something to be done to the store.
#[derive(Debug)]
enum Act {
    Store(String, OwnedFd),
    Remove(String),
}

/// What the store is to be told.
#[derive(Debug, Default)]
pub(super) struct Store {
    owed: VecDeque<Act>,
}

impl Store {
    /// Puts a duplicate of this fd into the store. Not watched there (`FDPOLL=0`): a pidfd would go as soon as its process ends,
    /// when it is needed most.
    pub(super) fn keep(&mut self, outlet: &Outlet, name: &str, fd: BorrowedFd<'_>) {
        let sent = self.owed.is_empty() && send(outlet, name, fd) != Err(Errno::EAGAIN);
        if !sent
            && self.owed.len() < MOST_OWED
            && let Ok(fd) = fd.try_clone_to_owned()
        {
            self.owed.push_back(Act::Store(name.to_owned(), fd));
        }
    }

    /// Takes what has this name out of the store.
    pub(super) fn drop(&mut self, name: &str) {
        if self.owed.len() < MOST_OWED {
            self.owed.push_back(Act::Remove(name.to_owned()));
        }
    }

    /// Tell what is owed, in order.
    ///
    /// # Errors
    /// As for sending.
    pub(super) fn flush(&mut self, outlet: &Outlet) -> Result<(), Errno> {
        while let Some(act) = self.owed.front() {
            match act {
                Act::Store(name, fd) => send(outlet, name, fd.as_fd())?,
                Act::Remove(name) => {
                    outlet.send(format!("FDSTOREREMOVE=1\nFDNAME={PREFIX}{name}").as_bytes())?;
                }
            }
            self.owed.pop_front();
        }
        Ok(())
    }
}

fn send(outlet: &Outlet, name: &str, fd: BorrowedFd<'_>) -> Result<(), Errno> {
    let message = format!("FDSTORE=1\nFDNAME={PREFIX}{name}\nFDPOLL=0");
    outlet.send_with(message.as_bytes(), fd)
}
