//! One socket and what must stay true of it, whatever the generations that share it do to it.

mod damage;
mod in_force;
mod io_mode;

use std::cell::{Cell, Ref, RefCell};
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::socket::{SockaddrStorage, bind, getpeername};
use nix::unistd::Uid;

use super::local::{BoundTo, Local};
use super::mended_path::PutBacks;
use super::resolve::Owner;
use super::settings::{ACCEPTS_CONNECTIONS, Originals};
use super::unix_file::SocketFile;
use super::{DEFAULT_BACKLOG, DEFAULT_MODE, PROBE_MODE};
use crate::address::{Address, Key, SocketOptions};
use crate::sys::{errno_text, sock};

use io_mode::io_mode;

pub(crate) use io_mode::IoMode;
pub(super) use io_mode::set_io_mode;

/// The cap on every backlog (listen(2)); hidden where /proc/sys is.
const SOMAXCONN: &str = "/proc/sys/net/core/somaxconn";

/// Where a socket comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// Made here, as this address asked.
    Spec(Address),
    /// Given by `LISTEN_FDS`; `named` if `LISTEN_FDNAMES` gave it a name.
    Inherited { named: bool },
    /// The private listener of one generation.
    Probe,
}

/// The socket itself. Closed when dropped, its own path removed.
#[derive(Debug)]
pub(super) struct Socket {
    // Fields are dropped in this order: the path goes before the socket, so that no client finds a dead one.
    file: Option<SocketFile>,
    fd: OwnedFd,
    local: Local,
    inode: u64,
    /// What the kernel calls it, never the same twice; `None` before Linux 4.12.
    cookie: Option<u64>,
    source: Source,
    /// The backlog in force; `None` where there is none or nobody can tell.
    backlog: Cell<Option<u32>>,
    /// As it shall be.
    io_mode: Cell<IoMode>,
    /// As it was when it came to us.
    born_io_mode: Cell<IoMode>,
    applied: RefCell<(SocketOptions, Owner)>,
    originals: RefCell<Originals>,
    /// The lasting damage that has been told already: this socket cannot be mended, so once is enough.
    told: Cell<Option<&'static str>>,
    put_backs: PutBacks,
    /// Where an inherited one was found: a path in another mount namespace is not.
    found_at: Option<PathBuf>,
}

/// What is known of a socket when it has been made or taken over.
pub(super) struct Birth {
    pub(super) file: Option<SocketFile>,
    pub(super) fd: OwnedFd,
    pub(super) source: Source,
    pub(super) options: SocketOptions,
    pub(super) owner: Owner,
    pub(super) originals: Originals,
    /// What listen(2) was called with; `None` for datagrams and for inherited sockets.
    pub(super) backlog: Option<u32>,
}

impl Socket {
    /// Takes over a socket that is bound and, if it accepts connections, listens.
    ///
    /// # Errors
    /// One clause: it is no socket that can be a listener.
    pub(super) fn new(birth: Birth) -> Result<Self, String> {
        let fd = birth.fd.as_fd();
        let mut local = Local::of(fd)?;
        if let Some(file) = &birth.file {
            local = local.reached_by(file.path());
        }
        let inode = nix::sys::stat::fstat(fd).map_err(errno_text)?.st_ino;
        let io_mode = io_mode(fd).map_err(errno_text)?;
        let backlog = effective_backlog(fd, birth.backlog);
        let found_at = match (&birth.source, &local.bound_to) {
            (Source::Inherited { .. }, BoundTo::Path(path)) if path.exists() => Some(path.clone()),
            (Source::Inherited { .. } | Source::Spec(_) | Source::Probe, _) => None,
        };
        Ok(Self {
            file: birth.file,
            local,
            inode,
            cookie: sock::cookie(fd),
            source: birth.source,
            backlog: Cell::new(backlog),
            io_mode: Cell::new(io_mode),
            born_io_mode: Cell::new(io_mode),
            applied: RefCell::new((birth.options, birth.owner)),
            originals: RefCell::new(birth.originals),
            told: Cell::default(),
            put_backs: PutBacks::default(),
            found_at,
            fd: birth.fd,
        })
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(super) fn file(&self) -> Option<&SocketFile> {
        self.file.as_ref()
    }

    pub(super) fn put_backs(&self) -> &PutBacks {
        &self.put_backs
    }

    pub(super) fn local(&self) -> &Local {
        &self.local
    }

    pub(super) fn inode(&self) -> u64 {
        self.inode
    }

    pub(super) fn cookie(&self) -> Option<u64> {
        self.cookie
    }

    /// As it is.
    pub(super) fn io_mode(&self) -> Result<IoMode, Errno> {
        io_mode(self.as_fd())
    }

    /// As it shall be.
    pub(super) fn wanted_io_mode(&self) -> IoMode {
        self.io_mode.get()
    }

    /// From now on it shall be so; nothing is set yet.
    pub(super) fn want_io_mode(&self, wanted: IoMode) {
        self.io_mode.set(wanted);
    }

    /// As it was when it came to us, whatever was made of it since.
    pub(super) fn born_io_mode(&self) -> IoMode {
        self.born_io_mode.get()
    }

    /// So it was when it came to a predecessor.
    pub(super) fn was_born(&self, io_mode: IoMode) {
        self.born_io_mode.set(io_mode);
    }

    /// What options were before anybody changed them.
    pub(super) fn originals(&self) -> Ref<'_, Originals> {
        self.originals.borrow()
    }

    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    pub(super) fn backlog(&self) -> Option<u32> {
        self.backlog.get()
    }

