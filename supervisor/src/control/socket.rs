//! The socket file: private from its first instant, and never a stranger's.

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, sockopt};
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Group};

use super::ControlError;
use crate::place::{LockHolder, Place, PlaceError, is_gone};
use crate::state::{Custody, Fields as _, Flaw, Guard, Row, Rows, Whole as _, whole};
use crate::sys::peer_groups;

/// Who a client is, as the kernel tells (`SO_PEERCRED`): for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Its pid when it connected.
    pub(crate) pid: i32,
    /// Its user.
    pub(crate) uid: u32,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            // The kernel has no number for it here.
            0 => write!(f, "outside this pid namespace (uid {})", self.uid),
            pid => write!(f, "pid {pid} (uid {})", self.uid),
        }
    }
}

/// How many clients may wait to be accepted. Beyond it connect(2) blocks, which is what a client would do
/// anyway.
const BACKLOG: i32 = 512;

const PRIVATE: u32 = 0o600;
const FOR_GROUP: u32 = 0o660;

/// The group with that name or number. Looked up once, at start.
pub(super) fn group(text: &str) -> Result<Gid, ControlError> {
    let by_name = Group::from_name(text).ok().flatten().map(|group| group.gid);
    let by_number = || text.parse().ok().map(Gid::from_raw);
    by_name
        .or_else(by_number)
        .ok_or_else(|| ControlError::NoGroup(text.escape_default().to_string()))
}

/// Binds the control socket of a place that has been claimed.
pub(super) fn listen(
    place: &Place,
    group: Option<Gid>,
    guard: Guard,
) -> Result<(UnixListener, SocketFile), ControlError> {
    let path = place.control();
    let failed = |cause: io::Error| ControlError::Io {
        attempt: format!("control socket {}", path.display()),
        cause,
    };
    remove_stale(place)?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = nix::sys::socket::socket(AddressFamily::Unix, SockType::Stream, flags, None)
        .map_err(|errno| failed(errno.into()))?;
    let file = bind(&socket, path, guard).map_err(failed)?;
    open_to(group, path).map_err(failed)?;
    // Only now can anybody connect.
    Backlog::new(BACKLOG)
        .and_then(|backlog| nix::sys::socket::listen(&socket, backlog))
        .map_err(|errno| failed(errno.into()))?;
    Ok((UnixListener::from(socket), file))
}

/// unix_bind() gives the file the mode of the socket's own inode less the umask: set before, the file is
/// private from its first instant, and no umask (which is the whole process's) is touched.
pub(super) fn bind(socket: &OwnedFd, path: &Path, guard: Guard) -> io::Result<SocketFile> {
    nix::sys::stat::fchmod(socket, Mode::from_bits_truncate(PRIVATE))?;
    nix::sys::socket::bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    let found = fs::symlink_metadata(path)?;
    Ok(SocketFile {
        bound: BoundFile {
            path: path.to_owned(),
            device: found.dev(),
            inode: found.ino(),
        },
        guard,
    })
}

fn open_to(group: Option<Gid>, path: &Path) -> io::Result<()> {
    let mode = match group {
        None => PRIVATE,
        Some(group) => {
            // In a sandbox that forbids chown(2) the group can still be let in that is our own.
            if fs::symlink_metadata(path)?.gid() != group.as_raw() {
                nix::unistd::chown(path, None, Some(group))?;
            }
            FOR_GROUP
        }
    };
    // Also right where the rule above does not hold (gVisor), or where the umask took more away.
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// We hold the lock, so that a socket at our path is what a killed supervisor has left, unless somebody
/// answers there: then the lock file was removed under a supervisor that lives.
fn remove_stale(place: &Place) -> Result<(), ControlError> {
    let path = place.control();
    let failed = |cause| ControlError::Io {
        attempt: format!("control socket {}", path.display()),
        cause,
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(ControlError::InTheWay {
                path: path.display().to_string(),
                what: "something that is no socket lies there",
            });
        }
        Ok(_) => {}
    }
    let name = || place.name().to_owned();
    let running = |pid| PlaceError::Running { name: name(), pid };
    let holder = LockHolder::new();
    loop {
        match owner(path).map_err(failed)? {
            Owner::Nobody => return remove(path).map_err(failed),
            Owner::Lives(pid) => return Err(running(pid).into()),
            Owner::Busy | Owner::Dead(_) if holder.wait() => {}
            Owner::Busy => return Err(running(None).into()),
            Owner::Dead(pid) => {
                let (name, what) = (name(), path.to_owned());
                return Err(PlaceError::Held { name, pid, what }.into());
            }
        }
    }
}

