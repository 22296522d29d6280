//! Commands of the user's: before a reload, and at what has happened.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot look at its subject has failed"
)]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use segue_tests::http::get_and_close;
use segue_tests::proc;
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};

/// A supervisor whose hook is a script that tests write anew.
fn gated(flags: &[&str]) -> (Segue, std::path::PathBuf) {
    let setup = Setup::new(Program::fixture("good"));
    let gate = setup.path("gate");
    fs::write(&gate, "exit 0\n").unwrap();
    let command = format!(". {}", gate.display());
    let flags = [&["--before-reload", command.as_str()], flags].concat();
    (setup.flags(flags).start(), gate)
}

/// The lines of a file, as soon as it has so many.
fn lines_of(path: &Path, count: usize) -> Vec<String> {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let text = fs::read_to_string(path).unwrap_or_default();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        if lines.len() >= count {
            return lines;
        }
        assert!(Instant::now() < end, "{lines:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_reload_begins_if_its_hook_allows_it() {
    let (segue, gate) = gated(&[]);
    segue.reload_ok(&[]);
    fs::write(
        &gate,
        "echo checking\necho \"$SEGUE_EVENT $SEGUE_GENERATION $SEGUE_NAME: no database\" >&2\nexit 3\n",
    )
    .unwrap();
    let mark = segue.process().mark();
    let refused = segue.reload(&[]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    let why = "before-reload: exited with status 3: before-reload 3 ";
    assert!(
        refused.stderr.contains(why) && refused.stderr.contains(": no database"),
        "{}",
        refused.stderr
    );
    assert!(
        refused.stderr.contains("generation 2 serves"),
        "{}",
        refused.stderr
    );
    segue
        .process()
        .wait_for_line_after(mark, "before-reload (generation 3): checking");
    let status = segue.status();
    assert_eq!((status.generation(), status.last_outcome()), (2, "failed"));
    // One that cannot even be found is no reason to go on.
    fs::remove_file(&gate).unwrap();
    assert_eq!(segue.reload(&[]).code, Some(1));
    fs::write(&gate, "exit 0\n").unwrap();
    segue.reload_ok(&[]);
    assert_eq!(segue.status().generation(), 5);
    segue.stop();
}

/// Nor does what it has started in the background outlive it; the harness looks for that at the end.
#[test]
fn a_hook_that_hangs_is_killed_at_its_deadline() {
    let (segue, gate) = gated(&["--hook-timeout", "2s"]);
    fs::write(&gate, "echo waiting\nsleep 1000 &\nsleep 1000\n").unwrap();
    let refused = segue.reload(&[]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(
        refused
            .stderr
            .contains("before-reload: killed after 2s (--hook-timeout): waiting"),
        "{}",
        refused.stderr
    );
    segue.stop();
}

#[test]
fn a_stop_does_not_wait_for_the_hook_of_a_reload() {
    let (segue, gate) = gated(&["--hook-timeout", "1h"]);
    fs::write(&gate, "exec sleep 1000\n").unwrap();
    let reload = segue.begin("reload", &[]);
    segue.wait_until("a reload is under way", |status| status.state() == "handing-off");
    segue.stop();
    assert_eq!(reload.finish().code, Some(1));
}

/// It goes on when the hook has ended, and the reload does as well.
#[test]
fn an_upgrade_waits_for_a_hook_that_runs() {
    let (segue, gate) = gated(&["--hook-timeout", "1h"]);
    let open = segue.path("open");
    fs::write(
        &gate,
        format!("until [ -e {} ]; do sleep 0.05; done\n", open.display()),
    )
    .unwrap();
    let reload = segue.begin("reload", &[]);
    segue.wait_until("a reload is under way", |status| status.state() == "handing-off");
    let mark = segue.process().mark();
    let upgrade = segue.begin("upgrade", &[]);
    segue.process().wait_for_line_after(mark, "upgrade asked for");
    // Nobody else waits for it.
    let answer = segue.target().connect().unwrap().ask(&get_and_close("/ping"));
    assert_eq!(answer.unwrap().status, 200);
    assert!(upgrade.is_running() && reload.is_running());
    fs::write(&open, "").unwrap();
    let (reloaded, upgraded) = (reload.finish(), upgrade.finish());
    assert_eq!(
        (reloaded.code, upgraded.code),
        (Some(0), Some(0)),
        "{reloaded:?} {upgraded:?}"
    );
    segue.wait_until("the new one serves", |status| status.generation() == 2);
    segue.reload_ok(&[]);
    segue.stop();
}

/// The next supervisor ends it and asks anew: whether it would have allowed the reload nobody knows.
#[test]
fn after_a_kill_the_hook_of_a_reload_is_run_again() {
    let (mut segue, gate) = gated(&["--hook-timeout", "1h"]);
    let count = segue.path("count");
    let open = segue.path("open");
    fs::write(
        &gate,
        format!(
            "echo $$ >>{}\nuntil [ -e {} ]; do sleep 0.05; done\n",
            count.display(),
            open.display()
        ),
    )
    .unwrap();
    let reload = segue.begin("reload", &[]);
    lines_of(&count, 1);
    segue.kill();
    assert_eq!(reload.finish().code, Some(1));
    segue.start_again();
    let runs = lines_of(&count, 2);
    assert_ne!(runs[0], runs[1]);
    let first = runs[0].parse().unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    while proc::look(first).is_some_and(|seen| seen.state != 'Z') {
        assert!(Instant::now() < end, "the first run lives on");
        std::thread::sleep(Duration::from_millis(20));
    }
    fs::write(&open, "").unwrap();
    segue.wait_until("the reload has gone on", |status| status.generation() == 2);
    segue.stop();
}

#[test]
fn each_event_runs_its_hooks_with_the_facts() {
    let setup = Setup::new(Program::new("./app")).trusted_at_once();
    setup.deploy("app", &Program::fixture("good"));
    let told = setup.path("told");
    let tell = |event: &str| {
        format!(
            "{event}=echo \"$SEGUE_EVENT $SEGUE_GENERATION old=$SEGUE_OLD_GENERATION failed=$SEGUE_FAILED_GENERATION \
             $SEGUE_REASON\" >>{}; echo told",
            told.display()
        )
    };
    let events = ["takeover", "failure", "rollback", "drained"].map(tell);
    let flags: Vec<&str> = events.iter().flat_map(|event| ["--on", event.as_str()]).collect();
    let segue = setup.flags(flags).start();
    assert_eq!(lines_of(&told, 1), ["takeover 1 old= failed= "]);
    segue.process().wait_for_line("on takeover (generation 1): told");
    segue.reload_ok(&["--drained"]);
    let mut lines = lines_of(&told, 3);
    lines[1..].sort();
    assert_eq!(
        lines[1..],
        ["drained 1 old= failed= ", "takeover 2 old=1 failed= "]
    );
    segue.deploy("app", &Program::fixture("crash-at-start status=7"));
    assert_eq!(segue.reload(&[]).code, Some(1));
    let lines = lines_of(&told, 5);
    let failure = lines.iter().find(|line| line.starts_with("failure ")).unwrap();
    assert!(
        failure.starts_with("failure 3 old= failed= exited with status 7"),
        "{lines:?}"
    );
    assert!(
        lines[3..].iter().any(|line| line.starts_with("drained 3 ")),
        "{lines:?}"
    );
    segue.stop();
}

#[test]
fn hooks_run_beside_each_other_up_to_a_limit_and_end_with_the_supervisor() {
    let flags: Vec<&str> = (0..9)
        .flat_map(|_| ["--on", "takeover=exec sleep 1000"])
        .collect();
    let gate = ["--hook-timeout", "1h", "--before-reload", "echo allowed"];
    let flags = [flags.as_slice(), &gate].concat();
    let segue = Setup::new(Program::fixture("good")).flags(flags).start();
    segue
        .process()
        .wait_for_line("on takeover (generation 1): not run: 8 hooks run already");
    segue.signal(Signal::SIGHUP);
    segue.wait_until("a reload went on all the same", |status| status.generation() == 2);
    segue
        .process()
        .wait_for_line("before-reload (generation 2): allowed");
    segue.stop();
}

/// As a script does it that does not know `>&2`.
#[test]
fn a_hook_writes_to_its_output_by_name() {
    let (segue, gate) = gated(&[]);
    fs::write(
        &gate,
        "set -e\necho one >/dev/stdout\necho two >>/dev/stderr\necho three >/dev/stderr\nexit 3\n",
    )
    .unwrap();
    let mark = segue.process().mark();
    let refused = segue.reload(&[]);
    let why = "before-reload: exited with status 3: three";
    assert!(refused.stderr.contains(why), "{}", refused.stderr);
    for line in ["one", "two"] {
        let told = format!("before-reload (generation 2): {line}");
        segue.process().wait_for_line_after(mark, &told);
    }
    segue.stop();
}

/// It goes on until its deadline or its end, with nothing left to write to; nor does the loop turn round and round for it.
#[test]
fn a_hook_may_close_its_output_and_leave_it_to_others() {
    let (segue, gate) = gated(&[]);
    fs::write(&gate, "exec >/dev/null 2>&1\nsleep 0.2\nexit 0\n").unwrap();
    segue.reload_ok(&[]);
    fs::write(&gate, "sleep 1000 &\necho waits for nobody\nexit 0\n").unwrap();
    segue.reload_ok(&[]);
    segue.stop();
}

#[test]
fn a_hook_that_writes_without_end_fills_no_memory() {
    let (segue, gate) = gated(&[]);
    fs::write(&gate, "yes full | head -c 3000000 || echo cut\n").unwrap();
    let mark = segue.process().mark();
    segue.reload(&[]);
    segue
        .process()
        .wait_for_line_after(mark, "before-reload (generation 2): full");
    segue.stop();
}
