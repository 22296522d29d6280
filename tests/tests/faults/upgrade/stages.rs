//! An upgrade in each stage of a handoff, and behind it the handoff goes on: the same candidate, the same tickets, and waits
//! that do not begin anew.

use segue_tests::http;
use segue_tests::load::{Kind, Load};
use segue_tests::process::Process;
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup, Status};

use super::shelf;
use super::{upgrade, upgrade_until};

/// Reloads from a good app to another one, under load, with upgrades from when the reload has come so far that `begun` is true
/// until `over` is.
#[track_caller]
fn in_stage(
    flags: &[&str],
    candidate: &str,
    until: &str,
    begun: impl Fn(&Status) -> bool,
    over: impl Fn(&Segue, &Status) -> bool,
) {
    let setup = Setup::new(Program::new("./app")).flags(flags);
    setup.deploy("app", &Program::fixture("good"));
    std::fs::write(setup.path("go"), "").unwrap();
    let segue = shelf::start(setup);
    std::fs::remove_file(segue.path("go")).unwrap();
    segue.deploy("app", &Program::fixture(candidate));
    let load = Load::start(Kind::Fresh, &segue.target(), 2);
    let reload = segue.begin("reload", &[until]);
    let before = segue.wait_until("the reload has come so far", begun);
    let candidates = before.pids(2);
    let after = upgrade(&segue);
    if after.in_role("candidate") == [2] {
        assert_eq!(after.pids(2), candidates, "no second candidate");
    }
    let upgrades = upgrade_until(&segue, "the stage is over", |status| over(&segue, status));
    assert_answered(&segue, reload);
    assert_eq!(segue.status().pids(2), candidates, "{upgrades} upgrades");
    load.wait_for_generation(2);
    load.stop().assert_nothing_lost();
    segue.stop();
}

#[track_caller]
fn assert_answered(segue: &Segue, reload: Process) {
    let done = reload.finish();
    assert!(
        done.code == Some(0) && done.stdout.starts_with("reload ok: generation 2"),
        "{done:?}; log:\n{}",
        segue.process().stderr()
    );
}

fn candidate_lives(status: &Status) -> bool {
    !status.pids(2).is_empty()
}

fn took_over(_: &Segue, status: &Status) -> bool {
    status.generation() == 2
}

#[test]
fn while_the_candidate_starts() {
    in_stage(
        &[],
        "slow-start after=1s",
        "--drained",
        candidate_lives,
        took_over,
    );
}

#[test]
fn while_it_is_alive_for_some_time() {
    in_stage(
        &["--ready", "exec:1s"],
        "good",
        "--drained",
        candidate_lives,
        took_over,
    );
}

#[test]
fn while_it_is_probed() {
    let upgrades = std::cell::Cell::new(0);
    in_stage(
        &["--probe", "test -e go", "--probe-timeout", "50s"],
        "good",
        "--drained",
        candidate_lives,
        |segue, status| {
            upgrades.set(upgrades.get() + 1);
            if upgrades.get() == 3 {
                std::fs::write(segue.path("go"), "").unwrap();
            }
            status.generation() == 2
        },
    );
}

/// The run of the probe command that is under way is the last.
#[test]
fn while_a_run_of_the_probe_is_under_way() {
    let probe = "test -e go || { touch asked; while ! test -e go; do sleep 0.05; done; }";
    let upgrades = std::cell::Cell::new(0);
    in_stage(
        &["--probe", probe, "--probe-timeout", "50s"],
        "good",
        "--drained",
        candidate_lives,
        |segue, status| {
            if segue.path("asked").exists() {
                upgrades.set(upgrades.get() + 1);
            }
            if upgrades.get() == 3 {
                std::fs::write(segue.path("go"), "").unwrap();
            }
            status.generation() == 2
        },
    );
}

#[test]
fn while_both_serve_for_a_soak() {
    in_stage(&["--soak", "1s"], "good", "--drained", candidate_lives, took_over);
}

