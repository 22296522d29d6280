//! What happens while one binary becomes the other is not lost: signals, deaths, words of the app, clients.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use segue_tests::figures::{say, scale};
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};

use super::{other, shelf};

/// At a random moment of an upgrade, again and again.
#[track_caller]
fn at_any_moment(setup: Setup, what: &str, mut disturb: impl FnMut(&Segue), seen: impl Fn(&Segue, u64)) {
    let seed = std::env::var("SEGUE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    say(format_args!(
        "{what} at any moment of an upgrade: SEGUE_SEED={seed}"
    ));
    let mut random = fastrand::Rng::with_seed(seed);
    let segue = shelf::start(setup);
    let mut took = Duration::from_millis(50);
    for trial in 1..=scale(6, 300) {
        shelf::put(&segue, other(&segue).0);
        let begun = Instant::now();
        let asked = segue.begin("upgrade", &[]);
        let moment = begun + took.mul_f64(random.f64());
        while Instant::now() < moment {
            std::hint::spin_loop();
        }
        disturb(&segue);
        let done = asked.finish();
        assert_eq!(done.code, Some(0), "{done:?}; log:\n{}", segue.process().stderr());
        took = begun.elapsed();
        seen(&segue, trial);
    }
    segue.stop();
}

#[test]
fn no_signal_is_lost() {
    at_any_moment(
        Setup::new(Program::app()),
        "SIGHUP",
        |segue| segue.signal(Signal::SIGHUP),
        |segue, trial| {
            segue.wait_until("it has reloaded", |status| status.generation() == trial + 1);
        },
    );
}

#[test]
fn no_death_is_lost() {
    at_any_moment(
        Setup::new(Program::app()).flags(["--probation", "0s"]),
        "a crash",
        |segue| {
            let asked = segue.wait_until("it serves", |status| !status.pids(1).is_empty());
            let _ = kill(Pid::from_raw(asked.pids(1)[0]), Signal::SIGKILL);
        },
        |segue, trial| {
            segue.wait_until("it was started again", |status| {
                status.state() == "serving" && status.count("restarts") == trial
            });
        },
    );
}

#[test]
fn no_client_is_lost() {
    let reloads = std::cell::RefCell::new(Vec::new());
    at_any_moment(
        Setup::new(Program::app()),
        "clients",
        |segue| reloads.borrow_mut().push(segue.begin("reload", &["--drained"])),
        |segue, trial| {
            let done = reloads.borrow_mut().remove(0).finish();
            assert_eq!(done.code, Some(0), "{done:?}; log:\n{}", segue.process().stderr());
            assert_eq!(segue.status().generation(), trial + 1);
        },
    );
}
