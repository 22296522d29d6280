//! The service as hyper sees it: the user's own, with every request and response entered into the ledger.

use std::error::Error as StdError;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::service::Service;
use hyper::{Method, Request, Response, StatusCode, Version};
use pin_project_lite::pin_project;
use tokio::sync::watch;
use tokio::time::Instant;

use super::link::{Link, Protocol};
use super::long_lived::{Farewell, LongLived};
use crate::drain::Phase;
use crate::limits::Limits;
use crate::peer::Peer;

/// Any error that a service or a body may give.
pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;

/// What every part of one connection knows of the server around it.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    pub(crate) phase: watch::Receiver<Phase>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) requests: Arc<AtomicU64>,
}

#[derive(Debug)]
pub(super) struct Tracked<S> {
    pub(super) inner: S,
    pub(super) link: Arc<Link>,
    pub(super) around: Surroundings,
    pub(super) protocol: Protocol,
    pub(super) peer: Peer,
}

/// One request under way. Dropping it, however that comes about, ends the request in the ledger.
#[derive(Debug)]
struct Ticket {
    link: Arc<Link>,
}

impl Ticket {
    fn new(link: &Arc<Link>) -> Ticket {
        link.lock().ledger.request_started();
        Ticket {
            link: Arc::clone(link),
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.link.lock().ledger.request_finished(Instant::now());
    }
}

impl<S, B> Service<Request<Incoming>> for Tracked<S>
where
    S: Service<Request<Incoming>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    B: Body,
    B::Error: Into<BoxError>,
{
    type Response = Response<TrackedBody<B>>;
    type Error = S::Error;
    type Future = Answer<S::Future>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        self.around.requests.fetch_add(1, Ordering::Relaxed);
        self.peer.note(&mut request);
        let ticket = Ticket::new(&self.link);
        let connect = request.method() == Method::CONNECT;
        let version = request.version();
        Answer {
            inner: self.inner.call(request),
            ticket: Some(ticket),
            around: self.around.clone(),
            protocol: self.protocol,
            connect,
            version,
        }
    }
}

pin_project! {
    /// The service's answer to one request.
    pub(super) struct Answer<F> {
        #[pin]
        inner: F,
        ticket: Option<Ticket>,
        around: Surroundings,
        protocol: Protocol,
        connect: bool,
        version: Version,
    }
}

impl<F, B, E> Future for Answer<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = Result<Response<TrackedBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.inner.poll(cx));
        let Some(ticket) = this.ticket.take() else {
            // A future that is polled after its end; hyper never does it.
            return Poll::Pending;
        };
        let mut response = match answer {
            Ok(response) => response,
            Err(error) => {
                // hyper closes without a response; a reset cannot be taken for an empty one.
                if *this.protocol == Protocol::Http1 {
                    ticket.link.lock().ledger.set_broken();
                }
                return Poll::Ready(Err(error));
            }
        };
        if *this.protocol == Protocol::Http1 {
            let upgrade = response.status() == StatusCode::SWITCHING_PROTOCOLS
                || (*this.connect && response.status().is_success());
            if enter_response(&ticket.link, this.around, upgrade) {
                response
                    .headers_mut()
                    .insert(CONNECTION, HeaderValue::from_static("close"));
                if *this.version == Version::HTTP_10 {
                    // Else hyper adds `keep-alive` beside it for a client that asked for that.
                    *response.version_mut() = Version::HTTP_10;
                }
            }
        }
        let farewell = is_long_lived(&response).then(|| Farewell::new(this.around));
        Poll::Ready(Ok(response.map(|inner| TrackedBody {
            inner,
            ticket,
            farewell,
        })))
    }
}

/// Enters the response, and says whether it has to be the last of its connection.
fn enter_response(link: &Link, around: &Surroundings, upgrade: bool) -> bool {
    let phase = *around.phase.borrow();
    let mut parts = link.lock();
    let last = phase.closing_since().is_some() && {
        let more = parts.kernel_has_more();
        parts
            .ledger
            .is_last_response(phase, &around.limits, Instant::now(), more)
    };
    parts.ledger.response_begun();
    if upgrade {
        parts.ledger.set_upgraded();
    }
    last && !upgrade
}

fn is_long_lived<B>(response: &Response<B>) -> bool {
    let events = |kind: &HeaderValue| kind.as_bytes().starts_with(b"text/event-stream");
    response.headers().get(CONTENT_TYPE).is_some_and(events)
        || response.extensions().get::<LongLived>().is_some()
}

pin_project! {
    /// The body of a response, in the ledger until it has been sent or dropped.
    pub struct TrackedBody<B> {
        #[pin]
        inner: B,
        ticket: Ticket,
        farewell: Option<Farewell>,
    }
}

impl<B> Body for TrackedBody<B>
where
    B: Body,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.project();
        if this
            .farewell
            .as_mut()
            .is_some_and(|farewell| farewell.poll(cx).is_ready())
        {
            return Poll::Ready(None);
        }
        let frame = ready!(this.inner.poll_frame(cx));
        if let Some(Err(_)) = &frame {
            this.ticket.link.lock().ledger.set_broken();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
