//! One socket and what must stay true of it, whatever the generations that share it do to it.

use std::cell::{Cell, Ref, RefCell};
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{SockaddrStorage, bind, getpeername};
use nix::unistd::Uid;

use super::local::{BoundTo, Local, SocketKind};
use super::mended_path::PutBacks;
use super::resolve::Owner;
use super::settings::{self, ACCEPTS_CONNECTIONS, Originals, What};
use super::unix_file::SocketFile;
use super::{DEFAULT_BACKLOG, DEFAULT_MODE, PROBE_MODE};
use crate::address::{Address, Key, SocketOptions};
use crate::state::{Field, Flaw, Row, Rows};
use crate::sys::{errno_text, sock};

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

/// Whether calls on a socket wait (O_NONBLOCK, open(2)): one flag for all who share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IoMode {
    /// accept(2) waits for a connection.
    Blocking,
    /// It fails if there is none.
    NonBlocking,
}

impl IoMode {
    /// What the options ask for.
    pub(super) fn wanted_by(options: &SocketOptions) -> Self {
        match options.flag(Key::NonBlocking) {
            Some(true) => Self::NonBlocking,
            Some(false) | None => Self::Blocking,
        }
    }
}

/// Whether it is non-blocking, as a number.
impl Field for IoMode {
    fn write(&self, key: &str, rows: &mut Rows) {
        rows.number(key, (*self == Self::NonBlocking).into());
    }

    fn read_if_any(key: &str, row: Row<'_>) -> Result<Option<Self>, Flaw> {
        Ok(row.number_if_any(key)?.map(|number| match number {
            0 => Self::Blocking,
            _ => Self::NonBlocking,
        }))
    }
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

    /// See [`super::Listener::chosen_flags`].
    pub(super) fn chosen_flags(&self) -> Result<Option<IoMode>, String> {
        match (self.io_mode.get(), self.io_mode().map_err(errno_text)?) {
            (IoMode::Blocking, IoMode::Blocking) => Ok(None),
            (_, chosen) => Ok(Some(chosen)),
        }
    }

    /// See [`super::Listener::keep_flags`].
    pub(super) fn keep_flags(&self, chosen: IoMode) -> Result<(), String> {
        self.io_mode.set(chosen);
        set_io_mode(self.as_fd(), chosen).map_err(cannot_restore)
    }

    /// See [`super::Listener::is_known_as_non_blocking`].
    pub(super) fn is_known_as_non_blocking(&self) -> bool {
        self.io_mode.get() == IoMode::NonBlocking
    }

    /// See [`super::Listener::clear_flag`].
    pub(super) fn clear_flag(&self) -> Result<(), String> {
        set_io_mode(self.as_fd(), IoMode::Blocking).map_err(cannot_restore)
    }

