//! One client: what it has sent so far, and what it has not read yet.

use std::io::{self, Read as _, Write as _};
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Interest, Peer, socket};
use crate::clock;
use crate::protocol::{ProtocolError, REQUEST_MAX, Reply, Request};
use crate::state::{Fields as _, Flaw, Row, fields, words};
use crate::sys::errno_text;

/// How many bytes of unread progress a client may pile up; what comes on top is dropped. A final answer is
/// always kept, so that a client's memory is bounded by this and one answer.
const PROGRESS_MAX: usize = 16 * 1024;

/// How many bytes of events a client may leave unread, besides what the kernel keeps for it: some two hundred, more than the busiest
/// reload has.
const EVENTS_MAX: usize = 64 * 1024;

/// How many bytes are thrown away in one turn of what a client sends after its request.
const IGNORED_PER_TURN: usize = 64 * 1024;

/// Where a client stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seat {
    /// It has not asked yet; it has a deadline.
    Asking,
    /// It waits for a reload or a change of workers.
    Ticket,
    /// It waits for the end of a stop.
    Stop,
    /// It hears all that happens.
    Events,
    /// Its answer comes in this turn.
    Served,
    /// It has its final answer, or what the socket would take of it; it has a deadline.
    Leaving,
}

words!(Seat {
    "asking" Asking;
    "ticket" Ticket;
    "stop" Stop;
    "events" Events;
    "served" Served;
    "leaving" Leaving;
});

/// What reading has brought.
#[derive(Debug)]
pub(super) enum Read {
    /// Nothing that anybody needs to know.
    Nothing,
    /// A whole request.
    Asked(Request),
    /// A line that is none.
    Garbage(ProtocolError),
    /// The end of the client.
    Gone,
}

/// How far writing has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flushed {
    /// The conversation goes on.
    Open,
    /// The final answer is written, or the client has gone.
    Done,
}

impl Flushed {
    pub(super) fn is_done(self) -> bool {
        self == Self::Done
    }
}

#[derive(Debug)]
pub(super) struct Session {
    stream: UnixStream,
    peer: Peer,
    seat: Seat,
    input: Vec<u8>,
    output: Vec<u8>,
    /// The client will send no more (it may still read: `echo ... | nc -U` half-closes).
    input_ended: bool,
    deadline: Option<Instant>,
}

fields!(Session {
    "seat" seat;
    "input" input;
    "output" output;
    "ended" input_ended;
    "deadline" deadline;
});

impl Session {
    pub(super) fn new(stream: UnixStream, peer: Peer, deadline: Instant) -> Self {
        let deadline = Some(deadline);
        Self {
            stream,
            peer,
            seat: Seat::Asking,
            input: Vec::new(),
            output: Vec::new(),
            input_ended: false,
            deadline,
        }
    }

    /// The client of a row. Who it is its socket tells.
    pub(super) fn restore(row: Row<'_>, fd: OwnedFd) -> Result<Self, Flaw> {
        let stream = UnixStream::from(fd);
        let peer = socket::peer(&stream)
            .map_err(|error| Flaw::new(format_args!("client: {}", errno_text(error))))?;
        let mut session = Self::new(stream, peer, clock::now());
        session.restore_fields(row)?;
        Ok(session)
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    pub(super) fn peer(&self) -> Peer {
        self.peer
    }

    pub(super) fn seat(&self) -> Seat {
        self.seat
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// While it waits, reading shows that it has gone.
    pub(super) fn interest(&self) -> Interest {
        Interest {
            read: !self.input_ended,
            write: !self.output.is_empty(),
        }
    }

    /// It has asked and waits now, as long as it takes: deadlines of the wait are its own or the reload's.
    pub(super) fn sit(&mut self, seat: Seat) {
        self.seat = seat;
        self.deadline = None;
    }

    pub(super) fn read(&mut self) -> Read {
        if self.seat != Seat::Asking {
            return self.ignore();
        }
        let mut buffer = [0; 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    self.input_ended = true;
                    // The last line may lack its newline.
                    return if self.input.is_empty() {
                        Read::Gone
                    } else {
                        self.parse(self.input.len())
                    };
                }
                Ok(count) => {
                    let before = self.input.len();
                    self.input.extend_from_slice(&buffer[..count]);
                    let newline = buffer[..count].iter().position(|byte| *byte == b'\n');
                    match newline {
                        Some(at) => return self.parse(before + at),
                        None if self.input.len() > REQUEST_MAX => {
                            return Read::Garbage(ProtocolError::too_long());
                        }
                        None => {}
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Read::Nothing,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Read::Gone,
            }
        }
    }

    fn parse(&mut self, length: usize) -> Read {
        let input = mem::take(&mut self.input);
        match Request::parse(&input[..length]) {
            Ok(request) => Read::Asked(request),
            Err(error) => Read::Garbage(error),
        }
    }

    /// Reads on only to see the end.
    fn ignore(&mut self) -> Read {
        let mut buffer = [0; 4096];
        let mut ignored = 0;
        while ignored < IGNORED_PER_TURN {
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    self.input_ended = true;
                    return if self.hung_up() { Read::Gone } else { Read::Nothing };
                }
                Ok(count) => ignored += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Read::Nothing,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Read::Gone,
            }
        }
        Read::Nothing
    }

    /// Whether the client has closed its socket, and not only half of it: only then is there `POLLHUP`
    /// (unix_poll: both directions shut).
    fn hung_up(&self) -> bool {
        let mut fds = [PollFd::new(self.stream.as_fd(), PollFlags::empty())];
        let polled = poll(&mut fds, PollTimeout::ZERO);
        let gone = PollFlags::POLLHUP | PollFlags::POLLERR;
        polled.is_ok() && fds[0].revents().is_some_and(|events| events.intersects(gone))
    }

    /// Queues an answer; [`Session::flush`] sends it.
    pub(super) fn answer(&mut self, reply: &Reply, deadline: Instant) {
        if self.seat == Seat::Leaving {
            return;
        }
        let line = reply.to_line();
        if reply.is_final() {
            self.seat = Seat::Leaving;
            self.deadline = Some(deadline);
        } else if self.output.len() + line.len() > PROGRESS_MAX {
            return;
        }
        self.output.extend_from_slice(&line);
    }

    /// Queues an event for a client that hears them. One that does not read is told so behind what it has not read, and leaves:
    /// a gap in what happens would be worse than its end.
    pub(super) fn hear(&mut self, event: &Reply, deadline: Instant) {
        let line = event.to_line();
        if self.output.len() + line.len() > EVENTS_MAX {
            let message = format!(
                "{} bytes of events were not read: the rest is not sent",
                self.output.len()
            );
            return self.answer(&Reply::Refused { message }, deadline);
        }
        self.output.extend_from_slice(&line);
    }

    pub(super) fn flush(&mut self) -> Flushed {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(count) => drop(self.output.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Flushed::Open,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Flushed::Done,
            }
        }
        if self.seat != Seat::Leaving {
            return Flushed::Open;
        }
        // To close with unread input would make the client see a reset after our answer (unix_release_sock).
        self.ignore();
        Flushed::Done
    }

    /// How many bytes wait for the client.
    #[cfg(test)]
    pub(super) fn unread(&self) -> usize {
        self.output.len()
    }

    pub(super) fn into_fd(self) -> OwnedFd {
        self.stream.into()
    }
}
