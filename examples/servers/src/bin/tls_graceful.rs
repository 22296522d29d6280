//! How *not* to do it, encrypted: hyper's own graceful shutdown on every TLS connection at SIGTERM. It is the control
//! of the race tests, which must see it lose. `tls_graceful CERTIFICATES.pem KEY.pem`

use std::convert::Infallible;
use std::error::Error;
use std::pin::pin;
use std::sync::Arc;

use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

async fn ping(_: Request<Incoming>) -> Result<Response<String>, Infallible> {
    Ok(Response::new("{\"message\": \"control\"}".to_owned()))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let (listener, notifier) = segue_example_servers::inherited()?;
    let mut files = std::env::args().skip(1);
    let (Some(certificates), Some(key)) = (files.next(), files.next()) else {
        return Err("usage: tls_graceful CERTIFICATES.pem KEY.pem".into());
    };
    let config = segue_example_servers::tls(&certificates, &key)?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
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
        let (acceptor, mut stopped) = (acceptor.clone(), stopped.clone());
        connections.spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
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
