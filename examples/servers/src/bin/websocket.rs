//! A WebSocket that says goodbye: when the server drains, each gets a close frame "going away" and reconnects, to the
//! new version.

use std::error::Error;

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use axum::routing::any;
use segue_app::{Drain, Server};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = Server::from_environment()?.or_bind("127.0.0.1:1234")?;
    let app = Router::new()
        .route("/echo", any(upgrade))
        .with_state(server.drain());
    let report = server.serve_tower(app).await?;
    eprintln!("{report}");
    Ok(())
}

async fn upgrade(upgrade: WebSocketUpgrade, State(drain): State<Drain>) -> Response {
    upgrade.on_upgrade(move |socket| echo(socket, drain))
}

async fn echo(mut socket: WebSocket, drain: Drain) {
    loop {
        let received = tokio::select! {
            received = socket.recv() => received,
            () = drain.started() => break,
        };
        match received {
            Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                if socket.send(message).await.is_err() {
                    return;
                }
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Close(_)) | Err(_)) | None => return,
        }
    }
    let going_away = CloseFrame {
        code: close_code::AWAY,
        reason: "a new version serves".into(),
    };
    if socket.send(Message::Close(Some(going_away))).await.is_ok() {
        // Until the client has answered it, or has gone.
        while let Some(Ok(_)) = socket.recv().await {}
    }
}
