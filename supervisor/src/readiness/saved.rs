//! Notify sockets, as they are left to the next supervisor.
//!
//! A row `notify` has its socket beside it, `notify-WORKER`. Where that did not come along another is bound at the same path:
//! what was said while nobody listened is lost then, what is said from now on is heard.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::socket::{UnixAddr, getsockname};
use nix::unistd::{Uid, fchownat};

use super::{AckSocket, Ignored, NotifyError, NotifySocket, Weighty};
use crate::state::{Fds, Field as _, Fields as _, Flaw, Guard, Row, Rows, fields};
use crate::sys::errno_text;

/// The kind of the rows.
const ROW: &str = "notify";

// A message that is held is in the queue still, and is read again.
fields!(NotifySocket {
    "forged" ignored.forged or 0;
    "ended" ignored.ended or 0;
    "oversized" ignored.oversized or 0;
    "malformed" ignored.malformed or 0;
    "bad-barrier" ignored.bad_barrier or 0;
    "bad-ack" ignored.bad_ack or 0;
    "ready" recorded.ready;
    "trigger" recorded.trigger;
    "made-anew" made_anew;
    "ready-from" ready_from;
});

impl NotifySocket {
    /// Writes its row, for the worker that the caller calls so.
    pub(crate) fn save(&self, worker: &str, rows: &mut Rows) {
        rows.begin(ROW)
            .text("worker", worker)
            .os("path", self.path.as_os_str());
        self.acks.is_some().write("acks", rows);
        self.save_fields(rows);
    }

    /// The name of the fd of its ack socket.
    pub(crate) fn ack_name(worker: &str) -> String {
        format!("ack-{worker}")
    }

    /// The name of its fd.
    pub(crate) fn name(worker: &str) -> String {
        format!("notify-{worker}")
    }

    /// The socket of a row. If its fd is not among those that are left, another is bound, for the app with this uid if that is known.
    ///
    /// # Errors
    /// The row is not whole, or no socket can be bound.
    pub(crate) fn restore(row: Row<'_>, fds: &mut Fds, uid: Option<u32>, guard: Guard) -> Result<Self, Flaw> {
        let path = PathBuf::from(row.os("path")?);
        let fd = fds.take(&Self::name(&row.text("worker")?));
        let mut socket = Self::adopt(&path, fd, uid, guard).map_err(Flaw::new)?;
        let made_anew = socket.made_anew;
        socket.restore_fields(row)?;
        socket.made_anew |= made_anew;
        if bool::read("acks", row)? {
            let listener = fds.take(&Self::ack_name(&row.text("worker")?));
            socket = socket.with_acks_of(listener).map_err(Flaw::new)?;
        }
        Ok(socket)
    }

    /// With the ack socket that a predecessor has left, or another in its place. A line that was under way is lost, so that its worker
    /// is looked at from outside.
    ///
    /// # Errors
    /// No socket can be bound.
    pub(crate) fn with_acks_of(mut self, listener: Option<OwnedFd>) -> Result<Self, NotifyError> {
        self.made_anew = true;
        let Some(listener) = listener else {
            return self.with_acks();
        };
        let acks = AckSocket::restore(&self.path, listener, self.guard.clone());
        let failed = |errno| NotifyError(format!("ack socket: {}", errno_text(errno)));
        self.acks = Some(acks.map_err(failed)?);
        Ok(self)
    }

    /// The socket that is bound at this path, or another in its place, for the app with this uid if that is known.
    ///
    /// # Errors
    /// No socket can be bound.
    pub(crate) fn adopt(
        path: &Path,
        fd: Option<OwnedFd>,
        uid: Option<u32>,
        guard: Guard,
    ) -> Result<Self, NotifyError> {
        if let Some(fd) = fd.filter(|fd| is_bound_at(fd, path)) {
            return Ok(Self {
                fd,
                path: path.to_owned(),
                ignored: Ignored::default(),
                recorded: Weighty::default(),
                held: None,
                ready_from: None,
                made_anew: false,
                acks: None,
                guard,
            });
        }
        // The directory is the supervisor's own; nobody else makes anything there.
        let _ = std::fs::remove_file(path);
        let mut socket = Self::bind(path, guard)?;
        socket.made_anew = true;
        let given = match uid.map(Uid::from_raw) {
            Some(uid) if uid != Uid::effective() => {
                fchownat(AT_FDCWD, path, Some(uid), None, AtFlags::AT_SYMLINK_NOFOLLOW)
            }
            Some(_) | None => Ok(()),
        };
        given.map_err(|errno: Errno| {
            NotifyError(format!("chown {}: {}", path.display(), errno_text(errno)))
        })?;
        Ok(socket)
    }
}

fn is_bound_at(fd: &OwnedFd, path: &Path) -> bool {
    getsockname::<UnixAddr>(fd.as_raw_fd()).is_ok_and(|address| address.path() == Some(path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::super::{Believed, Word};
    use super::*;
    use crate::state::Custody;

    fn say(path: &Path, text: &str) {
        let socket = UnixDatagram::unbound().unwrap();
        socket.send_to(text.as_bytes(), path).unwrap();
    }

    #[test]
    fn what_was_said_meanwhile_is_heard_if_the_socket_comes_along() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("1.0.0");
        let socket = NotifySocket::bind(&path, Custody::new().guard()).unwrap();
        let (mut rows, mut fds) = (Rows::default(), Fds::default());
        socket.save("1.0.0", &mut rows);
        fds.put(
            NotifySocket::name("1.0.0"),
            socket.as_fd().try_clone_to_owned().unwrap(),
        );
        drop(socket);
        say(&path, "READY=1");
        let text = rows.finish();
        let row = Row::all(&text).unwrap()[0];
        let mut again = NotifySocket::restore(row, &mut fds, None, Guard::armed()).unwrap();
        let ours = nix::unistd::getuid().as_raw();
        assert_eq!(again.receive(&Believed::only(Some(ours))), [Word::Ready]);
        drop(again);
        // Without the fd another one is bound at the path.
        let mut other = NotifySocket::restore(row, &mut fds, Some(ours), Guard::armed()).unwrap();
        say(&path, "READY=1");
        assert_eq!(other.receive(&Believed::only(Some(ours))), [Word::Ready]);
        drop(other);
        assert!(!path.exists());
    }
}
