//! The sockets: opened or inherited here, lent to every generation, never given away.
//!
//! The supervisor holds every listener for its whole life; a generation gets duplicates of the same open file
//! description. So connections wait in the backlog while apps come and go, and nothing that one generation closes is
//! closed for the next. What is *shared* by that (O_NONBLOCK, the backlog, being shut down) an app can change
//! for all others; [`Listener::restore_flags`] puts it right again.
//!
//! Code map: `open` decides which sockets stay, stand in or are made; `bind` makes them; `unix_file` owns the paths
//! of Unix sockets; `path_watch` sees that an app has taken one away, and `mended_path` has it put back; `settings` turns options into socket options; `inherited` and `claim` read `LISTEN_FDS`;
//! `shares` says which worker gets which of several sockets on one address; `slots` makes the sockets of a steered one (`late`: beside one that was given; `switch`: when a reload may), which are a `group`, `doors` leads
//! connections of our own to one of them, and `front_door` those of a probe (from a `probe_source`);
//! `resolve` is the only place that looks names up; `holder` finds who has a port that is busy; `saved` writes
//! them down for a successor; `anew` makes again what was lost with a predecessor, `regroup` guesses the kernel's order of slots, and
//! `order` finds it out.

mod anew;
mod bind;
mod claim;
mod doors;
mod front_door;
mod group;
mod holder;
mod inherited;
mod late;
mod local;
mod mended_path;
mod open;
mod order;
mod path_watch;
mod probe_source;
mod regroup;
mod resolve;
mod revive;
mod saved;
mod settings;
mod shares;
mod slots;
mod socket;
mod strangers;
mod switch;
mod unix_file;

#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

use nix::unistd::Uid;

use crate::address::{Key, PROBE_NAME, SocketOptions};

pub(crate) use front_door::FrontDoor;
pub(crate) use inherited::{Inherited, stale};
pub(crate) use local::SocketKind;
pub(crate) use open::open;
pub(crate) use path_watch::PathWatch;
pub(crate) use probe_source::ProbeSource;
pub(crate) use resolve::Lookup;
pub(crate) use saved::{
    Absent, Saving, SocketIdentity, any_inherited, can_be_made_anew, identities, inodes, is_inherited,
    label_of, restore, restore_found,
};
pub(crate) use shares::{least_workers, shares};

use crate::state::Guard;
use group::Slot;
use local::{BoundTo, Local};
use resolve::Owner;
pub(crate) use socket::IoMode;
use socket::Socket;
pub(crate) use switch::{SharedSlot, Taken};
use unix_file::SocketFile;

/// Connections that may wait in a listener unless `backlog` says otherwise: the kernel's own cap
/// (net.core.somaxconn) since Linux 5.4, so that a slow start or a restart refuses nobody.
pub(crate) const DEFAULT_BACKLOG: u32 = 4096;
/// Connections that may wait in a private probe listener: one probe asks at a time, the rest is room to spare.
const PROBE_BACKLOG: u32 = 16;
/// Access mode of a Unix path unless `mode` says otherwise, as in systemd.socket(5).
const DEFAULT_MODE: u32 = 0o666;
/// Access mode of the path of a probe listener: nobody but its owner may ask a candidate.
const PROBE_MODE: u32 = 0o600;

/// Why a listener could not be opened, taken over or kept: one line, the attempt and then the cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListenError(String);

impl ListenError {
    /// `listen ADDRESS: CAUSE`.
    fn at(address: impl fmt::Display, cause: impl fmt::Display) -> Self {
        Self(format!("listen {address}: {cause}"))
    }
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ListenError {}

/// A listening (or bound datagram) socket under the name and with the options that one configuration gives it.
///
/// Several listeners may share one socket: after a reload that changes a name or an option the old generation's
/// listener and the new one's differ in that and are otherwise the same. The fd is closed when the last of them
/// is dropped; a Unix path and its lock file are removed then, too, if the path still leads to this socket.
#[derive(Debug)]
pub(crate) struct Listener {
    name: String,
    options: SocketOptions,
    /// What `user` and `group` mean, looked up when the listener was opened and never again.
    owner: Owner,
    socket: Rc<Socket>,
    /// Which of the sockets of a steered address it is.
    slot: Option<Slot>,
}

impl Listener {
    /// What the app reads in `LISTEN_FDNAMES`.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Where the address has several sockets, and each worker is lent some of them: how many there are.
    pub(crate) fn sockets(&self) -> Option<usize> {
        self.options
            .number(Key::Sockets)
            .and_then(|count| usize::try_from(count).ok())
    }

    /// Which kind of socket it is.
    pub(crate) fn kind(&self) -> SocketKind {
        self.socket.local().kind
    }

    /// The address in the words of `--listen`, with the port that the kernel picked for port 0 and the absolute
    /// path: `127.0.0.1:8080`, `*:8080`, `unix:/run/app.sock`.
    pub(crate) fn address_text(&self) -> String {
        self.socket.local().text()
    }

