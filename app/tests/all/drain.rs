//! The rules of the drain, each with a real server process that is told to stop at the worst moment.

use std::io::ErrorKind;
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};

use super::common::{Client, Running, app, command, example, listener, start};
use nix::sys::signal::Signal;

const GET: &[u8] = b"GET /ping HTTP/1.1\r\nHost: test\r\n\r\n";

fn serving(environment: &[(&str, &str)]) -> (Running, std::net::TcpListener) {
    let listener = listener();
    (start(app(), &listener, environment), listener)
}

/// Connects and asks once, so that the connection is accepted and kept alive.
fn kept(listener: &std::net::TcpListener) -> Client<TcpStream> {
    let mut client = Client::connect(listener.local_addr().unwrap());
    let response = client.get("/ping");
    assert_eq!(response.status, 200);
    assert!(!response.closes());
    client
}

#[test]
fn an_idle_connection_is_asked_to_close_and_answered() {
    let (mut server, listener) = serving(&[]);
    let mut client = kept(&listener);
    server.drain();
    let response = client.get("/ping");
    assert_eq!(response.body, b"{\"message\": \"test\"}");
    assert!(response.closes());
    client.expect_end();
    drop(client);
    let ended = server.end();
    assert!(ended.status.success(), "{}", ended.stderr);
    assert!(ended.stderr.contains("drained 1 connection "), "{}", ended.stderr);
}

