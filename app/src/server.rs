//! The server: its settings, and its life from `READY=1` to the end of its drain.

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::service::TowerToHyperService;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};

use crate::accept::{Accepted, Acceptor, Arrival};
use crate::connection::{self, BoxError, Security, Surroundings};
use crate::drain::{Drain, Phase};
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::limits::{LAST_ACCEPTS, Limits, PRESSURE_TIME};
use crate::listener::Listener;
use crate::notify::Notifier;
use crate::report::{Report, Roster, connections};
use crate::tell;

/// How long the tasks of connections that have been reset may take to end.
const LAST_MOMENT: Duration = Duration::from_secs(1);

type Stop = Pin<Box<dyn Future<Output = ()> + Send>>;
type Hook = Box<dyn FnOnce(&Drain) + Send>;

/// A server for hyper and tower services that loses no request when it is replaced.
///
/// It serves HTTP/1.1 and HTTP/2 (with prior knowledge) on every listener that the supervisor handed over, or on the
/// addresses given to [`or_bind`](Server::or_bind) if there are none. It says `READY=1` when it accepts, and on
/// SIGTERM or SIGINT it drains: see the crate's documentation for the rules.
///
/// # Example
///
/// ```no_run
/// # fn main() -> segue_app::Result<()> {
/// # let service = hyper::service::service_fn(|_: hyper::Request<hyper::body::Incoming>| async {
/// #     Ok::<_, std::convert::Infallible>(hyper::Response::new("hello\n".to_owned()))
/// # });
/// let server = segue_app::Server::from_environment()?.or_bind("127.0.0.1:1234")?;
/// let report = server.run(service)?;
/// println!("{report}");
/// # Ok(())
/// # }
/// ```
pub struct Server {
    listeners: Vec<Listener>,
    handed_over: bool,
    notifier: Notifier,
    watchdog: Option<Duration>,
    limits: Limits,
    security: Security,
    stop: Option<Stop>,
    hooks: Vec<Hook>,
    phase: watch::Sender<Phase>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Server")
            .field("listeners", &self.listeners)
            .field("limits", &self.limits)
            .finish()
    }
}

/// One setter for a time, with the constant that is its default.
macro_rules! times {
    ($($name:ident, $field:ident, $default:ident: $text:literal;)*) => {$(
        #[doc = $text]
        #[doc = concat!(" Default: [`", stringify!($default), "`](crate::limits::", stringify!($default), ").")]
        #[doc = "\n# Example\n\n```\n# fn main() -> segue_app::Result<()> {"]
        #[doc = "use std::time::Duration;\n\nuse segue_app::{Environment, Server};\n"]
        #[doc = concat!("let server = Server::new(Environment::default())?.", stringify!($name), "(Duration::from_secs(7));")]
        #[doc = "# Ok(())\n# }\n```"]
        #[must_use]
        pub fn $name(mut self, time: Duration) -> Server {
            self.limits.$field = time;
            self
        }
    )*};
}

