//! The way up: a datagram socket that never waits.

use std::ffi::OsStr;
use std::io::IoSlice;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, sendmsg, sendto, socket,
};

use super::shown;
use crate::sys::errno_text;

/// A socket, and where the manager listens. It is not connected: the manager may come back at the same address.
#[derive(Debug)]
pub(super) struct Outlet {
    fd: OwnedFd,
    to: UnixAddr,
    address: String,
}

impl Outlet {
    /// The value of `NOTIFY_SOCKET`: a path, or `@` and a name in the abstract namespace (sd_notify(3)).
    ///
    /// # Errors
    /// One line, for anything else.
    pub(super) fn open(address: &OsStr) -> Result<Self, String> {
        let failed = |errno| format!("{}: {}", shown("NOTIFY_SOCKET", address), errno_text(errno));
        let to = match address.as_bytes() {
            [b'/', ..] => UnixAddr::new(address.as_bytes()),
            [b'@', name @ ..] => UnixAddr::new_abstract(name),
            _ => {
                return Err(format!(
                    "{}: neither a path nor @NAME",
                    shown("NOTIFY_SOCKET", address)
                ));
            }
        };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        Ok(Self {
            to: to.map_err(failed)?,
            fd: socket(AddressFamily::Unix, SockType::Datagram, flags, None).map_err(failed)?,
            address: address.display().to_string(),
        })
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Sends one message with an fd, of which the manager gets a duplicate. Errors as for [`Outlet::send`].
    pub(super) fn send_with(&self, message: &[u8], fd: BorrowedFd<'_>) -> Result<(), Errno> {
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        let fds = [fd.as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&fds)];
        let text = [IoSlice::new(message)];
        sendmsg(self.fd.as_raw_fd(), &text, &rights, flags, Some(&self.to)).map(drop)
    }

    /// Sends one message, or says why not: `EAGAIN` if the queue of the manager is full.
    pub(super) fn send(&self, message: &[u8]) -> Result<(), Errno> {
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        sendto(self.fd.as_raw_fd(), message, &self.to, flags).map(drop)
    }
}
