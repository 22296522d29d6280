//! Listeners as rows and fds, for a successor.
//!
//! A row `socket` is what is known of a socket, a row `listener` the name and the options that one configuration gives to it;
//! several may share a socket. The fds go beside them, as `listener-INODE` and, for the lock of a path, `pathlock-INODE`.

mod restored;
mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsRawFd as _;
use std::rc::Rc;

use super::Listener;
use super::resolve::Owner;
use super::socket::{IoMode, Socket, Source};
use super::unix_file::{PathLock, SocketFile};
use crate::address::{ListenSpec, SocketOptions};
use crate::state::{Fields as _, Flaw, Passed, Rows, whole};

pub(crate) use restored::{Absent, restore, restore_found};
pub(crate) use told::{any_inherited, can_be_made_anew, identities, inodes, is_inherited, label_of};

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
                // Several listeners may have one name, or ask for port 0.
                let address = listener.address_text();
                rows.number("slot", slot.into())
                    .number("index", index.into())
                    .text("bound", &address);
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
