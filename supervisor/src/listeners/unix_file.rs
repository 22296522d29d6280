//! The path of a Unix socket: only the supervisor makes it, and only the supervisor removes it.
//!
//! The socket is bound at the path itself (a name given later would break getsockname(2) and those who compare it),
//! under a lock file beside it. What is there already is removed only if it is a socket that refuses connections. The new
//! path is born with mode 0000 and gets its owner and then its mode before anybody can connect. An app that removes it finds it put
//! back (`second_link`).

mod second_link;

use std::fmt;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind, connect, socket};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Pid, fchownat, getegid, geteuid, getpid};

use super::holder;
use super::resolve::Owner;
use crate::state::{Custody, Field as _, Fields as _, Flaw, Guard, Row, Rows, fields};
use crate::sys::{Locked, errno_text, pid_namespace};

pub(super) use second_link::Mended;

/// What is put behind a path to name its lock file.
const LOCK_SUFFIX: &str = ".lock";
/// Mode of a lock file: it holds nothing but who locked it, and nobody else needs it.
const LOCK_MODE: u32 = 0o600;
/// How often a lock file may vanish between being opened and being locked before we give up: each time another
/// supervisor has just ended, so even the second time is rare.
const LOCK_TRIES: u32 = 16;

/// A locked file beside a path. Unlocked and removed when dropped.
#[derive(Debug)]
pub(super) struct PathLock {
    path: PathBuf,
    /// Holds the lock; dropping it releases it.
    file: Option<Locked>,
    maker: Pid,
    guard: Guard,
}

impl PathLock {
    /// Takes the lock of the socket at `path`.
    ///
    /// # Errors
    /// One clause: another supervisor has it (which one), or the file cannot be made.
    pub(super) fn take(path: &Path, guard: Guard) -> Result<Self, String> {
        let lock = lock_path(path);
        for _ in 0..LOCK_TRIES {
            let file = open_lock(&lock).map_err(|error| lock_failure(&lock, &error))?;
            let mut file = match Locked::exclusive(file) {
                Ok(file) => file,
                Err((file, Errno::EAGAIN)) => return Err(taken(&lock, file)),
                Err((_, errno)) => return Err(format!("lock {}: {}", lock.display(), errno_text(errno))),
            };
            // Its last holder may have removed the file after we opened it: then the lock locks nothing.
            if is_still_there(&lock, &file) {
                write_holder(&mut file);
                return Ok(Self {
                    path: lock,
                    file: Some(file),
                    maker: getpid(),
                    guard,
                });
            }
        }
        Err(format!("lock {}: it is removed again and again", lock.display()))
    }
}

impl PathLock {
    /// The lock of the socket at `path` that this process has held before it executed another binary, if it is that still.
    pub(super) fn restore(path: &Path, file: File, guard: Guard) -> Option<Self> {
        // Locked anew, which changes nothing where it is locked, and fails where another has it.
        let file = Locked::exclusive(file).ok()?;
        Some(Self {
            path: lock_path(path),
            file: Some(file),
            maker: getpid(),
            guard,
        })
    }

    /// The file that is locked. The lock lies on what the fd refers to, so that it outlives an exec.
    pub(super) fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref().map(|file| file.as_fd())
    }

    /// Whether the path still leads to the file that is locked.
    fn locks_something(&self) -> bool {
        let file = self.file.as_ref();
        file.is_some_and(|file| is_still_there(&self.path, file))
    }
}

impl Drop for PathLock {
    fn drop(&mut self) {
        if !self.guard.is_armed() {
            // Nor may it be unlocked: the lock is that of the one in charge.
            std::mem::forget(self.file.take());
        } else if self.maker == getpid() && self.locks_something() {
            // Removed while it is still locked: a process that opens it now sees that it is gone and makes another.
            // A failure leaves an unlocked file behind, which does no harm.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The lock file beside the path of a socket.
fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(LOCK_SUFFIX);
    PathBuf::from(name)
}

fn open_lock(lock: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(LOCK_MODE)
        // A symbolic link or a fifo that somebody put there must neither lead elsewhere nor block.
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(lock)
}

fn lock_failure(lock: &Path, error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::NotFound {
        let directory = lock.parent().unwrap_or(Path::new("/"));
        return format!(
            "directory {} does not exist (directory-mode=0755 makes it)",
            directory.display()
        );
    }
    format!("{} (lock file {})", errno_text(error), lock.display())
}

fn taken(lock: &Path, mut file: File) -> String {
    let mut text = String::new();
    // Only a few bytes are wanted, whatever the file holds.
    let read = Read::by_ref(&mut file).take(64).read_to_string(&mut text);
    let holder = read.ok().and_then(|_| Holder::parse(&text));
    let ours = Holder::this_process();
    match holder {
        Some(holder) if holder == ours => {
            "an earlier generation still has it; reload again when that one is gone".to_owned()
        }
        Some(holder) => {
            let elsewhere = if holder.namespace == ours.namespace {
                ""
            } else {
                " in another pid namespace"
            };
            format!(
                "another supervisor has it (pid {}{elsewhere} holds the lock {})",
                holder.pid,
                lock.display()
            )
        }
        None => format!("another supervisor has it (lock {})", lock.display()),
    }
}

/// Who holds a lock. The pid alone would not do: in a container every supervisor is PID 1, and two of them may share a
/// directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Holder {
    pid: i32,
    namespace: Option<u64>,
}

impl Holder {
    fn this_process() -> Self {
        Self {
            pid: getpid().as_raw(),
            namespace: pid_namespace(),
        }
    }

