//! The two races of a drain, against real processes: a request sent within milliseconds of SIGTERM on an idle
//! kept-alive connection (idle race), and one that connects in that window (fresh race). Beside the app runs its
//! successor on the same listener, as under a supervisor, so everything that is lost is lost by the drain.
//!
//! `SEGUE_TRIALS=100000 cargo test --release -p segue-app --test all races:: -- --nocapture` is the long run.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use super::common::{Running, app, example, start};
use nix::sys::signal::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

/// Connections in one round: one process is told to stop once for all of them.
const PER_ROUND: usize = 250;

/// The requests are spread over so much time on either side of the signal.
const WINDOW: Duration = Duration::from_millis(3);

const REQUEST: &[u8] = b"GET /ping HTTP/1.1\r\nHost: test\r\n\r\n";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Race {
    Idle,
    Fresh,
}

/// What became of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Answered { closing: bool },
    Lost,
}

#[derive(Debug, Default)]
struct Tally {
    trials: usize,
    lost: usize,
    /// Answers that carried `Connection: close`: these requests met the drain itself.
    closing: usize,
}

fn trials() -> usize {
    std::env::var("SEGUE_TRIALS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(2000)
}

fn run(race: Race, program: &Path, trials: usize) -> Tally {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut tally = Tally::default();
    while tally.trials < trials {
        let listener = super::common::listener();
        let mut old = start(program, &listener, &[]);
        let fates = runtime.block_on(round(race, &mut old, program, &listener));
        assert!(old.end().status.success());
        for fate in fates {
            tally.trials += 1;
            match fate {
                Fate::Answered { closing } => tally.closing += usize::from(closing),
                Fate::Lost => tally.lost += 1,
            }
        }
    }
    println!(
        "{race:?} race against {}: {} of {} lost ({} answered with close)",
        program.file_name().unwrap().to_string_lossy(),
        tally.lost,
        tally.trials,
        tally.closing
    );
    tally
}

async fn round(race: Race, old: &mut Running, program: &Path, listener: &TcpListener) -> Vec<Fate> {
    let address = listener.local_addr().unwrap();
    let mut idle = Vec::new();
    if race == Race::Idle {
        for _ in 0..PER_ROUND {
            idle.push(kept(address).await);
        }
    }
    let new = start(program, listener, &[]);
    let begin = Instant::now() + Duration::from_millis(5);
    let mut asking = JoinSet::new();
    for place in 0..PER_ROUND {
        let at = begin + WINDOW * 2 * place as u32 / PER_ROUND as u32;
        match idle.pop() {
            Some(stream) => asking.spawn(async move {
                sleep_until(at).await;
                ask(stream).await
            }),
            None => asking.spawn(async move {
                sleep_until(at).await;
                ask(TcpStream::connect(address).await.unwrap()).await
            }),
        };
    }
    // Another moment within the window each time.
    let signal_at = begin + WINDOW.mul_f64(0.5 + fastrand::f64());
    asking.spawn({
        let pid = nix::unistd::Pid::from_raw(old.pid() as i32);
        async move {
            sleep_until(signal_at).await;
            nix::sys::signal::kill(pid, Signal::SIGTERM).unwrap();
            Fate::Answered { closing: false }
        }
    });
    let mut fates = asking.join_all().await;
    // The signal is no trial.
    let signal = fates
        .iter()
        .position(|fate| *fate == Fate::Answered { closing: false });
    signal.map(|place| fates.swap_remove(place));
    drop(new);
    fates
}

/// A connection on which the old server has answered once.
async fn kept(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(REQUEST).await.unwrap();
    assert_eq!(response(&mut stream).await, Fate::Answered { closing: false });
    stream
}

async fn ask(mut stream: TcpStream) -> Fate {
    match stream.write_all(REQUEST).await {
        Ok(()) => timeout(super::common::PATIENCE, response(&mut stream))
            .await
            .unwrap_or(Fate::Lost),
        Err(_) => Fate::Lost,
    }
}

async fn response(stream: &mut TcpStream) -> Fate {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
        if text.ends_with("\"}") {
            return Fate::Answered {
                closing: text.contains("\r\nconnection: close\r\n"),
            };
        }
        match stream.read_buf(&mut bytes).await {
            Ok(0) | Err(_) => return Fate::Lost,
            Ok(_) => {}
        }
    }
}

#[test]
fn the_idle_race_loses_nothing() {
    let tally = run(Race::Idle, app(), trials());
    assert_eq!(tally.lost, 0);
    assert!(tally.closing > 0, "no request met the drain: the window is wrong");
}

#[test]
fn the_fresh_race_loses_nothing() {
    let tally = run(Race::Fresh, app(), trials());
    assert_eq!(tally.lost, 0);
    assert!(tally.closing > 0, "no request met the drain: the window is wrong");
}

/// The detector sees a server lose that does what axum and hyper-util do.
#[test]
fn control_hypers_own_graceful_shutdown_loses() {
    let program = example("hyper_graceful");
    let idle = run(Race::Idle, &program, trials());
    assert!(idle.lost > 0);
    // The fresh race is rarer; it is shown, and not demanded of a small number of trials.
    run(Race::Fresh, &program, trials());
}
