//! The same routes as `axum`, by axum's own `serve` and its graceful shutdown: what the benchmarks compare with. It
//! closes connections whose request is already on its way.

use std::error::Error;

use axum::{Router, routing::get};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (listener, notifier) = segue_example_servers::inherited()?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let app = Router::new().route("/ping", get(|| async { "{\"message\": \"axum\"}" }));
    notifier.ready("serving by axum's own serve")?;
    axum::serve(listener, app)
        .with_graceful_shutdown(async move {
            terminate.recv().await;
        })
        .await?;
    Ok(())
}
