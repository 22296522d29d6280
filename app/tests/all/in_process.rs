//! What the sample server has no page for, with the library inside the test: answers without a body, errors,
//! panics, upgrades, long-lived responses, timeouts, and the hooks.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::thread::{JoinHandle, spawn};
use std::time::Duration;

use super::common::Client;
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use segue_app::{Drain, Environment, LongLived, Report, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;

/// A server on a thread of its own.
struct Local {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Report>,
}

fn serve(set: impl FnOnce(Server) -> Server) -> Local {
    let server = Server::new(Environment::default())
        .unwrap()
        .or_bind("127.0.0.1:0")
        .unwrap();
    let address = server.listeners()[0].tcp_address().unwrap();
    let (stop, stopped) = oneshot::channel();
    let server = set(server).stop_on(async move { drop(stopped.await) });
    let drain = server.drain();
    let thread = spawn(move || {
        server
            .run(service_fn(move |request| answer(request, drain.clone())))
            .unwrap()
    });
    Local {
        address,
        stop,
        thread,
    }
}

impl Local {
    fn connect(&self) -> Client<TcpStream> {
        Client::connect(self.address)
    }

    /// Stops it once this connection has been accepted, so that its listener's last sweep has begun.
    fn drain(self) -> JoinHandle<Report> {
        let mut probe = self.connect();
        probe.get("/");
        self.stop.send(()).unwrap();
        // Its next answer closes: the drain has begun.
        while !probe.get("/").closes() {}
        self.thread
    }
}

/// A body of a few frames, and then an error, an end, or nothing for ever.
struct Parts {
    frames: u8,
    then: Then,
}

#[derive(Clone, Copy)]
enum Then {
    Fail,
    Hang,
}

impl Body for Parts {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        if self.frames > 0 {
            self.frames -= 1;
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"part")))));
        }
        match self.then {
            Then::Fail => Poll::Ready(Some(Err(std::io::Error::other("the body failed")))),
            Then::Hang => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        false
    }
}

type Answer = Response<Either>;

enum Either {
    Whole(String),
    Parts(Parts),
}

impl Body for Either {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        match self.get_mut() {
            Either::Whole(text) => {
                let text = std::mem::take(text);
                Poll::Ready((!text.is_empty()).then(|| Ok(Frame::data(text.into()))))
            }
            Either::Parts(parts) => Pin::new(parts).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Either::Whole(text) => text.is_empty(),
            Either::Parts(parts) => parts.is_end_stream(),
        }
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        match self {
            Either::Whole(text) => hyper::body::SizeHint::with_exact(text.len() as u64),
            Either::Parts(_) => hyper::body::SizeHint::default(),
        }
    }
}

async fn answer(mut request: Request<Incoming>, drain: Drain) -> Result<Answer, std::io::Error> {
    let whole = |text: &str| Response::new(Either::Whole(text.to_owned()));
    let parts = |then| Response::new(Either::Parts(Parts { frames: 2, then }));
    Ok(match request.uri().path() {
        "/204" | "/304" => {
            let mut response = whole("");
            *response.status_mut() = StatusCode::from_bytes(&request.uri().path().as_bytes()[1..]).unwrap();
            response
        }
        "/error" => return Err(std::io::Error::other("the service failed")),
        "/panic" => panic!("a panic that a test wants"),
        "/fail" => parts(Then::Fail),
        "/long" => {
            let mut response = parts(Then::Hang);
            response.extensions_mut().insert(LongLived);
            response
        }
        "/upload" => {
            let mut body = request.into_body();
            let mut length = 0;
            while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                match frame {
                    Ok(frame) => length += frame.into_data().map_or(0, |data| data.len()),
                    Err(error) => return Err(std::io::Error::other(error)),
                }
            }
            whole(&length.to_string())
        }
        "/upgrade" => {
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let mut io = TokioIo::new(upgrade.await.unwrap());
                let mut bytes = [0; 64];
                loop {
                    tokio::select! {
                        read = io.read(&mut bytes) => match read {
                            Ok(0) | Err(_) => return,
                            Ok(length) => io.write_all(&bytes[..length]).await.unwrap(),
                        },
                        // The hook: say goodbye, and leave when the client does.
                        () = drain.started() => break,
                    }
                }
                io.write_all(b"bye").await.unwrap();
                let _ = io.read(&mut bytes).await;
            });
            let mut response = whole("");
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            response
                .headers_mut()
                .insert("connection", "upgrade".parse().unwrap());
            response.headers_mut().insert("upgrade", "echo".parse().unwrap());
            response
        }
        _ => whole("ok"),
    })
}

#[test]
fn answers_without_a_body_carry_close_too() {
    let server = serve(|server| server);
    let mut clients: Vec<_> = ["/204", "/304"].map(|path| (server.connect(), path)).into();
    for (client, _) in &mut clients {
        assert!(!client.get("/").closes());
    }
    let thread = server.drain();
    for (client, path) in &mut clients {
        let response = client.get(path);
        assert_eq!(response.status.to_string(), path[1..]);
        assert!(response.closes(), "{response:?}");
        client.expect_end();
    }
    drop(clients);
    assert_eq!(thread.join().unwrap().reset, 0);
}

