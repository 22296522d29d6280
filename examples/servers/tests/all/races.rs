//! The two races of a drain on encrypted connections: a request sent within milliseconds of SIGTERM on an idle kept-alive
//! connection (idle race), and one whose connection is opened, and its hands shaken, in that window (fresh race). The
//! successor runs beside the app on the same listener, so everything that is lost is lost by the drain.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use segue_app::limits::FIRST_REQUEST_GRACE;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::common::{Certificate, PATIENCE, Running, listener, start, trials};
use super::fates::{Fate, REQUEST, Race, Tally, ask, kept};

/// Connections in one round: one process is told to stop once for all of them.
const PER_ROUND: usize = 100;

/// The requests are spread over so much time on either side of the signal. A handshake takes a while.
const WINDOW: Duration = Duration::from_millis(10);

fn run(race: Race, program: &str, trials: usize) -> Tally {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut tally = Tally::default();
    while tally.trials < trials {
        let listener = listener();
        let old = serve(program, &listener);
        let fates = runtime.block_on(round(race, &old, program, &listener));
        let ended = old.end();
        assert!(ended.status.success(), "{}", ended.stderr);
        tally.note(fates);
    }
    tally.tell(
        &format!("{race:?} race over TLS"),
        program.rsplit('/').next().unwrap_or_default(),
    );
    tally
}

fn serve(program: &str, listener: &TcpListener) -> Running {
    let [certificates, key] = Certificate::get().paths();
    start(program, &[&certificates, &key], listener)
}

async fn round(race: Race, old: &Running, program: &str, listener: &TcpListener) -> Vec<Fate> {
    let address = listener.local_addr().unwrap();
    let mut idle = Vec::new();
    if race == Race::Idle {
        for _ in 0..PER_ROUND {
            idle.push(kept(connect(address).await.unwrap()).await);
        }
    }
    let new = serve(program, listener);
    let begin = Instant::now() + Duration::from_millis(5);
    let mut asking = JoinSet::new();
    for place in 0..PER_ROUND {
        let at = begin + WINDOW * 2 * place as u32 / PER_ROUND as u32;
        let kept = idle.pop();
        asking.spawn(async move {
            sleep_until(at).await;
            match kept {
                Some(stream) => ask(stream).await,
                None => match connect(address).await {
                    Ok(stream) => ask(stream).await,
                    Err(_) => Fate::Lost,
                },
            }
        });
    }
    // Another moment within the window each time.
    sleep_until(begin + WINDOW.mul_f64(0.5 + fastrand::f64())).await;
    kill(old.pid(), Signal::SIGTERM).unwrap();
    let fates = asking.join_all().await;
    drop(new);
    fates
}

async fn connect(address: SocketAddr) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Certificate::get().config())
        .connect(name, stream)
        .await
}

const TLS: &str = env!("CARGO_BIN_EXE_tls");

#[test]
fn the_idle_race_loses_nothing() {
    let tally = run(Race::Idle, TLS, trials());
    assert_eq!(tally.lost, 0);
}

#[test]
fn the_fresh_race_loses_nothing() {
    let tally = run(Race::Fresh, TLS, trials());
    assert_eq!(tally.lost, 0);
}

/// The detector sees a server lose that closes without looking.
#[test]
fn control_hypers_own_graceful_shutdown_loses() {
    let program = env!("CARGO_BIN_EXE_tls_graceful");
    let mut lost = run(Race::Idle, program, trials()).lost;
    // On a slow machine a round may miss the moment.
    for _ in 0..20 {
        if lost > 0 {
            break;
        }
        lost = run(Race::Idle, program, trials()).lost;
    }
    assert!(lost > 0);
}

/// Where a request is cut in two.
#[derive(Debug, Clone, Copy)]
enum Half {
    /// Within a record: nothing of it can be deciphered yet.
    Record,
    /// Within the head, between two records.
    Head,
}

/// A client that has sent half of its request when the drain begins is waited for and answered, and sees an end that no
/// attacker could have made.
#[test]
fn half_a_request_is_waited_for() {
    for half in [Half::Record, Half::Head] {
        let listener = listener();
        let mut server = serve(TLS, &listener);
        let mut socket = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut session = ClientConnection::new(Certificate::get().config(), name).unwrap();
        while session.is_handshaking() {
            session.complete_io(&mut socket).unwrap();
        }
        let (early, late) = match half {
            Half::Record => {
                let whole = enciphered(&mut session, REQUEST);
                (
                    whole[..whole.len() - 10].to_vec(),
                    whole[whole.len() - 10..].to_vec(),
                )
            }
            Half::Head => {
                let (early, late) = REQUEST.split_at(20);
                (enciphered(&mut session, early), enciphered(&mut session, late))
            }
        };
        socket.write_all(&early).unwrap();
        server.drain();
        // Longer than a connection without any request is waited for, and shorter than a head may take.
        std::thread::sleep(FIRST_REQUEST_GRACE + Duration::from_secs(1));
        socket.write_all(&late).unwrap();
        let (text, closed) = read_to_end(&mut session, &mut socket);
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{half:?}: {text:?}");
        assert!(text.contains("\r\nconnection: close\r\n"), "{half:?}: {text:?}");
        assert!(closed, "{half:?}: no close_notify before the end");
        drop(socket);
        let ended = server.end();
        assert!(ended.status.success(), "{}", ended.stderr);
    }
}

/// An idle encrypted connection is closed in order while the drain lasts, and one in the middle of its handshake is let go.
#[test]
fn who_asks_nothing_does_not_hold_the_drain() {
    let listener = listener();
    let mut server = serve(TLS, &listener);
    let address = listener.local_addr().unwrap();
    let mut silent = std::net::TcpStream::connect(address).unwrap();
    silent.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut plain = std::net::TcpStream::connect(address).unwrap();
    plain.set_read_timeout(Some(PATIENCE)).unwrap();
    plain.write_all(REQUEST).unwrap();
    let mut alert = Vec::new();
    plain.read_to_end(&mut alert).unwrap();
    // A record of type 21, an alert: who speaks no TLS is told, and not reset.
    assert_eq!(alert.first(), Some(&21), "{alert:?}");
    server.drain();
    assert_eq!(silent.read(&mut [0; 16]).unwrap(), 0);
    let ended = server.end();
    assert!(ended.status.success(), "{}", ended.stderr);
    assert!(!ended.stderr.contains("reset"), "{}", ended.stderr);
}

fn enciphered(session: &mut ClientConnection, text: &[u8]) -> Vec<u8> {
    session.writer().write_all(text).unwrap();
    let mut bytes = Vec::new();
    while session.wants_write() {
        session.write_tls(&mut bytes).unwrap();
    }
    bytes
}

/// What the server says until its end, and whether it has said close_notify.
fn read_to_end(session: &mut ClientConnection, socket: &mut std::net::TcpStream) -> (String, bool) {
    let mut text = Vec::new();
    loop {
        let ended = session.read_tls(socket).unwrap() == 0;
        let state = session.process_new_packets().unwrap();
        let before = text.len();
        text.resize(before + state.plaintext_bytes_to_read(), 0);
        session.reader().read_exact(&mut text[before..]).unwrap();
        if ended || state.peer_has_closed() {
            return (
                String::from_utf8_lossy(&text).into_owned(),
                state.peer_has_closed(),
            );
        }
    }
}
