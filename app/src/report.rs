//! What became of the connections.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::connection::Ending;

/// What a server did from its start to the end of its drain.
///
/// # Example
///
/// ```no_run
/// # async fn example(server: segue_app::Server) -> segue_app::Result<()> {
/// # let service = hyper::service::service_fn(|_: hyper::Request<hyper::body::Incoming>| async {
/// #     Ok::<_, std::convert::Infallible>(hyper::Response::new(String::new()))
/// # });
/// let report = server.serve(service).await?;
/// if report.reset > 0 {
///     eprintln!("{} clients were too slow for the drain", report.reset);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Connections that were accepted.
    pub connections: u64,
    /// Requests that the service was asked.
    pub requests: u64,
    /// Connections that were open when the drain began.
    pub drained: usize,
    /// Connections that a deadline reset although a request of theirs was not answered completely.
    pub reset: u64,
    /// Idle connections on which bytes arrived after they had been closed: the race that every keep-alive timeout
    /// has. Their clients saw an end before any answer and may ask again.
    pub late: u64,
    /// How long the drain took.
    pub took: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "drained {} in {:.3}s",
            connections(self.drained as u64),
            self.took.as_secs_f64()
        )?;
        if self.reset > 0 {
            write!(out, ", {} of them reset at the deadline", self.reset)?;
        }
        if self.late > 0 {
            write!(out, ", {} closed while a request was on its way", self.late)?;
        }
        write!(
            out,
            " ({} {} on {} altogether)",
            self.requests,
            if self.requests == 1 { "request" } else { "requests" },
            connections(self.connections)
        )
    }
}

/// `1 connection`, `2 connections`.
pub(crate) fn connections(count: u64) -> String {
    match count {
        1 => "1 connection".to_owned(),
        _ => format!("{count} connections"),
    }
}

/// Counts the connections that are open, and how they ended.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    open: AtomicUsize,
    connections: AtomicU64,
    pub(crate) requests: Arc<AtomicU64>,
    reset: AtomicU64,
    late: AtomicU64,
    emptied: Notify,
}

/// One open connection in the roster.
#[derive(Debug)]
pub(crate) struct Entry(Arc<Roster>);

impl Roster {
    pub(crate) fn enter(self: &Arc<Roster>) -> Entry {
        self.open.fetch_add(1, Ordering::AcqRel);
        self.connections.fetch_add(1, Ordering::Relaxed);
        Entry(Arc::clone(self))
    }

    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Returns when no connection is open.
    pub(crate) async fn empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.open() == 0 {
                return;
            }
            emptied.await;
        }
    }

    pub(crate) fn report(&self, drained: usize, took: Duration) -> Report {
        Report {
            connections: self.connections.load(Ordering::Relaxed),
            requests: self.requests.load(Ordering::Relaxed),
            drained,
            reset: self.reset.load(Ordering::Relaxed),
            late: self.late.load(Ordering::Relaxed),
            took,
        }
    }
}

impl Entry {
    pub(crate) fn note(&self, ending: Ending) {
        match ending {
            Ending::Closed | Ending::Reset | Ending::Idle { late: 0 } => {}
            Ending::Idle { .. } => drop(self.0.late.fetch_add(1, Ordering::Relaxed)),
            Ending::Cut => drop(self.0.reset.fetch_add(1, Ordering::Relaxed)),
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if self.0.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.emptied.notify_one();
        }
    }
}
