//! What the whole server is doing, told to every connection and to everybody who asks.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// What the server is doing.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Phase {
    /// Accepting and answering.
    Serving,
    /// Accepting and answering, but fds have run out: kept-alive connections are let go as in a drain.
    Pressed { since: Instant },
    /// Told to stop: finishing what was accepted.
    Draining { since: Instant, deadline: Instant },
    /// The hard deadline has passed: what is left is reset.
    Cut,
}

impl Phase {
    /// When kept-alive connections began to be let go, and the deadline that this must meet, if there is one.
    pub(crate) fn closing_since(self) -> Option<(Instant, Option<Instant>)> {
        match self {
            Phase::Serving => None,
            Phase::Pressed { since } => Some((since, None)),
            Phase::Draining { since, deadline } => Some((since, Some(deadline))),
            Phase::Cut => Some((Instant::now(), Some(Instant::now()))),
        }
    }

    pub(crate) fn is_draining(self) -> bool {
        match self {
            Phase::Serving | Phase::Pressed { .. } => false,
            Phase::Draining { .. } | Phase::Cut => true,
        }
    }
}

/// Tells a long-lived handler (WebSocket, server-sent events, a job of its own) when the server has been told to
/// stop. Get it from [`Server::drain`](crate::Server::drain) and clone it into the service.
///
/// # Example
///
/// ```
/// use segue_app::Drain;
///
/// /// A job beside the requests, which ends with the server.
/// async fn tick(drain: Drain) {
///     let mut every = tokio::time::interval(std::time::Duration::from_secs(60));
///     loop {
///         tokio::select! {
///             _ = every.tick() => println!("another minute"),
///             () = drain.started() => return,
///         }
///     }
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Drain {
    pub(crate) phase: watch::Receiver<Phase>,
}

impl Drain {
    /// Whether the server has been told to stop.
    ///
    /// # Example
    ///
    /// ```
    /// # fn take_a_job() {}
    /// fn work(drain: &segue_app::Drain) {
    ///     while !drain.is_draining() {
    ///         take_a_job();
    ///     }
    /// }
    /// ```
    pub fn is_draining(&self) -> bool {
        self.phase.borrow().is_draining()
    }

    /// Returns when the server has been told to stop: say goodbye and end.
    ///
    /// # Example
    ///
    /// ```
    /// /// A long poll: an answer, or a polite nothing when this generation goes.
    /// async fn poll(drain: segue_app::Drain, news: tokio::sync::oneshot::Receiver<String>) -> String {
    ///     tokio::select! {
    ///         news = news => news.unwrap_or_default(),
    ///         () = drain.started() => "ask again".to_owned(),
    ///     }
    /// }
    /// ```
    pub async fn started(&self) {
        // An error means that the server itself is gone, which is an end too.
        let _ = self.phase.clone().wait_for(|phase| phase.is_draining()).await;
    }

    /// How much of the drain is left before everything is reset; `None` while the server serves.
    ///
    /// # Example
    ///
    /// ```
    /// fn goodbye(drain: &segue_app::Drain) -> String {
    ///     match drain.time_left() {
    ///         Some(left) => format!("{} s left", left.as_secs()),
    ///         None => "no hurry".to_owned(),
    ///     }
    /// }
    /// ```
    pub fn time_left(&self) -> Option<Duration> {
        match *self.phase.borrow() {
            Phase::Serving | Phase::Pressed { .. } => None,
            Phase::Draining { deadline, .. } => Some(deadline.saturating_duration_since(Instant::now())),
            Phase::Cut => Some(Duration::ZERO),
        }
    }
}
