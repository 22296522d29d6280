//! `--ready auto`, the default: an app that never says READY=1 is ready when it has accepted for a while; the word of one that
//! does is waited for, even if it comes late, by every supervisor that follows.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot look at its subject has failed"
)]

use std::ffi::OsString;
use std::time::{Duration, Instant};

use segue_tests::http::{GENERATION, get_and_close};
use segue_tests::load::{Kind, Load};
use segue_tests::patience;
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};

/// How long an app accepts in these tests until it is ready without a word, and a time in which that would have come about long ago.
const READY_AFTER: &str = "300ms";
const LONG_AGO: Duration = Duration::from_millis(1200);

/// The reload to an app that serves, and says nothing, comes to this.
const WAITED_FOR: &str = "not ready after 5s (this app has notified, so only READY=1 counts; a silent one needs \
                          --ready accepting)";

fn generation_of(segue: &Segue) -> String {
    let answer = segue.target().connect().unwrap().ask(&get_and_close("/ping"));
    answer.unwrap().header(GENERATION).to_owned()
}

/// Asks until this generation answers.
fn wait_for_answer_of(segue: &Segue, generation: &str) {
    let begin = Instant::now();
    while generation_of(segue) != generation {
        assert!(
            begin.elapsed() < patience(),
            "generation {generation} never answers"
        );
    }
}

/// An app that says READY=1, started with all the time that a slow machine may need.
fn good_app() -> Segue {
    let setup = Setup::new(Program::new("./app"));
    let settings = setup.path("segue.toml");
    std::fs::write(&settings, "").unwrap();
    setup.deploy("app", &Program::fixture("good"));
    setup
        .flags([OsString::from("--config"), settings.into_os_string()])
        .start()
}

/// Reloads to an app that serves and never says READY=1, where the one before it has said so.
fn a_silent_successor_is_refused(segue: &Segue) {
    segue.deploy("app", &Program::fixture("never-ready"));
    std::fs::write(segue.path("segue.toml"), "start-timeout = \"5s\"\n").unwrap();
    let done = segue.reload(&[]);
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(done.stderr.contains(WAITED_FOR), "{}", done.stderr);
    assert_eq!(segue.status().generation(), 1);
}

#[test]
fn an_app_that_never_says_ready_loses_nothing_in_reloads() {
    let segue = Setup::new(Program::fixture("never-ready")).start();
    let load = Load::start(Kind::Fresh, &segue.target(), 2);
    for generation in 2..=4 {
        let begin = Instant::now();
        segue.reload_ok(&[]);
        assert!(begin.elapsed() >= Duration::from_secs(1), "{:?}", begin.elapsed());
        load.wait_for_generation(generation);
    }
    load.stop().assert_nothing_lost();
    segue.stop();
}

/// It accepts at once. At the first start there is nobody to take over from, and its word comes when it is ready already; at the
/// reload the word is waited for.
#[test]
fn a_word_that_came_late_is_waited_for_from_then_on() {
    let setup = Setup::new(Program::new("")).flags(["--ready-after", READY_AFTER]);
    let word = setup.path("word");
    let program = Program::fixture("ready-late").args([format!("file={}", word.display())]);
    let segue = setup.program(program).start();
    std::fs::write(&word, "").unwrap();
    segue.process().wait_for_line("fixture: said READY=1");
    std::fs::remove_file(&word).unwrap();
    let reload = segue.begin("reload", &[]);
    wait_for_answer_of(&segue, "2");
    std::thread::sleep(LONG_AGO);
    let status = segue.status();
    assert_eq!((status.generation(), status.in_role("candidate")), (1, vec![2]));
    std::fs::write(&word, "").unwrap();
    let done = reload.finish();
    assert_eq!(done.code, Some(0), "{done:?}");
    segue.stop();
}

/// The control: where the word has never come, the same app takes over without it.
#[test]
fn an_app_whose_word_has_never_come_takes_over_without_it() {
    let setup = Setup::new(Program::new("")).flags(["--ready-after", READY_AFTER]);
    let word = setup.path("word");
    let program = Program::fixture("ready-late").args([format!("file={}", word.display())]);
    let segue = setup.program(program).start();
    segue.reload_ok(&[]);
    segue.stop();
}

#[test]
fn a_successor_of_a_killed_supervisor_knows_who_has_notified() {
    let mut segue = good_app();
    segue.kill();
    segue.resume();
    a_silent_successor_is_refused(&segue);
    segue.stop();
}

#[test]
fn an_upgraded_supervisor_knows_who_has_notified() {
    let segue = good_app();
    let done = segue.run("upgrade", &[]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    a_silent_successor_is_refused(&segue);
    segue.stop();
}

#[test]
fn a_silent_app_reloads_below_a_supervisor_that_has_adopted_it() {
    let mut segue = Setup::new(Program::fixture("never-ready")).start();
    segue.kill();
    segue.resume();
    segue.reload_ok(&[]);
    segue.stop();
}

/// It accepts as well, but an app that asks for more time is going to say when it is ready.
#[test]
fn an_app_that_asks_for_more_time_is_waited_for() {
    let done = Setup::new(Program::fixture("asks-for-ever"))
        .flags([
            "--start-timeout",
            "3s",
            "--extend-limit",
            "3s",
            "--ready-after",
            READY_AFTER,
        ])
        .start_in_vain();
    assert!(done.stderr.contains("not ready after"), "{done:?}");
}

#[test]
fn an_app_with_a_watchdog_says_when_it_is_ready() {
    let done = Setup::new(Program::fixture("never-ready"))
        .flags([
            "--start-timeout",
            "3s",
            "--watchdog",
            "2s",
            "--ready-after",
            READY_AFTER,
        ])
        .start_in_vain();
    assert!(done.stderr.contains("not ready after 3s"), "{done:?}");
}