    pub(super) fn is_inherited(&self) -> bool {
        match self.source {
            Source::Inherited { .. } => true,
            Source::Spec(_) | Source::Probe => false,
        }
    }

    /// The options in force, and the owner that they mean.
    pub(super) fn applied(&self) -> (SocketOptions, Owner) {
        self.applied.borrow().clone()
    }

    /// See [`super::Listener::restore_flags`].
    pub(super) fn restore(&self, options: &SocketOptions, owner: Owner) -> Result<(), String> {
        let mode = self.restore_io_mode();
        let mended = self.mend(options, owner);
        match (mode, mended) {
            (Err(mode), Err(alarms)) => Err(format!("{mode}; {alarms}")),
            (mode, mended) => mode.and(mended),
        }
    }

    /// The same for all but O_NONBLOCK.
    pub(super) fn mend(&self, options: &SocketOptions, owner: Owner) -> Result<(), String> {
        let mut alarms = Vec::new();
        if let Err(cause) = self.change(options, owner) {
            alarms.push(cause);
        }
        alarms.extend(self.restore_listening());
        alarms.extend(self.lasting_damage().map(str::to_owned));
        if alarms.is_empty() {
            Ok(())
        } else {
            Err(alarms.join("; "))
        }
    }

    /// See [`super::Listener::give_to`].
    pub(super) fn give_to(&self, user: Uid) -> Result<(), String> {
        match &self.file {
            Some(file) if self.source == Source::Probe && file.is_in_place() => file.give_access(
                Owner {
                    user: Some(user),
                    group: None,
                },
                PROBE_MODE,
            ),
            Some(_) | None => Ok(()),
        }
    }

    /// Calls listen(2) again, which restores the backlog and mends a TCP listener that was shut down.
    fn restore_listening(&self) -> Option<String> {
        if !self.local.kind.accepts_connections() {
            return None;
        }
        let listened = self.listens();
        // Where the backlog is not known (an inherited Unix socket) it is left alone, unless nothing is left to lose.
        let backlog = match (self.backlog.get(), listened) {
            (Some(backlog), _) => Some(backlog),
            (None, false) => Some(DEFAULT_BACKLOG),
            (None, true) => None,
        };
        let again = if listened { Ok(()) } else { self.bind_again() };
        let again = again.and_then(|()| match backlog {
            Some(backlog) => sock::listen(self.as_fd(), backlog),
            None => Ok(()),
        });
        match (listened, again) {
            (_, Err(errno)) => Some(format!("it does not listen any more: {}", errno_text(errno))),
            (false, Ok(())) => Some("an app shut it down; it listens again".to_owned()),
            (true, Ok(())) => None,
        }
    }

    /// Whether it still accepts connections, as far as the kernel tells.
    pub(super) fn listens(&self) -> bool {
        sock::option_int(self.as_fd(), ACCEPTS_CONNECTIONS) != Ok(0)
    }

    /// A port that the kernel picked is given back when a listener is shut down, and listen(2) would pick another; one
    /// that was asked for stays bound, which bind(2) says with EINVAL.
    fn bind_again(&self) -> Result<(), Errno> {
        let BoundTo::Internet { address, .. } = &self.local.bound_to else {
            return Ok(());
        };
        match bind(self.fd.as_raw_fd(), &SockaddrStorage::from(*address)) {
            Ok(()) | Err(Errno::EINVAL) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}

/// The backlog to ask for.
pub(super) fn backlog(options: &SocketOptions) -> u32 {
    options.number(Key::Backlog).unwrap_or(DEFAULT_BACKLOG)
}

/// The access mode of a path.
pub(super) fn mode(options: &SocketOptions) -> u32 {
    options.number(Key::Mode).unwrap_or(DEFAULT_MODE)
}

/// What the kernel made of a backlog: a TCP socket tells, for others the cap is known.
fn effective_backlog(fd: BorrowedFd<'_>, asked: Option<u32>) -> Option<u32> {
    sock::tcp_backlog(fd).or_else(|| asked.map(|asked| asked.min(cap().unwrap_or(asked))))
}

fn cap() -> Option<u32> {
    fs::read_to_string(Path::new(SOMAXCONN)).ok()?.trim().parse().ok()
}

/// Whether somebody is at the other end: such a socket is a conversation, not a listener.
pub(super) fn is_connected(fd: BorrowedFd<'_>) -> bool {
    getpeername::<SockaddrStorage>(fd.as_raw_fd()).is_ok()
}
