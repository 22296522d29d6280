//! HTTP/1.0 and HTTP/1.1. hyper parses and writes; when the connection ends is decided here, and hyper's
//! `graceful_shutdown` is never called: it closes connections whose request is already in the kernel (hyper #3792).

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;

use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::{Instant, sleep_until, timeout};

use super::ledger::Due;
use super::link::{Link, Protocol, Wire};
use super::track::{BoxError, Surroundings, Tracked};
use super::{Ending, closing, long_lived, overdue};
use crate::drain::Phase;
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
        protocol: Protocol::Http1,
        peer,
    };
    let outcome = {
        let connection = builder(around)
            .serve_connection(TokioIo::new(Wire::new(link)), service)
            .with_upgrades();
        run(link, around, connection).await
        // hyper and its end of the connection are gone here; the socket is not.
    };
    match outcome {
        Outcome::Done if link.lock().ledger.upgraded() => upgraded(link, around).await,
        Outcome::Done => {
            closing::gently(link, around).await;
            Ending::Closed
        }
        Outcome::Due(Due::Idle) => closing::idle(link, around).await,
        Outcome::Due(Due::SlowHead) => closing::too_slow(link, around).await,
        Outcome::Due(Due::Stalled) | Outcome::Broken => Ending::Reset,
        Outcome::Cut => Ending::Cut,
        Outcome::OwesNothing => Ending::Closed,
    }
}

enum Outcome {
    /// hyper has finished: the last response is written, or the client has gone.
    Done,
    /// A response was begun and cannot be completed.
    Broken,
    Due(Due),
    /// The hard deadline has passed, and a request is not answered completely.
    Cut,
    /// The hard deadline has passed, and nobody misses anything.
    OwesNothing,
}

fn builder(around: &Surroundings) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        // A client that has sent everything and closed its side still wants its answer.
        .half_close(true)
        .timer(TokioTimer::new())
        // hyper's timer also runs on idle connections and closes them without looking; the ledger does better, so
        // this one is only the net beneath it.
        .header_read_timeout(around.limits.idle + around.limits.head + around.limits.head);
    builder
}

async fn run<C>(link: &Arc<Link>, around: &Surroundings, connection: C) -> Outcome
where
    C: Future<Output = hyper::Result<()>>,
{
    let mut connection = pin!(connection);
    let mut watched = around.phase.clone();
    let mut alarm = pin!(sleep_until(Instant::now() + around.limits.idle));
    loop {
        let phase = *watched.borrow_and_update();
        if let Phase::Cut = phase {
            // Asked now, while hyper still holds what it has not sent.
            return if link.lock().ledger.owes() {
                Outcome::Cut
            } else {
                Outcome::OwesNothing
            };
        }
        tokio::select! {
            biased;
            done = connection.as_mut() => return match done {
                // What it was that failed matters only if a response was cut by it.
                Ok(()) => Outcome::Done,
                Err(_) if link.lock().ledger.owes() => Outcome::Broken,
                Err(_) => Outcome::Done,
            },
            due = poll_fn(|cx| overdue(link, phase, around, alarm.as_mut(), cx)) => return Outcome::Due(due),
            changed = watched.changed() => if changed.is_err() { return Outcome::Cut },
        }
    }
}

/// The connection belongs to a handler now (a WebSocket, a tunnel). It has its own hook, [`crate::Drain`], and its
/// own deadline.
async fn upgraded(link: &Arc<Link>, around: &Surroundings) -> Ending {
    tokio::select! {
        biased;
        () = link.released.notified() => return Ending::Closed,
        () = long_lived::wait_for_end(around.clone()) => {}
    }
    link.cut();
    // The reader has been woken; a handler that does not let go even now is ended by the end of the process.
    let _ = timeout(closing::LET_GO, link.released.notified()).await;
    Ending::Cut
}
