//! An axum server before and after. Two lines are what the conversion takes; the rest is axum as ever: the client's
//! address, and log lines by `tracing`.

use std::error::Error;
use std::net::SocketAddr;

use axum::{Router, extract::ConnectInfo, routing::get};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
    let app = Router::new()
        .route("/ping", get(|| async { "{\"message\": \"axum\"}" }))
        .route("/whoami", get(whoami));
    // let listener = tokio::net::TcpListener::bind("127.0.0.1:1234").await?;
    // axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
    let server = segue_app::Server::from_environment()?.or_bind("127.0.0.1:1234")?;
    server.serve_tower(app).await?;
    Ok(())
}

async fn whoami(ConnectInfo(client): ConnectInfo<SocketAddr>) -> String {
    format!("you are {client}\n")
}
