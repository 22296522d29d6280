//! The main job through the harness: start, reload under load, stop, nothing lost and nothing left.

use segue_tests::load::{Kind, Load};
use segue_tests::program::Program;
use segue_tests::segue::Setup;

#[test]
fn reloads_under_load_lose_nothing_and_leave_nothing() {
    let segue = Setup::new(Program::fixture("good")).start();
    segue.reload_under_load();
    segue.stop();
}

#[test]
fn a_candidate_that_crashes_is_refused_with_the_reason_and_the_incumbent_serves_on() {
    let setup = Setup::new(Program::new("./app"));
    setup.deploy("app", &Program::fixture("good"));
    let segue = setup.start();
    let load = Load::start(Kind::Fresh, &segue.target(), 3);
    segue.deploy("app", &Program::fixture("crash-at-start"));
    let done = segue.reload(&[]);
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    assert!(done.stderr.contains("exited with status 101"), "{}", done.stderr);
    let status = segue.status();
    assert_eq!((status.generation(), status.last_outcome()), (1, "failed"));
    load.wait_for_more(10);
    load.stop().assert_nothing_lost();
    segue.stop();
}

#[test]
fn a_rollback_is_timed_from_its_own_request_though_another_reload_has_begun() {
    let setup = Setup::new(Program::new("./app"));
    setup.deploy("app", &Program::fixture("good"));
    // With no last good yet a crash in probation would be a mere restart, so the first generation is trusted at once.
    let segue = setup.trusted_at_once().start();
    segue.distrust();
    segue.deploy("app", &Program::fixture("ready-then-dies once=serving after=1s"));
    segue.reload_ok(&[]);
    segue.deploy("app", &Program::fixture("waits-in-vain"));
    segue.reload(&["--no-wait"]);
    segue.wait_until("generation 2 is rolled back", |status| {
        status.count("rollbacks") == 1
    });
    let told = segue.run("status", &["--json"]).stdout;
    let status: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(status["last_reload"]["generation"], 2, "{told}");
    assert!(
        status["last_reload"]["duration_ms"].as_u64().unwrap() >= 1_000,
        "{told}"
    );
    segue.stop();
}

#[test]
fn a_reload_that_waits_for_trust_is_told_of_a_crash_though_nothing_can_be_rolled_back_to() {
    let setup = Setup::new(Program::new("./app"));
    setup.deploy("app", &Program::fixture("good"));
    // Generation 1 is on probation itself (30 s by default): there is no last good.
    let segue = setup.start();
    segue.deploy(
        "app",
        &Program::fixture("ready-then-dies once=serving after=200ms"),
    );
    let done = segue.reload(&["--settled"]);
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    assert!(
        done.stderr.contains("generation 2: exited with status 3 after")
            && done
                .stderr
                .contains("no version has passed probation yet, so it is started again"),
        "{}",
        done.stderr
    );
    assert_eq!(segue.status().last_outcome(), "failed");
    segue.deploy("app", &Program::fixture("good"));
    segue.reload_ok(&[]);
    assert_eq!(segue.status().last_outcome(), "ok");
    segue.stop();
}