    /// The address alone, as most programs write it: `127.0.0.1:8080`, `[::]:8080`, a path, or `@` and an abstract name.
    pub(crate) fn plain_address(&self) -> &OsStr {
        self.socket.local().plain()
    }

    /// `None` for a Unix socket.
    pub(crate) fn port(&self) -> Option<u16> {
        self.socket.local().port()
    }

    /// Who can reach it, where that may surprise: `this machine only`, `every address, IPv4 and IPv6`...
    pub(crate) fn scope_note(&self) -> Option<&'static str> {
        self.socket.local().scope_note()
    }

    /// Whether it is bound to a loopback address: in a container nobody outside reaches it.
    pub(crate) fn is_loopback(&self) -> bool {
        self.socket.local().is_loopback()
    }

    /// Whether Segue was given this socket by `LISTEN_FDS` and has not made it.
    pub(crate) fn is_inherited(&self) -> bool {
        self.socket.is_inherited()
    }

    /// Whether its path is one that we have made, and put back.
    pub(crate) fn keeps_path(&self) -> bool {
        self.socket.file().is_some_and(SocketFile::is_kept)
    }

    /// How many connections may wait, after the kernel's cap. `None` for datagram sockets, and where it cannot be
    /// known (an inherited Unix socket).
    pub(crate) fn backlog(&self) -> Option<u32> {
        self.socket.backlog()
    }

    /// The inode of the socket, as in `socket:[INODE]` of `/proc/PID/fd` and in `/proc/net/tcp`.
    pub(crate) fn inode(&self) -> u64 {
        self.socket.inode()
    }

    /// What tells its socket from every other.
    pub(crate) fn identity(&self) -> SocketIdentity {
        SocketIdentity {
            inode: self.socket.inode(),
            cookie: self.socket.cookie(),
        }
    }

    /// Whether both are among the several sockets of one address.
    fn is_beside(&self, other: &Self) -> bool {
        let several = self.sockets().is_some() || self.slot.is_some();
        several && self.name == other.name && self.socket.local() == other.socket.local()
    }

    /// Whether both are the same socket, whatever their names and options.
    #[cfg(test)]
    pub(crate) fn shares_socket(&self, other: &Self) -> bool {
        self.socket_key() == other.socket_key()
    }

    /// The same for listeners that share a socket, whatever their names and options, and for no others that live. Unlike the inode
    /// it tells two sockets of ours apart that are one to the kernel.
    pub(crate) fn socket_key(&self) -> usize {
        Rc::as_ptr(&self.socket) as usize
    }

    /// O_NONBLOCK as it is set now: asked when a generation has become ready, it is what that one has chosen. `None` if it was
    /// clear before and still is: an event loop may set it later.
    ///
    /// # Errors
    /// One line if the kernel does not tell.
    pub(crate) fn chosen_flags(&self) -> Result<Option<IoMode>, ListenError> {
        self.socket.chosen_flags().map_err(|cause| self.alarm(&cause))
    }

    /// Whether the option `non-blocking` asks for O_NONBLOCK. That is the choice of each generation with this listener, whatever its
    /// app does, and like any other it counts from when the generation serves. An option that is no longer given clears nothing.
    pub(crate) fn asks_for_non_blocking(&self) -> bool {
        self.options.flag(Key::NonBlocking) == Some(true)
    }

    /// This listener for an app that believes what it inherits to be non-blocking: so it is, unless the option says no.
    pub(crate) fn as_believed(self: Rc<Self>) -> Rc<Self> {
        if self.is_inherited() && self.options.flag(Key::NonBlocking).is_none() {
            let name = self.name.clone();
            return self.with(name, SocketOptions::non_blocking());
        }
        self
    }

    /// The same socket under another name and with other options, or the same listener if they are the same.
    fn with(self: Rc<Self>, name: String, options: SocketOptions) -> Rc<Self> {
        if self.name == name && self.options == options {
            return self;
        }
        Rc::new(Self {
            name,
            options,
            owner: self.owner,
            socket: Rc::clone(&self.socket),
            slot: self.slot.clone(),
        })
    }

    /// Set O_NONBLOCK, or clear it: this is the choice of the generation that serves from now on.
    ///
    /// # Errors
    /// One line if the kernel refuses.
    pub(crate) fn keep_flags(&self, chosen: IoMode) -> Result<(), ListenError> {
        self.socket.keep_flags(chosen).map_err(|cause| self.alarm(&cause))
    }

    /// Clear O_NONBLOCK that a candidate has set, for the generation that serves blocks in accept(2).
    ///
    /// # Errors
    /// One line if the kernel refuses.
    pub(crate) fn clear_flag(&self) -> Result<(), ListenError> {
        self.socket.clear_flag().map_err(|cause| self.alarm(&cause))
    }

    /// Whether O_NONBLOCK is what the serving generation is known to have chosen, so that [`Self::restore_flags`] sets it.
    pub(crate) fn is_known_as_non_blocking(&self) -> bool {
        !self.is_steered() && self.socket.is_known_as_non_blocking()
    }

