//! The converted axum server: the client's address, log lines by `tracing`, and a drain.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use super::common::{PATIENCE, listener, start};

#[test]
fn a_handler_learns_whose_request_it_is() {
    let listener = listener();
    let mut server = start(env!("CARGO_BIN_EXE_axum"), &[], &listener);
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let own = client.local_addr().unwrap();
    client
        .write_all(b"GET /whoami HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with(&format!("you are {own}\n")), "{answer}");
    server.drain();
    let ended = server.end();
    assert!(ended.status.success(), "{}", ended.stderr);
    let port = listener.local_addr().unwrap().port();
    let serving = format!(" INFO segue_app: serving 127.0.0.1:{port}");
    let lines = [
        serving.as_str(),
        " INFO segue_app: draining ",
        " INFO segue_app: drained ",
    ];
    for line in lines {
        assert!(ended.stderr.contains(line), "{line}: {}", ended.stderr);
    }
}
