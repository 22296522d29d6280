//! A notify socket as it is left to the next supervisor.

#![allow(dead_code, reason = "survival is being built")]

use super::{Ignored, NotifySocket, Weighty};
use crate::state::{Fds, Flaw, Row, Rows};
use crate::sys::errno_text;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::{Uid, fchownat};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// The kind of its row.
pub(crate) const NOTIFY: &str = "notify";

impl NotifySocket {
    /// Writes its row, for the worker that the caller calls so. Its fd is [`NotifySocket::as_fd`], under the name that
    /// [`NotifySocket::name`] gives.
    pub(crate) fn save(&self, worker: &str, rows: &mut Rows) {
        // What is held is in the queue still, and is read again.
        rows.begin(NOTIFY)
            .text("worker", worker)
            .os("path", self.path.as_os_str())
            .number("forged", self.ignored.forged)
            .number("oversized", self.ignored.oversized)
            .number("malformed", self.ignored.malformed)
            .number("bad-barrier", self.ignored.bad_barrier)
            .number("ready", self.recorded.ready.into())
            .number("trigger", self.recorded.trigger.into());
    }

    /// The name of the fd.
    pub(crate) fn name(worker: &str) -> String {
        format!("notify-{worker}")
    }

    /// Reads the row. If the fd is not in the bag, another socket is bound in the place of the lost one and given to the app's
    /// user, as far as it is known who that is; what was in its queue is lost.
    ///
    /// # Errors
    /// A field is missing or cannot be read; the socket cannot be bound.
    pub(crate) fn restore(row: &Row<'_>, fds: &mut Fds, uid: Option<u32>) -> Result<NotifySocket, Flaw> {
        let path = Path::new(&row.os("path")?).to_owned();
        let mut socket = match fds.take(&Self::name(&row.text("worker")?)) {
            Some(fd) => NotifySocket {
                fd,
                path,
                ignored: Ignored::default(),
                recorded: Weighty::default(),
                held: None,
            },
            None => bind_anew(&path, uid)?,
        };
        let count = |key| Ok::<_, Flaw>(row.number_if_any(key)?.unwrap_or_default());
        socket.ignored = Ignored {
            forged: count("forged")?,
            oversized: count("oversized")?,
            malformed: count("malformed")?,
            bad_barrier: count("bad-barrier")?,
        };
        socket.recorded = Weighty {
            ready: count("ready")? != 0,
            trigger: count("trigger")? != 0,
        };
        Ok(socket)
    }
}

fn bind_anew(path: &Path, uid: Option<u32>) -> Result<NotifySocket, Flaw> {
    let stale = std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    if stale {
        // If it cannot be removed, binding says so.
        let _ = std::fs::remove_file(path);
    }
    let socket = NotifySocket::bind(path).map_err(Flaw::new)?;
    let other = uid.map(Uid::from_raw).filter(|uid| *uid != Uid::effective());
    if let Some(uid) = other {
        give(path, uid).map_err(|errno| {
            let path = path.display();
            Flaw::new(format_args!("chown {path}: {}", errno_text(errno)))
        })?;
    }
    Ok(socket)
}

fn give(path: &Path, uid: Uid) -> Result<(), Errno> {
    fchownat(AT_FDCWD, path, Some(uid), None, AtFlags::AT_SYMLINK_NOFOLLOW)
}