#[test]
fn while_it_is_on_probation() {
    in_stage(
        &["--probation", "1500ms"],
        "good",
        "--settled",
        |status| status.generation() == 2,
        |segue, _| segue.process().stderr().contains("generation 2 passed probation"),
    );
}

#[test]
fn while_a_candidate_is_never_ready() {
    let setup = Setup::new(Program::new("./app")).flags(["--start-timeout", "2s"]);
    setup.deploy("app", &Program::fixture("good"));
    let segue = shelf::start(setup);
    segue.deploy("app", &Program::fixture("never-ready"));
    let reload = segue.begin("reload", &[]);
    segue.process().wait_for_line("generation 2: handoff began");
    upgrade(&segue);
    upgrade_until(&segue, "it has failed", |status| {
        status.last_outcome() == "failed"
    });
    let done = reload.finish();
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(
        done.stderr
            .contains("reload failed: generation 2: not ready after 2s"),
        "{done:?}"
    );
    assert_eq!(segue.status().generation(), 1);
    segue.stop();
}

#[test]
fn while_the_old_one_drains_in_queue_mode() {
    let setup = Setup::new(Program::app()).flags(["--mode", "queue"]);
    let segue = shelf::start(setup);
    let mut client = segue.target().connect().unwrap();
    client.write(&http::get("/slow?ms=1500")).unwrap();
    let reload = segue.begin("reload", &[]);
    segue.process().wait_for_line("generation 2: handoff began");
    // It waits in the queue for the next process that accepts.
    let mut queued = segue.target().connect().unwrap();
    queued.write(&http::get("/ping")).unwrap();
    upgrade(&segue);
    upgrade_until(&segue, "it serves", |status| status.generation() == 2);
    client.response().unwrap().ok().unwrap();
    queued.response().unwrap().ok().unwrap();
    assert_answered(&segue, reload);
    segue.stop();
}

#[test]
fn while_a_reload_waits_for_room_and_another_for_its_turn() {
    let segue =
        shelf::start(Setup::new(Program::app()).flags(["--max-generations", "2", "--drain-timeout", "10m"]));
    // It is in the app until the test sends the rest, however slow the machine is.
    let mut client = segue.target().connect().unwrap();
    let request = http::post("/echo", b"to be continued");
    let (first, rest) = request.split_at(request.len() - 5);
    client.write(first).unwrap();
    segue.wait_until("it is in the app", |status| status.connections(1) == 1);
    segue.reload_ok(&[]);
    let waiting = segue.begin("reload", &[]);
    segue.process().wait_for_line("reload waits: ");
    let next = segue.begin("reload", &["--drained"]);
    segue.process().wait_for_line("reload asked for by pid");
    upgrade(&segue);
    client.write(rest).unwrap();
    upgrade_until(&segue, "it serves", |status| status.generation() >= 3);
    assert_eq!(client.response().unwrap().status, 200);
    for reload in [waiting, next] {
        let done = reload.finish();
        assert_eq!(done.code, Some(0), "{done:?}");
    }
    segue.stop();
}

/// The back-off goes on where it was: it grows over upgrades as it does without.
#[test]
fn while_the_app_crashes_again_and_again() {
    let setup = Setup::new(Program::new("./app")).flags(["--probation", "0s"]);
    // It serves for a short time, and dies no sooner than that is seen: else the first start would have failed.
    setup.deploy(
        "app",
        &Program::fixture("ready-then-dies once=serving after=20ms"),
    );
    let segue = shelf::spawn(setup);
    segue.process().wait_for_line("it is started again in 250 ms");
    upgrade(&segue);
    segue.process().wait_for_line("it is started again in 1000 ms");
    let firsts = segue
        .process()
        .stderr()
        .matches("started again in 250 ms")
        .count();
    assert_eq!(firsts, 1, "it did not begin anew");
    segue.deploy("app", &Program::fixture("good"));
    segue.reload_ok(&[]);
    segue.stop();
}
