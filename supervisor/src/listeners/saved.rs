//! Listeners as rows and fds, for a successor.
//!
//! A row `socket` is what is known of a socket, a row `listener` the name and the options that one configuration gives to it;
//! several may share a socket. The fds go beside them, as `listener-INODE` and, for the lock of a path, `pathlock-INODE`.

use std::fs::File;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nix::sys::socket::{
    SockFlag, SockType, SockaddrLike as _, SockaddrStorage, connect, getsockname, socket,
};
use std::collections::{BTreeMap, BTreeSet};

use super::regroup::in_groups;
use super::resolve::Owner;
use super::settings::Originals;
use super::socket::{Birth, IoMode, Socket, Source};
use super::unix_file::{PathLock, SocketFile};
use super::{Inherited, ListenError, Listener, SocketKind, anew, bind};
use crate::address::{Address, ListenSpec, SocketOptions};
use crate::state::{Custody, Fds, Field as _, Fields as _, Flaw, Passed, Row, Rows, Whole as _, whole};
use crate::sys::sock::SocketOption;

/// The kinds of rows.
const LISTENER: &str = "listener";
pub(super) const SOCKET: &str = "socket";
const ORIGINAL: &str = "original";

/// The word for an inherited socket that came with a name.
const NAMED: &str = "named";

/// What a configuration has given to a listener, and the inode of its socket.
#[derive(Debug)]
struct SavedListener {
    number: u64,
    name: String,
    socket: u64,
    options: String,
}

whole!(SavedListener {
    "number" number;
    "name" name;
    "socket" socket;
    "options" options;
});

/// A socket. The row has the fields of its [`Owner`] and of its [`SocketFile`], too.
#[derive(Debug)]
struct SavedSocket {
    inode: u64,
    cookie: Option<u64>,
    /// The number of its fd: the kernel closes those of a process that was killed in their order.
    fd: Option<i32>,
    /// Where it was made. Without this it was inherited, or else belongs to a probe.
    address: Option<String>,
    inherited: Option<String>,
    backlog: Option<u32>,
    non_blocking: bool,
    born_non_blocking: bool,
    options: String,
}

whole!(SavedSocket {
    "inode" inode;
    "cookie" cookie;
    "fd" fd;
    "address" address;
    "inherited" inherited;
    "backlog" backlog;
    "non-blocking" non_blocking;
    "born-non-blocking" born_non_blocking;
    "options" options;
});

whole!(Owner { "user" user; "group" group; });

/// What an option of a socket was before we changed it.
#[derive(Debug)]
struct SavedOriginal {
    socket: u64,
    level: i32,
    option: i32,
    value: Vec<u8>,
}

whole!(SavedOriginal {
    "socket" socket;
    "level" level;
    "option" option;
    "value" value;
});

/// What is restored beside the sockets.
struct Files<'a> {
    /// The locks that were taken over, and the paths that they guard: the sockets of one path share one.
    locks: Vec<(PathBuf, Rc<PathLock>)>,
    custody: &'a Custody,
}

fn fd_name(inode: u64) -> String {
    format!("listener-{inode}")
}

fn lock_name(inode: u64) -> String {
    format!("pathlock-{inode}")
}

/// What tells a socket from every other: the inode may be used again, the cookie (SO_COOKIE, socket(7)) never is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SocketIdentity {
    /// As in `socket:[INODE]` of /proc/PID/fd.
    pub(crate) inode: u64,
    /// `None` where the kernel does not tell.
    pub(crate) cookie: Option<u64>,
}

impl SocketIdentity {
    fn of_inode(inode: u64) -> Self {
        Self { inode, cookie: None }
    }

    /// The name under which its fd is passed on.
    pub(crate) fn fd_name(self) -> String {
        fd_name(self.inode)
    }
}

/// Listeners that are to be saved, each once, with numbers by which others name them.
#[derive(Debug, Default)]
pub(crate) struct Saving<'a> {
    /// In the order of their numbers.
    listeners: Vec<&'a Rc<Listener>>,
    /// Where each lies in memory, and its number: there may be thousands.
    places: BTreeMap<usize, u64>,
}

impl<'a> Saving<'a> {
    /// The number of this listener.
    pub(crate) fn number(&mut self, listener: &'a Rc<Listener>) -> u64 {
        let next = self.listeners.len() as u64;
        let number = *self.places.entry(Rc::as_ptr(listener) as usize).or_insert(next);
        if number == next {
            self.listeners.push(listener);
        }
        number
    }

