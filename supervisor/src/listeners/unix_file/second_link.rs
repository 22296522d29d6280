//! A second link to the socket of a path, beside it, by which the path is made again when an app takes it away.
//!
//! Some apps remove the path of a socket that they were given (php-fpm and Twisted when they end). The socket lives on, but link(2)
//! brings back no inode that has lost its last name. So it has a second one from the start. The path that is put back is the same
//! inode, with its owner, its mode and all who wait in its queue; nothing is bound anew.
//!
//! Until it is back, clients find nothing. With the option `linked` they miss nothing at all: the socket is bound at the second name,
//! so that getsockname(2) tells an app that one, and the path of the clients is the link. An app that removes what it was told removes
//! a name that nobody uses.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::socket::SockType;
use nix::unistd::linkat;

use super::{PathLock, SocketFile, clear};
use crate::state::Guard;
use crate::sys::errno_text;

/// What is put behind a path to name the second link to its socket.
const SUFFIX: &str = ".kept";

/// What became of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::listeners) enum Mended {
    /// It was there.
    InPlace,
    /// It was gone, and is there again.
    PutBack,
    /// Something else lies there, or there is no second link, or the kernel refuses: it stays as it is.
    Not,
}

impl SocketFile {
    /// As [`Self::bind`], but bound at the name of the second link, and `path` is a link to that.
    ///
    /// # Errors
    /// One clause: somebody's file has that name, it is too long, or the filesystem has no links.
    pub(in crate::listeners) fn bind_beside(
        fd: BorrowedFd<'_>,
        path: &Path,
        lock: Option<Rc<PathLock>>,
        guard: Guard,
    ) -> Result<Self, String> {
        let second = second_of(path);
        // Without a lock it has no second link.
        let mut file =
            Self::bind(fd, &second, None, guard).map_err(|cause| format!("{}: {cause}", second.display()))?;
        file.path = path.to_owned();
        file.lock = lock;
        file.link(&second, path)
            .map_err(|error| format!("cannot link it to {}: {}", second.display(), errno_text(&error)))?;
        Ok(file)
    }

    /// The name of the second link.
    pub(in crate::listeners) fn second_path(&self) -> PathBuf {
        second_of(&self.path)
    }

    /// Whether it has a second link, or may have one: the lock of the path counts for that name as well.
    pub(in crate::listeners) fn is_kept(&self) -> bool {
        self.lock.is_some()
    }

    /// Whether the path and the second link lead here.
    pub(in crate::listeners) fn has_both_links(&self) -> bool {
        self.is_in_place() && self.leads_here(&self.second_path())
    }

    /// Makes the second link if it is not there. Where there can be none (a filesystem without links, somebody's file of that name)
    /// the path cannot be put back, and no more.
    pub(in crate::listeners) fn keep(&self) {
        let second = self.second_path();
        if !self.is_kept() || self.leads_here(&second) {
            return;
        }
        if is_left_behind(&second) {
            let _ = fs::remove_file(&second);
        }
        let _ = self.link(&self.path, &second);
    }

    /// Makes the path again if it is gone. Somebody else's file there stays.
    pub(in crate::listeners) fn put_back(&self) -> Mended {
        if self.is_in_place() {
            return Mended::InPlace;
        }
        if self.is_kept() && self.link(&self.second_path(), &self.path).is_ok() {
            return Mended::PutBack;
        }
        Mended::Not
    }

    /// Removes the second link, if it leads to this socket.
    pub(super) fn remove_second(&self) {
        let second = self.second_path();
        if self.is_kept() && self.leads_here(&second) {
            let _ = fs::remove_file(&second);
        }
    }

    /// Gives this socket one more name; `from` is one that it has. Fails if there is anything at `to`, link(2).
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        // By an fd of the inode, so that nobody can slip something else under the old name meanwhile.
        let there = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC)
            .open(from)?;
        let meta = there.metadata()?;
        if (meta.dev(), meta.ino()) != (self.device, self.inode) {
            return Err(io::ErrorKind::NotFound.into());
        }
        // AT_EMPTY_PATH would want CAP_DAC_READ_SEARCH.
        let by_fd = PathBuf::from(format!("/proc/self/fd/{}", there.as_raw_fd()));
        linkat(AT_FDCWD, &by_fd, AT_FDCWD, to, AtFlags::AT_SYMLINK_FOLLOW).map_err(Errno::into)
    }
}

/// Removes a socket that nobody serves any more from the name of the second link.
///
/// # Errors
/// One clause: something lives there, or what is there is no socket.
pub(in crate::listeners) fn clear_second(path: &Path, socket_type: SockType) -> Result<(), String> {
    let second = second_of(path);
    clear(&second, socket_type).map_err(|cause| format!("{}: {cause}", second.display()))
}

fn second_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(SUFFIX);
    PathBuf::from(name)
}

/// Whether this is the second link of a supervisor that was killed: whoever has the lock of the path may remove it. The socket of a
/// living process stays, for it may be another listener of that name.
fn is_left_behind(second: &Path) -> bool {
    let is_socket = fs::symlink_metadata(second).is_ok_and(|there| there.file_type().is_socket());
    is_socket && super::path::is_served(second, SockType::Stream) == Ok(false)
}
