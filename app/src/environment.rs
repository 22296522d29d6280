//! What the supervisor (Segue, systemd, systemfd, systemd-socket-activate) says to the app: the sockets, where to
//! say `READY=1`, the watchdog, and Segue's own words. Read once, strictly, and then taken out of the environment.
//!
//! Sources: sd_listen_fds(3), sd_notify(3), sd_watchdog_enabled(3).

mod claim;
mod parse;

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use claim::Inherited;
pub use parse::{Handed, MAX_SOCKETS, parse};

use crate::error::{Error, Result};
use crate::limits::{DRAIN_MARGIN, DRAIN_TIMEOUT};

/// Every variable that is taken out of the environment once it has been read, so that no process that the app
/// starts can mistake itself for the app. `SEGUE_*` stays: it names, it does not give.
const SCRUBBED: [&str; 6] = [
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
];

/// The sockets are given once; a second reader would own them a second time.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// What the supervisor has handed over. Empty when the app runs alone.
///
/// # Example
///
/// ```no_run
/// # fn main() -> segue_app::Result<()> {
/// let environment = segue_app::Environment::take()?;
/// for socket in environment.sockets() {
///     println!("{}", socket.name());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
pub struct Environment {
    sockets: Vec<Inherited>,
    notify: Option<PathBuf>,
    watchdog: Option<Duration>,
    name: Option<String>,
    generation: Option<u64>,
    worker: Option<u64>,
    drain_timeout: Option<Duration>,
}

impl Environment {
    /// Reads and takes what was handed over. Call it first in `main`, before any thread exists: only then can the
    /// variables be removed safely (with more than one thread they are left, and the sockets are close-on-exec all
    /// the same).
    ///
    /// # Errors
    /// When the variables contradict themselves, name another process (`LISTEN_PID`: a wrapper forked), or name fds
    /// that are no sockets. An app that goes on and binds by itself in such a case would split or refuse
    /// connections, so it must stop. Also when called twice in one process.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # fn main() -> segue_app::Result<()> {
    /// let environment = segue_app::Environment::take()?;
    /// let server = segue_app::Server::new(environment)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn take() -> Result<Environment> {
        if TAKEN.swap(true, Ordering::SeqCst) {
            return Err(Error::new(
                "read the sockets of LISTEN_FDS: they were taken before, by this same process",
            ));
        }
        let handed = parse(|name| env::var_os(name), std::process::id())?;
        // Elsewhere there is no socket activation to obey: the app binds.
        let names = if cfg!(target_os = "linux") {
            handed.names
        } else {
            Vec::new()
        };
        let sockets = claim::sockets(names)?;
        claim::scrub(&SCRUBBED);
        Ok(Environment {
            sockets,
            notify: handed.notify,
            watchdog: handed.watchdog,
            name: handed.name,
            generation: handed.generation,
            worker: handed.worker,
            drain_timeout: handed.drain_timeout,
        })
    }

    /// The sockets that were handed over and not taken yet, in their order.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # fn main() -> segue_app::Result<()> {
    /// let environment = segue_app::Environment::take()?;
    /// if environment.sockets().is_empty() {
    ///     println!("nobody has handed anything over: this program runs alone");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn sockets(&self) -> &[Inherited] {
        &self.sockets
    }

    /// Takes the first socket with this name (`LISTEN_FDNAMES`) out, for an app that serves it by itself: a
    /// datagram socket, or a listener that speaks another protocol.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # fn main() -> segue_app::Result<()> {
    /// let mut environment = segue_app::Environment::take()?;
    /// let statsd = environment.take_named("statsd").map(|socket| socket.into_fd());
    /// let statsd = statsd.map(std::net::UdpSocket::from);
    /// // The rest is served.
    /// let server = segue_app::Server::new(environment)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn take_named(&mut self, name: &str) -> Option<Inherited> {
        let place = self.sockets.iter().position(|socket| socket.name() == name)?;
        Some(self.sockets.remove(place))
    }

    pub(crate) fn take_sockets(&mut self) -> Vec<Inherited> {
        std::mem::take(&mut self.sockets)
    }

    /// Where notifications go: a path, or `@` and an abstract name.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # fn main() -> segue_app::Result<()> {
    /// let environment = segue_app::Environment::take()?;
    /// let notifier = segue_app::Notifier::new(environment.notify_socket());
    /// # Ok(())
    /// # }
    /// ```
    pub fn notify_socket(&self) -> Option<&std::path::Path> {
        self.notify.as_deref()
    }

    /// How often at least the supervisor wants to see `WATCHDOG=1`.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # fn main() -> segue_app::Result<()> {
    /// let environment = segue_app::Environment::take()?;
    /// if let Some(every) = environment.watchdog() {
    ///     println!("WATCHDOG=1 at least every {every:?}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// The instance's name (`SEGUE_NAME`).
    ///
    /// # Example
    ///
    /// ```no_run
    /// # fn main() -> segue_app::Result<()> {
    /// let environment = segue_app::Environment::take()?;
    /// let name = environment.name().unwrap_or("alone");
    /// # Ok(())
    /// # }
    /// ```
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The number of this generation (`SEGUE_GENERATION`).
    ///
    /// # Example
    ///
    /// ```no_run
    /// # fn main() -> segue_app::Result<()> {
    /// let environment = segue_app::Environment::take()?;
    /// let generation = environment.generation().unwrap_or_default();
    /// # Ok(())
    /// # }
    /// ```
    pub fn generation(&self) -> Option<u64> {
        self.generation
    }

    /// The number of this worker within its generation (`SEGUE_WORKER`).
    ///
    /// # Example
    ///
    /// ```no_run
    /// # fn main() -> segue_app::Result<()> {
    /// let environment = segue_app::Environment::take()?;
    /// // One of them runs the jobs that must run once.
    /// let runs_jobs = environment.worker().unwrap_or(0) == 0;
    /// # Ok(())
    /// # }
    /// ```
    pub fn worker(&self) -> Option<u64> {
        self.worker
    }

    /// The hard deadline of this app's drain: `SEGUE_DRAIN_TIMEOUT_MS` less [`DRAIN_MARGIN`] (less half of it, if it
    /// is shorter than twice the margin), else [`DRAIN_TIMEOUT`].
    ///
    /// # Example
    ///
    /// ```no_run
    /// # fn main() -> segue_app::Result<()> {
    /// let environment = segue_app::Environment::take()?;
    /// println!("a drain ends after {:?} at the latest", environment.drain_deadline());
    /// # Ok(())
    /// # }
    /// ```
    pub fn drain_deadline(&self) -> Duration {
        match self.drain_timeout {
            Some(whole) => whole - DRAIN_MARGIN.min(whole / 2),
            None => DRAIN_TIMEOUT,
        }
    }
}

/// An `OsString` that must be text.
fn text(name: &str, value: OsString) -> Result<String> {
    value.into_string().map_err(|value| {
        Error::new(format!(
            "read {name}={}: it is not UTF-8",
            crate::error::quoted(&value)
        ))
    })
}
