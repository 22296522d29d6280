//! `segue deploy` interrupted in each of its calls that change something, by each signal: whatever it leaves, `current` leads to a
//! complete release, the app serves, and the next run puts everything right.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot look at its subject has failed"
)]

use nix::sys::signal::Signal;
use segue_tests::deployed::{Deployed, write_program};
use segue_tests::figures;
use segue_tests::load::{Kind, Load};
use segue_tests::process::{Finished, Process};
use segue_tests::{needs, strace};

/// What holds at once, without another run.
#[track_caller]
fn check_interrupted(
    deployed: &Deployed,
    signal: Signal,
    before: &str,
    message: &str,
    done: &Finished,
    story: &str,
) {
    deployed.assert_current_is_complete();
    let serving = deployed.message();
    assert!(serving == before || serving == message, "{serving}: {story}");
    if signal == Signal::SIGKILL {
        return;
    }
    // It could still put in order what it had begun, and say how it ended.
    deployed.assert_consistent();
    let code = if signal == Signal::SIGINT { 130 } else { 143 };
    if done.code == Some(0) {
        deployed.wait_for_message(message);
        assert!(done.stdout.contains(" serves since "), "{story}");
    } else {
        assert_eq!(done.code, Some(code), "{story}");
        deployed.wait_for_message(before);
        let last = done.stderr.lines().last().unwrap_or_default();
        assert!(
            last.contains("interrupted by SIG") && last.ends_with("nothing was changed"),
            "{story}"
        );
        deployed.assert_tidy();
    }
}

/// Calls by which `segue deploy` changes something or asks segue.
const CALLS: [&str; 12] = [
    "mkdir",
    "chmod",
    "fchmod",
    "flock",
    "copy_file_range",
    "fsync",
    "rename",
    "symlink",
    "unlink",
    "unlinkat",
    "rmdir",
    "connect",
];

/// `segue deploy app` under strace(1) with these arguments of its own.
fn traced(deployed: &Deployed, arguments: &[&str]) -> Finished {
    let plain = deployed.command(&["app"]);
    let mut words = plain.get_args();
    let mut command = std::process::Command::new(plain.get_program());
    command.arg(words.next().unwrap()).arg("strace").args(arguments);
    command.args(words).current_dir(deployed.path("."));
    for (key, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(key, value),
            None => command.env_remove(key),
        };
    }
    Process::start(&mut command).finish()
}

/// Each of its calls by name and number, as a deploy that goes well makes them.
fn calls(deployed: &Deployed) -> Vec<(String, usize)> {
    deployed.write("good message=counted");
    let trace = deployed.path("trace");
    let set = format!("trace={}", CALLS.join(","));
    let done = traced(deployed, &["-qq", "-o", &trace.display().to_string(), "-e", &set]);
    assert_eq!(done.code, Some(0), "{done:?}");
    let mut counts = strace::Counts::new();
    for line in strace::read(&trace).lines() {
        strace::count(&mut counts, line);
    }
    let each = counts
        .into_iter()
        .flat_map(|(name, count)| (1..=count).map(move |number| (name.clone(), number)));
    each.collect()
}

/// A signal comes in each of these calls, and another deploy is made after each. In the short run each signal takes every
/// third, with another first one.
fn at_every_call(test: &str, signal: Signal, first: usize) {
    if needs::or_skip(test, strace::available()).is_none() {
        return;
    }
    let deployed = Deployed::start(["--probation", "1ms"]);
    let load = Load::start(Kind::KeepAlive, &deployed.segue.target(), 2);
    let calls = calls(&deployed);
    let (first, stride) = (figures::scale(first, 0), figures::scale(3, 1));
    let mut met = 0;
    for (number, (call, nth)) in calls.iter().enumerate().skip(first).step_by(stride) {
        let message = format!("call-{number}");
        let before = deployed.message();
        deployed.write(&format!("good message={message}"));
        let set = format!("trace={call}");
        let inject = format!("inject={call}:signal={}:when={nth}", signal.as_str());
        let done = traced(&deployed, &["-qq", "-o", "/dev/null", "-e", &set, "-e", &inject]);
        let story = format!("{signal} in {call} number {nth}: {done:?}");
        check_interrupted(&deployed, signal, &before, &message, &done, &story);
        met += usize::from(done.code != Some(0));
        let next = deployed.run(&["app"]);
        assert_eq!(next.code, Some(0), "{story}\nthen {next:?}");
        deployed.assert_serves_alone(&message);
        deployed.assert_consistent();
        deployed.assert_tidy();
    }
    println!(
        "figures: segue deploy met {signal} in {} calls of {}, which ended {met} of them",
        calls.len().saturating_sub(first).div_ceil(stride),
        calls.len()
    );
    assert!(
        calls.len() > 20 && met > calls.len() / stride / 2,
        "{met} of {calls:?}"
    );
    load.stop().assert_nothing_lost();
    deployed.stop();
}

#[test]
fn killed_in_every_call() {
    at_every_call("killed_in_every_call", Signal::SIGKILL, 0);
}

#[test]
fn terminated_in_every_call() {
    at_every_call("terminated_in_every_call", Signal::SIGTERM, 1);
}

#[test]
fn interrupted_in_every_call() {
    at_every_call("interrupted_in_every_call", Signal::SIGINT, 2);
}

/// A deploy of a version that is not ready before its file `go` is there, at the moment at which that is waited for.
fn while_starting(deployed: &Deployed) -> Process {
    deployed.write_held("good message=late");
    let deploy = Process::start(&mut deployed.command(&["app"]));
    deploy.wait_for_line("deploy: reloading");
    deployed
        .segue
        .wait_until("it starts", |status| !status.in_role("candidate").is_empty());
    deploy
}

