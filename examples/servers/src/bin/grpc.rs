//! gRPC by tonic. The standard health service stands for any: a unary call (`Check`) and a stream without an end
//! (`Watch`), which is told that this generation goes, and then ended with its trailers.

use std::error::Error;

use segue_app::Server;
use tonic_health::ServingStatus;

/// The service whose health is asked for.
const SERVICE: &str = "";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = Server::from_environment()?.or_bind("127.0.0.1:1234")?;
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status(SERVICE, ServingStatus::Serving).await;
    let drain = server.drain();
    tokio::spawn(async move {
        drain.started().await;
        reporter
            .set_service_status(SERVICE, ServingStatus::NotServing)
            .await;
        // A moment for each stream to tell it; then they end.
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        let mut reporter = reporter;
        reporter.clear_service_status(SERVICE).await;
    });
    // Any service that tonic generates goes here, or several in a `tonic::service::Routes`.
    let report = server.serve_tower(health).await?;
    eprintln!("{report}");
    Ok(())
}