/// Who listens at a socket's path.
enum Owner {
    /// Nobody any more.
    Nobody,
    /// A process that lives; its pid if that can be seen.
    Lives(Option<i32>),
    /// Somebody whose backlog is full: a supervisor that is busy or stopped, or what a dead one had forked.
    Busy,
    /// What a dead one had forked.
    Dead(i32),
}

fn owner(path: &Path) -> io::Result<Owner> {
    match knock(path) {
        Ok(stream) => Ok(match peer(&stream).ok().map(|peer| peer.pid) {
            Some(pid) if is_gone(pid) => Owner::Dead(pid),
            pid => Owner::Lives(pid),
        }),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Owner::Busy),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(Owner::Nobody),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Owner::Nobody),
        Err(error) => Err(error),
    }
}

/// Removes what may have gone meanwhile.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Connects without waiting.
fn knock(path: &Path) -> io::Result<UnixStream> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = nix::sys::socket::socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    nix::sys::socket::connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(UnixStream::from(socket))
}

/// The path of the socket; dropping it removes the path if our socket still lies there.
#[derive(Debug)]
pub(super) struct SocketFile {
    bound: BoundFile,
    guard: Guard,
}

/// A path, and the file that it led to when it was bound.
#[derive(Debug)]
struct BoundFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

whole!(BoundFile { "path" path; "device" device; "inode" inode; });

impl SocketFile {
    /// Write it into the row that was begun.
    pub(super) fn save(&self, rows: &mut Rows) {
        self.bound.save_fields(rows);
    }

    /// That of a row.
    ///
    /// # Errors
    /// The row is not whole.
    pub(super) fn restore(row: Row<'_>, custody: &Custody) -> Result<Self, Flaw> {
        Ok(Self {
            bound: BoundFile::of_row(row)?,
            guard: custody.guard(),
        })
    }

    /// Whether the path still leads to it.
    pub(super) fn is_in_place(&self) -> bool {
        let now = fs::symlink_metadata(&self.bound.path);
        now.is_ok_and(|now| (now.dev(), now.ino()) == (self.bound.device, self.bound.inode))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.guard.is_armed() && self.is_in_place() {
            let _ = fs::remove_file(&self.bound.path);
        }
    }
}

/// Who is at the other end (`SO_PEERCRED`, unix(7)): fixed by the kernel at connect(2).
pub(super) fn peer(stream: &UnixStream) -> io::Result<Peer> {
    let credentials = nix::sys::socket::getsockopt(stream, sockopt::PeerCredentials)?;
    Ok(Peer {
        pid: credentials.pid(),
        uid: credentials.uid(),
    })
}

/// Who may ask: root, our own user, and the members of one group. The mode of the socket says the same; this
/// holds even where the mode was changed, or the socket passed on.
#[derive(Debug)]
pub(super) struct Allowed {
    uid: u32,
    group: Option<Gid>,
}

impl Allowed {
    pub(super) fn new(group: Option<Gid>) -> Self {
        Self {
            uid: nix::unistd::geteuid().as_raw(),
            group,
        }
    }

    pub(super) fn group(&self) -> Option<Gid> {
        self.group
    }

    pub(super) fn admits(&self, peer: Peer, stream: BorrowedFd<'_>) -> bool {
        peer.uid == 0 || peer.uid == self.uid || self.group.is_some_and(|group| is_member(group, stream))
    }
}

fn is_member(group: Gid, stream: BorrowedFd<'_>) -> bool {
    let primary = nix::sys::socket::getsockopt(&stream.as_fd(), sockopt::PeerCredentials)
        .is_ok_and(|credentials| credentials.gid() == group.as_raw());
    primary || peer_groups(stream).is_ok_and(|groups| groups.contains(&group.as_raw()))
}
