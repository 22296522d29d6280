//! What hurried people and half-written files do to a running supervisor.

use segue_tests::program::Program;
use segue_tests::segue::Setup;

#[test]
fn two_stop_commands_mean_one_stop_and_both_wait_for_it() {
    let segue = Setup::new(Program::fixture("ignores-term"))
        .flags(["--stop-timeout", "2s"])
        .start();
    let first = segue.begin("stop", &[]);
    segue.process().wait_for_line("stopping: every generation drains");
    // A second one that killed what drains would end before the stop timeout and without this answer.
    let refused = segue.run("reload", &[]);
    let second = segue.begin("stop", &[]);
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(refused.stderr.contains("stopping"), "{}", refused.stderr);
    assert_eq!(first.finish().code, Some(0));
    assert_eq!(second.finish().code, Some(0));
    let log = segue.process().stderr();
    assert!(!log.contains("what is left is killed"), "{log}");
    segue.ended();
}

#[test]
fn a_file_that_is_empty_for_a_moment_takes_no_listener_away() {
    let setting = format!("command = {}\n", Program::fixture("good").as_toml());
    let setup = Setup::from_config();
    let file = setup.path("segue.toml");
    std::fs::write(&file, format!("{setting}listen = [\"127.0.0.1:0\"]\n")).expect("write");
    let segue = setup
        .flags([std::ffi::OsString::from("--config"), file.clone().into()])
        .start();
    std::fs::write(&file, setting).expect("write");
    let refused = segue.reload(&[]);
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("no listener is left"),
        "{}",
        refused.stderr
    );
    assert_eq!(segue.status().generation(), 1);
    segue.stop();
}