#[test]
fn a_signal_while_the_new_version_starts_waits_for_the_takeover_and_leaves() {
    let deployed = Deployed::start(["--probation", "1h"]);
    let deploy = while_starting(&deployed);
    deploy.signal(Signal::SIGTERM);
    deploy.wait_for_line("a reload cannot be taken back; waiting for its takeover or failure");
    deployed.let_go();
    let done = deploy.finish();
    assert_eq!(done.code, Some(143), "{done:?}");
    let last = done.stderr.lines().last().unwrap();
    assert!(
        last.contains(&format!("app: {} serves since ", deployed.current()))
            && last.ends_with("probation has not been waited for"),
        "{done:?}"
    );
    deployed.assert_consistent();
    goes_on_next_time(&deployed);
}

#[test]
fn a_second_signal_leaves_at_once_and_says_what_is_open() {
    let deployed = Deployed::start(["--probation", "1h"]);
    let deploy = while_starting(&deployed);
    deploy.signal(Signal::SIGINT);
    deploy.wait_for_line("a reload cannot be taken back");
    deploy.signal(Signal::SIGINT);
    let done = deploy.finish();
    assert_eq!(done.code, Some(130), "{done:?}");
    let last = done.stderr.lines().last().unwrap();
    assert!(
        last.contains("which does not serve yet; run ") && last.ends_with(" again to resolve it"),
        "{done:?}"
    );
    deployed.let_go();
    deployed
        .segue
        .wait_until("it took over", |status| status.generation() == 2);
    goes_on_next_time(&deployed);
}

#[test]
fn killed_while_the_new_version_starts_and_it_fails_then() {
    let deployed = Deployed::start(["--probation", "1h"]);
    let before = deployed.current();
    let deploy = while_starting(&deployed);
    deploy.signal(Signal::SIGKILL);
    let _ = deploy.wait_for_exit();
    assert_ne!(deployed.current(), before, "the flip stands");
    let candidate = deployed.segue.status().pids(2);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(candidate[0]), Signal::SIGKILL).unwrap();
    deployed
        .segue
        .wait_until("it failed", |status| status.last_outcome() == "failed");
    // What it had in the background ends with the reload, or looks up once a second and ends.
    let left = || {
        deployed
            .segue
            .leftover_processes()
            .into_iter()
            .any(|seen| seen.comm == "deploy.sh" || seen.comm == "sleep")
    };
    let end = std::time::Instant::now() + segue_tests::patience();
    while left() {
        assert!(std::time::Instant::now() < end, "it left processes behind");
        std::thread::sleep(segue_tests::LOOK);
    }
    write_program(&deployed.path("app"), "good message=old");
    let next = deployed.run(&["app"]);
    assert_eq!(next.code, Some(0), "{next:?}");
    assert!(
        next.stderr
            .contains("its release does not serve; current leads to the one that does again"),
        "{next:?}"
    );
    assert!(next.stdout.contains("already serves"), "{next:?}");
    assert_eq!(deployed.current(), before);
    deployed.wait_for_message("old");
    deployed.assert_tidy();
    deployed.stop();
}

#[test]
fn a_signal_in_probation_leaves_with_the_new_version_serving() {
    let deployed = Deployed::start(["--probation", "1h"]);
    deployed.write("good message=new");
    let deploy = Process::start(&mut deployed.command(&["app"]));
    deploy.wait_for_line("generation 2 serves");
    deploy.signal(Signal::SIGHUP);
    let done = deploy.finish();
    assert_eq!(done.code, Some(129), "{done:?}");
    assert!(
        done.stderr
            .lines()
            .last()
            .unwrap()
            .ends_with("probation has not been waited for"),
        "{done:?}"
    );
    deployed.wait_for_message("new");
    goes_on_next_time(&deployed);
    deployed.stop();
}

/// The next run finds that the interrupted deploy serves, and that its probation has not passed: the journal stays.
#[track_caller]
fn goes_on_next_time(deployed: &Deployed) {
    let current = deployed.current();
    let next = deployed.run(&["app"]);
    assert_eq!(next.code, Some(0), "{next:?}");
    assert!(
        next.stderr.contains(&format!("its release serves: {current}"))
            && next.stderr.contains("its probation has not passed yet"),
        "{next:?}"
    );
    assert!(next.stdout.contains("already serves"), "{next:?}");
    deployed.assert_consistent();
    deployed.assert_tidy_but_for(&[".deploy"]);
}

#[test]
fn a_reader_that_goes_away_ends_no_deploy() {
    let deployed = Deployed::start(["--probation", "10ms"]);
    deployed.write("good message=new");
    let plain = deployed.command(&["app"]);
    let mut command = std::process::Command::new("sh");
    command.args([
        "-c",
        "{ \"$@\"; echo $? >code; } 2>&1 | true; until [ -s code ]; do :; done",
        "sh",
    ]);
    command.arg(plain.get_program()).args(plain.get_args());
    command
        .current_dir(deployed.path("."))
        .env("SEGUE", segue_tests::binaries::Binary::Segue.path());
    let done = Process::start(&mut command).finish();
    assert_eq!(
        std::fs::read_to_string(deployed.path("code")).unwrap(),
        "0\n",
        "{done:?}"
    );
    deployed.wait_for_message("new");
    deployed.assert_consistent();
    deployed.assert_tidy();
    deployed.stop();
}