    /// Write the rows of all that were given a number.
    pub(crate) fn save(&self, rows: &mut Rows) {
        for (number, listener) in (0u64..).zip(&self.listeners) {
            let saved = SavedListener {
                number,
                name: listener.name.clone(),
                socket: listener.inode(),
                options: listener.options.to_string(),
            };
            saved.save_fields(rows.begin(LISTENER));
            if let Some((slot, index)) = listener.slot().zip(listener.slot_index()) {
                rows.number("slot", slot.into()).number("index", index.into());
            }
            listener.owner.save_fields(rows);
        }
        for socket in self.sockets() {
            socket.save(rows);
        }
    }

    /// The fds of all that were given a number.
    pub(crate) fn pass_on(&self, fds: &mut Passed<'a>) {
        let mut locks: Vec<*const PathLock> = Vec::new();
        for socket in self.sockets() {
            fds.push((fd_name(socket.inode()), socket.as_fd()));
            if let Some(lock) = socket.file().and_then(SocketFile::lock)
                && !locks.contains(&Rc::as_ptr(lock))
            {
                locks.push(Rc::as_ptr(lock));
                fds.extend(lock.as_fd().map(|fd| (lock_name(socket.inode()), fd)));
            }
        }
    }

    /// Each socket once.
    fn sockets(&self) -> Vec<&'a Socket> {
        let mut seen = BTreeSet::new();
        let mut sockets = Vec::new();
        for listener in &self.listeners {
            if seen.insert(listener.inode()) {
                sockets.push(&*listener.socket);
            }
        }
        sockets
    }
}

impl Socket {
    fn save(&self, rows: &mut Rows) {
        let (options, owner) = self.applied();
        let (address, inherited) = match self.source() {
            Source::Spec(address) => (Some(address.to_string()), None),
            Source::Inherited { named: true } => (None, Some(NAMED.to_owned())),
            Source::Inherited { named: false } => (None, Some("unnamed".to_owned())),
            Source::Probe => (None, None),
        };
        let saved = SavedSocket {
            inode: self.inode(),
            cookie: self.cookie(),
            fd: Some(self.as_fd().as_raw_fd()),
            address,
            inherited,
            backlog: self.backlog(),
            non_blocking: self.wanted_io_mode() == IoMode::NonBlocking,
            born_non_blocking: self.born_io_mode() == IoMode::NonBlocking,
            options: options.to_string(),
        };
        saved.save_fields(rows.begin(SOCKET));
        owner.save_fields(rows);
        if let Some(file) = self.file() {
            file.save(rows);
        }
        for (option, value) in self.originals().iter() {
            let saved = SavedOriginal {
                socket: saved.inode,
                level: option.level,
                option: option.name,
                value: value.clone(),
            };
            saved.save_fields(rows.begin(ORIGINAL));
        }
    }
}

/// Options that were written for this address.
fn restore_options(text: &str, address: Option<&str>) -> Result<SocketOptions, Flaw> {
    if text.is_empty() {
        return Ok(SocketOptions::default());
    }
    // All that is asked of a socket that we were given is what any address takes.
    let address = address.unwrap_or("0");
    let spec: ListenSpec = format!("{address}{text}").parse().map_err(Flaw::new)?;
    Ok(spec.options)
}

fn io_mode(non_blocking: bool) -> IoMode {
    if non_blocking {
        IoMode::NonBlocking
    } else {
        IoMode::Blocking
    }
}

/// The sockets that the rows tell of.
///
/// # Errors
/// A row is not whole.
pub(crate) fn identities(rows: &[Row<'_>]) -> Result<Vec<SocketIdentity>, Flaw> {
    let sockets = rows.iter().filter(|row| row.kind() == SOCKET);
    let identity = |row: &Row<'_>| {
        let SavedSocket { inode, cookie, .. } = SavedSocket::of_row(*row)?;
        Ok(SocketIdentity { inode, cookie })
    };
    sockets.map(identity).collect()
}

