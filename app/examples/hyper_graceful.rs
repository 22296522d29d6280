//! How *not* to do it: a server under a perfect handoff that calls hyper's own `graceful_shutdown` on every
//! connection at SIGTERM, as axum and hyper-util do. It is the control of the race tests, which must see it lose:
//! it closes connections whose request is already in the kernel.

use std::convert::Infallible;
use std::pin::pin;

use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use segue_app::{Environment, Notifier};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

async fn ping(_: Request<Incoming>) -> Result<Response<String>, Infallible> {
    Ok(Response::new("{\"message\": \"control\"}".to_owned()))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut environment = Environment::take()?;
    let notifier = Notifier::new(environment.notify_socket());
    let handed = environment
        .sockets()
        .first()
        .map(|socket| socket.name().to_owned());
    let socket = handed.and_then(|name| environment.take_named(&name));
    let socket = socket.ok_or_else(|| std::io::Error::other("no listener was handed over"))?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(serve(socket, notifier))
}

async fn serve(
    socket: segue_app::environment::Inherited,
    notifier: Notifier,
) -> Result<(), Box<dyn std::error::Error>> {
    let listener = std::net::TcpListener::from(socket.into_fd());
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut connections = JoinSet::new();
    notifier.ready("serving as one should not")?;
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted?.0,
            _ = terminate.recv() => break,
        };
        let mut stopped = stopped.clone();
        connections.spawn(async move {
            let mut connection =
                pin!(http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(ping)));
            tokio::select! {
                _ = connection.as_mut() => return,
                _ = stopped.wait_for(|stopped| *stopped) => connection.as_mut().graceful_shutdown(),
            }
            drop(connection.await);
        });
    }
    drop(listener);
    stop.send_replace(true);
    while connections.join_next().await.is_some() {}
    Ok(())
}
