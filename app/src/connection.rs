//! One accepted connection, from its first byte to its last: which protocol it speaks, how it is driven, and how it
//! ends. The rules of the drain are in [`ledger`]; what is read off the wire for them is in [`framing`].

mod closing;
mod framing;
mod http1;
mod http2;
mod ledger;
mod link;
mod long_lived;
mod socket;
mod stream;
#[cfg(feature = "tls")]
mod tls;
mod track;

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::Request;
use hyper::Response;
use hyper::body::{Body, Incoming};
use hyper::service::Service;
use tokio::time::{Instant, Sleep, sleep_until};

use self::closing::Guard;
use self::ledger::Due;
use self::link::{Link, Protocol};
pub use self::long_lived::LongLived;
use self::socket::Socket;
pub(crate) use self::stream::Stream;
pub(crate) use self::track::{BoxError, Surroundings};
use crate::drain::Phase;
use crate::peer::Peer;

/// How a connection ended, for the report of the drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// By agreement, or by the client.
    Closed,
    /// Idle for too long. Bytes that arrived on it after the FIN had been sent met a closed door.
    Idle { late: u64 },
    /// Reset, because the client stood still or the service failed within a response.
    Reset,
    /// Reset by the hard deadline.
    Cut,
}

/// What is spoken below HTTP on a listener.
#[derive(Clone, Default)]
pub(crate) enum Security {
    #[default]
    Plain,
    #[cfg(feature = "tls")]
    Tls(tokio_rustls::TlsAcceptor),
}

impl std::fmt::Debug for Security {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Security::Plain => "Plain",
            #[cfg(feature = "tls")]
            Security::Tls(_) => "Tls",
        })
    }
}

impl Security {
    pub(crate) fn is_encrypted(&self) -> bool {
        match self {
            Security::Plain => false,
            #[cfg(feature = "tls")]
            Security::Tls(_) => true,
        }
    }

    #[cfg_attr(
        not(feature = "tls"),
        allow(clippy::unused_async, reason = "only TLS has to wait")
    )]
    async fn establish(&self, stream: Stream, around: &Surroundings) -> Result<Socket, Ending> {
        #[cfg(not(feature = "tls"))]
        let _ = around;
        match self {
            Security::Plain => Ok(Socket::Plain(stream)),
            #[cfg(feature = "tls")]
            Security::Tls(acceptor) => tls::accept(acceptor, stream, around).await,
        }
    }
}

/// Serves one connection to its end, the handshake of TLS included.
pub(crate) async fn serve<S, B>(
    (stream, peer): (Stream, Peer),
    security: Security,
    service: S,
    around: Surroundings,
) -> Ending
where
    S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let socket = match security.establish(stream, &around).await {
        Ok(socket) => socket,
        Err(ending) => return ending,
    };
    let link = Link::new(socket);
    let mut guard = Guard::new(&link);
    let ending = match protocol(&link, &around).await {
        First::Speaks(Protocol::Http1) => http1::drive(&link, peer, service, &around).await,
        First::Speaks(Protocol::Http2) => http2::drive(&link, peer, service, &around).await,
        First::Silent => closing::idle(&link, &around).await,
        First::Slow => closing::too_slow(&link, &around).await,
        First::Gone => Ending::Closed,
        First::Cut => Ending::Cut,
    };
    guard.note(ending);
    ending
}

/// What came of waiting for the first bytes.
enum First {
    Speaks(Protocol),
    Silent,
    Slow,
    Gone,
    /// The hard deadline came within the first bytes.
    Cut,
}

async fn protocol(link: &Arc<Link>, around: &Surroundings) -> First {
    let mut watched = around.phase.clone();
    let mut alarm = pin!(sleep_until(Instant::now() + around.limits.head));
    loop {
        let phase = *watched.borrow_and_update();
        if let Phase::Cut = phase {
            return if link.lock().busy() {
                First::Cut
            } else {
                First::Silent
            };
        }
        tokio::select! {
            biased;
            found = poll_fn(|cx| link.poll_protocol(cx)) => return match found {
                Ok(Some(protocol)) => First::Speaks(protocol),
                Ok(None) | Err(_) => First::Gone,
            },
            due = poll_fn(|cx| overdue(link, phase, around, alarm.as_mut(), cx)) => return match due {
                Due::Idle => First::Silent,
                Due::SlowHead | Due::Stalled => First::Slow,
            },
            changed = watched.changed() => if changed.is_err() { return First::Gone },
        }
    }
}

/// Ready when this HTTP/1 connection has nothing to wait for any more. The alarm is moved only when it would ring
/// too late; when it rings too early the ledger is asked again, so that a busy connection costs no timer work.
fn overdue(
    link: &Link,
    phase: Phase,
    around: &Surroundings,
    mut alarm: Pin<&mut Sleep>,
    cx: &mut Context<'_>,
) -> Poll<Due> {
    loop {
        let parts = link.lock();
        let Some((at, due)) = parts.ledger.due(phase, &around.limits) else {
            return Poll::Pending;
        };
        if at <= Instant::now() {
            if due == Due::Idle && parts.kernel_has_more() {
                // A request has arrived that nobody has read yet. Its readiness event is on the way.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            return Poll::Ready(due);
        }
        drop(parts);
        if alarm.is_elapsed() || at < alarm.deadline() {
            alarm.as_mut().reset(at);
        }
        if std::future::Future::poll(alarm.as_mut(), cx).is_pending() {
            return Poll::Pending;
        }
    }
}
