//! HTTPS: `tls CERTIFICATES.pem KEY.pem`.

use std::error::Error;

use axum::{Router, routing::get};
use segue_app::Server;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = Server::from_environment()?.or_bind("127.0.0.1:1443")?;
    let mut files = std::env::args().skip(1);
    let (Some(certificates), Some(key)) = (files.next(), files.next()) else {
        return Err("usage: tls CERTIFICATES.pem KEY.pem".into());
    };
    // Read anew by each generation: a renewed certificate takes a reload, and no connection notices.
    let config = segue_example_servers::tls(&certificates, &key)?;
    let app = Router::new().route("/ping", get(|| async { "{\"message\": \"tls\"}" }));
    let report = server.tls(config).serve_tower(app).await?;
    eprintln!("{report}");
    Ok(())
}
