//! The bodies of the answers.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use segue_app::Drain;
use tokio::time::{Sleep, sleep};

type Waiting = Pin<Box<dyn Future<Output = ()> + Send>>;

/// How much of a streamed body is given at a time, in bytes.
const CHUNK: usize = 16 * 1024;

/// What a streamed body consists of: byte number N of it is letter number N mod 26.
const LETTERS: &[u8; 26] = b"abcdefghijklmnopqrstuvwxyz";

/// The letters again and again; a chunk is a part of it, whatever letter it begins with.
static TEXT: LazyLock<Bytes> = LazyLock::new(|| LETTERS.repeat(CHUNK / LETTERS.len() + 2).into());

/// The body of an answer.
pub(crate) enum Answer {
    /// All of it is there.
    Whole(Option<Bytes>),
    /// So many bytes, a chunk at a time.
    Streamed(Streamed),
    /// What the client sends, sent back.
    Echo(Echo),
    /// Events without end.
    Events(Events),
}

impl Answer {
    pub(crate) fn whole(text: impl Into<Bytes>) -> Answer {
        Answer::Whole(Some(text.into()))
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let data = match self.get_mut() {
            Answer::Whole(bytes) => bytes.take(),
            Answer::Streamed(streamed) => ready!(streamed.poll(cx)),
            Answer::Echo(echo) => return echo.poll(cx),
            Answer::Events(events) => ready!(events.poll(cx)),
        };
        Poll::Ready(data.map(|data| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Answer::Whole(bytes) => bytes.is_none(),
            Answer::Streamed(streamed) => streamed.left == 0,
            Answer::Echo(echo) => echo.first.is_none() && echo.rest.is_end_stream(),
            Answer::Events(events) => events.ended,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Answer::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Answer::Streamed(streamed) => SizeHint::with_exact(streamed.left),
            Answer::Echo(echo) => echo.size,
            Answer::Events(_) => SizeHint::default(),
        }
    }
}

/// What the client sends.
pub(crate) struct Echo {
    first: Option<Result<Frame<Bytes>, hyper::Error>>,
    rest: Incoming,
    size: SizeHint,
}

impl Echo {
    pub(crate) fn new(rest: Incoming) -> Echo {
        let size = rest.size_hint();
        Echo {
            first: None,
            rest,
            size,
        }
    }

    /// Waits for the first of it. hyper says 100 Continue when the body is asked for before the answer has begun, and a client
    /// that waits for it sends nothing before.
    pub(crate) async fn begin(&mut self) {
        self.first = poll_fn(|cx| Pin::new(&mut self.rest).poll_frame(cx)).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(first)),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }
}

/// So many bytes, in chunks with a pause before each but the first.
pub(crate) struct Streamed {
    left: u64,
    given: u64,
    pause: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Streamed {
    pub(crate) fn new(length: u64, pause: Duration) -> Streamed {
        Streamed {
            left: length,
            given: 0,
            pause,
            waiting: None,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(waiting) = &mut self.waiting {
            ready!(waiting.as_mut().poll(cx));
            self.waiting = None;
        }
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(CHUNK);
        let start = (self.given % LETTERS.len() as u64) as usize;
        let chunk = TEXT.slice(start..start + length);
        self.given += length as u64;
        self.left -= length as u64;
        if !self.pause.is_zero() && self.left > 0 {
            self.waiting = Some(Box::pin(sleep(self.pause)));
        }
        Poll::Ready(Some(chunk))
    }
}

/// One server-sent event at once and one after each interval; a farewell when the drain begins.
pub(crate) struct Events {
    generation: String,
    sent: u64,
    every: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
    drain: Waiting,
    ended: bool,
}

impl Events {
    pub(crate) fn new(generation: String, every: Duration, drain: Drain) -> Events {
        let drain = Box::pin(async move { drain.started().await });
        Events {
            generation,
            sent: 0,
            every,
            waiting: None,
            drain,
            ended: false,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if self.drain.as_mut().poll(cx).is_ready() {
            // EventSource connects again by itself, and then meets the next generation.
            self.ended = true;
            return Poll::Ready(Some(Bytes::from_static(
                b"event: goodbye\ndata: draining\nretry: 100\n\n",
            )));
        }
        if let Some(waiting) = &mut self.waiting {
            ready!(waiting.as_mut().poll(cx));
        }
        self.waiting = Some(Box::pin(sleep(self.every)));
        self.sent += 1;
        let event = format!(
            "id: {}\ndata: {{\"generation\": {}, \"n\": {}}}\n\n",
            self.sent, self.generation, self.sent
        );
        Poll::Ready(Some(event.into()))
    }
}
