//! A connection's socket: bytes as they come, or TLS around them.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::stream::{Stream, Waiting};
#[cfg(feature = "tls")]
use super::tls::Encrypted;

#[derive(Debug)]
pub(crate) enum Socket {
    Plain(Stream),
    #[cfg(feature = "tls")]
    Tls(Box<Encrypted>),
}

/// The same call on either.
macro_rules! either {
    ($self:expr, $socket:ident => $call:expr) => {
        match $self {
            Socket::Plain($socket) => $call,
            #[cfg(feature = "tls")]
            Socket::Tls($socket) => $call,
        }
    };
}

impl Socket {
    fn stream(&self) -> &Stream {
        match self {
            Socket::Plain(stream) => stream,
            #[cfg(feature = "tls")]
            Socket::Tls(encrypted) => encrypted.stream(),
        }
    }

    /// Whether bytes have arrived that nobody has read. Under TLS those count that are deciphered, or lie in a record
    /// that has not arrived completely.
    pub(super) fn has_more(&self) -> bool {
        let buffered = match self {
            Socket::Plain(_) => false,
            #[cfg(feature = "tls")]
            Socket::Tls(encrypted) => encrypted.has_buffered(),
        };
        buffered || self.stream().waiting() == Waiting::Bytes
    }

    /// Whether part of a TLS record has been read, and not all; `None` without TLS.
    pub(super) fn is_inside_record(&self) -> Option<bool> {
        match self {
            Socket::Plain(_) => None,
            #[cfg(feature = "tls")]
            Socket::Tls(encrypted) => Some(encrypted.is_inside_record()),
        }
    }

    /// From now on closing the socket sends RST in place of FIN (TCP; a Unix socket knows only an end).
    pub(super) fn reset_on_close(&self) {
        self.stream().reset_on_close();
    }

    /// Wakes the task that reads this connection. On TCP nothing of it is seen on the wire.
    pub(super) fn finish_reading(&self) {
        self.stream().finish_reading();
    }

    /// Writes a few bytes if there is room for them at once.
    pub(super) fn write_now(&mut self, bytes: &[u8]) {
        either!(self, socket => socket.write_now(bytes));
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(&mut *self, socket => Pin::new(socket).poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        either!(&mut *self, socket => Pin::new(socket).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(&mut *self, socket => Pin::new(socket).poll_write_vectored(cx, bytes))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(&mut *self, socket => Pin::new(socket).poll_flush(cx))
    }

    /// Sends FIN, under TLS behind a close_notify: the client learns that nothing more will come, while its bytes can
    /// still be read.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(&mut *self, socket => Pin::new(socket).poll_shutdown(cx))
    }
}
