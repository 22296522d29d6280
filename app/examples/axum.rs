//! An axum `Router` (or any other tower service), served without losing a request. The event stream shows the hook
//! for long-lived responses.

use axum::{Router, extract::State, response::Response, routing::get};
use segue_app::{Drain, Error, Server};

fn main() -> Result<(), Error> {
    // The environment first, while there is one thread; the runtime, with as many threads as wanted, afterwards.
    let server = Server::from_environment()?.or_bind("127.0.0.1:1234")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.unwrap_or_else(|error| panic!("start the runtime: {error}"));
    let routes = Router::new()
        .route("/ping", get(|| async { "{\"message\": \"axum\"}" }))
        .route("/wait", get(wait))
        .with_state(server.drain());
    let report = runtime.block_on(server.serve_tower(routes))?;
    eprintln!("{report}");
    Ok(())
}

/// A long poll: it answers when the server is told to stop, at the latest after 20 s.
async fn wait(State(drain): State<Drain>) -> Response<String> {
    let waited = tokio::time::timeout(std::time::Duration::from_secs(20), drain.started()).await;
    Response::new(
        if waited.is_ok() {
            "draining\n"
        } else {
            "nothing happened\n"
        }
        .to_owned(),
    )
}
