//! How connections end. Never by a plain close(): with unread bytes in the kernel that sends RST, which destroys a
//! response that the client has not read yet (RFC 9112 section 9.6).

use std::future::poll_fn;
use std::io;
use std::sync::Arc;

use tokio::time::{Instant, sleep_until};

use super::Ending;
use super::link::Link;
use super::track::Surroundings;
use crate::drain::Phase;
use crate::limits::PRESSED_CLOSE_QUIET;

/// How much is read at a time from a client that is not listened to any more, in bytes.
const SCRATCH: usize = 4096;

/// How long an upgraded connection's handler may take to let go of it once it has been reset.
pub(super) const LET_GO: std::time::Duration = std::time::Duration::from_millis(200);

/// The last word to a client that takes too long to ask.
const TOO_SLOW: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// Resets the connection if its task ends in any way that nobody has foreseen, such as a panic within a response: a
/// clean end could make a cut body look whole.
pub(super) struct Guard {
    link: Arc<Link>,
    reset: bool,
}

impl Guard {
    pub(super) fn new(link: &Arc<Link>) -> Guard {
        Guard {
            link: Arc::clone(link),
            reset: true,
        }
    }

    pub(super) fn note(&mut self, ending: Ending) {
        self.reset = match ending {
            Ending::Closed | Ending::Idle { .. } => false,
            Ending::Reset | Ending::Cut => true,
        };
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.reset {
            self.link.lock().socket.reset_on_close();
        }
    }
}

/// Ends an idle connection: FIN, and reading on. What still arrives is a request that crossed the FIN.
pub(super) async fn idle(link: &Link, around: &Surroundings) -> Ending {
    Ending::Idle {
        late: gently(link, around).await,
    }
}

/// Ends a connection whose request head did not arrive in time.
pub(super) async fn too_slow(link: &Link, around: &Surroundings) -> Ending {
    link.lock().socket.write_now(TOO_SLOW);
    gently(link, around).await;
    Ending::Closed
}

/// Half-closes, reads out what the client still sends, and gives its number of bytes. Ends when the client has
/// closed too, falls silent, sends for too long, or at the hard deadline.
pub(super) async fn gently(link: &Link, around: &Surroundings) -> u64 {
    let mut watched = around.phase.clone();
    let last = Instant::now() + around.limits.close;
    // At once, but for a client that takes nothing any more, where TLS finds no room for its last word.
    let finished = poll_fn(|cx| link.lock().poll_finish_writing(cx));
    tokio::select! {
        biased;
        () = finished => {}
        () = sleep_until(Instant::now() + around.limits.close_quiet) => {}
        _ = watched.wait_for(|phase| matches!(phase, Phase::Cut)) => {}
    }
    if link.lock().ledger.end_of_input() {
        return 0;
    }
    let mut scratch = Vec::new();
    let mut late = 0;
    let mut heard = Instant::now();
    loop {
        let quiet = match *watched.borrow_and_update() {
            Phase::Serving | Phase::Draining { .. } => around.limits.close_quiet,
            Phase::Pressed { .. } => around.limits.close_quiet.min(PRESSED_CLOSE_QUIET),
            Phase::Cut => return late,
        };
        let until = last.min(heard + quiet);
        tokio::select! {
            biased;
            read = discard(link, &mut scratch) => match read {
                Ok(0) | Err(_) => return late,
                Ok(bytes) => {
                    late += bytes as u64;
                    heard = Instant::now();
                }
            },
            () = sleep_until(until) => return late,
            changed = watched.changed() => if changed.is_err() { return late },
        }
    }
}

async fn discard(link: &Link, scratch: &mut Vec<u8>) -> io::Result<usize> {
    scratch.resize(SCRATCH, 0);
    poll_fn(|cx| link.poll_discard(cx, scratch)).await
}
