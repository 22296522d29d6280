//! WebSockets in a drain: what was sent is echoed, then each is told "going away" and closed in order.

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::common::{PATIENCE, listener, start};

#[test]
fn a_websocket_is_told_to_go_and_nothing_it_said_is_lost() {
    let listener = listener();
    let mut server = start(env!("CARGO_BIN_EXE_websocket"), &[], &listener);
    let address = listener.local_addr().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let talk = async {
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut socket, _) = tokio_tungstenite::client_async("ws://localhost/echo", stream)
            .await
            .unwrap();
        socket.send(Message::text("before")).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("before"));
        server.drain();
        let Message::Close(Some(frame)) = socket.next().await.unwrap().unwrap() else {
            panic!("no close frame");
        };
        assert_eq!(frame.code, CloseCode::Away);
        assert_eq!(frame.reason, "a new version serves");
        // The close is answered by the library; then comes the end, and no error.
        while let Some(message) = socket.next().await {
            message.unwrap();
        }
    };
    runtime.block_on(async { timeout(PATIENCE, talk).await.unwrap() });
    let ended = server.end();
    assert!(ended.status.success(), "{}", ended.stderr);
    assert!(!ended.stderr.contains("reset"), "{}", ended.stderr);
}
