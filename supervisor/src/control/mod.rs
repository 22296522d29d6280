//! The supervisor's side of the control socket: clients, their requests and their answers.
//!
//! Nothing here blocks and nothing here waits: somebody else's loop owns the epoll set, and this is the
//! contract with it.
//!
//! 1. Watch [`Control::as_fd`] for reading; when it is readable, call [`Control::accept`].
//! 2. After *every* call into the room (in practice: once at the end of a turn), perform
//!    [`Control::changes`]: they say which fds to watch for what, and hand over the fds that are to be
//!    forgotten (removed from the epoll set, then dropped; a child that is between fork and exec holds a
//!    copy, so that closing alone would leave them in the set).
//! 3. When a client's fd is ready for *anything* (`EPOLLIN`, `EPOLLHUP`, `EPOLLERR`), call
//!    [`Control::readable`]; on `EPOLLOUT` call [`Control::writable`].
//! 4. At [`Control::next_deadline`], call [`Control::expire`].
//!
//! A client has one request. A client that goes away cancels nothing: its ticket stays with the room that took the
//! request, and [`Control::reply`] to it does nothing.
//!
//! # Room for clients
//! Clients that wait for a reload (or a change of workers) hold a ticket; there are [`TICKETS_MAX`] of them,
//! and one more is refused at once with a clear line. Clients without a ticket (those that have not asked
//! yet, or do not read their answer) have a reserve of their own, and a deadline; while it is full nobody is
//! accepted, and the kernel's backlog holds the rest. So 256 waiting clients never keep a `status` or a
//! `stop` out.

mod error;
mod room;
mod saved;
mod session;
mod socket;

use std::collections::BTreeMap;
use std::io;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use session::{Seat, Session};
use socket::{Allowed, SocketFile};

pub(crate) use error::ControlError;
pub(crate) use socket::Peer;

use crate::place::{Claim, Place, PlaceError, Remains, StalePolicy};
use crate::protocol::{Reply, Request};
use crate::state::{Flaw, Row};
use crate::sys::errno_text;

/// How many clients may wait for a reload or a change of workers. A deploy that asks once per host or per
/// service stays far below; it bounds the memory of a loop that asks without end.
pub(crate) const TICKETS_MAX: usize = 256;

/// How long a client may take for its request. They send it at once; the rest is for a machine that swaps.
pub(crate) const ASK_TIME: Duration = Duration::from_secs(2);

/// How long a client may take to read its final answer before it is dropped.
const READ_TIME: Duration = Duration::from_secs(10);

/// How long nobody is accepted after the system had no fd or memory for a new client: without a pause a
/// level-triggered loop would spin on it.
const OUT_OF_FDS_PAUSE: Duration = Duration::from_millis(100);

/// How many clients are accepted in one turn, so that a storm of them does not starve the other sources.
const ACCEPTS_PER_TURN: usize = 64;

/// One client, never the same number twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ClientId(u64);

impl ClientId {
    /// The name under which its fd is passed on.
    fn fd_name(self) -> String {
        format!("{CLIENT_ROW}-{}", self.0)
    }

    /// The number, for use as epoll data.
    #[cfg(test)]
    pub(crate) fn number(self) -> u64 {
        self.0
    }

    /// The client with that number, which came from [`ClientId::number`].
    #[cfg(test)]
    pub(crate) fn from_number(number: u64) -> Self {
        Self(number)
    }
}

/// What a client's fd is watched for. Both may be false: `EPOLLHUP` is reported all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Interest {
    /// `EPOLLIN`.
    pub(crate) read: bool,
    /// `EPOLLOUT`.
    pub(crate) write: bool,
}

/// What the owner of the epoll set has to do.
#[derive(Debug)]
pub(crate) enum Change {
    /// Watch the listening socket for reading, or stop doing so. It is watched at first.
    Accepting(bool),
    /// Add the fd [`Control::client_fd`] of this client.
    Opened(ClientId, Interest),
    /// Watch it for something else.
    Changed(ClientId, Interest),
    /// Remove this fd and drop it. The client is not known any more.
    Closed(ClientId, OwnedFd),
}

