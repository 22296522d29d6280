//! Requests that are in the middle of something when the takeover comes: bodies cut at every place, answers half sent,
//! 500 connections that nobody has accepted yet.

use nix::sys::signal::Signal;
use segue_tests::figures::{say, scale};
use segue_tests::http::Target;
use segue_tests::ledger::{Ledger, Tally};
use segue_tests::load::parked::Parked;
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};
use segue_tests::stand_in::{Family, StandIn};

/// How many connections wait while the old app is stopped.
const QUEUE: usize = 500;

/// Holds requests, reloads, and finishes them when the old app has been told to drain.
fn over_reloads(what: &str, park: impl Fn(&Target, &Ledger) -> Parked) {
    let segue = Setup::new(Program::app()).start();
    let (target, ledger, rounds) = (segue.target(), Ledger::default(), scale(5, 50));
    for generation in 1..=rounds {
        let parked = park(&target, &ledger);
        parked.wait_until_accepted(&target);
        take_over(&segue, generation);
        parked.finish();
    }
    let tally = ledger.tally();
    say(format_args!("{what}, {rounds} reloads: {}", tally.figures()));
    tally.assert_nothing_lost();
    // They were the old generations' to answer.
    let last = (rounds + 1).to_string();
    assert!(!tally.by_generation.contains_key(&last), "{tally}");
    segue.stop();
}

fn take_over(segue: &Segue, generation: u64) {
    let mark = segue.process().mark();
    segue.reload_ok(&[]);
    segue
        .process()
        .wait_for_line_after(mark, &format!("generation {generation} drains"));
}

/// The same requests over a restart that kills the old app first.
fn over_restart(what: &str, park: impl Fn(&Target, &Ledger) -> Parked) {
    let mut stand_in = StandIn::start(Program::app(), Family::Tcp);
    let ledger = Ledger::default();
    let parked = park(stand_in.target(), &ledger);
    parked.wait_until_accepted(stand_in.target());
    stand_in.incumbent().signal(Signal::SIGKILL);
    stand_in.restart_lossy(|| {});
    parked.finish();
    let tally = ledger.tally();
    say(format_args!(
        "control: {what}, 1 stop-then-start restart: {}",
        tally.figures()
    ));
    tally.assert_detector_fired();
}

fn posts_cut_everywhere(target: &Target, ledger: &Ledger) -> Parked {
    Parked::posts_cut_everywhere(
        target,
        ledger,
        b"a body that is long enough to be cut at many places",
    )
}

/// More than the socket's buffers hold, so that the app has to wait for the client.
fn streamed(target: &Target, ledger: &Ledger) -> Parked {
    const LENGTH: usize = 8 << 20;
    Parked::unread(target, ledger, &format!("/bytes?n={LENGTH}"), LENGTH, 8)
}

fn slow(target: &Target, ledger: &Ledger) -> Parked {
    Parked::unanswered(target, ledger, "/slow?ms=700", 50)
}

fn idle(target: &Target, ledger: &Ledger) -> Parked {
    Parked::idle(target, ledger, 50)
}

#[test]
fn posts_cut_at_every_place_are_answered() {
    over_reloads("POST cut at every place", posts_cut_everywhere);
}

#[test]
fn posts_cut_at_every_place_show_a_restart() {
    over_restart("POST cut at every place", posts_cut_everywhere);
}

#[test]
fn streamed_answers_are_whole() {
    over_reloads("streamed answers in mid-stream", streamed);
}

#[test]
fn streamed_answers_show_a_restart() {
    over_restart("streamed answers in mid-stream", streamed);
}

#[test]
fn slow_answers_come() {
    over_reloads("slow answers", slow);
}

#[test]
fn slow_answers_show_a_restart() {
    over_restart("slow answers", slow);
}

#[test]
fn idle_connections_serve_one_more_request() {
    over_reloads("idle connections", idle);
}

#[test]
fn idle_connections_show_a_restart() {
    over_restart("idle connections", idle);
}

/// What becomes of the stopped app after the takeover.
#[derive(Clone, Copy, Debug)]
enum Afterwards {
    /// It wakes up while the queue is there, and drains.
    Continued,
    /// It never wakes up.
    Killed,
}

fn queue_over_reload(afterwards: Afterwards) {
    let segue = Setup::new(Program::app()).start();
    let (target, ledger) = (segue.target(), Ledger::default());
    let old = segue.status().pids(1);
    let signal = |signal: Signal| {
        for pid in &old {
            let sent = nix::sys::signal::kill(nix::unistd::Pid::from_raw(*pid), signal);
            assert_eq!(sent, Ok(()), "{signal} to {pid}");
        }
    };
    signal(Signal::SIGSTOP);
    let queued = Parked::queued(&target, &ledger, QUEUE);
    assert_eq!(queued.len(), QUEUE);
    segue.wait_until("all of them wait in the queue", |status| {
        status.0["listeners"][0]["queued"].as_u64() == Some(QUEUE as u64)
    });
    match afterwards {
        Afterwards::Continued => {
            segue.reload_ok(&[]);
            signal(Signal::SIGCONT);
            queued.finish();
        }
        Afterwards::Killed => {
            segue.reload_ok(&[]);
            queued.finish();
            signal(Signal::SIGKILL);
        }
    }
    let tally = ledger.tally();
    say(format_args!(
        "queue of {QUEUE} behind a stopped app, then {afterwards:?}: {}",
        tally.figures()
    ));
    tally.assert_nothing_lost();
    assert_eq!(tally.answered, QUEUE as u64);
    segue.wait_until("the old one is gone", |status| {
        status.in_role("retired").is_empty()
    });
    segue.stop();
}

#[test]
fn a_queue_is_answered_though_the_old_app_is_stopped() {
    queue_over_reload(Afterwards::Killed);
}

#[test]
fn a_queue_is_answered_when_the_old_app_wakes_up_among_it() {
    queue_over_reload(Afterwards::Continued);
}

#[test]
fn a_queue_shows_a_restart() {
    let mut stand_in = StandIn::start(Program::app(), Family::Tcp);
    let ledger = Ledger::default();
    stand_in.incumbent().signal(Signal::SIGSTOP);
    // The stand-in's backlog is std's 128; connections above it would wait in their SYN.
    let queued = Parked::queued(stand_in.target(), &ledger, 100);
    stand_in.incumbent().signal(Signal::SIGKILL);
    stand_in.restart_lossy(|| {});
    queued.finish();
    let tally: Tally = ledger.tally();
    say(format_args!(
        "control: queue of 100, 1 stop-then-start restart: {}",
        tally.figures()
    ));
    tally.assert_detector_fired();
}
