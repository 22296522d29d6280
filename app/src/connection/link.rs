//! One connection as three parties see it: hyper reads and writes it, the service's wrapper counts its requests, and
//! the driver decides when it ends. Socket and ledger lie behind one lock, which nobody holds across a wait.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::ledger::Ledger;
use super::socket::Socket;

/// What every HTTP/2 client with prior knowledge sends first (RFC 9113 section 3.4).
const HTTP2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The protocol that the client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

#[derive(Debug)]
pub(super) struct Link {
    parts: Mutex<Parts>,
    /// hyper, or the handler that it gave an upgraded connection to, has dropped its end.
    pub(super) released: Notify,
}

#[derive(Debug)]
pub(super) struct Parts {
    pub(super) socket: Socket,
    pub(super) ledger: Ledger,
    /// Bytes that were read to find out the protocol and are read again by hyper.
    sniffed: Sniffed,
    /// The deadline has passed: a task that still uses the connection sees it reset.
    cut: bool,
    /// FIN has been sent.
    finished: bool,
}

#[derive(Debug)]
struct Sniffed {
    bytes: [u8; HTTP2_PREFACE.len()],
    length: usize,
    given: usize,
}

impl Link {
    pub(super) fn new(socket: Socket) -> Arc<Link> {
        Arc::new(Link {
            parts: Mutex::new(Parts {
                socket,
                ledger: Ledger::new(Instant::now()),
                sniffed: Sniffed {
                    bytes: [0; HTTP2_PREFACE.len()],
                    length: 0,
                    given: 0,
                },
                cut: false,
                finished: false,
            }),
            released: Notify::new(),
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Parts> {
        // A panic while the lock is held cannot leave these books half written in a way that matters.
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads until it is clear which protocol is spoken. `None`: the client went away without a word.
    pub(super) fn poll_protocol(&self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Protocol>>> {
        let mut parts = self.lock();
        let parts = &mut *parts;
        loop {
            let Sniffed { bytes, length, .. } = &mut parts.sniffed;
            let mut buffer = ReadBuf::new(&mut bytes[*length..]);
            let polled = Pin::new(&mut parts.socket).poll_read(cx, &mut buffer);
            let read = buffer.filled().len();
            if polled.is_pending() && *length == 0 {
                parts.note_record(Instant::now());
            }
            std::task::ready!(polled)?;
            let Sniffed { bytes, length, .. } = &mut parts.sniffed;
            *length += read;
            let sniffed = &bytes[..*length];
            let now = Instant::now();
            if read > 0 && *length < HTTP2_PREFACE.len() && HTTP2_PREFACE.starts_with(sniffed) {
                parts.ledger.sniffing(now);
                continue;
            }
            if *length == 0 {
                return Poll::Ready(Ok(None));
            }
            if sniffed == HTTP2_PREFACE {
                parts.ledger.speaks_http2();
                return Poll::Ready(Ok(Some(Protocol::Http2)));
            }
            parts.ledger.read(sniffed, now);
            return Poll::Ready(Ok(Some(Protocol::Http1)));
        }
    }

    /// Reads into nothing. Gives the number of bytes; 0 at the end.
    pub(super) fn poll_discard(&self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(scratch);
        std::task::ready!(Pin::new(&mut self.lock().socket).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// Lets the task that still has the connection see it as reset.
    pub(super) fn cut(&self) {
        let mut parts = self.lock();
        parts.cut = true;
        parts.socket.reset_on_close();
        parts.socket.finish_reading();
    }
}

/// hyper's end of the connection.
#[derive(Debug)]
pub(super) struct Wire {
    link: Arc<Link>,
}

impl Wire {
    pub(super) fn new(link: &Arc<Link>) -> Wire {
        Wire {
            link: Arc::clone(link),
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.link.released.notify_one();
    }
}

impl Parts {
    /// Whether bytes have arrived that nobody has read.
    pub(super) fn kernel_has_more(&self) -> bool {
        self.socket.has_more()
    }

    /// Whether an HTTP/1 request is being read, worked on or answered, or waits in the kernel.
    pub(super) fn busy(&self) -> bool {
        !self.ledger.idle() || self.kernel_has_more()
    }

    /// Sends FIN, once; under TLS it takes room in the kernel for a close_notify before it.
    pub(super) fn poll_finish_writing(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.finished {
            // An error is that of a dead socket, which has ended anyway.
            let _ = std::task::ready!(Pin::new(&mut self.socket).poll_shutdown(cx));
            self.finished = true;
        }
        Poll::Ready(())
    }

    /// Half a TLS record is the beginning of a request like half a head.
    fn note_record(&mut self, now: Instant) {
        match self.socket.is_inside_record() {
            Some(true) => self.ledger.sniffing(now),
            Some(false) => self.ledger.between_records(),
            None => {}
        }
    }

    fn write(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut Socket>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        let written = write(Pin::new(&mut self.socket), cx);
        match &written {
            Poll::Pending => self.ledger.write_waits(Instant::now()),
            Poll::Ready(_) => self.ledger.wrote(Instant::now()),
        }
        written
    }

    fn check(&self) -> io::Result<()> {
        match self.cut {
            true => Err(io::ErrorKind::ConnectionReset.into()),
            false => Ok(()),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut parts = self.link.lock();
        parts.check()?;
        let Parts {
            socket,
            ledger,
            sniffed,
            ..
        } = &mut *parts;
        if sniffed.given < sniffed.length {
            // The ledger has seen these bytes already.
            let rest = &sniffed.bytes[sniffed.given..sniffed.length];
            let rest = &rest[..rest.len().min(buf.remaining())];
            buf.put_slice(rest);
            sniffed.given += rest.len();
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let read = Pin::new(socket).poll_read(cx, buf);
        match &read {
            Poll::Pending => {
                let now = Instant::now();
                ledger.read_waits(now);
                parts.note_record(now);
            }
            Poll::Ready(_) => ledger.read(&buf.filled()[before..], Instant::now()),
        }
        read
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.link
            .lock()
            .write(cx, |socket, cx| socket.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.link
            .lock()
            .write(cx, |socket, cx| socket.poll_write_vectored(cx, bytes))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// hyper comes here when its own buffer is empty. The kernel's socket has none; TLS has one.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut parts = self.link.lock();
        let flushed = Pin::new(&mut parts.socket).poll_flush(cx);
        match &flushed {
            Poll::Pending => parts.ledger.write_waits(Instant::now()),
            Poll::Ready(_) => parts.ledger.flushed(Instant::now()),
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.link.lock().poll_finish_writing(cx).map(Ok)
    }
}