/// The control socket and its clients. Dropping it removes the socket's path if it still is ours, and gives
/// up the place.
#[derive(Debug)]
pub(crate) struct Control {
    listener: UnixListener,
    allowed: Allowed,
    clients: BTreeMap<ClientId, Session>,
    /// What the epoll set was last told about the clients in it.
    watched: BTreeMap<ClientId, Interest>,
    closed: Vec<Change>,
    last_id: u64,
    told_accepting: bool,
    paused_until: Option<Instant>,
    /// Why nobody can be accepted, until that is told.
    trouble: Option<String>,
    /// Whether it was told since a client was accepted last.
    told: bool,
    /// Whether it was told that the path is gone.
    told_loss: bool,
    // Dropped in this order: the path goes while the lock is still held.
    file: SocketFile,
    claim: Claim,
}

/// The kind of a client's row, and the beginning of the name of its fd.
const CLIENT_ROW: &str = "client";

impl Control {
    /// Claims the place and opens its control socket: 0600 from its first instant, or 0660 and owned by
    /// `group` (a name or a number) if there is one.
    ///
    /// # Errors
    /// `instance app is already running (pid N)`; no such group; or what the system said.
    pub(crate) fn open(
        place: &Place,
        group: Option<&str>,
        stale: StalePolicy<'_>,
    ) -> Result<Self, ControlError> {
        let group = group.map(socket::group).transpose()?;
        let claim = place.claim(stale)?;
        match group {
            Some(group) => claim.open_to(group)?,
            None => place.keep_private()?,
        }
        let (listener, file) = socket::listen(place, group, stale.guard())?;
        Ok(Self::new(listener, Allowed::new(group), file, claim))
    }

    /// One that has no client yet, and nothing to tell.
    fn new(listener: UnixListener, allowed: Allowed, file: SocketFile, claim: Claim) -> Self {
        Self {
            listener,
            allowed,
            clients: BTreeMap::new(),
            watched: BTreeMap::new(),
            closed: Vec::new(),
            last_id: 0,
            told_accepting: true,
            paused_until: None,
            trouble: None,
            told: false,
            told_loss: false,
            file,
            claim,
        }
    }

    /// The listening socket.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// Start an app and adopt none, as [`Claim::begin_anew`] does.
    pub(crate) fn begin_anew(&mut self, remains: Remains) -> Vec<PlaceError> {
        self.claim.begin_anew(remains)
    }

    /// Go on with the directories and notify sockets of the app that is adopted.
    ///
    /// # Errors
    /// The row of the place is not whole.
    pub(crate) fn go_on_in_series_of(&mut self, rows: &[Row<'_>]) -> Result<(), Flaw> {
        self.claim.go_on_in_series_of(rows)
    }

    /// Where it lies.
    pub(crate) fn place(&self) -> &Place {
        self.claim.place()
    }

    /// The fd of a client, as long as it is known.
    pub(crate) fn client_fd(&self, id: ClientId) -> Option<BorrowedFd<'_>> {
        self.clients.get(&id).map(Session::as_fd)
    }

    /// Who a client is, as long as it is known.
    pub(crate) fn peer(&self, id: ClientId) -> Option<Peer> {
        self.clients.get(&id).map(Session::peer)
    }

    /// Takes the clients that wait on the listening socket, a bounded number at a time. One who may not ask
    /// gets its refusal here.
    pub(crate) fn accept(&mut self, now: Instant) -> Vec<ClientId> {
        let mut accepted = Vec::new();
        for _ in 0..ACCEPTS_PER_TURN {
            if !self.has_room(now) {
                break;
            }
            match self.listener.accept() {
                Ok((stream, _)) => {
                    self.told = false;
                    accepted.extend(self.admit(stream, now));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // That one client has gone, or a signal came.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted
                    ) => {}
                Err(error) => {
                    self.paused_until = Some(now + OUT_OF_FDS_PAUSE);
                    if !mem::replace(&mut self.told, true) {
                        self.trouble = Some(format!("control socket: accept: {}", errno_text(error)));
                    }
                    break;
                }
            }
        }
        accepted
    }

    /// That no client can come any more, in one line, if somebody has removed the path; told once. It is not made again: by now another
    /// supervisor may have the place.
    pub(crate) fn take_loss(&mut self) -> Option<String> {
        let is_lost = !self.told_loss && !self.file.is_in_place();
        self.told_loss |= is_lost;
        is_lost.then(|| {
            let pid = std::process::id();
            format!(
                "control socket {}: somebody has removed it, and no command reaches this segue any more; kill -HUP {pid} reloads it, kill \
                 {pid} stops it, and the next start has a new one",
                self.place().control().display()
            )
        })
    }