impl Server {
    /// Reads the environment ([`Environment::take`]) and serves every listener in it. Call it first in `main`,
    /// before there are threads.
    ///
    /// # Errors
    /// As [`Environment::take`] and [`Server::new`].
    ///
    /// # Example
    ///
    /// ```no_run
    /// # fn main() -> segue_app::Result<()> {
    /// let server = segue_app::Server::from_environment()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_environment() -> Result<Server> {
        Server::new(Environment::take()?)
    }

    /// Serves every socket that is left in `environment`, and takes its notify socket, watchdog and drain timeout.
    ///
    /// # Errors
    /// If a socket that is left is no listening stream socket.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # fn main() -> segue_app::Result<()> {
    /// use segue_app::{Environment, Server};
    ///
    /// let environment = Environment::take()?;
    /// let generation = environment.generation();
    /// let server = Server::new(environment)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(mut environment: Environment) -> Result<Server> {
        let sockets = environment.take_sockets();
        let listeners = sockets
            .into_iter()
            .map(Listener::from_inherited)
            .collect::<Result<Vec<_>>>()?;
        Ok(Server {
            handed_over: !listeners.is_empty(),
            listeners,
            notifier: Notifier::new(environment.notify_socket()),
            watchdog: environment.watchdog(),
            limits: Limits {
                drain: environment.drain_deadline(),
                ..Limits::default()
            },
            security: Security::Plain,
            stop: None,
            hooks: Vec::new(),
            phase: watch::Sender::new(Phase::Serving),
        })
    }

    /// Binds this address ([`Listener::bind`]) if no listener was handed over: the same program runs under a
    /// supervisor and alone. May be called several times.
    ///
    /// # Errors
    /// If the address cannot be bound.
    ///
    /// # Example
    ///
    /// ```
    /// # fn main() -> segue_app::Result<()> {
    /// use segue_app::{Environment, Server};
    ///
    /// let server = Server::new(Environment::default())?.or_bind("127.0.0.1:0")?;
    /// assert!(!server.handed_over());
    /// # Ok(())
    /// # }
    /// ```
    pub fn or_bind(mut self, address: &str) -> Result<Server> {
        if !self.handed_over {
            self.listeners.push(Listener::bind(address)?);
        }
        Ok(self)
    }

    /// Serves one more listener.
    ///
    /// # Example
    ///
    /// ```
    /// # fn main() -> segue_app::Result<()> {
    /// use segue_app::{Environment, Server};
    ///
    /// use segue_app::Listener;
    ///
    /// let server = Server::new(Environment::default())?.listener(Listener::bind("127.0.0.1:0")?);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn listener(mut self, listener: Listener) -> Server {
        self.listeners.push(listener);
        self
    }

    /// Speaks TLS on every listener that has no settings of its own ([`Listener::tls`]). Needs the feature `tls`.
    ///
    /// The drain keeps its rules: a request counts as on its way from the first byte of its TLS record, idle
    /// connections get a close_notify before the FIN, and a client in the middle of its handshake is waited for like
    /// one that has not asked yet. HTTP/2 needs ALPN: `config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()]`.
    ///
    /// ```
    /// use segue_app::{Server, rustls::ServerConfig};
    ///
    /// fn with_tls(server: Server, config: ServerConfig) -> Server {
    ///     server.tls(config)
    /// }
    /// ```
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, config: impl Into<Arc<tokio_rustls::rustls::ServerConfig>>) -> Server {
        self.security = Security::Tls(config.into().into());
        self
    }

    /// The listeners that will be served.
    ///
    /// # Example
    ///
    /// ```
    /// # fn main() -> segue_app::Result<()> {
    /// use segue_app::{Environment, Server};
    ///
    /// let server = Server::new(Environment::default())?.or_bind("127.0.0.1:0")?;
    /// for listener in server.listeners() {
    ///     println!("serving {}", listener.address());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// Whether the listeners were handed over by a supervisor.
    ///
    /// # Example
    ///
    /// ```
    /// # fn main() -> segue_app::Result<()> {
    /// use segue_app::{Environment, Server};
    ///
    /// let server = Server::new(Environment::default())?;
    /// assert!(!server.handed_over(), "nobody has handed anything over");
    /// # Ok(())
    /// # }
    /// ```
    pub fn handed_over(&self) -> bool {
        self.handed_over
    }

    /// A handle that tells long-lived handlers when the drain begins.
    ///
    /// # Example
    ///
    /// ```
    /// # fn main() -> segue_app::Result<()> {
    /// use segue_app::{Environment, Server};
    ///
    /// let server = Server::new(Environment::default())?.or_bind("127.0.0.1:0")?;
    /// let drain = server.drain();
    /// assert!(!drain.is_draining());
    /// # Ok(())
    /// # }
    /// ```
    pub fn drain(&self) -> Drain {
        Drain {
            phase: self.phase.subscribe(),
        }
    }

    /// Calls `hook` once when the drain begins, before anything else is done: give up a leader's lock, stop taking
    /// jobs. It must not block.
    ///
    /// # Example
    ///
    /// ```
    /// # fn main() -> segue_app::Result<()> {
    /// use segue_app::{Environment, Server};
    ///
    /// use std::sync::atomic::{AtomicBool, Ordering};
    ///
    /// static TAKES_JOBS: AtomicBool = AtomicBool::new(true);
    ///
    /// let server = Server::new(Environment::default())?
    ///     .on_drain(|_| TAKES_JOBS.store(false, Ordering::Relaxed));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn on_drain(mut self, hook: impl FnOnce(&Drain) + Send + 'static) -> Server {
        self.hooks.push(Box::new(hook));
        self
    }

    /// Drains when `stop` resolves, in place of SIGTERM and SIGINT, which are then left to the program.
    ///
    /// # Example
    ///
    /// ```
    /// # fn main() -> segue_app::Result<()> {
    /// use segue_app::{Environment, Server};
    ///
    /// let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    /// let server = Server::new(Environment::default())?.stop_on(async { drop(stopped.await) });
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn stop_on(mut self, stop: impl Future<Output = ()> + Send + 'static) -> Server {
        self.stop = Some(Box::pin(stop));
        self
    }

    times! {
        head_timeout, head, HEAD_TIMEOUT: "How long a request's head may take from its first byte.";
        idle_timeout, idle, IDLE_TIMEOUT: "How long a connection may stay without a request outside of a drain.";
        body_timeout, body, BODY_TIMEOUT: "How long the next bytes of a request body may take.";
        write_timeout, write, WRITE_TIMEOUT: "How long a client may take nothing of its response.";
        first_request_grace, first_request, FIRST_REQUEST_GRACE:
            "While draining: how long a connection without any request yet is waited for.";
        idle_linger, linger, IDLE_LINGER:
            "While draining: how long an idle keep-alive connection is kept for one more request.";
        pong_timeout, pong, PONG_TIMEOUT:
            "While draining: how long an HTTP/2 client may take to acknowledge the GOAWAY.";
        long_lived_timeout, long_lived, LONG_LIVED_TIMEOUT:
            "While draining: how long event streams and upgraded connections are left alone at most.";
        drain_timeout, drain, DRAIN_TIMEOUT:
            "The hard deadline of the drain, after which open connections are reset. The default is the deadline that the supervisor gave, if any.";
    }

    /// Serves a hyper service on a runtime of its own with one thread, until it has been told to stop and has
    /// drained.
    ///
    /// # Errors
    /// As [`Server::serve`].
    ///
    /// # Example
    ///
    /// ```no_run
    /// # fn main() -> segue_app::Result<()> {
    /// # let service = hyper::service::service_fn(|_: hyper::Request<hyper::body::Incoming>| async {
    /// #     Ok::<_, std::convert::Infallible>(hyper::Response::new("hello\n".to_owned()))
    /// # });
    /// println!("{}", segue_app::Server::from_environment()?.run(service)?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn run<S, B>(self, service: S) -> Result<Report>
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|cause| Error::io("start the runtime", cause))?;
        runtime.block_on(self.serve(service))
    }

    /// Like [`Server::serve`] for a tower service, such as an axum `Router`.
    ///
    /// # Errors
    /// As [`Server::serve`].
    ///
    /// # Example
    ///
    /// ```no_run
    /// use axum::{Router, routing::get};
    ///
    /// #[tokio::main(flavor = "current_thread")]
    /// async fn main() -> segue_app::Result<()> {
    ///     let app = Router::new().route("/", get(|| async { "hello\n" }));
    ///     let server = segue_app::Server::from_environment()?.or_bind("127.0.0.1:1234")?;
    ///     println!("{}", server.serve_tower(app).await?);
    ///     Ok(())
    /// }
    /// ```
    pub async fn serve_tower<S, B>(self, service: S) -> Result<Report>
    where
        S: tower_service::Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        self.serve(TowerToHyperService::new(service)).await
    }

    /// Serves a hyper service on the present tokio runtime (time and I/O enabled), until it has been told to stop
    /// and every connection has ended.
    ///
    /// # Errors
    /// If there is nothing to listen on, or `READY=1` cannot be sent. Errors of single connections are not errors of
    /// the server.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example() -> segue_app::Result<()> {
    /// # let service = hyper::service::service_fn(|_: hyper::Request<hyper::body::Incoming>| async {
    /// #     Ok::<_, std::convert::Infallible>(hyper::Response::new("hello\n".to_owned()))
    /// # });
    /// let server = segue_app::Server::from_environment()?.or_bind("127.0.0.1:1234")?;
    /// println!("{}", server.serve(service).await?);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn serve<S, B>(self, service: S) -> Result<Report>
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        if self.listeners.is_empty() {
            return Err(Error::new(
                "serve: no listener was handed over and none was bound (start it by segue run --listen, or call or_bind)",
            ));
        }
        let status = serving_status(&self.listeners);
        let drain = self.drain();
        let Server {
            listeners,
            notifier,
            watchdog,
            limits,
            security,
            stop,
            hooks,
            phase,
            ..
        } = self;
        let phase = Arc::new(phase);
        // The handlers are in place before READY=1: the supervisor may send SIGTERM from then on.
        let stop = match stop {
            Some(stop) => stop,
            None => stop_signal()?,
        };
        let roster = Arc::new(Roster::default());
        let around = Surroundings {
            phase: phase.subscribe(),
            limits: Arc::new(limits),
            requests: Arc::clone(&roster.requests),
        };
        let mut accepting = JoinSet::new();
        for mut listener in listeners {
            let own = listener.security.take();
            let acceptor = Acceptor::new(listener).map_err(|cause| Error::io("watch a listener", cause))?;
            let open = Open {
                service: service.clone(),
                security: own.unwrap_or_else(|| security.clone()),
                around: around.clone(),
                roster: Arc::clone(&roster),
            };
            accepting.spawn(accept(acceptor, Arc::clone(&phase), open));
        }
        drop(service);
        notifier.ready(&status)?;
        tell::progress(&status);
        let mut watch = JoinSet::new();
        if let Some(every) = watchdog {
            watch.spawn(feed_watchdog(notifier.clone(), every / 2));
        }

        stop.await;

        let since = Instant::now();
        let deadline = since + limits.drain;
        phase.send_replace(Phase::Draining { since, deadline });
        hooks.into_iter().for_each(|hook| hook(&drain));
        let status = format!("draining {}", connections(roster.open() as u64));
        tell::progress(&status);
        // Whether the supervisor hears it changes nothing about the drain.
        let _ = notifier.stopping(&status);
        while accepting.join_next().await.is_some() {}
        let drained = roster.open();
        tokio::select! {
            biased;
            () = roster.empty() => {}
            () = sleep_until(deadline) => {
                phase.send_replace(Phase::Cut);
                let _ = timeout(LAST_MOMENT, roster.empty()).await;
            }
        }
        let report = roster.report(drained, since.elapsed());
        tell::progress(&report);
        Ok(report)
    }
}

