//! Those who follow a supervisor go on across its upgrade: `segue events --follow`, `segue logs -f`, `segue status --watch`.

use std::time::Instant;

use nix::sys::signal::Signal;
use segue_tests::process::Process;
use segue_tests::program::Program;
use segue_tests::segue::Setup;
use serde_json::Value;

use super::shelf;
use super::upgrade;

/// What has happened, and to which generation.
fn told(events: &Process) -> Vec<(String, u64)> {
    let told = |line: &str| {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        let word = event["event"].as_str().unwrap_or_default().to_owned();
        (word, event["generation"].as_u64().unwrap_or_default())
    };
    events.output().lines().map(told).collect()
}

/// Takeovers, in order.
fn takeovers(events: &Process) -> Vec<u64> {
    let told = told(events).into_iter();
    told.filter_map(|(word, generation)| (word == "took-over").then_some(generation))
        .collect()
}

/// One reads at once, and one only when all is over.
#[test]
fn whoever_follows_events_misses_none() {
    let segue = shelf::start(Setup::new(Program::fixture("good")).flags(["--probation", "0s"]));
    let (reads, late) = (
        segue.begin("events", &["--follow"]),
        segue.begin("events", &["--follow"]),
    );
    for events in [&reads, &late] {
        events.wait_for_output("\"event\":\"now\"");
    }
    late.signal(Signal::SIGSTOP);
    late.wait_until_stopped();
    for generation in 2..=4 {
        upgrade(&segue);
        segue.reload_ok(&["--drained"]);
        assert_eq!(segue.status().generation(), generation);
    }
    upgrade(&segue);
    late.signal(Signal::SIGCONT);
    segue.stop();
    for events in [reads, late] {
        let done = events.finish();
        assert_eq!(done.code, Some(0), "{done:?}");
        assert_eq!(takeovers(&events), [2, 3, 4], "{done:?}");
        assert_eq!(
            told(&events).iter().filter(|(word, _)| word == "now").count(),
            1,
            "{done:?}"
        );
        assert!(done.stdout.contains("\"event\":\"stopping\""), "{done:?}");
    }
}

/// A screen that watches asks each second, and nothing in between says that nobody answers.
#[test]
fn whoever_follows_lines_or_watches_goes_on() {
    let setup = Setup::new(Program::fixture("good")).flags(["--probation", "0s", "--stderr", "app.log"]);
    let segue = shelf::start(setup);
    let (logs, watch) = (segue.begin("logs", &["-f"]), segue.begin("status", &["--watch"]));
    logs.wait_for_output("generation 1: serving");
    watch.wait_for_output("serving");
    for generation in 2..=3 {
        upgrade(&segue);
        segue.reload_ok(&["--drained"]);
        logs.wait_for_output(&format!("generation {generation}: serving"));
    }
    upgrade(&segue);
    let mark = watch.output().len();
    let end = Instant::now() + segue_tests::patience();
    while !watch
        .output()
        .get(mark..)
        .is_some_and(|rest| rest.contains("serving"))
    {
        assert!(watch.is_running() && Instant::now() < end, "{}", watch.output());
        std::thread::sleep(segue_tests::LOOK);
    }
    assert!(!watch.output().contains("no supervisor"), "{}", watch.output());
    assert_eq!(watch.stderr(), "");
    for follower in [logs, watch] {
        assert!(follower.is_running());
        follower.signal(Signal::SIGTERM);
        follower.wait_for_exit();
    }
    segue.stop();
}
