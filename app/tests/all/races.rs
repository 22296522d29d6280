//! The two races of a drain, against real processes: a request sent within milliseconds of SIGTERM on an idle
//! kept-alive connection (idle race), and one that connects in that window (fresh race). Beside the app runs its
//! successor on the same listener, as under a supervisor, so everything that is lost is lost by the drain.
//!
//! `SEGUE_TRIALS=100000 cargo test --release -p segue-app --test all races:: -- --nocapture` is the long run.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use super::common::{Running, app, example, start};
use super::fates::{Fate, Race, Tally, ask, kept};
use nix::sys::signal::Signal;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// Connections in one round: one process is told to stop once for all of them.
const PER_ROUND: usize = 250;

/// The requests are spread over so much time on either side of the signal.
const WINDOW: Duration = Duration::from_millis(3);

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
        tally.note(fates);
    }
    tally.tell(
        &format!("{race:?} race"),
        &program.file_name().unwrap().to_string_lossy(),
    );
    tally
}

async fn round(race: Race, old: &mut Running, program: &Path, listener: &TcpListener) -> Vec<Fate> {
    let address = listener.local_addr().unwrap();
    let mut idle = Vec::new();
    if race == Race::Idle {
        for _ in 0..PER_ROUND {
            idle.push(kept(connect(address).await).await);
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

async fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
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