    /// See [`super::Listener::is_raised_by_an_app`].
    pub(super) fn is_raised_by_an_app(&self) -> bool {
        self.io_mode.get() == IoMode::Blocking && self.io_mode() == Ok(IoMode::NonBlocking)
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

    /// O_NONBLOCK is set again where an app has cleared it. It is not cleared here: an app that has set it would hang in accept(2).
    pub(super) fn restore_io_mode(&self) -> Result<(), String> {
        match self.io_mode.get() {
            IoMode::NonBlocking => set_io_mode(self.as_fd(), IoMode::NonBlocking).map_err(cannot_restore),
            IoMode::Blocking => Ok(()),
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

    /// See [`super::Listener::trouble`].
    pub(super) fn trouble(&self) -> Option<&'static str> {
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
    fn lasting_damage(&self) -> Option<&'static str> {
        let damage = self.damage().filter(|_| self.told.get().is_none())?;
        self.told.set(Some(damage));
        Some(damage)
    }

    /// Its path is there again: what happens to it next is told anew.
    pub(super) fn forget_damage(&self) {
        self.told.set(None);
    }

    /// Whether this is a socket of ours that only a new one can replace.
    pub(super) fn is_dead(&self) -> bool {
        match self.source {
            Source::Spec(_) => self.damage().is_some(),
            Source::Inherited { .. } | Source::Probe => false,
        }
    }

    /// Makes the socket what `options` say: all of it, or nothing.
    ///
    /// # Errors
    /// One clause that begins with the option that cannot change.
    pub(super) fn change(&self, options: &SocketOptions, owner: Owner) -> Result<(), String> {
        let before = self.applied.borrow().clone();
        if before == (options.clone(), owner) || self.is_inherited() {
            return Ok(());
        }
        self.may_become(options)?;
        if let Err(cause) = self.put(&before.0, options, owner) {
            // What failed is the new part; the old part was in force a moment ago and can be so again.
            let _ = self.put(options, &before.0, before.1);
            return Err(cause);
        }
        let mut applied = options.clone();
        if before.0.flag(Key::Steer) == Some(true) {
            // Its address is shared from then on, also if it is made anew. A flag that was taken is taken again.
            let _ = applied.set(Key::Steer.name(), "true");
        }
        self.applied.replace((applied, owner));
        Ok(())
    }

    /// Whether what differs can change while the socket is open. Nothing is changed.
    ///
    /// # Errors
    /// One clause that begins with the option that cannot change.
    pub(super) fn may_become(&self, options: &SocketOptions) -> Result<(), String> {
        let before = &self.applied.borrow().0;
        let fixed = changed(before, options).find(|key| settings::what(*key) == What::Birth);
        match fixed.filter(|_| !self.is_inherited()) {
            Some(fixed) => Err(format!("{} cannot change while the socket is open", fixed.name())),
            None => Ok(()),
        }
    }

    fn put(&self, from: &SocketOptions, to: &SocketOptions, owner: Owner) -> Result<(), String> {
        let mut originals = self.originals.borrow_mut();
        let mut access = false;
        for key in changed(from, to) {
            match settings::what(key) {
                What::Backlog => self.put_backlog(to)?,
                What::Access => access = true,
                // O_NONBLOCK is the choice of a generation, whose turn may be yet to come: see `asked_flags` of the listener.
                // The sockets beside it are made and shared out by `slots`.
                What::Flag | What::Directory | What::Group => {}
                What::Birth | What::Option => {
                    settings::put(self.as_fd(), key, to, self.local.family(), &mut originals)?;
                }
            }
        }
        match &self.file {
            // Only if asked for: an administrator may have changed the mode meanwhile.
            Some(file) if access => file.give_access(owner, mode(to)),
            Some(_) | None => Ok(()),
        }
    }

    fn put_backlog(&self, options: &SocketOptions) -> Result<(), String> {
        let wanted = backlog(options);
        sock::listen(self.as_fd(), wanted).map_err(|errno| format!("backlog: {}", errno_text(errno)))?;
        self.backlog.set(effective_backlog(self.as_fd(), Some(wanted)));
        Ok(())
    }

    /// One line for each thing that the kernel made smaller than asked for.
    pub(super) fn caps(&self) -> Vec<String> {
        let options = &self.applied.borrow().0;
        let mut caps = settings::capped_buffers(self.as_fd(), options);
        if let Some(got) = self.backlog.get()
            && !self.is_inherited()
            && got < backlog(options)
        {
            caps.push(format!(
                "backlog {} capped to {got} by net.core.somaxconn",
                backlog(options)
            ));
        }
        caps
    }
}

/// The options about which two sets differ.
fn changed<'a>(one: &'a SocketOptions, other: &'a SocketOptions) -> impl Iterator<Item = Key> + 'a {
    let only_other = other
        .given()
        .filter(|key| !one.given().any(|known| known == *key));
    one.given()
        .chain(only_other)
        .filter(|key| !one.agree(other, *key))
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

fn io_mode(fd: BorrowedFd<'_>) -> Result<IoMode, Errno> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    Ok(if flags.contains(OFlag::O_NONBLOCK) {
        IoMode::NonBlocking
    } else {
        IoMode::Blocking
    })
}

fn cannot_restore(errno: Errno) -> String {
    format!("cannot restore O_NONBLOCK: {}", errno_text(errno))
}

/// Sets or clears O_NONBLOCK for everybody who shares the socket; touches nothing if it is right already.
pub(super) fn set_io_mode(fd: BorrowedFd<'_>, wanted: IoMode) -> Result<(), Errno> {
    let before = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    let mut after = before;
    after.set(OFlag::O_NONBLOCK, wanted == IoMode::NonBlocking);
    if after != before {
        fcntl(fd, FcntlArg::F_SETFL(after))?;
    }
    Ok(())
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

/// Whether somebody is at the other end: such a socket is a conversation, not a listener.
pub(super) fn is_connected(fd: BorrowedFd<'_>) -> bool {
    getpeername::<SockaddrStorage>(fd.as_raw_fd()).is_ok()
}
