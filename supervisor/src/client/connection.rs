//! One conversation with one supervisor.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, sockopt};
use nix::sys::time::TimeVal;

use crate::clock;
use crate::protocol::{Reply, Request, Status};

/// The longest reply line, in bytes: the status of a thousand listeners and 2,048 workers, several times
/// over. It bounds what something that is no supervisor can make us hold.
const REPLY_MAX: usize = 8 * 1024 * 1024;

/// A zero timeout would mean to wait for ever (setsockopt(2), socket(7): `SO_RCVTIMEO`).
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// Why there is no reply.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// The deadline has passed.
    TimedOut,
    /// The supervisor has closed the connection, or died.
    Gone,
    /// The supervisor refused to answer; its reason.
    Refused(String),
    /// What came is no reply; one line about it.
    Garbled(String),
}

#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    path: PathBuf,
    supervisor: Option<i32>,
    /// What has come and is no whole reply yet.
    input: Vec<u8>,
    /// How much of it is known to hold no end of a line.
    searched: usize,
    /// The deadline behind which it has been tried.
    tried_behind: Option<Instant>,
}

impl Connection {
    /// Connects, waiting at most for `patience` if the backlog is full (then the error is `WouldBlock`).
    pub(super) fn open(path: &Path, patience: Duration) -> io::Result<Self> {
        let socket = stream_socket(SockFlag::SOCK_CLOEXEC)?;
        let wait = patience.max(SHORTEST_WAIT);
        let wait = TimeVal::new(
            wait.as_secs().try_into().unwrap_or(i64::MAX),
            wait.subsec_micros().into(),
        );
        nix::sys::socket::setsockopt(&socket, sockopt::SendTimeout, &wait)?;
        Self::connect(socket, path)
    }

    /// Connects at once, or not at all: if the backlog is full the error is `WouldBlock`.
    pub(super) fn open_now(path: &Path) -> io::Result<Self> {
        let socket = stream_socket(SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK)?;
        let connection = Self::connect(socket, path)?;
        connection.stream.set_nonblocking(false)?;
        Ok(connection)
    }

    fn connect(socket: OwnedFd, path: &Path) -> io::Result<Self> {
        let address = UnixAddr::new(path)?;
        loop {
            match nix::sys::socket::connect(socket.as_raw_fd(), &address) {
                Err(Errno::EINTR) => {}
                other => break other?,
            }
        }
        // Told by the kernel when the supervisor called listen(2).
        let supervisor = nix::sys::socket::getsockopt(&socket, sockopt::PeerCredentials)
            .ok()
            .map(|peer| peer.pid());
        let supervisor = supervisor.filter(|pid| *pid > 0);
        Ok(Self {
            stream: UnixStream::from(socket),
            path: path.to_owned(),
            supervisor,
            input: Vec::new(),
            searched: 0,
            tried_behind: None,
        })
    }

    /// The control socket.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The supervisor's pid in our pid namespace.
    pub(super) fn supervisor(&self) -> Option<i32> {
        self.supervisor
    }

    /// Sends a request. If that fails the supervisor has gone or has refused us already; reading tells which.
    pub(super) fn send(&mut self, request: Request) {
        let _ = self.stream.write_all(&request.to_line());
    }

    /// Asks for the status and waits for it.
    pub(super) fn status(&mut self, deadline: Option<Instant>) -> Result<Status, Lost> {
        self.send(Request::Status {});
        loop {
            if let Some(status) = status_in(self.receive(deadline)?)? {
                return Ok(status);
            }
        }
    }

    /// Reads once, and gives the status if it is whole by now.
    pub(super) fn status_so_far(&mut self, deadline: Instant) -> Result<Option<Status>, Lost> {
        self.fill(Some(deadline))?;
        while let Some(reply) = self.next_reply()? {
            if let Some(status) = status_in(reply)? {
                return Ok(Some(status));
            }
        }
        Ok(None)
    }

    /// Waits for the next reply.
    pub(super) fn receive(&mut self, deadline: Option<Instant>) -> Result<Reply, Lost> {
        loop {
            if let Some(reply) = self.next_reply()? {
                return Ok(reply);
            }
            self.fill(deadline)?;
        }
    }

    /// The next reply, if it comes within a millisecond.
    pub(super) fn reply_so_far(&mut self) -> Result<Option<Reply>, Lost> {
        loop {
            if let Some(reply) = self.next_reply()? {
                return Ok(Some(reply));
            }
            match self.fill(Some(clock::now() + SHORTEST_WAIT)) {
                Ok(()) => {}
                Err(Lost::TimedOut) => return Ok(None),
                Err(lost) => return Err(lost),
            }
        }
    }

