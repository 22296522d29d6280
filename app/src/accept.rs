//! Taking connections from one listener: every error of accept(2) answered as it deserves, and no connection left
//! behind when the drain begins.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::time::{Instant, sleep};

use crate::connection::Stream;
use crate::limits::{ACCEPT_PAUSE, ACCEPT_PAUSE_MAX};
use crate::listener::{Listener, ListeningSocket, OwnPath};
use crate::peer::Peer;
use crate::tell;

/// How often the same trouble is told.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// A listener that the runtime watches.
#[derive(Debug)]
pub(crate) struct Acceptor {
    kind: Watched,
    address: String,
    pause: Duration,
    told: Option<Instant>,
    // Dropped after the socket above it: the path goes last.
    _path: Option<OwnPath>,
}

#[derive(Debug)]
enum Watched {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// What came of one call of accept.
pub(crate) enum Accepted {
    Connection(Arrival),
    /// Fds or memory have run out; a pause has passed.
    Exhausted,
}

/// A connection, and whose it is.
pub(crate) type Arrival = (Stream, Peer);

/// What an error of accept(2) means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// It concerns the one connection that was at the head of the queue: go on at once.
    Connection,
    /// Fds or memory have run out: the connections wait in the backlog until there are some again.
    Exhausted,
    /// The listener itself is in trouble (somebody called shutdown() on it, a security policy...): it may come back.
    Listener,
}

impl Acceptor {
    /// Gives the listener to the runtime.
    pub(crate) fn new(listener: Listener) -> io::Result<Acceptor> {
        let address = listener.address();
        let Listener { kind, path, .. } = listener;
        let kind = match kind {
            ListeningSocket::Tcp(socket) => Watched::Tcp(TcpListener::from_std(socket)?),
            ListeningSocket::Unix(socket) => Watched::Unix(UnixListener::from_std(socket)?),
        };
        Ok(Acceptor {
            kind,
            address,
            pause: ACCEPT_PAUSE,
            told: None,
            _path: path,
        })
    }

    /// The next connection. Cancel-safe: a connection is either given or still in the queue.
    pub(crate) async fn accept(&mut self) -> Accepted {
        loop {
            match poll_fn(|cx| self.kind.poll_accept(cx)).await {
                Ok(socket) => {
                    self.pause = ACCEPT_PAUSE;
                    return Accepted::Connection(socket);
                }
                Err(error) => match fault(&error) {
                    Fault::Connection => {}
                    Fault::Exhausted => {
                        self.tell(&error);
                        self.rest().await;
                        return Accepted::Exhausted;
                    }
                    Fault::Listener => {
                        self.tell(&error);
                        self.rest().await;
                    }
                },
            }
        }
    }

    /// A connection that is in the queue already, for the last sweep before the listener is dropped. It asks the
    /// kernel itself: the runtime may not have heard of the newest connections yet.
    pub(crate) fn accept_now(&self) -> Option<Arrival> {
        loop {
            match self.kind.accept_now() {
                Ok(socket) => return Some(socket),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) => match fault(&error) {
                    Fault::Connection => {}
                    Fault::Exhausted | Fault::Listener => return None,
                },
            }
        }
    }

    async fn rest(&mut self) {
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(ACCEPT_PAUSE_MAX);
    }

    fn tell(&mut self, error: &io::Error) {
        if self.told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            self.told = Some(Instant::now());
            let (address, why) = (&self.address, crate::errno_text(error));
            tell::trouble(&format_args!("accept on {address}: {why}"));
        }
    }
}

impl Watched {
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Arrival>> {
        match self {
            Watched::Tcp(listener) => listener
                .poll_accept(cx)
                .map_ok(|(stream, from)| tcp(stream, Some(from))),
            Watched::Unix(listener) => listener.poll_accept(cx).map_ok(|(stream, _)| unix(stream)),
        }
    }

