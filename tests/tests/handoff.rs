//! The main job through the harness: start, reload under load, stop, nothing lost and nothing left.

use segue_tests::load::{Kind, Load};
use segue_tests::program::Program;
use segue_tests::segue::Setup;

#[test]
fn reloads_under_load_lose_nothing_and_leave_nothing() {
    let segue = Setup::new(Program::fixture("good")).start();
    let load = Load::start(Kind::Fresh, &segue.target(), 3);
    for generation in 2..=4 {
        segue.reload_ok(&[]);
        load.wait_for_generation(generation);
    }
    load.stop().assert_nothing_lost();
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