    /// Becomes readable when a part of a reply has come.
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// The next reply, if it is whole by now.
    fn next_reply(&mut self) -> Result<Option<Reply>, Lost> {
        if let Some(at) = self.input[self.searched..].iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.input.drain(..=self.searched + at).collect();
            self.searched = 0;
            let reply = Reply::parse(&line).map_err(|error| Lost::Garbled(error.to_string()))?;
            return Ok(Some(reply));
        }
        self.searched = self.input.len();
        if self.searched > REPLY_MAX {
            return Err(Lost::Garbled(format!(
                "reply not understood: longer than {REPLY_MAX} bytes"
            )));
        }
        Ok(None)
    }

    /// What lies in the socket at the deadline came in time, however late we look: it is read once behind it. Once, for
    /// somebody who writes without end is not to be read without end.
    fn fill(&mut self, deadline: Option<Instant>) -> Result<(), Lost> {
        let mut buffer = [0; 16 * 1024];
        loop {
            let wait = deadline.map(|deadline| deadline.saturating_duration_since(clock::now()));
            if wait == Some(Duration::ZERO) && std::mem::replace(&mut self.tried_behind, deadline) == deadline
            {
                return Err(Lost::TimedOut);
            }
            match self.read(&mut buffer, wait) {
                Ok(0) => return Err(Lost::Gone),
                Ok(count) => {
                    self.input.extend_from_slice(&buffer[..count]);
                    return Ok(());
                }
                // WouldBlock: the timeout of the socket, which ends with ours.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
                    ) => {}
                Err(_) => return Err(Lost::Gone),
            }
        }
    }

    fn read(&mut self, buffer: &mut [u8], wait: Option<Duration>) -> io::Result<usize> {
        if wait == Some(Duration::ZERO) {
            let socket = self.stream.as_raw_fd();
            return Ok(nix::sys::socket::recv(socket, buffer, MsgFlags::MSG_DONTWAIT)?);
        }
        // Fails only for a zero duration.
        let _ = self
            .stream
            .set_read_timeout(wait.map(|wait| wait.max(SHORTEST_WAIT)));
        self.stream.read(buffer)
    }
}

fn stream_socket(flags: SockFlag) -> io::Result<OwnedFd> {
    Ok(nix::sys::socket::socket(
        AddressFamily::Unix,
        SockType::Stream,
        flags,
        None,
    )?)
}

/// The status, if that is what this reply to a request for one holds.
fn status_in(reply: Reply) -> Result<Option<Status>, Lost> {
    match reply {
        Reply::Progress { .. } | Reply::Event(_) => Ok(None),
        Reply::Status(status) => Ok(Some(*status)),
        Reply::Refused { message } => Err(Lost::Refused(message)),
        Reply::Done { .. } | Reply::Failed { .. } => Err(Lost::Garbled(
            "the supervisor's answer does not fit the question; is it another version? (the first line of its log names it)".into(),
        )),
    }
}

/// Asks all of these supervisors for their status, side by side: nobody waits for one that hangs, and all is over at the
/// deadline. `None` for those that have not told it by then, and where there is no connection.
pub(super) fn ask_all(
    mut connections: Vec<Option<&mut Connection>>,
    deadline: Instant,
) -> Vec<Option<Status>> {
    let mut statuses: Vec<Option<Status>> = connections.iter().map(|_| None).collect();
    for connection in connections.iter_mut().flatten() {
        connection.send(Request::Status {});
    }
    while let Some(readable) = wait_for_any(&connections, deadline) {
        for index in readable {
            let Some(connection) = &mut connections[index] else {
                continue;
            };
            match connection.status_so_far(deadline) {
                Ok(None) => {}
                Ok(Some(status)) => {
                    statuses[index] = Some(status);
                    connections[index] = None;
                }
                Err(_) => connections[index] = None,
            }
        }
    }
    statuses
}

/// The indices of those from which something can be read; `None` if there are none left, or the deadline has passed.
fn wait_for_any(connections: &[Option<&mut Connection>], deadline: Instant) -> Option<Vec<usize>> {
    let waiting = connections.iter().enumerate();
    let waiting = waiting.filter_map(|(index, connection)| Some((index, connection.as_ref()?)));
    let (indices, mut fds): (Vec<usize>, Vec<PollFd<'_>>) = waiting
        .map(|(index, connection)| (index, PollFd::new(connection.stream.as_fd(), PollFlags::POLLIN)))
        .unzip();
    let left = deadline.saturating_duration_since(clock::now());
    if fds.is_empty() || left.is_zero() {
        return None;
    }
    // Rounded up, so that the last millisecond is not spent turning round.
    let wait = PollTimeout::try_from(left + SHORTEST_WAIT).unwrap_or(PollTimeout::MAX);
    match poll(&mut fds, wait) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(_) => return None,
    }
    let readable = indices
        .into_iter()
        .zip(&fds)
        .filter(|(_, fd)| fd.any() == Some(true));
    Some(readable.map(|(index, _)| index).collect())
}
