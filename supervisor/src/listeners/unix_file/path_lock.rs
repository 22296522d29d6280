//! The lock of a Unix path: nobody else makes or removes a socket there meanwhile.

use std::fmt;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{Pid, geteuid, getpid};

use crate::state::Guard;
use crate::sys::{Locked, errno_text, pid_namespace};

/// What is put behind a path to name its lock file.
const LOCK_SUFFIX: &str = ".lock";

/// Mode of a lock file: it holds nothing but who locked it, and nobody else needs it.
const LOCK_MODE: u32 = 0o600;

/// How often a lock file may vanish between being opened and being locked before we give up: each time another
/// supervisor has just ended, so even the second time is rare.
const LOCK_TRIES: u32 = 16;

/// A locked file beside a path. Unlocked and removed when dropped.
#[derive(Debug)]
pub(in crate::listeners) struct PathLock {
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
    pub(in crate::listeners) fn take(path: &Path, guard: Guard) -> Result<Self, String> {
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
    pub(in crate::listeners) fn restore(path: &Path, file: File, guard: Guard) -> Option<Self> {
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
    pub(in crate::listeners) fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref().map(|file| file.as_fd())
    }

    /// Whether the path still leads to the file that is locked.
    pub(super) fn locks_something(&self) -> bool {
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