/// Whether one of the sockets was given to us.
pub(crate) fn any_inherited(rows: &[Row<'_>]) -> bool {
    rows.iter().any(row_is_inherited)
}

/// Whether this socket was given to us.
pub(crate) fn is_inherited(rows: &[Row<'_>], wanted: SocketIdentity) -> bool {
    rows.iter()
        .any(|row| row_is_inherited(row) && row.number("inode") == Ok(wanted.inode))
}

fn row_is_inherited(row: &Row<'_>) -> bool {
    row.kind() == SOCKET && row.text("inherited").is_ok()
}

/// What a socket is to people: the address at which it was made, or else the name of a listener that has it.
pub(crate) fn label_of(rows: &[Row<'_>], wanted: SocketIdentity) -> String {
    let of = |kind, key| {
        rows.iter()
            .find(move |row| row.kind() == kind && row.number(key) == Ok(wanted.inode))
    };
    let address = of(SOCKET, "inode").and_then(|row| row.text("address").ok());
    let name = || of(LISTENER, "socket").and_then(|row| row.text("name").ok());
    address.or_else(name).unwrap_or_default()
}

/// The inode of each listener, by its number.
///
/// # Errors
/// A row is not whole.
pub(crate) fn inodes(rows: &[Row<'_>]) -> Result<BTreeMap<u64, u64>, Flaw> {
    let listeners = rows.iter().filter(|row| row.kind() == LISTENER);
    let inode = |row: &Row<'_>| Ok((row.number("number")?, row.number("socket")?));
    listeners.map(inode).collect()
}

/// What is done about a socket whose fd is not among those that are left.
#[derive(Debug)]
pub(crate) enum Absent<'a> {
    /// It is missing, and with it the whole state.
    IsAFlaw,
    /// Nobody has it any more, so it is made anew. The addresses are added here, but for those of private listeners.
    IsMadeAnew(&'a mut Vec<String>),
}

impl Absent<'_> {
    /// The socket of this row. Others of the same address may be there.
    fn deal_with(
        &mut self,
        row: Row<'_>,
        inode: u64,
        there: &[Option<Rc<Socket>>],
        custody: &Custody,
    ) -> Result<Socket, Flaw> {
        match self {
            Absent::IsAFlaw => Err(Flaw::new(format_args!("the fd {} is missing", fd_name(inode)))),
            Absent::IsMadeAnew(told) => {
                let saved = SavedSocket::of_row(row)?;
                match (saved.address.as_deref(), &saved.inherited) {
                    (Some(text), _) => {
                        let options = restore_options(&saved.options, Some(text))?;
                        let address = text.parse::<Address>().map_err(Flaw::new)?;
                        let made = anew::at(&address, options, Owner::of_row(row)?, there, custody.guard());
                        let made = made.map_err(Flaw::new)?;
                        told.push(made.local().text());
                        Ok(made)
                    }
                    (None, Some(_)) => Err(Flaw::new("an inherited socket is missing")),
                    (None, None) => {
                        bind::probe(Path::new(&row.os("path")?), custody.guard()).map_err(Flaw::new)
                    }
                }
            }
        }
    }
}

/// The listeners that the rows tell of, by their numbers.
///
/// # Errors
/// A row is not whole, an fd is missing and cannot be made anew, or it is another socket than the row tells of.
pub(crate) fn restore(
    rows: &[Row<'_>],
    fds: &mut Fds,
    mut absent: Absent<'_>,
    custody: &Custody,
) -> Result<Vec<Rc<Listener>>, Flaw> {
    let mut sockets: Vec<Option<Rc<Socket>>> = Vec::new();
    let mut places: BTreeMap<u64, (usize, Row<'_>)> = BTreeMap::new();
    let mut files = Files {
        locks: Vec::new(),
        custody,
    };
    for (index, row) in rows.iter().enumerate().filter(|(_, row)| row.kind() == SOCKET) {
        let inode = row.number("inode")?;
        places.insert(inode, (sockets.len(), *row));
        sockets.push(match fds.take(&fd_name(inode)) {
            Some(fd) => {
                let originals = restore_originals(&rows[index + 1..])?;
                let socket = restore_socket(*row, fd, originals, fds, &mut files)?;
                Some(Rc::new(socket))
            }
            None => None,
        });
    }
    let mut in_order: Vec<_> = places.iter().collect();
    in_order.sort_by_key(|(_, (place, _))| *place);
    for (inode, (place, row)) in in_order {
        if sockets[*place].is_none() {
            let socket = absent.deal_with(*row, *inode, &sockets, custody)?;
            sockets[*place] = Some(Rc::new(socket));
        }
    }
    for (place, row) in places.values() {
        if let Some(socket) = &sockets[*place] {
            let saved = SavedSocket::of_row(*row)?;
            socket.want_io_mode(io_mode(saved.non_blocking));
            socket.was_born(io_mode(saved.born_non_blocking));
        }
    }
    let mut listeners = Vec::new();
    for row in rows.iter().filter(|row| row.kind() == LISTENER) {
        let saved = SavedListener::of_row(*row)?;
        let found = places.get(&saved.socket);
        let found = found.and_then(|(place, row)| Some((sockets.get(*place)?.as_ref()?, row)));
        let (socket, of_socket) =
            found.ok_or_else(|| Flaw::new(format_args!("no socket {}", saved.socket)))?;
        let address = of_socket.text_if_any("address")?;
        if saved.number != listeners.len() as u64 {
            return Err(Flaw::new("the listeners are not in order"));
        }
        let owner = Owner::of_row(*row)?;
        let restored = restore_listener(saved, owner, address.as_deref(), socket)?;
        listeners.push((restored, *row));
    }
    in_groups(listeners, &[], rows)
}

/// Those listeners of ours that the rows tell of and whose sockets are among the fds; what a generation was given for its probe is
/// not among them.
///
/// # Errors
/// A row is not whole, or it is another socket than the row tells of.
pub(crate) fn restore_found(
    rows: &[Row<'_>],
    fds: &mut Fds,
    custody: &Custody,
) -> Result<Vec<Rc<Listener>>, Flaw> {
    let mut found: BTreeMap<u64, Rc<Socket>> = BTreeMap::new();
    let mut files = Files {
        locks: Vec::new(),
        custody,
    };
    for (index, row) in rows.iter().enumerate().filter(|(_, row)| row.kind() == SOCKET) {
        let inode = row.number("inode")?;
        if row.text_if_any("address")?.is_some()
            && let Some(fd) = fds.take(&fd_name(inode))
        {
            let originals = restore_originals(&rows[index + 1..])?;
            let socket = restore_socket(*row, fd, originals, fds, &mut files)?;
            found.insert(inode, Rc::new(socket));
        }
    }
    let mut listeners: Vec<(Listener, Row<'_>)> = Vec::new();
    let mut absent = Vec::new();
    for row in rows.iter().filter(|row| row.kind() == LISTENER) {
        let saved = SavedListener::of_row(*row)?;
        let Some(socket) = found.get(&saved.socket) else {
            absent.push((saved, *row));
            continue;
        };
        let address = match socket.source() {
            Source::Spec(address) => address.to_string(),
            Source::Inherited { .. } | Source::Probe => continue,
        };
        let owner = Owner::of_row(*row)?;
        listeners.push((restore_listener(saved, owner, Some(&address), socket)?, *row));
    }
    let mut closed = Vec::new();
    for (saved, row) in absent {
        // Its address is that of the others that were made for the same words.
        let spec = label_of(rows, SocketIdentity::of_inode(saved.socket));
        let beside = listeners.iter().find(|(one, _)| {
            let made_for =
                matches!(one.socket.source(), Source::Spec(address) if address.to_string() == spec);
            one.name == saved.name && made_for
        });
        closed.extend(beside.map(|(one, _)| (one.address_text(), row)));
    }
    in_groups(listeners, &closed, rows)
}

fn restore_listener(
    saved: SavedListener,
    owner: Owner,
    address: Option<&str>,
    socket: &Rc<Socket>,
) -> Result<Listener, Flaw> {
    Ok(Listener {
        options: restore_options(&saved.options, address)?,
        name: saved.name,
        owner,
        socket: Rc::clone(socket),
        slot: None,
    })
}

/// What the options of a socket were: those rows stand behind its own, before the next socket's.
fn restore_originals(behind: &[Row<'_>]) -> Result<Originals, Flaw> {
    let mut originals = Originals::new();
    for row in behind.iter().take_while(|row| row.kind() != SOCKET) {
        if row.kind() == ORIGINAL {
            let saved = SavedOriginal::of_row(*row)?;
            let option = SocketOption {
                level: saved.level,
                name: saved.option,
            };
            originals.push((option, saved.value));
        }
    }
    Ok(originals)
}

fn restore_socket(
    row: Row<'_>,
    fd: OwnedFd,
    originals: Originals,
    fds: &mut Fds,
    files: &mut Files<'_>,
) -> Result<Socket, Flaw> {
    let saved = SavedSocket::of_row(row)?;
    let inode = saved.inode;
    let name = fd_name(inode);
    let address = saved.address.as_deref();
    let source = match (address, saved.inherited) {
        (Some(address), _) => Source::Spec(address.parse::<Address>().map_err(Flaw::new)?),
        (None, Some(named)) => Source::Inherited {
            named: named == NAMED,
        },
        (None, None) => Source::Probe,
    };
    let socket = Socket::new(Birth {
        file: restore_file(row, inode, fds, files)?,
        fd,
        source,
        options: restore_options(&saved.options, address)?,
        owner: Owner::of_row(row)?,
        originals,
        backlog: saved.backlog,
    });
    let socket = socket.map_err(|why| Flaw::new(format_args!("{name}: {why}")))?;
    if socket.inode() != inode || saved.cookie.is_some_and(|cookie| socket.cookie() != Some(cookie)) {
        return Err(Flaw::new(format_args!("{name} is another socket by now")));
    }
    Ok(socket)
}

/// The path of a socket. Its lock comes with it, or is taken anew where its holder has died; one that somebody else has by now is
/// done without: the path is theirs then.
fn restore_file(
    row: Row<'_>,
    inode: u64,
    fds: &mut Fds,
    files: &mut Files<'_>,
) -> Result<Option<SocketFile>, Flaw> {
    let Some(mut file) = SocketFile::restore(row, files.custody)? else {
        return Ok(None);
    };
    if bool::read("locked", row)? {
        let path = file.path();
        let own = match fds.take(&lock_name(inode)) {
            Some(fd) => PathLock::restore(path, File::from(fd), files.custody.guard()),
            None => PathLock::take(path, files.custody.guard()).ok(),
        };
        let lock = match own {
            Some(lock) => {
                let lock = Rc::new(lock);
                files.locks.push((path.to_owned(), Rc::clone(&lock)));
                Some(lock)
            }
            // Looked for only then: there may be thousands.
            None => files
                .locks
                .iter()
                .find(|(known, _)| known == path)
                .map(|(_, lock)| Rc::clone(lock)),
        };
        file.keep_lock(lock);
    }
    Ok(Some(file))
}

impl Listener {
    /// Undoes what systemd has done to an inherited socket while it started us in the place of a supervisor that was killed: it
    /// clears O_NONBLOCK (systemd.exec(5), `NonBlocking=`), which the app that serves meanwhile relies on, and whose loop may hang
    /// in accept(2) by now. Each of `acceptors` is woken by a connection that asks nothing.
    ///
    /// # Errors
    /// As for [`Listener::restore_flags`].
    pub(crate) fn revive(&self, acceptors: usize) -> Result<(), ListenError> {
        let hangs = self.is_inherited()
            && self.socket.wanted_io_mode() == IoMode::NonBlocking
            && self.socket.io_mode() != Ok(IoMode::NonBlocking);
        let restored = match self.slot {
            Some(_) => self.socket.restore_io_mode().map_err(|cause| self.alarm(&cause)),
            None => Ok(()),
        };
        let restored = restored.and(self.restore_flags());
        if hangs && self.kind().accepts_connections() {
            // Another process, or another thread, may take a connection that was meant for one that hangs.
            for _ in 0..acceptors.saturating_mul(WAKE_UPS).min(MOST_WAKE_UPS) {
                self.socket.knock();
            }
        }
        restored
    }
}

impl Socket {
    /// A connection that is closed at once. If it cannot be made, nobody hangs there.
    fn knock(&self) {
        let Ok(address) = getsockname::<SockaddrStorage>(self.as_fd().as_raw_fd()) else {
            return;
        };
        let (Some(family), kind) = (address.family(), self.local().kind) else {
            return;
        };
        let kind = match kind {
            SocketKind::UnixSeqpacket => SockType::SeqPacket,
            SocketKind::Tcp | SocketKind::Unix | SocketKind::Udp | SocketKind::UnixDatagram => {
                SockType::Stream
            }
        };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        if let Ok(knocker) = socket(family, kind, flags, None) {
            // Under way or refused, it is all the same.
            let _ = connect(knocker.as_raw_fd(), &address);
        }
    }
}

/// How many connections for each process that may hang.
const WAKE_UPS: usize = 4;
const MOST_WAKE_UPS: usize = 256;

impl Inherited {
    /// Takes the socket with this inode out, if it was inherited: it is one that a predecessor had inherited as well.
    pub(crate) fn take(&mut self, inode: u64) -> Option<OwnedFd> {
        let place = self.listeners.iter().position(|one| one.inode() == inode)?;
        let listener = self.listeners.swap_remove(place);
        listener.as_fd().try_clone_to_owned().ok()
    }
}
