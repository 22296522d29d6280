//! One conversation with one supervisor.

use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, sockopt};
use nix::sys::time::TimeVal;

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
    input: Vec<u8>,
}

impl Connection {
    /// Connects, waiting at most for `patience` if the backlog is full (then the error is `WouldBlock`).
    pub(super) fn open(path: &Path, patience: Duration) -> io::Result<Self> {
        let address = UnixAddr::new(path)?;
        let socket = nix::sys::socket::socket(
            AddressFamily::Unix,
            SockType::Stream,
            SockFlag::SOCK_CLOEXEC,
            None,
        )?;
        let wait = patience.max(SHORTEST_WAIT);
        let wait = TimeVal::new(
            wait.as_secs().try_into().unwrap_or(i64::MAX),
            wait.subsec_micros().into(),
        );
        nix::sys::socket::setsockopt(&socket, sockopt::SendTimeout, &wait)?;
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
        })
    }

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
        self.send(Request::Status);
        loop {
            match self.receive(deadline)? {
                Reply::Progress { .. } => {}
                Reply::Status(status) => return Ok(*status),
                Reply::Refused { message } => return Err(Lost::Refused(message)),
                Reply::Done { .. } | Reply::Failed { .. } => {
                    return Err(Lost::Garbled(
                        "the supervisor answered something else; is it another version?".into(),
                    ));
                }
            }
        }
    }

    /// Waits for the next reply.
    pub(super) fn receive(&mut self, deadline: Option<Instant>) -> Result<Reply, Lost> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.input[searched..].iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.input.drain(..=searched + at).collect();
                return Reply::parse(&line).map_err(|error| Lost::Garbled(error.to_string()));
            }
            searched = self.input.len();
            if searched > REPLY_MAX {
                return Err(Lost::Garbled(format!(
                    "reply not understood: longer than {REPLY_MAX} bytes"
                )));
            }
            self.fill(deadline)?;
        }
    }

    fn fill(&mut self, deadline: Option<Instant>) -> Result<(), Lost> {
        let mut buffer = [0; 16 * 1024];
        loop {
            let wait = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if wait == Some(Duration::ZERO) {
                return Err(Lost::TimedOut);
            }
            // Fails only for a zero duration.
            let _ = self
                .stream
                .set_read_timeout(wait.map(|wait| wait.max(SHORTEST_WAIT)));
            match self.stream.read(&mut buffer) {
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
}