    /// Reads `PID NAMESPACE`, or `PID` alone where its namespace was not known.
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let pid = words.next()?.parse().ok()?;
        let namespace = words.next().map(str::parse).transpose().ok()?;
        words.next().is_none().then_some(Self { pid, namespace })
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace {
            Some(namespace) => write!(f, "{} {namespace}", self.pid),
            None => write!(f, "{}", self.pid),
        }
    }
}

fn is_still_there(lock: &Path, file: &File) -> bool {
    match (fs::symlink_metadata(lock), file.metadata()) {
        (Ok(named), Ok(open)) => same_file(&named, &open),
        (Ok(_) | Err(_), Ok(_) | Err(_)) => false,
    }
}

fn same_file(one: &Metadata, other: &Metadata) -> bool {
    one.dev() == other.dev() && one.ino() == other.ino()
}

/// Who holds it is for the message of the next one alone, so a failure to write it is none. Nothing is written into a file
/// that has another name or another owner: in a shared directory it may be somebody else's, linked there.
fn write_holder(file: &mut File) {
    let ours = file
        .metadata()
        .is_ok_and(|meta| meta.is_file() && meta.nlink() == 1 && meta.uid() == geteuid().as_raw());
    if ours && file.set_len(0).is_ok() {
        let _ = writeln!(file, "{}", Holder::this_process());
    }
}

/// Makes the missing parents of `path`, as `directory-mode` asks for. They stay when the socket goes, as under systemd.
///
/// # Errors
/// One clause.
pub(super) fn make_parents(path: &Path, mode: u32) -> Result<(), String> {
    let Some(parent) = path.parent() else {
        return Ok(());
    };
    if parent.exists() {
        return Ok(());
    }
    let failure = |error: io::Error| {
        format!(
            "cannot make the directory {}: {}",
            parent.display(),
            errno_text(&error)
        )
    };
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(parent)
        .map_err(failure)?;
    // The umask may have taken bits away from what was asked for in plain words.
    fs::set_permissions(parent, Permissions::from_mode(mode)).map_err(failure)
}

/// Removes a socket that nobody serves any more, so that the path is free.
///
/// # Errors
/// One clause: something lives there, or what is there is no socket.
pub(super) fn clear(path: &Path, socket_type: SockType) -> Result<(), String> {
    if is_there(path)? {
        if is_served(path, socket_type)? {
            return Err(match holder::of_path(path) {
                Some(holder) => format!("address already in use (by {holder})"),
                None => "address already in use (a process serves the socket at that path)".to_owned(),
            });
        }
        remove(path)?;
    }
    Ok(())
}

/// Removes a socket, so that the path is free, also one that somebody serves.
///
/// # Errors
/// One clause: what is there is no socket.
pub(super) fn make_way(path: &Path) -> Result<(), String> {
    if is_there(path)? {
        remove(path)?;
    }
    Ok(())
}

/// Whether a socket is there.
fn is_there(path: &Path) -> Result<bool, String> {
    match fs::symlink_metadata(path) {
        Ok(there) if there.file_type().is_socket() => Ok(true),
        Ok(there) => Err(format!(
            "there is {} at that path, not a socket, and it stays",
            describe(&there)
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(errno_text(&error)),
    }
}

fn remove(path: &Path) -> Result<(), String> {
    fs::remove_file(path).map_err(|error| format!("cannot remove the old socket: {}", errno_text(&error)))
}

fn describe(there: &Metadata) -> &'static str {
    let kind = there.file_type();
    if kind.is_dir() {
        "a directory"
    } else if kind.is_symlink() {
        "a symbolic link"
    } else if kind.is_fifo() {
        "a fifo"
    } else if kind.is_file() {
        "a regular file"
    } else {
        "a device"
    }
}

/// Whether connecting is anything but refused. Non-blocking: a full backlog says EAGAIN, and that is somebody, too.
fn is_served(path: &Path, socket_type: SockType) -> Result<bool, String> {
    let failure = |errno: Errno| {
        format!(
            "cannot tell whether the old socket is served: {}",
            errno_text(errno)
        )
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let asker = socket(AddressFamily::Unix, socket_type, flags, None).map_err(failure)?;
    let address = UnixAddr::new(path).map_err(failure)?;
    match connect(asker.as_raw_fd(), &address) {
        Ok(()) | Err(Errno::EAGAIN | Errno::EINPROGRESS | Errno::EPROTOTYPE) => Ok(true),
        Err(Errno::ECONNREFUSED | Errno::ENOENT) => Ok(false),
        Err(other) => Err(failure(other)),
    }
}

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
