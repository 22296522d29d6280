//! The two races of a drain, under the real supervisor: a request sent within milliseconds of the moment at which the old
//! app is told to drain, on an idle kept connection (idle race) or on one opened in that window (fresh race), with a socket that all
//! generations share and with one for each. The control is a server that calls hyper's own graceful shutdown at SIGTERM.

use nix::sys::signal::Signal;
use segue_tests::figures::{say, scale};
use segue_tests::ledger::{Ledger, Tally};
use segue_tests::load::race::{Aim, NEAR, Race};
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};

const SHARED: &str = "127.0.0.1:0";
/// Old generations drain for as long as the next rounds last.
const STEERED: &str = "127.0.0.1:0,steer,slots=16";

/// Requests of one round: one drain for all of them. Opening a connection takes longer than using one, and more of them
/// than fit into the window would be fired after it.
const fn per_round(race: Race) -> usize {
    match race {
        Race::Idle => 200,
        Race::Fresh => 80,
    }
}

/// How many requests near the drain: `SEGUE_TRIALS`, or else so many.
fn trials(short: usize) -> usize {
    let asked = std::env::var("SEGUE_TRIALS").ok();
    asked
        .and_then(|asked| asked.parse().ok())
        .unwrap_or_else(|| scale(short, 100_000))
}

/// What came of one race.
struct Outcome {
    near: usize,
    fired: usize,
    rounds: u64,
    tally: Tally,
}

/// Tells the supervisor to reload and returns the instant at which the old generation was told to drain, as the log has it.
fn hand_off(segue: &Segue, generation: u64) -> std::time::Instant {
    let mark = segue.process().mark();
    segue.signal(Signal::SIGHUP);
    let line = format!("generation {generation} drains");
    segue.process().wait_for_line_after(mark, &line).at
}

fn run(race: Race, listener: &str, program: Program, trials: usize) -> Outcome {
    let mut setup = Setup::new(program).listen(listener);
    if listener == STEERED {
        // Where the old version lingers, no stop signal comes while it has connections.
        setup = setup.flags(["--linger", "0s"]);
    }
    let segue = setup.flags(["--max-generations", "64"]).start();
    let (target, ledger, mut aim) = (segue.target(), Ledger::default(), Aim::default());
    let (mut near, mut fired, mut rounds) = (0, 0, 0);
    // On a machine so busy that hardly a shot is near, the race is not run for ever.
    let most = 200 + trials as u64 / 5;
    while near < trials && rounds < most {
        rounds += 1;
        // A relief worker may have had a number in between.
        let generation = segue.status().generation();
        let round = aim.round(race, &target, &ledger, per_round(race), || {
            hand_off(&segue, generation)
        });
        near += round.near;
        fired += round.fired;
    }
    segue.wait_until("the old ones are gone", |status| {
        status.in_role("retired").is_empty()
    });
    segue.stop();
    Outcome {
        near,
        fired,
        rounds,
        tally: ledger.tally(),
    }
}

fn say_outcome(what: &str, race: Race, outcome: &Outcome) {
    say(format_args!(
        "{what}{race:?} race, {} reloads: {} trials within {NEAR:?} of the drain ({} fired), {} lost",
        outcome.rounds,
        outcome.near,
        outcome.fired,
        outcome.tally.lost.len()
    ));
}

fn is_won(race: Race, listener: &str, trials: usize) {
    let outcome = run(race, listener, Program::app(), trials);
    say_outcome(&format!("{listener}: "), race, &outcome);
    outcome.tally.assert_nothing_lost();
    assert!(
        outcome.near >= trials,
        "only {} of {} requests were near the drain",
        outcome.near,
        outcome.fired
    );
}

fn is_lost_by_a_graceful_shutdown(race: Race) {
    let outcome = run(
        race,
        SHARED,
        Program::example("hyper_graceful"),
        scale(1_000, 10_000),
    );
    say_outcome("control: hyper's graceful shutdown, ", race, &outcome);
    outcome.tally.assert_detector_fired();
}

#[test]
fn the_idle_race_is_won() {
    is_won(Race::Idle, SHARED, trials(2_000));
}

#[test]
fn the_idle_race_is_won_on_a_steered_listener() {
    is_won(Race::Idle, STEERED, trials(100));
}

#[test]
fn the_fresh_race_is_won() {
    is_won(Race::Fresh, SHARED, trials(2_000));
}

#[test]
fn the_fresh_race_is_won_on_a_steered_listener() {
    is_won(Race::Fresh, STEERED, trials(100));
}

#[test]
fn the_idle_race_is_lost_by_hypers_graceful_shutdown() {
    is_lost_by_a_graceful_shutdown(Race::Idle);
}

#[test]
fn the_fresh_race_is_lost_by_hypers_graceful_shutdown() {
    is_lost_by_a_graceful_shutdown(Race::Fresh);
}