/// What every new connection of a listener is given.
struct Open<S> {
    service: S,
    security: Security,
    around: Surroundings,
    roster: Arc<Roster>,
}

impl<S> Open<S> {
    fn connection<B>(&self, (stream, mut peer): Arrival)
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        let entry = self.roster.enter();
        let (service, around) = (self.service.clone(), self.around.clone());
        let security = self.security.clone();
        peer.encrypted = security.is_encrypted();
        tokio::spawn(async move {
            let ending = connection::serve((stream, peer), security, service, around).await;
            entry.note(ending);
        });
    }
}

/// Accepts until the drain begins, then once more what is in the queue already (a process that shares the listener
/// may rely on the wake-up that this one got), and drops the listener. It is never shut down: others share it.
async fn accept<S, B>(mut acceptor: Acceptor, phase: Arc<watch::Sender<Phase>>, open: Open<S>)
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let mut watched = phase.subscribe();
    loop {
        tokio::select! {
            biased;
            _ = watched.wait_for(|phase| phase.is_draining()) => break,
            accepted = acceptor.accept() => match accepted {
                Accepted::Connection(arrival) => open.connection(arrival),
                Accepted::Exhausted => press(&phase),
            },
        }
    }
    for arrival in std::iter::from_fn(|| acceptor.accept_now()).take(LAST_ACCEPTS) {
        open.connection(arrival);
    }
}