#[test]
fn every_kind_of_answer_carries_close() {
    let (mut server, listener) = serving(&[]);
    let requests = [
        ("GET", "GET /ping HTTP/1.1\r\nHost: t\r\n\r\n", 200),
        ("HEAD", "HEAD /ping HTTP/1.1\r\nHost: t\r\n\r\n", 200),
        ("GET", "GET /nowhere HTTP/1.1\r\nHost: t\r\n\r\n", 404),
        ("DELETE", "DELETE /ping HTTP/1.1\r\nHost: t\r\n\r\n", 405),
        ("GET", "GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n", 503),
        (
            "POST",
            "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc",
            200,
        ),
        ("GET", "GET /ping HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 200),
        ("GET", "GET /bytes?n=100000 HTTP/1.1\r\nHost: t\r\n\r\n", 200),
        ("GET", "GET http://broken HTTP/9.9\r\n\r\n", 400),
    ];
    let mut clients: Vec<_> = requests.iter().map(|_| kept(&listener)).collect();
    server.drain();
    for (client, (method, request, status)) in clients.iter_mut().zip(requests) {
        client.send(request.as_bytes());
        let response = client.response_to(method);
        assert_eq!(response.status, status, "{request}");
        assert!(response.closes(), "{request} {response:?}");
        client.expect_end();
    }
    drop(clients);
    assert!(server.end().status.success());
}

#[test]
fn a_fresh_connection_may_still_ask() {
    let (mut server, listener) = serving(&[]);
    // The second connection has been accepted when the first has been answered.
    let mut fresh = Client::connect(listener.local_addr().unwrap());
    let mut first = kept(&listener);
    server.drain();
    fresh.send(GET);
    assert!(fresh.response().closes());
    assert!(first.get("/ping").closes());
    drop((fresh, first));
    assert!(server.end().status.success());
}

#[test]
fn connections_in_the_queue_are_taken_along_or_left_to_the_next() {
    let (mut server, listener) = serving(&[]);
    let waiting: Vec<_> = (0..50)
        .map(|_| Client::connect(listener.local_addr().unwrap()))
        .collect();
    server.drain();
    let mut next = start(app(), &listener, &[]);
    for mut client in waiting {
        client.send(b"GET /ping HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        assert_eq!(client.response().status, 200);
    }
    assert!(server.end().status.success());
    next.drain();
    assert!(next.end().status.success());
}

#[test]
fn a_head_cut_anywhere_is_waited_for() {
    let (mut server, listener) = serving(&[]);
    let mut clients: Vec<_> = (1..GET.len())
        .map(|cut| {
            let mut client = if cut % 2 == 0 {
                kept(&listener)
            } else {
                Client::connect(listener.local_addr().unwrap())
            };
            client.send(&GET[..cut]);
            (client, cut)
        })
        .collect();
    // All are accepted and read before this one is answered.
    kept(&listener);
    server.drain();
    for (client, cut) in &mut clients {
        client.send(&GET[*cut..]);
        assert!(client.response().closes(), "cut at {cut}");
        client.expect_end();
    }
    drop(clients);
    assert!(server.end().status.success());
}

#[test]
fn half_of_the_next_head_in_the_same_packet_outlives_the_linger() {
    // With 2 s altogether idle connections are closed after 0.9 s; this one must not be.
    let (mut server, listener) = serving(&[("SEGUE_DRAIN_TIMEOUT_MS", "4000")]);
    let mut client = Client::connect(listener.local_addr().unwrap());
    client.send(&[GET, b"GET /ping HT"].concat());
    assert!(!client.response().closes());
    let mut idle = kept(&listener);
    server.drain();
    idle.expect_end();
    client.send(b"TP/1.1\r\nHost: test\r\n\r\n");
    assert!(client.response().closes());
    client.expect_end();
    drop((client, idle));
    assert!(server.end().status.success());
}

#[test]
fn pipelined_requests_are_all_answered_and_the_last_closes() {
    let (mut server, listener) = serving(&[]);
    let mut client = kept(&listener);
    client.send(&[b"GET /slow?ms=300 HTTP/1.1\r\nHost: t\r\n\r\n", GET, GET].concat());
    server.drain();
    assert!(!client.response().closes());
    assert!(!client.response().closes());
    assert!(client.response().closes());
    client.expect_end();
    drop(client);
    assert!(server.end().status.success());
}

#[test]
fn nothing_is_executed_behind_a_response_that_closes() {
    let (mut server, listener) = serving(&[]);
    let mut client = kept(&listener);
    server.drain();
    // The first response closes; what comes behind it is read out, never executed, and disturbs nothing.
    client.send(GET);
    assert!(client.response().closes());
    let _ = client.stream().peek(&mut [0]);
    for _ in 0..3 {
        client.send(GET);
    }
    client.expect_end();
    client.stream().shutdown(Shutdown::Both).ok();
    drop(client);
    let ended = server.end();
    assert!(
        ended.stderr.contains("(2 requests on 1 connection "),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_response_that_began_before_the_drain_is_finished_and_one_more_asked() {
    let (mut server, listener) = serving(&[]);
    let mut client = Client::connect(listener.local_addr().unwrap());
    client.send(b"GET /bytes?n=200000&ms=20 HTTP/1.1\r\nHost: t\r\n\r\n");
    let head = client.head();
    assert!(!head.closes());
    server.drain();
    let body = client.read_exact(200_000);
    assert!(
        body.iter()
            .enumerate()
            .all(|(place, byte)| *byte == b'a' + (place % 26) as u8)
    );
    assert!(client.get("/ping").closes());
    client.expect_end();
    drop(client);
    assert!(server.end().status.success());
}

#[test]
fn a_body_cut_by_the_drain_is_read_to_its_end() {
    let (mut server, listener) = serving(&[]);
    let mut sized = kept(&listener);
    sized.send(b"POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\n01234");
    let mut chunked = kept(&listener);
    chunked.send(b"POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01");
    server.drain();
    sized.send(b"56789");
    assert_eq!(sized.response().body, b"0123456789");
    chunked.send(b"234\r\n0\r\n\r\n");
    assert_eq!(chunked.response().body, b"01234");
    drop((sized, chunked));
    assert!(server.end().status.success());
}

#[test]
fn an_early_answer_to_a_large_upload_arrives() {
    let (mut server, listener) = serving(&[]);
    let mut client = kept(&listener);
    server.drain();
    client.send(b"POST /ping HTTP/1.1\r\nHost: t\r\nContent-Length: 20000000\r\n\r\n");
    // The server answers 405 at once; it must not reset while the client is still writing.
    for _ in 0..200 {
        client.send(&[b'x'; 100_000]);
    }
    let response = client.response();
    assert_eq!(response.status, 405);
    assert!(response.closes());
    client.expect_end();
    drop(client);
    assert!(server.end().status.success());
}

#[test]
fn a_client_that_has_closed_its_side_is_answered() {
    let (mut server, listener) = serving(&[]);
    let mut client = kept(&listener);
    client.send(b"GET /slow?ms=200 HTTP/1.1\r\nHost: t\r\n\r\n");
    client.stream().shutdown(Shutdown::Write).unwrap();
    server.drain();
    assert_eq!(client.response().status, 200);
    client.expect_end();
    drop(client);
    assert!(server.end().status.success());
}

#[test]
fn expect_continue_is_answered_while_draining() {
    let (mut server, listener) = serving(&[]);
    let mut client = kept(&listener);
    server.drain();
    client.send(b"POST /echo HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    // /echo begins its answer before the body is read, so hyper may leave the interim response out.
    client.send(b"ok");
    let mut response = client.head();
    if response.status == 100 {
        response = client.head();
    }
    assert!(response.status == 200 && response.closes());
    assert_eq!(client.read_exact(2), b"ok");
    client.expect_end();
    drop(client);
    assert!(server.end().status.success());
}

#[test]
fn an_event_stream_is_told_and_ends_well() {
    let (mut server, listener) = serving(&[]);
    let mut client = Client::connect(listener.local_addr().unwrap());
    client.send(b"GET /events HTTP/1.1\r\nHost: t\r\n\r\n");
    assert_eq!(client.head().header("content-type"), Some("text/event-stream"));
    server.drain();
    let (events, end) = client.rest();
    let events = String::from_utf8(events).unwrap();
    assert!(
        events.contains("event: goodbye") && events.ends_with("0\r\n\r\n"),
        "{events}"
    );
    assert_eq!(end, None);
    drop(client);
    assert!(server.end().status.success());
}

#[test]
fn the_deadline_resets_what_is_left_and_says_how_many() {
    let (mut server, listener) = serving(&[("SEGUE_DRAIN_TIMEOUT_MS", "2000")]);
    let mut slow = kept(&listener);
    slow.send(b"GET /slow?ms=60000 HTTP/1.1\r\nHost: t\r\n\r\n");
    let mut streamed = kept(&listener);
    streamed.send(b"GET /bytes?n=1000000&ms=1000 HTTP/1.0\r\n\r\n");
    streamed.head();
    let mut half = kept(&listener);
    half.send(&GET[..9]);
    let mut idle = kept(&listener);
    server.drain();
    // Idle ones are closed in good order even when the time is short.
    idle.expect_end();
    assert_eq!(slow.rest(), (Vec::new(), Some(ErrorKind::ConnectionReset)));
    assert_eq!(
        streamed.rest().1,
        Some(ErrorKind::ConnectionReset),
        "a FIN could make the body look whole"
    );
    drop((slow, streamed, idle));
    let ended = server.end();
    assert!(
        ended.stderr.contains("2 of them reset at the deadline"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_second_signal_changes_nothing_and_sigint_is_like_sigterm() {
    let (mut server, listener) = serving(&[]);
    let mut client = kept(&listener);
    client.send(b"GET /slow?ms=500 HTTP/1.1\r\nHost: t\r\n\r\n");
    server.signal(Signal::SIGINT);
    assert!(
        server
            .notification()
            .starts_with("STOPPING=1\nSTATUS=draining 1 ")
    );
    server.signal(Signal::SIGTERM);
    server.signal(Signal::SIGINT);
    assert_eq!(client.response().status, 200);
    client.expect_end();
    drop(client);
    assert!(server.end().status.success());
}

#[test]
fn a_unix_socket_drains_like_any_other_and_its_path_stays() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let mut server = Running::start(command(app(), listener.try_clone().unwrap().into()));
    let mut kept = Client::new(UnixStream::connect(&path).unwrap());
    assert_eq!(kept.get("/ping").status, 200);
    let mut split = Client::new(UnixStream::connect(&path).unwrap());
    split.send(&GET[..9]);
    server.drain();
    split.send(&GET[9..]);
    assert!(split.response().closes());
    split.expect_end();
    assert!(kept.get("/ping").closes());
    kept.expect_end();
    drop((kept, split));
    assert!(server.end().status.success());
    assert!(path.exists(), "the path is the supervisor's");
}

#[test]
fn running_out_of_fds_delays_and_refuses_nobody() {
    let listener = listener();
    let mut limited = std::process::Command::new("/bin/sh");
    limited
        .args(["-c", "ulimit -n 40; LISTEN_PID=$$ exec \"$0\" 3<&0 </dev/null"])
        .arg(app())
        .stdin(std::process::Stdio::from(std::os::fd::OwnedFd::from(
            listener.try_clone().unwrap(),
        )))
        .env("LISTEN_FDS", "1");
    let mut server = Running::start(limited);
    let mut clients: Vec<_> = (0..100)
        .map(|_| Client::connect(listener.local_addr().unwrap()))
        .collect();
    for client in &mut clients {
        client.send(b"GET /ping HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
    }
    for client in &mut clients {
        assert_eq!(client.response().status, 200);
    }
    drop(clients);
    server.drain();
    let ended = server.end();
    assert_eq!(
        ended.stderr.matches("too many open files").count(),
        1,
        "told once: {}",
        ended.stderr
    );
}

#[test]
fn an_axum_router_drains_too() {
    let listener = listener();
    let mut server = start(&example("axum"), &listener, &[]);
    let mut waiting = Client::connect(listener.local_addr().unwrap());
    waiting.send(b"GET /wait HTTP/1.1\r\nHost: t\r\n\r\n");
    let mut client = Client::connect(listener.local_addr().unwrap());
    assert_eq!(client.get("/ping").body, b"{\"message\": \"axum\"}");
    server.drain();
    let response = waiting.response();
    assert_eq!(response.body, b"draining\n");
    assert!(response.closes());
    assert!(client.get("/ping").closes());
    drop((waiting, client));
    assert!(server.end().status.success());
}
