//! The path of a Unix socket: only the supervisor makes it, and only the supervisor removes it.
//!
//! The socket is bound at the path itself (a name given later would break getsockname(2) and those who compare it; `linked` asks for
//! just that), under a lock file beside it. What is there already is removed only if it is a socket that refuses connections. The new
//! path is born with mode 0000 and gets its owner and then its mode before anybody can connect. An app that removes it finds it put
//! back (`second_link`).

mod path;
mod path_lock;
mod second_link;

use std::fs::{self, OpenOptions, Permissions};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::socket::{UnixAddr, bind};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Pid, fchownat, getegid, geteuid, getpid};

use super::resolve::Owner;
use crate::state::{Custody, Field as _, Fields as _, Flaw, Guard, Row, Rows, fields};
use crate::sys::errno_text;

pub(super) use path::{clear, make_parents, make_way};
pub(super) use path_lock::PathLock;
pub(super) use second_link::{Mended, clear_second};

/// A path that leads to a socket of ours. Removed when dropped, if it still leads there, with its second link and before its lock.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
    maker: Pid,
    /// Held for as long as the path is ours; a probe listener lies in a private directory and needs none. Shared with the
    /// socket that is bound in the place of this one.
    lock: Option<Rc<PathLock>>,
    guard: Guard,
}

fields!(SocketFile { "path" path; "device" device; "file" inode; });

impl SocketFile {
    /// Binds `fd` at `path`. The path gets mode 0000 until [`Self::give_access`] is called: bind(2) takes the mode from
    /// the socket's own inode, so no umask of the whole process has to change for it.
    ///
    /// # Errors
    /// One clause.
    pub(super) fn bind(
        fd: BorrowedFd<'_>,
        path: &Path,
        lock: Option<Rc<PathLock>>,
        guard: Guard,
    ) -> Result<Self, String> {
        fchmod(fd, Mode::empty()).map_err(errno_text)?;
        let address = UnixAddr::new(path).map_err(errno_text)?;
        bind(fd.as_raw_fd(), &address).map_err(|errno| explain_bind(path, errno))?;
        let mut found = Self::find(path, guard)?;
        found.lock = lock;
        found.keep();
        Ok(found)
    }

    /// The path of a socket that is ours and bound already, without a lock.
    ///
    /// # Errors
    /// One clause: it is not there any more.
    pub(super) fn find(path: &Path, guard: Guard) -> Result<Self, String> {
        let there = fs::symlink_metadata(path).map_err(|error| errno_text(&error))?;
        Ok(Self {
            path: path.to_owned(),
            device: there.dev(),
            inode: there.ino(),
            maker: getpid(),
            lock: None,
            guard,
        })
    }

    /// Write it into the row of its socket.
    pub(super) fn save(&self, rows: &mut Rows) {
        self.save_fields(rows);
        self.lock.is_some().write("locked", rows);
    }

    /// The path in the row of a socket, if there is one; without its lock.
    ///
    /// # Errors
    /// The row is not whole.
    pub(super) fn restore(row: Row<'_>, custody: &Custody) -> Result<Option<Self>, Flaw> {
        let Some(path) = PathBuf::read_if_any("path", row)? else {
            return Ok(None);
        };
        let mut file = Self {
            path,
            device: 0,
            inode: 0,
            maker: getpid(),
            lock: None,
            guard: custody.guard(),
        };
        file.restore_fields(row)?;
        Ok(Some(file))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn lock(&self) -> Option<&Rc<PathLock>> {
        self.lock.as_ref()
    }

    /// The lock that goes with the path.
    pub(super) fn keep_lock(&mut self, lock: Option<Rc<PathLock>>) {
        self.lock = lock;
    }

    /// Gives the path its owner and then its mode.
    ///
    /// # Errors
    /// One clause: mostly that only root may give files away.
    pub(super) fn give_access(&self, owner: Owner, mode: u32) -> Result<(), String> {
        // By an fd of the path itself, so that nobody can slip a link to something else under it meanwhile.
        let there = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC)
            .open(&self.path)
            .map_err(|error| errno_text(&error))?;
        let meta = there.metadata().map_err(|error| errno_text(&error))?;
        if (meta.dev(), meta.ino()) != (self.device, self.inode) {
            return Err("somebody put something else at that path".to_owned());
        }
        let user = owner.user.unwrap_or_else(geteuid);
        let group = owner.group.unwrap_or_else(getegid);
        let keep = (meta.uid(), meta.gid()) == (user.as_raw(), group.as_raw());
        // The group of a new file may come from its directory; without a word about it, it stays.
        let untold = owner == Owner::default() && meta.uid() == user.as_raw();
        if !keep && !untold {
            fchownat(there.as_fd(), "", Some(user), Some(group), AtFlags::AT_EMPTY_PATH)
                .map_err(|errno| format!("cannot change the owner: {}", errno_text(errno)))?;
        }
        let by_fd = format!("/proc/self/fd/{}", there.as_raw_fd());
        fs::set_permissions(by_fd, Permissions::from_mode(mode))
            .map_err(|error| format!("cannot change the mode: {}", errno_text(&error)))
    }

    /// Makes room for the socket that is bound in the place of this one, which is dead: removes both links that lead here, and
    /// shares the lock, if that still locks something.
    ///
    /// # Errors
    /// One clause: the path cannot be removed.
    pub(super) fn make_room(&self) -> Result<Option<Rc<PathLock>>, String> {
        if self.is_in_place() {
            fs::remove_file(&self.path)
                .map_err(|error| format!("cannot remove the old socket: {}", errno_text(&error)))?;
        }
        self.remove_second();
        let held = self.lock.as_ref().filter(|lock| lock.locks_something());
        Ok(held.cloned())
    }

    /// Whether the path still leads to this socket.
    pub(super) fn is_in_place(&self) -> bool {
        self.leads_here(&self.path)
    }

    fn leads_here(&self, path: &Path) -> bool {
        fs::symlink_metadata(path).is_ok_and(|there| there.dev() == self.device && there.ino() == self.inode)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // A forked child that gives up before exec must not take the path with it.
        if !self.guard.is_armed() || self.maker != getpid() {
            return;
        }
        // Nobody is left to tell, and the next start removes what stays behind.
        if self.is_in_place() {
            let _ = fs::remove_file(&self.path);
        }
        self.remove_second();
    }
}

fn explain_bind(path: &Path, errno: Errno) -> String {
    let directory = path.parent().unwrap_or(Path::new("/"));
    if errno == Errno::ENOENT || errno == Errno::ENOTDIR {
        format!("directory {} does not exist", directory.display())
    } else if errno == Errno::EACCES {
        format!("permission denied (in directory {})", directory.display())
    } else {
        errno_text(errno)
    }
}
