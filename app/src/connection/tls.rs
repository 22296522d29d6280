//! TLS, by rustls: the handshake of a connection, and what the drain must know of an encrypted one.
//!
//! A drain closes what is idle, so it must see a request that is on its way. Without TLS the kernel's queue and the
//! bytes that were read tell. Here two places more can hold one: what rustls has deciphered and nobody has read, and a
//! record of which only part has arrived.

use std::io::{self, Write as _};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep_until};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::link::Link;
use super::socket::Socket;
use super::stream::Stream;
use super::track::Surroundings;
use super::{Ending, closing};
use crate::drain::Phase;
use crate::limits::Limits;

/// Length of a record's header: type, version, length (RFC 8446 section 5.1).
const HEADER: usize = 5;

/// An encrypted connection.
#[derive(Debug)]
pub(crate) struct Encrypted(TlsStream<Metered>);

/// The connection below TLS, with an eye on where its records end.
#[derive(Debug)]
struct Metered {
    stream: Stream,
    records: Records,
}

/// Where one record ends and the next begins.
#[derive(Debug, Default)]
struct Records {
    header: [u8; HEADER],
    /// How much of the header has arrived.
    have: usize,
    /// How much of the record's content has not.
    left: usize,
}

/// Shakes hands. A client that does not get on with it is given up like one that asks nothing.
///
/// # Errors
/// How the connection ended: no agreement, or no time.
pub(crate) async fn accept(
    acceptor: &TlsAcceptor,
    stream: Stream,
    around: &Surroundings,
) -> Result<Socket, Ending> {
    let metered = Metered {
        stream,
        records: Records::default(),
    };
    let accepted = Instant::now();
    let mut watched = around.phase.clone();
    let mut handshake = pin!(acceptor.accept(metered).into_fallible());
    loop {
        let phase = *watched.borrow_and_update();
        if let Phase::Cut = phase {
            return Err(Ending::Closed);
        }
        tokio::select! {
            biased;
            done = handshake.as_mut() => return match done {
                Ok(stream) => Ok(Socket::Tls(Box::new(Encrypted(stream)))),
                Err((_, metered)) => Err(part(metered, around).await),
            },
            () = sleep_until(patience(phase, accepted, &around.limits)) => return Err(Ending::Closed),
            changed = watched.changed() => if changed.is_err() { return Err(Ending::Closed) },
        }
    }
}

/// Ends a connection that speaks no TLS, or none that we do. rustls has sent its alert; it must not be lost to a RST.
async fn part(metered: Metered, around: &Surroundings) -> Ending {
    closing::gently(&Link::new(Socket::Plain(metered.stream)), around).await;
    Ending::Closed
}

/// Until when a handshake is waited for.
fn patience(phase: Phase, accepted: Instant, limits: &Limits) -> Instant {
    let usual = accepted + limits.head;
    match phase.closing_since() {
        None => usual,
        Some((since, deadline)) => {
            let until = usual.min(accepted.max(since) + limits.first_request);
            deadline.map_or(until, |deadline| until.min(deadline))
        }
    }
}

impl Encrypted {
    pub(super) fn stream(&self) -> &Stream {
        &self.0.get_ref().0.stream
    }

    pub(super) fn is_inside_record(&self) -> bool {
        self.0.get_ref().0.records.is_inside()
    }

    /// Whether rustls has bytes that nobody has read. It wants none of the socket as long as it has some.
    pub(super) fn has_buffered(&self) -> bool {
        let (metered, session) = self.0.get_ref();
        metered.records.is_inside() || !session.wants_read()
    }

    pub(super) fn write_now(&mut self, bytes: &[u8]) {
        let (metered, session) = self.0.get_mut();
        // As without TLS: what does not fit is not said.
        let _ = session.writer().write_all(bytes);
        let _ = session.write_tls(&mut Now(&metered.stream));
    }
}

/// Writes what there is room for.
struct Now<'a>(&'a Stream);

impl io::Write for Now<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Records {
    fn is_inside(&self) -> bool {
        self.have > 0 || self.left > 0
    }

    /// Takes note of bytes that were read from the socket.
    fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let here = self.left.min(bytes.len());
                self.left -= here;
                bytes = &bytes[here..];
                continue;
            }
            let here = (HEADER - self.have).min(bytes.len());
            self.header[self.have..self.have + here].copy_from_slice(&bytes[..here]);
            self.have += here;
            bytes = &bytes[here..];
            if self.have == HEADER {
                self.have = 0;
                self.left = usize::from(u16::from_be_bytes([self.header[3], self.header[4]]));
            }
        }
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.records.feed(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_end_where_they_end_however_the_bytes_are_cut() {
        // Two records of three bytes and none, and one of 300.
        let mut bytes = vec![23, 3, 3, 0, 3, 1, 2, 3, 23, 3, 3, 0, 0, 23, 3, 3, 1, 44];
        bytes.extend([7; 300]);
        let ends = [8, 13, bytes.len()];
        for step in 1..bytes.len() {
            let mut records = Records::default();
            let mut fed = 0;
            for piece in bytes.chunks(step) {
                records.feed(piece);
                fed += piece.len();
                assert_eq!(records.is_inside(), !ends.contains(&fed), "{fed} bytes by {step}");
            }
        }
    }
}
