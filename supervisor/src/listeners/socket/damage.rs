//! What an app has done to a socket for everybody, and only a new one mends.

use std::fs;
use std::os::fd::BorrowedFd;
use std::path::Path;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Socket, Source};
use crate::listeners::local::SocketKind;
use crate::listeners::settings::ACCEPTS_CONNECTIONS;
use crate::sys::sock;

/// What an app has done to a socket for everybody, and until when that lasts.
const SHUT_DOWN: &str = "an app shut it down, and clients are refused until the next reload";
/// Nobody can bind an abstract address as long as anybody has its old socket.
const SHUT_DOWN_ABSTRACT: &str = "an app shut it down, and clients are refused until segue is started again";
/// The process that made it has the dead one, too.
const SHUT_DOWN_INHERITED: &str = "an app shut it down, and clients are refused until segue is given another";
const PATH_REMOVED: &str = "an app removed its path, and no client finds it until the next reload";
const PATH_TAKEN: &str = "something else lies at its path, and no client finds it until the next reload";
/// It lies in a directory of somebody else, who alone makes it.
const PATH_REMOVED_INHERITED: &str =
    "its path was removed, and no client finds it until segue is given another";

impl Socket {
    /// See [`crate::listeners::Listener::trouble`].
    pub(in crate::listeners) fn trouble(&self) -> Option<&'static str> {
        let listens = |fd| sock::option_int(fd, ACCEPTS_CONNECTIONS) != Ok(0);
        if self.local.kind.accepts_connections() && !listens(self.as_fd()) {
            return Some(SHUT_DOWN);
        }
        self.damage()
    }

    /// What no call mends: only a new socket does. A Unix listener that was shut down still says that it listens, but
    /// refuses every client for good; it is seen as a hang-up. A path that is gone cannot be bound again.
    ///
    /// A probe listener is private to one generation, and some apps unlink what they serve (nginx, puma): no damage.
    fn damage(&self) -> Option<&'static str> {
        let is_unix = match self.local.kind {
            SocketKind::Unix | SocketKind::UnixDatagram | SocketKind::UnixSeqpacket => true,
            SocketKind::Tcp | SocketKind::Udp => false,
        };
        if !is_unix || self.source == Source::Probe {
            return None;
        }
        if is_hung_up(self.as_fd()) {
            return Some(match (&self.source, &self.file) {
                (Source::Inherited { .. }, _) => SHUT_DOWN_INHERITED,
                (Source::Spec(_) | Source::Probe, Some(_)) => SHUT_DOWN,
                (Source::Spec(_) | Source::Probe, None) => SHUT_DOWN_ABSTRACT,
            });
        }
        if self.found_at.as_ref().is_some_and(|path| !is_there(path)) {
            return Some(PATH_REMOVED_INHERITED);
        }
        let file = self.file.as_ref().filter(|file| !file.is_in_place())?;
        Some(if is_there(file.path()) {
            PATH_TAKEN
        } else {
            PATH_REMOVED
        })
    }

    /// The damage, if none has been told yet: later it may look like another, as when a new socket lies at the path.
    pub(super) fn lasting_damage(&self) -> Option<&'static str> {
        let damage = self.damage().filter(|_| self.told.get().is_none())?;
        self.told.set(Some(damage));
        Some(damage)
    }

    /// Its path is there again: what happens to it next is told anew.
    pub(in crate::listeners) fn forget_damage(&self) {
        self.told.set(None);
    }

    /// Whether this is a socket of ours that only a new one can replace.
    pub(in crate::listeners) fn is_dead(&self) -> bool {
        match self.source {
            Source::Spec(_) => self.damage().is_some(),
            Source::Inherited { .. } | Source::Probe => false,
        }
    }
}

/// Whether anything is there, a link that leads nowhere included.
fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Nothing but a hang-up is asked for, so every answer is one; `nix` does not know POLLRDHUP and cannot name it.
fn is_hung_up(fd: BorrowedFd<'_>) -> bool {
    let mut asked = [PollFd::new(fd, PollFlags::from_bits_retain(libc::POLLRDHUP))];
    poll(&mut asked, PollTimeout::ZERO).is_ok_and(|answers| answers > 0)
}