#[test]
fn a_failure_is_never_a_clean_end() {
    let server = serve(|server| server);
    for path in ["/error", "/panic", "/fail"] {
        let mut client = server.connect();
        client.send(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes());
        assert_eq!(client.rest().1, Some(ErrorKind::ConnectionReset), "{path}");
    }
    // The server goes on.
    let mut client = server.connect();
    assert_eq!(client.get("/").body, b"ok");
    drop(client);
    server.drain().join().unwrap();
}

#[test]
fn an_upgraded_connection_is_told_and_lets_go() {
    let server = serve(|server| server);
    let mut client = server.connect();
    client.send(b"GET /upgrade HTTP/1.1\r\nHost: t\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
    let head = client.head();
    assert_eq!((head.status, head.header("connection")), (101, Some("upgrade")));
    client.send(b"hello");
    assert_eq!(client.read_exact(5), b"hello");
    let thread = server.drain();
    assert_eq!(client.read_exact(3), b"bye");
    drop(client);
    assert_eq!(thread.join().unwrap().reset, 0);
}

#[test]
fn an_upgraded_connection_that_stays_is_cut_at_its_own_deadline() {
    let server = serve(|server| server.long_lived_timeout(Duration::from_millis(300)));
    let mut client = server.connect();
    client.send(b"GET /upgrade HTTP/1.1\r\nHost: t\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
    assert_eq!(client.head().status, 101);
    let thread = server.drain();
    assert_eq!(client.rest(), (b"bye".to_vec(), Some(ErrorKind::ConnectionReset)));
    let report = thread.join().unwrap();
    assert_eq!(report.reset, 1);
    assert!(report.took < Duration::from_secs(10), "{report}");
}

#[test]
fn a_long_lived_body_is_ended_in_good_order() {
    let server = serve(|server| server.long_lived_timeout(Duration::from_millis(300)));
    let mut client = server.connect();
    client.send(b"GET /long HTTP/1.1\r\nHost: t\r\n\r\n");
    assert_eq!(client.head().status, 200);
    let thread = server.drain();
    // Two chunks of four bytes, and the last chunk.
    assert_eq!(client.read_exact(23), b"4\r\npart\r\n4\r\npart\r\n0\r\n\r\n");
    drop(client);
    let report = thread.join().unwrap();
    assert_eq!(report.reset, 0, "{report}");
}

#[test]
fn slow_clients_are_given_up() {
    let short = Duration::from_millis(200);
    let server = serve(|server| {
        server
            .head_timeout(short)
            .body_timeout(short)
            .idle_timeout(short * 3)
    });
    let mut head = server.connect();
    head.send(b"GET / HTTP/1.1\r\nHost: t\r\n");
    assert_eq!(head.response().status, 408);
    head.expect_end();

    let mut second_head = server.connect();
    second_head.get("/");
    second_head.send(b"GE");
    assert_eq!(second_head.response().status, 408);

    let mut body = server.connect();
    body.send(b"POST /upload HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\n1234");
    assert_eq!(body.rest().1, Some(ErrorKind::ConnectionReset));

    let mut idle = server.connect();
    idle.get("/");
    idle.expect_end();
    let mut silent = server.connect();
    silent.expect_end();
    drop((head, second_head, body, idle, silent));
    server.drain().join().unwrap();
}

#[test]
fn a_client_that_takes_nothing_is_given_up() {
    let server = serve(|server| server.write_timeout(Duration::from_millis(300)));
    let client = server.connect();
    // Far more answers than the kernel's buffers hold, and nobody reads one.
    client
        .stream()
        .set_write_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let request = b"GET /304 HTTP/1.1\r\nHost: t\r\n\r\n".repeat(10_000);
    let ended = std::io::Write::write_all(&mut client.stream(), &request).is_err()
        || std::iter::repeat_with(|| std::io::Write::write_all(&mut client.stream(), &request))
            .take(100)
            .any(|sent| sent.is_err());
    assert!(ended);
    drop(client);
    server.drain().join().unwrap();
}

#[test]
fn hooks_are_called_once_and_the_handle_knows() {
    let calls = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&calls);
    let server = serve(|server| {
        server.on_drain(move |drain| {
            assert!(drain.is_draining() && drain.time_left().unwrap() > Duration::from_secs(20));
            counted.fetch_add(1, Ordering::Relaxed);
        })
    });
    let report = server.drain().join().unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    assert_eq!((report.late, report.reset), (0, 0));
}

#[test]
fn nothing_to_listen_on_is_an_error() {
    let server = Server::new(Environment::default()).unwrap();
    let error = server
        .run(service_fn(|request| answer(request, unreachable())))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "serve: no listener was handed over and none was bound (start it by segue run --listen, or call or_bind)"
    );
}

fn unreachable() -> Drain {
    unreachable!("no request comes")
}
