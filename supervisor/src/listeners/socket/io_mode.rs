//! O_NONBLOCK: one flag for all who share a socket.

use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::Socket;
use crate::address::{Key, SocketOptions};
use crate::state::{Field, Flaw, Row, Rows};
use crate::sys::errno_text;

/// Whether calls on a socket wait (O_NONBLOCK, open(2)): one flag for all who share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IoMode {
    /// accept(2) waits for a connection.
    Blocking,
    /// It fails if there is none.
    NonBlocking,
}

impl IoMode {
    /// What the options ask for.
    pub(in crate::listeners) fn wanted_by(options: &SocketOptions) -> Self {
        match options.flag(Key::NonBlocking) {
            Some(true) => Self::NonBlocking,
            Some(false) | None => Self::Blocking,
        }
    }
}

/// Whether it is non-blocking, as a number.
impl Field for IoMode {
    fn write(&self, key: &str, rows: &mut Rows) {
        rows.number(key, (*self == Self::NonBlocking).into());
    }

    fn read_if_any(key: &str, row: Row<'_>) -> Result<Option<Self>, Flaw> {
        Ok(row.number_if_any(key)?.map(|number| match number {
            0 => Self::Blocking,
            _ => Self::NonBlocking,
        }))
    }
}

impl Socket {
    /// See [`crate::listeners::Listener::chosen_flags`].
    pub(in crate::listeners) fn chosen_flags(&self) -> Result<Option<IoMode>, String> {
        match (self.io_mode.get(), self.io_mode().map_err(errno_text)?) {
            (IoMode::Blocking, IoMode::Blocking) => Ok(None),
            (_, chosen) => Ok(Some(chosen)),
        }
    }

    /// See [`crate::listeners::Listener::keep_flags`].
    pub(in crate::listeners) fn keep_flags(&self, chosen: IoMode) -> Result<(), String> {
        self.io_mode.set(chosen);
        set_io_mode(self.as_fd(), chosen).map_err(cannot_restore)
    }

    /// See [`crate::listeners::Listener::is_known_as_non_blocking`].
    pub(in crate::listeners) fn is_known_as_non_blocking(&self) -> bool {
        self.io_mode.get() == IoMode::NonBlocking
    }

    /// See [`crate::listeners::Listener::clear_flag`].
    pub(in crate::listeners) fn clear_flag(&self) -> Result<(), String> {
        set_io_mode(self.as_fd(), IoMode::Blocking).map_err(cannot_restore)
    }

    /// See [`crate::listeners::Listener::is_raised_by_an_app`].
    pub(in crate::listeners) fn is_raised_by_an_app(&self) -> bool {
        self.io_mode.get() == IoMode::Blocking && self.io_mode() == Ok(IoMode::NonBlocking)
    }

    /// O_NONBLOCK is set again where an app has cleared it. It is not cleared here: an app that has set it would hang in accept(2).
    pub(in crate::listeners) fn restore_io_mode(&self) -> Result<(), String> {
        match self.io_mode.get() {
            IoMode::NonBlocking => set_io_mode(self.as_fd(), IoMode::NonBlocking).map_err(cannot_restore),
            IoMode::Blocking => Ok(()),
        }
    }
}

pub(super) fn io_mode(fd: BorrowedFd<'_>) -> Result<IoMode, Errno> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    Ok(if flags.contains(OFlag::O_NONBLOCK) {
        IoMode::NonBlocking
    } else {
        IoMode::Blocking
    })
}

fn cannot_restore(errno: Errno) -> String {
    format!("cannot restore O_NONBLOCK: {}", errno_text(errno))
}

/// Sets or clears O_NONBLOCK for everybody who shares the socket; touches nothing if it is right already.
pub(in crate::listeners) fn set_io_mode(fd: BorrowedFd<'_>, wanted: IoMode) -> Result<(), Errno> {
    let before = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    let mut after = before;
    after.set(OFlag::O_NONBLOCK, wanted == IoMode::NonBlocking);
    if after != before {
        fcntl(fd, FcntlArg::F_SETFL(after))?;
    }
    Ok(())
}
