//! Servers of the crate registry that take the listener at fd 3 and drain at SIGTERM, each as its manual says.
//!
//! usage: server axum|actix|poem|warp

use std::io;
use std::net::TcpListener;

const PING: &str = "{\"message\": \"rust\"}";

/// More than the buffers of a socket hold.
fn big() -> Vec<u8> {
    vec![b'x'; 16 << 20]
}

fn main() -> io::Result<()> {
    let mut found = listenfd::ListenFd::from_env();
    let listener = found.take_tcp_listener(0)?.ok_or(io::ErrorKind::NotFound)?;
    match std::env::args().nth(1).as_deref() {
        Some("axum") => on_tokio(axum(listener)),
        Some("actix") => actix_web::rt::System::new().block_on(actix(listener)),
        Some("poem") => on_tokio(poem(listener)),
        Some("warp") => on_tokio(warp(listener)),
        other => Err(io::Error::other(format!("no server is named {other:?}"))),
    }
}

fn on_tokio(server: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    tokio::runtime::Runtime::new()?.block_on(server)
}

fn of_tokio(listener: TcpListener) -> io::Result<tokio::net::TcpListener> {
    listener.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(listener)
}

async fn told_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut term) => drop(term.recv().await),
        Err(error) => eprintln!("SIGTERM: {error}"),
    }
}

async fn axum(listener: TcpListener) -> io::Result<()> {
    use axum::routing::get;
    let app = axum::Router::new()
        .route("/ping", get(|| async { PING }))
        .route("/big", get(|| async { big() }));
    axum::serve(of_tokio(listener)?, app)
        .with_graceful_shutdown(told_to_stop())
        .await
}

/// It hears SIGTERM by itself.
async fn actix(listener: TcpListener) -> io::Result<()> {
    use actix_web::{App, HttpServer, web};
    let app = || {
        App::new()
            .route("/ping", web::get().to(|| async { PING }))
            .route("/big", web::get().to(|| async { web::Bytes::from(big()) }))
    };
    HttpServer::new(app).listen(listener)?.run().await
}

async fn poem(listener: TcpListener) -> io::Result<()> {
    use poem::listener::TcpAcceptor;
    use poem::{Route, Server, endpoint::make_sync, get};
    let app = Route::new()
        .at("/ping", get(make_sync(|_| PING)))
        .at("/big", get(make_sync(|_| big())));
    listener.set_nonblocking(true)?;
    Server::new_with_acceptor(TcpAcceptor::from_std(listener)?)
        .run_with_graceful_shutdown(app, told_to_stop(), None)
        .await
}

async fn warp(listener: TcpListener) -> io::Result<()> {
    use warp::Filter;
    let ping = warp::path("ping").map(|| PING);
    let big = warp::path("big").map(big);
    warp::serve(ping.or(big))
        .incoming(of_tokio(listener)?)
        .graceful(told_to_stop())
        .run()
        .await;
    Ok(())
}