/// Fds have run out: kept-alive connections are asked to close for a while, each after its next response.
fn press(phase: &Arc<watch::Sender<Phase>>) {
    let began = phase.send_if_modified(|phase| match phase {
        Phase::Serving => {
            *phase = Phase::Pressed {
                since: Instant::now(),
            };
            true
        }
        Phase::Pressed { .. } | Phase::Draining { .. } | Phase::Cut => false,
    });
    if began {
        let phase = Arc::clone(phase);
        tokio::spawn(async move {
            sleep(PRESSURE_TIME).await;
            phase.send_if_modified(|phase| match phase {
                Phase::Pressed { .. } => {
                    *phase = Phase::Serving;
                    true
                }
                Phase::Serving | Phase::Draining { .. } | Phase::Cut => false,
            });
        });
    }
}

fn serving_status(listeners: &[Listener]) -> String {
    let addresses: Vec<String> = listeners.iter().map(Listener::address).collect();
    format!("serving {}", addresses.join(", "))
}

/// Resolves at the first SIGTERM or SIGINT. Further ones change nothing: the handlers stay, and the drain goes on.
fn stop_signal() -> Result<Stop> {
    let handle = |kind, name| signal(kind).map_err(|cause| Error::io(format!("handle {name}"), cause));
    let mut terminate = handle(SignalKind::terminate(), "SIGTERM")?;
    let mut interrupt = handle(SignalKind::interrupt(), "SIGINT")?;
    Ok(Box::pin(async move {
        let told = tokio::select! {
            told = terminate.recv() => told,
            told = interrupt.recv() => told,
        };
        if told.is_none() {
            // The runtime's signal driver is gone; nothing will ever be told.
            pending::<()>().await;
        }
    }))
}

async fn feed_watchdog(notifier: Notifier, every: Duration) {
    let mut ticks = interval(every.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // A word that could not be sent is followed by the next; if none arrives, the supervisor is right to act.
        let _ = notifier.watchdog();
    }
}
