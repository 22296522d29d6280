//! What becomes of an app whose supervisor is killed: it serves on, or with `--die-with-supervisor` drains and exits.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot look at its subject has failed"
)]

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use segue_tests::http::{Client, get};
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};
use segue_tests::{needs, patience, proc};

/// How often to look again whether a process has ended.
const PAUSE: Duration = Duration::from_millis(5);

/// A connection that the app has accepted, with a request on it that takes a while.
fn asking(segue: &Segue) -> Client {
    let mut client = segue.target().connect().unwrap();
    client.ask(&get("/ping")).unwrap().ok().unwrap();
    client.write(&get("/slow?ms=300")).unwrap();
    client
}

fn wait_until_all_are_gone(segue: &Segue) {
    let begin = Instant::now();
    while !segue.leftover_processes().is_empty() {
        assert!(
            begin.elapsed() < patience(),
            "still there: {:?}",
            segue.leftover_processes()
        );
        std::thread::sleep(PAUSE);
    }
}

#[test]
fn an_app_that_dies_with_its_supervisor_finishes_what_it_has_accepted() {
    let segue = Setup::new(Program::fixture("good"))
        .flags(["--die-with-supervisor", "--workers", "3"])
        .start();
    segue.reload_ok(&["--drained"]);
    let mut client = asking(&segue);
    segue.kill();
    client.response().unwrap().ok().unwrap();
    wait_until_all_are_gone(&segue);
}

#[test]
fn its_own_stop_signal_tells_it() {
    // Neither serves nor catches anything: what ends it is the signal's default action.
    let segue = Setup::new(Program::new("/bin/sleep").args(["1000"]))
        .flags([
            "--die-with-supervisor",
            "--stop-signal",
            "USR2",
            "--ready",
            "exec:0s",
        ])
        .start();
    segue.kill();
    wait_until_all_are_gone(&segue);
}

#[test]
fn an_app_of_another_user_hears_of_the_death_too() {
    if needs::or_skip("an_app_of_another_user_hears_of_the_death_too", needs::root()).is_none() {
        return;
    }
    let segue = Setup::new(Program::new("/bin/sleep").args(["1000"]))
        .flags(["--die-with-supervisor", "--user", "nobody", "--ready", "exec:0s"])
        .start();
    segue.kill();
    wait_until_all_are_gone(&segue);
}

#[test]
fn an_upgrade_in_place_is_no_death() {
    let segue = Setup::new(Program::fixture("good"))
        .flags(["--die-with-supervisor", "--workers", "2"])
        .start();
    let pids = segue.status().pids(1);
    for _ in 0..3 {
        let done = segue.run("upgrade", &[]);
        assert_eq!(done.code, Some(0), "{}", done.stderr);
    }
    assert_eq!(segue.status().pids(1), pids);
    // It is the same process that the kernel watches, so its death still counts.
    segue.kill();
    wait_until_all_are_gone(&segue);
}

#[test]
fn without_the_flag_the_app_serves_on() {
    let segue = Setup::new(Program::fixture("good")).start();
    let target = segue.target();
    let mut client = asking(&segue);
    let [worker] = segue.status().pids(1)[..] else {
        panic!("one worker")
    };
    segue.kill();
    client.response().unwrap().ok().unwrap();
    let mut another = target.connect().unwrap();
    another.ask(&get("/ping")).unwrap().ok().unwrap();
    assert!(proc::look(worker).is_some());
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(worker), Signal::SIGKILL).unwrap();
    wait_until_all_are_gone(&segue);
}
