//! Every timeout of the library, with its default and the reason for it. Most have a setter of [`Server`](crate::Server).
//!
//! ```
//! # fn main() -> segue_app::Result<()> {
//! use segue_app::limits::{DRAIN_TIMEOUT, IDLE_LINGER};
//! use segue_app::{Environment, Server};
//!
//! let server = Server::new(Environment::default())?
//!     .idle_linger(IDLE_LINGER / 2)
//!     .drain_timeout(DRAIN_TIMEOUT * 2);
//! # Ok(())
//! # }
//! ```

use std::time::Duration;

/// How long the head of a request may take from its first byte. 30 s, as in hyper; a slower client is a slow-loris.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a connection may stay without a request, outside of a drain. 75 s, nginx's keep-alive default, longer
/// than the 60 s after which common load balancers drop an idle connection, so that they and not we close first.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// How long the next bytes of a request body may take while the service waits for them. 60 s, as in nginx.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a client may take none of a response that waits to be written. 60 s, as in nginx.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// While draining: how long a connection without any request yet is waited for. Its request is probably under way:
/// 5 s outlives a lost SYN-ACK and its first retransmissions.
pub const FIRST_REQUEST_GRACE: Duration = Duration::from_secs(5);

/// While draining: how long an idle keep-alive connection is kept for one more request, which is then answered with
/// `Connection: close`. Most clients that reuse a connection do so within 10 s.
pub const IDLE_LINGER: Duration = Duration::from_secs(10);

/// While draining: how long an HTTP/2 client may take to answer the PING that accompanies the first GOAWAY. h2 waits
/// for it without any limit.
pub const PONG_TIMEOUT: Duration = Duration::from_secs(5);

/// While draining, after the PONG is overdue: how long an HTTP/2 connection must have had no stream before it is
/// closed.
pub(crate) const HTTP2_QUIET: Duration = Duration::from_secs(1);

/// While draining: how long event streams and upgraded connections are left alone. The ends are spread over the
/// second half of this time, so that their clients do not all come back at once.
pub const LONG_LIVED_TIMEOUT: Duration = Duration::from_secs(10);

/// After the last response: how long to wait for the next bytes of a client that still sends, before the connection
/// is closed for good. 5 s, nginx's lingering_timeout.
pub const CLOSE_QUIET_TIMEOUT: Duration = Duration::from_secs(5);

/// After the last response: how long to read on altogether. 30 s, nginx's lingering_time.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

/// The hard deadline of a drain without `SEGUE_DRAIN_TIMEOUT_MS`: 5 s before the 30 s after which Segue kills.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(25);

/// How much earlier than the supervisor's drain timeout the app's own deadline is, so that it can still report.
pub const DRAIN_MARGIN: Duration = Duration::from_secs(1);

/// Interval of HTTP/2 PINGs that find out dead peers, and how long their answer may take.
pub const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(30);
/// How long the answer to such a PING may take.
pub const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Length of the kernel's accept queue of a listener that the app binds itself; capped by net.core.somaxconn.
pub const BACKLOG: i32 = 4096;

/// The first pause after accept() ran out of fds or memory; it doubles up to [`ACCEPT_PAUSE_MAX`].
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(5);
/// The longest such pause: connections wait in the backlog meanwhile, nobody is refused.
pub const ACCEPT_PAUSE_MAX: Duration = Duration::from_millis(50);

/// How long connections are asked to close after their next response once fds have run out.
pub(crate) const PRESSURE_TIME: Duration = Duration::from_secs(1);

/// Like [`CLOSE_QUIET_TIMEOUT`] while fds have run out: others wait for the fd.
pub(crate) const PRESSED_CLOSE_QUIET: Duration = Duration::from_millis(100);

/// Most connections that are still taken from one listener when the drain begins.
pub(crate) const LAST_ACCEPTS: usize = 4096;

/// The times that govern one server. [`Default`] gives the constants of this module.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) head: Duration,
    pub(crate) idle: Duration,
    pub(crate) body: Duration,
    pub(crate) write: Duration,
    pub(crate) first_request: Duration,
    pub(crate) linger: Duration,
    pub(crate) pong: Duration,
    pub(crate) long_lived: Duration,
    pub(crate) close_quiet: Duration,
    pub(crate) close: Duration,
    pub(crate) drain: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            head: HEAD_TIMEOUT,
            idle: IDLE_TIMEOUT,
            body: BODY_TIMEOUT,
            write: WRITE_TIMEOUT,
            first_request: FIRST_REQUEST_GRACE,
            linger: IDLE_LINGER,
            pong: PONG_TIMEOUT,
            long_lived: LONG_LIVED_TIMEOUT,
            close_quiet: CLOSE_QUIET_TIMEOUT,
            close: CLOSE_TIMEOUT,
            drain: DRAIN_TIMEOUT,
        }
    }
}
