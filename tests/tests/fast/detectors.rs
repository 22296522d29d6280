//! The measuring instruments themselves, without Segue: every generator of load loses nothing over correct handoffs by
//! the barest loop, and every one of them fires when the restart is lossy.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::process::Command;

use nix::sys::signal::Signal;
use segue_tests::ledger::{Ledger, Tally};
use segue_tests::load::parked::Parked;
use segue_tests::load::race::{Aim, Race};
use segue_tests::load::{Kind, Load};
use segue_tests::process::Process;
use segue_tests::program::Program;
use segue_tests::stand_in::{Family, StandIn};

#[test]
fn the_log_of_a_process_that_has_ended_has_its_last_line() {
    for _ in 0..50 {
        let script = ["-c", "seq 1 2000 >&2; printf 'no end of line' >&2"];
        let process = Process::start(Command::new("sh").args(script));
        process.wait_for_exit();
        assert!(process.stderr().ends_with("\n2000\nno end of line\n"));
    }
}

fn over_handoffs(kind: Kind, family: Family) -> Tally {
    let mut stand_in = StandIn::start(Program::fixture("good"), family);
    let load = Load::start(kind, stand_in.target(), 3);
    let mut old = Vec::new();
    for generation in 2..=5 {
        old.push(stand_in.handoff().0);
        load.wait_for_generation(generation);
        load.wait_for_more(10);
    }
    let tally = load.stop();
    for process in old {
        assert_eq!(process.wait_for_exit().code(), Some(0), "{}", process.stderr());
    }
    tally
}

#[test]
fn correct_handoffs_lose_nothing_whatever_the_load() {
    for kind in Kind::HTTP1 {
        println!("{kind:?}");
        over_handoffs(kind, Family::Tcp).assert_nothing_lost();
    }
}

#[test]
fn correct_handoffs_lose_nothing_on_a_unix_socket() {
    for kind in [Kind::Fresh, Kind::KeepAlive, Kind::Post] {
        println!("{kind:?}");
        over_handoffs(kind, Family::Unix).assert_nothing_lost();
    }
}

#[test]
fn every_detector_fires_on_a_stop_then_start_restart() {
    for (kind, family) in Kind::HTTP1
        .map(|kind| (kind, Family::Tcp))
        .into_iter()
        .chain([(Kind::Fresh, Family::Unix)])
    {
        println!("{kind:?} {family:?}");
        let mut stand_in = StandIn::start(Program::fixture("good"), family);
        let load = Load::start(kind, stand_in.target(), 3);
        load.wait_for_more(10);
        stand_in.restart_lossy(|| load.wait_for_loss());
        load.wait_for_more(10);
        load.stop().assert_detector_fired();
    }
}

/// The parked requests over one handoff from this program.
fn parked_over_handoff(line: &str, park: impl Fn(&StandIn, &Ledger) -> Parked) -> Tally {
    let mut stand_in = StandIn::start(Program::fixture(line), Family::Tcp);
    let ledger = Ledger::default();
    let mut parked = park(&stand_in, &ledger);
    assert!(parked.len() > 10);
    parked.wait_until_accepted(stand_in.target());
    stand_in.deploy(Program::fixture("good"));
    let (old, _) = stand_in.handoff();
    match line {
        "good" => drop(old.wait_for_line("draining")),
        _ => parked.wait_for_a_close(),
    }
    parked.finish();
    ledger.tally()
}

#[test]
fn requests_cut_at_every_place_survive_a_handoff_and_show_a_lossy_drain() {
    let park = |stand_in: &StandIn, ledger: &Ledger| {
        Parked::posts_cut_everywhere(stand_in.target(), ledger, b"a body of some length")
    };
    parked_over_handoff("good", park).assert_nothing_lost();
    parked_over_handoff("exits-on-term", park).assert_detector_fired();
    parked_over_handoff("closes-idle", park).assert_detector_fired();
}

#[test]
fn idle_connections_survive_a_handoff_and_show_a_lossy_drain() {
    let park = |stand_in: &StandIn, ledger: &Ledger| Parked::idle(stand_in.target(), ledger, 50);
    parked_over_handoff("good", park).assert_nothing_lost();
    parked_over_handoff("closes-idle", park).assert_detector_fired();
}