    /// Why clients have to wait, in one line; the same is told again only after one was accepted in between.
    pub(crate) fn take_trouble(&mut self) -> Option<String> {
        self.trouble.take()
    }

    fn admit(&mut self, stream: UnixStream, now: Instant) -> Option<ClientId> {
        // What fails here is a socket whose peer has gone: there is nobody to answer.
        stream.set_nonblocking(true).ok()?;
        let peer = socket::peer(&stream).ok()?;
        self.last_id += 1;
        let id = ClientId(self.last_id);
        self.clients
            .insert(id, Session::new(stream, peer, now + ASK_TIME));
        let stream = self.clients.get(&id)?.as_fd();
        if !self.allowed.admits(peer, stream) {
            let message = format!(
                "permission denied: uid {} may not control this instance",
                peer.uid
            );
            self.reply(id, &Reply::Refused { message }, now);
            return None;
        }
        Some(id)
    }

    /// Reads from a client. Gives its request once it is complete; the client then waits for
    /// [`Control::reply`]. Garbage is answered here, and a client that has gone is forgotten.
    pub(crate) fn readable(&mut self, id: ClientId, now: Instant) -> Option<Request> {
        let session = self.clients.get_mut(&id)?;
        match session.read() {
            session::Read::Nothing => None,
            session::Read::Gone => {
                self.close(id);
                None
            }
            session::Read::Garbage(error) => {
                self.reply(
                    id,
                    &Reply::Refused {
                        message: error.to_string(),
                    },
                    now,
                );
                None
            }
            session::Read::Asked(request) => match self.seat(request) {
                Ok(seat) => {
                    if let Some(session) = self.clients.get_mut(&id) {
                        session.sit(seat);
                    }
                    Some(request)
                }
                Err(message) => {
                    self.reply(id, &Reply::Refused { message }, now);
                    None
                }
            },
        }
    }

    /// Writes what could not be written at once.
    pub(crate) fn writable(&mut self, id: ClientId) {
        if let Some(session) = self.clients.get_mut(&id)
            && session.flush().is_done()
        {
            self.close(id);
        }
    }

    /// Answers a client. A final answer ends the conversation; a progress line is dropped if the client has
    /// not read the lines before it. Nothing happens if the client has gone or has had its final answer.
    pub(crate) fn reply(&mut self, id: ClientId, reply: &Reply, now: Instant) {
        if let Some(session) = self.clients.get_mut(&id) {
            session.answer(reply, now + READ_TIME);
            if session.flush().is_done() {
                self.close(id);
            }
        }
    }

    /// Whether anybody hears what happens.
    pub(crate) fn has_followers(&self) -> bool {
        self.count(Seat::Events) > 0
    }

    /// Tells all who hear what happens. None of them is waited for.
    pub(crate) fn publish(&mut self, event: &Reply, now: Instant) {
        let hears = |session: &Session| session.seat() == Seat::Events;
        let followers = self.clients.iter().filter(|(_, session)| hears(session));
        let followers: Vec<ClientId> = followers.map(|(id, _)| *id).collect();
        for id in followers {
            if let Some(session) = self.clients.get_mut(&id) {
                session.hear(event, now + READ_TIME);
                if session.flush().is_done() {
                    self.close(id);
                }
            }
        }
    }

    /// What to do to the epoll set, in order. Empty if nothing has changed.
    pub(crate) fn changes(&mut self, now: Instant) -> Vec<Change> {
        let mut changes = mem::take(&mut self.closed);
        for (id, session) in &self.clients {
            let interest = session.interest();
            match self.watched.insert(*id, interest) {
                None => changes.push(Change::Opened(*id, interest)),
                Some(before) if before != interest => changes.push(Change::Changed(*id, interest)),
                Some(_) => {}
            }
        }
        let accepting = self.has_room(now);
        if accepting != self.told_accepting {
            self.told_accepting = accepting;
            changes.push(Change::Accepting(accepting));
        }
        changes
    }

    fn close(&mut self, id: ClientId) {
        if let Some(session) = self.clients.remove(&id) {
            let fd = session.into_fd();
            // One that came and went within a turn was never watched, and needs no word.
            if self.watched.remove(&id).is_some() {
                self.closed.push(Change::Closed(id, fd));
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod harness;
#[cfg(test)]
mod tests;
