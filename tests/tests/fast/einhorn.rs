//! `--protocol einhorn`: the ack of a worker on `EINHORN_SOCK_PATH` counts as READY=1.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot look at its subject has failed"
)]

use segue_tests::binaries::Binary;
use segue_tests::http;
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};

/// The fixture takes its listener by the words of systemd, which einhorn's worker does not know.
fn worker(fixture: &str) -> Program {
    let fixture = format!("{} {fixture}", Binary::Fixture.path().display());
    let script = format!("LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=http exec {fixture}");
    Program::new("/bin/sh").args(["-c", &script])
}

/// Ready by its ack alone.
fn start(fixture: &str) -> Segue {
    let setup = Setup::new(Program::new("./app"));
    setup.deploy("app", &worker(fixture));
    setup
        .flags(["--protocol", "einhorn", "--ready", "notify"])
        .start()
}

#[track_caller]
fn serves(segue: &Segue, generation: u64) {
    assert_eq!(
        segue.status().generation(),
        generation,
        "{}",
        segue.process().stderr()
    );
    let mut client = segue.target().connect().unwrap();
    assert_eq!(client.ask(&http::get_and_close("/ping")).unwrap().status, 200);
}

#[test]
fn a_worker_is_ready_by_its_ack_in_every_library_s_words() {
    let segue = start("einhorn-acks kind=json");
    serves(&segue, 1);
    segue.deploy("app", &worker("einhorn-acks kind=ruby"));
    segue.reload_ok(&["--drained"]);
    serves(&segue, 2);
    segue.stop();
}

#[test]
fn a_worker_that_has_not_acked_does_not_take_over() {
    let segue = start("einhorn-acks");
    let file = segue.path("go");
    segue.deploy("app", &worker(&format!("einhorn-acks file={}", file.display())));
    let reload = segue.begin("reload", &[]);
    segue.wait_until("there is a candidate", |status| !status.pids(2).is_empty());
    serves(&segue, 1);
    std::fs::write(&file, "").unwrap();
    assert_eq!(reload.finish().code, Some(0));
    serves(&segue, 2);
    segue.stop();
}

#[test]
fn clients_that_say_nothing_or_something_else_hinder_no_ack() {
    let segue = start("einhorn-acks kind=among-others");
    serves(&segue, 1);
    segue.process().wait_for_line("on the ack socket and no ack)");
    segue.reload_ok(&["--drained"]);
    serves(&segue, 2);
    segue.stop();
}

#[test]
fn acks_are_heard_after_an_upgrade_and_by_the_next_supervisor_after_kill_9() {
    let mut segue = start("einhorn-acks");
    let file = segue.path("go");
    let upgraded = segue.run("upgrade", &[]);
    assert_eq!(upgraded.code, Some(0), "{upgraded:?}");
    segue.reload_ok(&["--drained"]);

    // In the middle of a handoff: it acks to another supervisor than the one that has started it.
    segue.deploy("app", &worker(&format!("einhorn-acks file={}", file.display())));
    let _reload = segue.begin("reload", &["--no-wait"]);
    segue.wait_until("there is a candidate", |status| !status.pids(3).is_empty());
    segue.kill();
    segue.start_again();
    segue.wait_until("it is adopted", |status| !status.pids(3).is_empty());
    std::fs::write(&file, "").unwrap();
    segue.wait_until("it has taken over", |status| status.generation() == 3);
    serves(&segue, 3);
    segue.deploy("app", &worker("einhorn-acks"));
    segue.reload_ok(&["--drained"]);
    segue.stop();
}
