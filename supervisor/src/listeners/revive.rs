//! An app that hangs in accept(2), since systemd has cleared O_NONBLOCK, is woken.

use std::os::fd::{AsFd as _, AsRawFd as _};
use std::rc::Rc;

use nix::sys::socket::{
    SockFlag, SockType, SockaddrLike as _, SockaddrStorage, connect, getsockname, socket,
};

use super::socket::{IoMode, Socket};
use super::{ListenError, Listener, SocketKind};
use crate::sys::errno_text;
use crate::sys::steering::{self, Arrivals};

/// How many connections for each process that may hang.
const WAKE_UPS: usize = 4;
const MOST_WAKE_UPS: usize = 256;

impl Listener {
    /// Undoes what systemd has done to an inherited socket while it started us in the place of a supervisor that was killed: it
    /// clears O_NONBLOCK (systemd.exec(5), `NonBlocking=`), which the app that serves meanwhile relies on, and whose loop may hang
    /// in accept(2) by now. Each of `acceptors` is woken by a connection that asks nothing.
    ///
    /// # Errors
    /// As for [`Listener::restore_flags`].
    pub(crate) fn revive(&self, acceptors: usize) -> Result<(), ListenError> {
        let hangs = self.is_inherited()
            && self.wants_non_blocking()
            && self.socket.io_mode() != Ok(IoMode::NonBlocking);
        let restored = match self.slot {
            Some(_) => self.socket.restore_io_mode().map_err(|cause| self.alarm(&cause)),
            None => Ok(()),
        };
        let restored = restored.and(self.restore_flags());
        if hangs && self.kind().accepts_connections() {
            // Another process, or another thread, may take a connection that was meant for one that hangs.
            for _ in 0..acceptors.saturating_mul(WAKE_UPS).min(MOST_WAKE_UPS) {
                self.socket.knock();
            }
        }
        restored
    }
}

impl Listener {
    /// A generation was being started when the supervisor before us was killed, so that nobody has noted what it has chosen for its slot,
    /// and systemd has cleared it since. It is taken for one like that of `other`, the slot of its address in which clients are served:
    /// an event loop that is wrongly taken for one that blocks hangs, and one that blocks fails before it takes over.
    pub(crate) fn expect_choice_of(&self, other: &Self) {
        let (Some(own), Some(serving)) = (&self.slot, &other.slot) else {
            return;
        };
        if Rc::ptr_eq(&own.group, &serving.group) && self.is_inherited() && other.wants_non_blocking() {
            self.socket.want_io_mode(IoMode::NonBlocking);
        }
    }

    fn wants_non_blocking(&self) -> bool {
        self.socket.wanted_io_mode() == IoMode::NonBlocking
    }

    /// Clients can come to this socket, though it was made in silence after its predecessor was killed.
    ///
    /// # Errors
    /// One line: the kernel refuses.
    pub(crate) fn take_clients(&self) -> Result<(), ListenError> {
        let taken = steering::set_arrivals(self.as_fd(), Arrivals::Taken);
        taken
            .map(drop)
            .map_err(|errno| self.alarm(&format!("takes no clients: {}", errno_text(errno))))
    }
}

impl Socket {
    /// A connection that is closed at once. If it cannot be made, nobody hangs there.
    fn knock(&self) {
        let Ok(address) = getsockname::<SockaddrStorage>(self.as_fd().as_raw_fd()) else {
            return;
        };
        let (Some(family), kind) = (address.family(), self.local().kind) else {
            return;
        };
        let kind = match kind {
            SocketKind::UnixSeqpacket => SockType::SeqPacket,
            SocketKind::Tcp | SocketKind::Unix | SocketKind::Udp | SocketKind::UnixDatagram => {
                SockType::Stream
            }
        };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        if let Ok(knocker) = socket(family, kind, flags, None) {
            // Under way or refused, it is all the same.
            let _ = connect(knocker.as_raw_fd(), &address);
        }
    }
}