    fn accept_now(&self) -> io::Result<Arrival> {
        let listener = match self {
            Watched::Tcp(listener) => SockRef::from(listener),
            Watched::Unix(listener) => SockRef::from(listener),
        };
        // A process that shares the listener may have cleared the flag, and accept() would then wait.
        listener.set_nonblocking(true)?;
        let (stream, from) = listener.accept()?;
        stream.set_nonblocking(true)?;
        match self {
            Watched::Tcp(_) => TcpStream::from_std(stream.into()).map(|stream| tcp(stream, from.as_socket())),
            Watched::Unix(_) => UnixStream::from_std(stream.into()).map(unix),
        }
    }
}

fn tcp(stream: TcpStream, from: Option<SocketAddr>) -> Arrival {
    // Small writes of a streamed response must not wait for the client's ACK. It fails on dead sockets only.
    let _ = stream.set_nodelay(true);
    (Stream::Tcp(stream), peer(from))
}

fn unix(stream: UnixStream) -> Arrival {
    (Stream::Unix(stream), peer(None))
}

fn peer(address: Option<SocketAddr>) -> Peer {
    Peer {
        address,
        encrypted: false,
    }
}

/// Sorts the errors of accept(2). On Linux it also hands on the network errors that are already pending on the new
/// connection, "which the application should treat like EAGAIN by retrying".
fn fault(error: &io::Error) -> Fault {
    use io::ErrorKind as K;
    let raw = |codes: &[i32]| error.raw_os_error().is_some_and(|code| codes.contains(&code));
    let pending_on_the_connection = matches!(
        error.kind(),
        K::ConnectionAborted
            | K::ConnectionReset
            | K::ConnectionRefused
            | K::Interrupted
            | K::TimedOut
            | K::NetworkDown
            | K::NetworkUnreachable
            | K::HostUnreachable
            | K::PermissionDenied
            | K::Unsupported
    );
    if pending_on_the_connection || raw(raw::CONNECTION) {
        Fault::Connection
    } else if error.kind() == K::OutOfMemory || raw(raw::EXHAUSTED) {
        Fault::Exhausted
    } else {
        Fault::Listener
    }
}

/// Error numbers that std has no name for.
mod raw {
    #[cfg(target_os = "linux")]
    mod numbers {
        /// EPROTO, ENONET, ENOPROTOOPT, EHOSTDOWN.
        pub(crate) const CONNECTION: &[i32] = &[71, 64, 92, 112];
        /// ENFILE, EMFILE, ENOBUFS.
        pub(crate) const EXHAUSTED: &[i32] = &[23, 24, 105];
    }
    #[cfg(not(target_os = "linux"))]
    mod numbers {
        /// EPROTO, ENOPROTOOPT, EHOSTDOWN of the BSDs and macOS.
        pub(crate) const CONNECTION: &[i32] = &[100, 42, 64];
        /// ENFILE, EMFILE, ENOBUFS.
        pub(crate) const EXHAUSTED: &[i32] = &[23, 24, 55];
    }
    pub(super) use numbers::{CONNECTION, EXHAUSTED};
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_of_the_manual_page_is_sorted() {
        // EPERM, EINTR, EACCES, EOPNOTSUPP, ENETDOWN, ENETUNREACH, ECONNABORTED, ETIMEDOUT, EHOSTUNREACH, EPROTO...
        for code in [1, 4, 13, 95, 100, 101, 103, 110, 113, 71, 64, 92, 112] {
            assert_eq!(
                fault(&io::Error::from_raw_os_error(code)),
                Fault::Connection,
                "{code}"
            );
        }
        for code in [12, 23, 24, 105] {
            assert_eq!(
                fault(&io::Error::from_raw_os_error(code)),
                Fault::Exhausted,
                "{code}"
            );
        }
        // EBADF, EINVAL (no longer listening), ENOTSOCK
        for code in [9, 22, 88] {
            assert_eq!(
                fault(&io::Error::from_raw_os_error(code)),
                Fault::Listener,
                "{code}"
            );
        }
    }
}
