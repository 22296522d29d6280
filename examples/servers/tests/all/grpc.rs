//! gRPC in a drain: a unary call that is under way is answered, a stream is told and gets its trailers.

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::common::{PATIENCE, listener, start};

/// An empty `HealthCheckRequest`: not compressed, no bytes.
const EMPTY: &[u8] = &[0, 0, 0, 0, 0];

/// A `HealthCheckResponse` in its frame: field 1 is the status, 1 or 2.
const SERVING: &[u8] = &[0, 0, 0, 0, 2, 8, 1];
const NOT_SERVING: &[u8] = &[0, 0, 0, 0, 2, 8, 2];

async fn call(client: &mut SendRequest<Full<Bytes>>, method: &str) -> Response<Incoming> {
    let request = Request::post(format!("http://localhost/grpc.health.v1.Health/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(Bytes::from_static(EMPTY)))
        .unwrap();
    let response = client.send_request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    response
}

/// The next message; the trailers must say that all is well if there is none.
async fn next(stream: &mut Response<Incoming>) -> Option<Bytes> {
    let frame = stream.body_mut().frame().await?.unwrap();
    match frame.into_data() {
        Ok(data) => Some(data),
        Err(frame) => {
            let trailers = frame.into_trailers().unwrap();
            assert_eq!(trailers.get("grpc-status").unwrap(), "0");
            None
        }
    }
}

#[test]
fn a_stream_ends_with_its_trailers_and_a_call_is_answered() {
    let listener = listener();
    let mut server = start(env!("CARGO_BIN_EXE_grpc"), &[], &listener);
    let address = listener.local_addr().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let talk = async {
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut client, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
        let driven = tokio::spawn(connection);
        let mut check = call(&mut client, "Check").await;
        assert_eq!(next(&mut check).await.unwrap(), SERVING);
        assert_eq!(next(&mut check).await, None);
        let mut watch = call(&mut client, "Watch").await;
        assert_eq!(next(&mut watch).await.unwrap(), SERVING);
        server.drain();
        assert_eq!(next(&mut watch).await.unwrap(), NOT_SERVING);
        assert_eq!(next(&mut watch).await, None);
        // The connection ends in order once its last stream has.
        driven.await.unwrap().unwrap();
    };
    runtime.block_on(async { timeout(PATIENCE, talk).await.unwrap() });
    let ended = server.end();
    assert!(ended.status.success(), "{}", ended.stderr);
    assert!(!ended.stderr.contains("reset"), "{}", ended.stderr);
}