/// Rounds of a race until enough trials were near the instant of the drain, or one was lost.
fn race(race: Race, line: &str, trials: usize) -> (Tally, usize) {
    let mut stand_in = StandIn::start(Program::fixture(line), Family::Tcp);
    let (ledger, mut aim, mut near) = (Ledger::default(), Aim::default(), 0);
    let target = stand_in.target().clone();
    let mut old = Vec::new();
    for _ in 0..200 {
        let round = aim.round(race, &target, &ledger, 50, || {
            let (process, instant) = stand_in.handoff();
            old.push(process);
            instant
        });
        near += round.near;
        if near >= trials || !ledger.tally().lost.is_empty() {
            break;
        }
    }
    (ledger.tally(), near)
}

#[test]
fn races_with_the_drain_are_won_by_a_good_server() {
    for which in [Race::Idle, Race::Fresh] {
        let (tally, near) = race(which, "good linger=2s", 200);
        println!("{which:?}: {near} near; {tally}");
        tally.assert_nothing_lost();
        assert!(
            near >= 200,
            "only {near} requests were near the instant of the drain"
        );
    }
}

#[test]
fn races_with_the_drain_are_lost_by_a_server_that_closes_idle_connections() {
    for which in [Race::Idle, Race::Fresh] {
        let (tally, near) = race(which, "closes-idle", usize::MAX);
        println!("{which:?}: {near} near; {tally}");
        tally.assert_detector_fired();
    }
}

#[test]
fn a_queue_outlives_a_stopped_server() {
    let mut stand_in = StandIn::start(Program::fixture("good"), Family::Tcp);
    let ledger = Ledger::default();
    stand_in.incumbent().signal(Signal::SIGSTOP);
    let queued = Parked::queued(stand_in.target(), &ledger, 100);
    let (old, _) = stand_in.handoff();
    queued.finish();
    old.signal(Signal::SIGKILL);
    ledger.tally().assert_nothing_lost();
    assert_eq!(ledger.tally().by_generation.keys().collect::<Vec<_>>(), ["2"]);
}

#[test]
fn a_queue_does_not_outlive_its_socket() {
    let mut stand_in = StandIn::start(Program::fixture("good"), Family::Tcp);
    let ledger = Ledger::default();
    stand_in.incumbent().signal(Signal::SIGSTOP);
    let queued = Parked::queued(stand_in.target(), &ledger, 100);
    stand_in.incumbent().signal(Signal::SIGKILL);
    stand_in.restart_lossy(|| {});
    queued.finish();
    ledger.tally().assert_detector_fired();
}

/// An HTTP/2 server in this process: two connections, the first ends in the given way while streams run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Graceful,
    Abrupt,
}

fn http2_over(end: End) -> Tally {
    let (address_out, address_in) = std::sync::mpsc::channel();
    let server = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            address_out.send(listener.local_addr().unwrap()).unwrap();
            for number in 0..3_u32 {
                let (stream, _) = listener.accept().await.unwrap();
                serve_http2(stream, end, if number < 2 { 100 } else { u32::MAX }).await;
            }
        });
    });
    let target = segue_tests::http::Target::Tcp(address_in.recv().unwrap());
    let load = Load::start(Kind::Http2, &target, 1);
    match end {
        End::Graceful => load.wait_for_more(400),
        End::Abrupt => load.wait_for_loss(),
    }
    let tally = load.stop();
    drop(server);
    tally
}

/// Serves until `most` streams have been begun, then ends the connection.
async fn serve_http2(stream: tokio::net::TcpStream, end: End, most: u32) {
    let mut connection = h2::server::handshake(stream).await.unwrap();
    let mut begun = 0;
    while let Some(accepted) = connection.accept().await {
        let Ok((request, mut respond)) = accepted else {
            return;
        };
        begun += 1;
        if begun == most {
            match end {
                End::Graceful => connection.graceful_shutdown(),
                End::Abrupt => return,
            }
        }
        tokio::spawn(async move {
            let mut body = request.into_body();
            let mut got = Vec::new();
            while let Some(Ok(chunk)) = body.data().await {
                let _ = body.flow_control().release_capacity(chunk.len());
                got.extend_from_slice(&chunk);
            }
            if got.is_empty() {
                got.extend_from_slice(br#"{"message": "test"}"#);
            }
            if let Ok(mut send) = respond.send_response(http::Response::new(()), false) {
                let _ = send.send_data(bytes::Bytes::from(got), true);
            }
        });
    }
}

#[test]
fn http2_streams_survive_a_goaway_and_show_an_abrupt_end() {
    let graceful = http2_over(End::Graceful);
    graceful.assert_nothing_lost();
    http2_over(End::Abrupt).assert_detector_fired();
}