    /// Whether O_NONBLOCK is set and neither an option nor the generation that serves is known to have chosen it. In a slot it
    /// is the flag of its generation alone.
    pub(crate) fn is_raised_by_an_app(&self) -> bool {
        !self.is_steered() && self.socket.is_raised_by_an_app()
    }

    /// Puts right what an app may have changed for all: the options (after a reload that failed, those of the set
    /// that stands), O_NONBLOCK that was cleared, the backlog, and a listener that was shut down. To be called before
    /// each spawn, after readiness and after every exit; it blocks nowhere. O_NONBLOCK that was set stays set: whose
    /// choice that was, and whether it harms anybody, is for the caller to find out ([`Self::is_raised_by_an_app`]).
    ///
    /// # Errors
    /// An alarm in one line: the app shut the listener down (it listens again, if the line does not say otherwise), the
    /// app removed its path, or the kernel refuses to restore something. All that could be restored is restored.
    pub(crate) fn restore_flags(&self) -> Result<(), ListenError> {
        let restored = self.restore_in_slot();
        restored.map_err(|cause| self.alarm(&cause))
    }

    fn restore_in_slot(&self) -> Result<(), String> {
        let Some(slot) = &self.slot else {
            return self.socket.restore(&self.options, self.owner);
        };
        let listened = self.socket.listens();
        let restored = match self.is_steered() {
            // O_NONBLOCK is its holder's alone.
            true => self.socket.mend(&self.options, self.owner),
            false => self.socket.restore(&self.options, self.owner),
        };
        if listened || !self.socket.listens() {
            return restored;
        }
        let (others, sent) = slot.rejoin(self.socket.as_fd());
        let others = others.iter().map(|slot| format!("and so does slot {slot}"));
        let refused = sent
            .err()
            .map(|cause| format!("but clients cannot be sent where they went: {cause}"));
        let told: Vec<String> = restored.err().into_iter().chain(others).chain(refused).collect();
        told.is_empty().then_some(()).ok_or_else(|| told.join(", "))
    }

    /// Gives the path of a probe listener to the app's user, as whom the probe asks; the mode stays 0600. For every
    /// other listener, and for one whose path an app has removed, this does nothing.
    ///
    /// # Errors
    /// One line: mostly that only root may give files away.
    pub(crate) fn give_to(&self, user: Uid) -> Result<(), ListenError> {
        self.socket.give_to(user).map_err(|cause| self.alarm(&cause))
    }

    /// Why no client reaches it at this moment, in one clause; `None` as long as all is well.
    pub(crate) fn trouble(&self) -> Option<&'static str> {
        self.socket.trouble()
    }

    /// Whether an app has killed it for good: no client reaches it any more, and nothing can mend this socket.
    pub(crate) fn is_dead(&self) -> bool {
        self.socket.is_dead()
    }

    /// This listener on the socket that `fresh` was given in its place; `None` if this one is not dead, or `fresh` is another
    /// place or dead as well.
    pub(crate) fn mended_by(&self, fresh: &Self) -> Option<Rc<Self>> {
        let mended = self.socket.local() == fresh.socket.local() && self.is_dead() && !fresh.is_dead();
        mended.then(|| {
            Rc::new(Self {
                name: self.name.clone(),
                options: self.options.clone(),
                owner: self.owner,
                socket: Rc::clone(&fresh.socket),
                slot: None,
            })
        })
    }

    fn alarm(&self, cause: &str) -> ListenError {
        ListenError(format!(
            "listener {} ({}): {cause}",
            self.name,
            self.address_text()
        ))
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Opens the private listener of one generation, named `probe`: a Unix stream socket at `path` with mode 0600.
///
/// The directory is expected to be ours alone, so there is no lock file. The path is removed when the listener is
/// dropped; an app that unlinks it (nginx, puma) does no harm.
///
/// # Errors
/// One line, as for every other Unix path.
pub(crate) fn probe_listener(path: &Path) -> Result<Rc<Listener>, ListenError> {
    bind::probe(path, Guard::armed()).map(private)
}

/// The same listener, had back from a process that has it; `fd` is closed with it.
///
/// # Errors
/// One line: the path is gone, or it is no socket to listen on.
pub(crate) fn probe_listener_had_back(fd: OwnedFd, path: &Path) -> Result<Rc<Listener>, ListenError> {
    bind::probe_had_back(fd, path).map(private)
}

/// Whether this is a socket that is bound at the path.
pub(crate) fn is_at_path(fd: BorrowedFd<'_>, path: &Path) -> bool {
    Local::of(fd).is_ok_and(|local| local.bound_to == BoundTo::Path(path.to_owned()))
}

fn private(socket: Socket) -> Rc<Listener> {
    Rc::new(Listener {
        name: PROBE_NAME.to_owned(),
        options: SocketOptions::default(),
        owner: Owner::default(),
        socket: Rc::new(socket),
        slot: None,
    })
}
