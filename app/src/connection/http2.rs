//! HTTP/2 with prior knowledge. A drain announces itself at once with the two-step GOAWAY of RFC 9113 section 6.8,
//! which h2 implements: streams that are under way when it arrives are still served. h2 waits for the client's PONG
//! without any limit; here it has one.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::body::{Body, Incoming};
use hyper::server::conn::http2;
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::time::{Instant, Sleep, sleep_until};

use super::ledger::Due;
use super::link::{Link, Protocol, Wire};
use super::track::{BoxError, Surroundings, Tracked};
use super::{Ending, closing};
use crate::drain::Phase;
use crate::limits::{HTTP2_PING_INTERVAL, HTTP2_PING_TIMEOUT, HTTP2_QUIET};
use crate::peer::Peer;

pub(super) async fn drive<S, B>(link: &Arc<Link>, peer: Peer, service: S, around: &Surroundings) -> Ending
where
    S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let service = Tracked {
        inner: service,
        link: Arc::clone(link),
        around: around.clone(),
        protocol: Protocol::Http2,
        peer,
    };
    let end = {
        let mut connection = pin!(
            http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .keep_alive_interval(HTTP2_PING_INTERVAL)
                .keep_alive_timeout(HTTP2_PING_TIMEOUT)
                .serve_connection(TokioIo::new(Wire::new(link)), service)
        );
        let mut watched = around.phase.clone();
        let mut alarm = pin!(sleep_until(Instant::now() + around.limits.idle));
        let mut told = None;
        loop {
            let phase = *watched.borrow_and_update();
            match phase {
                // Asked now, while hyper still holds what it has not sent.
                Phase::Cut if link.lock().ledger.in_flight() > 0 => break End::Cut,
                Phase::Cut => break End::OwesNothing,
                Phase::Draining { .. } if told.is_none() => {
                    connection.as_mut().graceful_shutdown();
                    told = Some(Instant::now());
                }
                Phase::Serving | Phase::Pressed { .. } | Phase::Draining { .. } => {}
            }
            tokio::select! {
                biased;
                _ = connection.as_mut() => break End::Done,
                due = poll_fn(|cx| overdue(link, told, around, alarm.as_mut(), cx)) => match (due, told) {
                    (Due::Stalled, _) => break End::Stalled,
                    (Due::Idle | Due::SlowHead, Some(_)) => break End::Done,
                    (Due::Idle | Due::SlowHead, None) => {
                        connection.as_mut().graceful_shutdown();
                        told = Some(Instant::now());
                    }
                },
                changed = watched.changed() => if changed.is_err() { break End::Cut },
            }
        }
    };
    match end {
        End::Done => {
            closing::gently(link, around).await;
            Ending::Closed
        }
        End::Stalled => Ending::Reset,
        End::Cut => Ending::Cut,
        End::OwesNothing => Ending::Closed,
    }
}

enum End {
    Done,
    Stalled,
    Cut,
    OwesNothing,
}

/// Ready when the connection is idle for too long (then it is told), when it has been told and the PONG is overdue,
/// or when its client takes nothing any more.
fn overdue(
    link: &Link,
    told: Option<Instant>,
    around: &Surroundings,
    mut alarm: std::pin::Pin<&mut Sleep>,
    cx: &mut Context<'_>,
) -> Poll<Due> {
    loop {
        let due = {
            let parts = link.lock();
            let quiet = (parts.ledger.in_flight() == 0).then(|| {
                let last = parts.ledger.last_finished();
                match told {
                    Some(told) => (told + around.limits.pong).max(last + HTTP2_QUIET),
                    None => last + around.limits.idle,
                }
            });
            let stalled = parts.ledger.stalled(&around.limits);
            quiet
                .map(|at| (at, Due::Idle))
                .into_iter()
                .chain(stalled)
                .min_by_key(|(at, _)| *at)
        };
        let Some((at, due)) = due else {
            return Poll::Pending;
        };
        if at <= Instant::now() {
            return Poll::Ready(due);
        }
        if alarm.is_elapsed() || at < alarm.deadline() {
            alarm.as_mut().reset(at);
        }
        if alarm.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
    }
}
