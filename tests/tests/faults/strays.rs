//! What a generation has started ends with it, whatever has become of its parents, its process group and its session.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot look at its subject has failed"
)]

use std::time::{Duration, Instant};

use segue_tests::http::{self, get_and_close};
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup, Status};
use segue_tests::{needs, patience, proc};

/// How many answers are looked at: of two processes that accept from one socket, each gives some of them.
const ANSWERS: usize = 60;

/// How often to look again whether a process has ended.
const PAUSE: Duration = Duration::from_millis(5);

/// The generations that answer now.
fn answering(segue: &Segue) -> Vec<u64> {
    let target = segue.target();
    let answer = |_| {
        let answer = target.connect().unwrap().ask(&get_and_close("/ping"));
        answer.unwrap().header(http::GENERATION).parse().unwrap()
    };
    let mut seen: Vec<u64> = (0..ANSWERS).map(answer).collect();
    seen.sort_unstable();
    seen.dedup();
    seen
}

/// The processes of a generation that live.
fn living(segue: &Segue, generation: u64) -> Vec<i32> {
    let wanted = format!("SEGUE_GENERATION={generation}");
    let is_of_it = |pid: &i32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment
            .split(|byte| *byte == 0)
            .any(|entry| entry == wanted.as_bytes())
    };
    let all = segue.leftover_processes();
    all.iter().map(|seen| seen.pid).filter(is_of_it).collect()
}

fn wait_until_gone(segue: &Segue, generation: u64) {
    let begun = Instant::now();
    while !living(segue, generation).is_empty() {
        assert!(begun.elapsed() < patience(), "{:?}", living(segue, generation));
        std::thread::sleep(PAUSE);
    }
}

/// `./app`, as a deploy changes it.
fn start(first: &str, flags: &[&str]) -> Segue {
    let setup = Setup::new(Program::new("./app")).flags(flags);
    setup.deploy("app", &Program::fixture(first));
    setup.start()
}

fn strays(status: &Status, generation: u64) -> u64 {
    let all = status.0["generations"].as_array().unwrap();
    let of_it = all.iter().find(|one| one["generation"] == generation).unwrap();
    of_it["strays"].as_u64().unwrap()
}

/// The daemon of generation 1 counts once it has left the group of the app.
#[track_caller]
fn wait_for_daemon(segue: &Segue) {
    segue.wait_until("its daemon counts", |status| strays(status, 1) == 1);
}

#[test]
fn a_daemon_of_the_old_version_is_told_to_stop_and_the_drain_is_over_when_it_is_gone() {
    let segue = start("leaves-server", &["--drain-timeout", "10m"]);
    wait_for_daemon(&segue);
    segue.deploy("app", &Program::fixture("good"));
    segue.reload_ok(&["--drained"]);
    assert!(living(&segue, 1).is_empty(), "every older generation is gone");
    assert_eq!(answering(&segue), [2]);
    segue
        .process()
        .wait_for_line("started outside its process group, is told to stop, too");
    segue.stop();
}

#[test]
fn a_daemon_that_ignores_the_stop_signal_is_killed_with_its_generation() {
    let segue = start("leaves-server kind=ignores-term", &["--drain-timeout", "1s"]);
    segue.deploy("app", &Program::fixture("good"));
    segue.reload_ok(&["--drained"]);
    assert!(living(&segue, 1).is_empty());
    assert_eq!(answering(&segue), [2]);
    segue
        .process()
        .wait_for_line("started outside its process group, did not end in time: it is killed");
    segue.stop();
}

#[test]
fn a_daemon_of_a_failed_candidate_answers_nobody() {
    let segue = start("good", &[]);
    segue.deploy("app", &Program::fixture("leaves-server then=die"));
    assert_eq!(segue.reload(&[]).code, Some(1));
    wait_until_gone(&segue, 2);
    assert_eq!(answering(&segue), [1]);
    segue.process().wait_for_line("generation 2 is gone");
    segue.stop();
}

#[test]
fn a_stop_leaves_no_daemon_behind() {
    for kind in ["", " kind=ignores-term"] {
        let segue = start(&format!("leaves-server{kind}"), &["--stop-timeout", "2s"]);
        segue.stop();
    }
}

/// As `erl -heart` does: it is told to end, and starts what it watches again.
#[test]
fn what_is_started_again_and_again_ends_too() {
    const RESTARTER: &str = r#"trap 'setsid sh -c "$0" "$0" & exit' TERM; sleep 1000 & wait"#;
    let script = format!("setsid sh -c \"$0\" \"$0\" & exec {}", fixture("good"));
    let app = Program::new("/bin/sh").args(["-c", &script, RESTARTER]);
    let segue = Setup::new(app)
        .flags(["--drain-timeout", "1s", "--stop-timeout", "1s"])
        .start();
    segue.reload_ok(&["--drained"]);
    assert!(living(&segue, 1).is_empty());
    segue.stop();
}

fn fixture(vice: &str) -> String {
    Program::fixture(vice).shell_words()
}

/// A process that is not below the app is none of it, whatever its environment says.
#[test]
fn a_process_of_somebody_else_is_left_alone() {
    let segue = start("leaves-server", &[]);
    wait_for_daemon(&segue);
    let app = segue.status().pids(1)[0];
    let environment = std::fs::read(format!("/proc/{app}/environ")).unwrap();
    let notify = environment
        .split(|byte| *byte == 0)
        .find_map(|entry| std::str::from_utf8(entry).ok()?.strip_prefix("NOTIFY_SOCKET="))
        .unwrap();
    let mut stranger = std::process::Command::new("sleep")
        .arg("1000")
        .env("NOTIFY_SOCKET", notify)
        .spawn()
        .unwrap();
    assert_eq!(strays(&segue.status(), 1), 1);
    segue.stop();
    assert_eq!(stranger.try_wait().unwrap(), None, "it lives");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

/// After `kill -9` the daemon is nobody's child that the next supervisor has.
#[test]
fn a_daemon_is_found_again_after_the_supervisor_was_killed() {
    for kind in ["", " kind=ignores-term"] {
        let mut segue = start(&format!("leaves-server{kind}"), &["--drain-timeout", "2s"]);
        segue.kill();
        segue.resume();
        wait_for_daemon(&segue);
        segue.deploy("app", &Program::fixture("good"));
        segue.reload_ok(&["--drained"]);
        assert!(living(&segue, 1).is_empty());
        assert_eq!(answering(&segue), [2]);
        segue.stop();
    }
}

/// An upgrade in place goes on waiting for a daemon, and does not tell it twice.
#[test]
fn an_upgrade_goes_on_with_a_daemon() {
    let segue = start("leaves-server kind=ignores-term", &["--drain-timeout", "3s"]);
    segue.deploy("app", &Program::fixture("good"));
    segue.reload_ok(&[]);
    segue.process().wait_for_line("is told to stop, too");
    let upgraded = segue.run("upgrade", &[]);
    assert_eq!(upgraded.code, Some(0), "{}", upgraded.stderr);
    segue.wait_until("generation 1 is gone", |status| {
        status.in_role("retired").is_empty()
    });
    assert!(living(&segue, 1).is_empty());
    let told = segue.process().stderr().matches("is told to stop, too").count();
    assert_eq!(told, 1);
    segue.stop();
}

/// In a pid namespace of its own segue is PID 1, to whom everybody's orphans come.
#[test]
fn the_first_process_of_a_container_does_not_take_orphans_for_the_apps() {
    if needs::or_skip("orphans of PID 1", needs::root()).is_none() {
        return;
    }
    let setup = Setup::new(Program::fixture("leaves-server")).opened_by([
        "unshare",
        "--pid",
        "--fork",
        "--mount-proc",
        "--kill-child",
    ]);
    let segue = setup.start();
    let unshare = segue.process().pid();
    let inside = proc::children(unshare)[0].pid;
    let orphan = std::process::Command::new("nsenter")
        .args([
            "-t",
            &inside.to_string(),
            "-p",
            "-m",
            "setsid",
            "sh",
            "-c",
            "sleep 1000 >/dev/null 2>&1 & echo $!",
        ])
        .stdout(std::process::Stdio::piped())
        .output()
        .unwrap();
    let orphan: i32 = String::from_utf8_lossy(&orphan.stdout).trim().parse().unwrap();
    segue.reload_ok(&["--drained"]);
    let lives = std::process::Command::new("nsenter")
        .args([
            "-t",
            &inside.to_string(),
            "-p",
            "-m",
            "kill",
            "-0",
            &orphan.to_string(),
        ])
        .status()
        .unwrap();
    assert!(lives.success(), "a stranger was ended");
}

/// An app that asks for a reload and wants to know when the old version is gone is itself a part of that.
#[test]
fn who_asks_from_below_the_old_version_does_not_wait_for_itself() {
    for (args, flags, says) in [
        (
            "reload --drained",
            &[][..],
            "; that its own generation is gone is not waited for: pid ",
        ),
        (
            "reload --settled",
            &["--probation", "300ms"],
            "it has passed probation",
        ),
        ("reload", &["--mode", "queue"], "reload accepted; pid "),
        ("stop", &[], "stopping; pid "),
    ] {
        // The command is in the main process's group, and lives as long as it is not answered.
        let script = format!(
            "case $SEGUE_GENERATION in 1) (until [ -e go ]; do sleep 0.01; done; {} {args} --control control >said 2>&1) & esac; exec {}",
            segue_tests::binaries::Binary::Segue.path().display(),
            fixture("good")
        );
        let setup = Setup::new(Program::new("/bin/sh").args(["-c", &script]));
        let directory = setup.path("go").parent().unwrap().to_owned();
        let segue = setup
            .flags(["--drain-timeout", "10m", "--stop-timeout", "10m", "--chdir"])
            .flags([directory.as_os_str()])
            .flags(flags)
            .start();
        std::fs::write(segue.path("go"), "").unwrap();
        let begun = Instant::now();
        loop {
            let said = std::fs::read_to_string(segue.path("said")).unwrap_or_default();
            if said.contains(says) {
                break;
            }
            assert!(
                begun.elapsed() < patience(),
                "{args}: {said:?}\n{}",
                segue.process().stderr()
            );
            std::thread::sleep(PAUSE);
        }
        if args == "stop" {
            segue.ended();
        } else {
            segue.wait_until("the old version is gone", |status| {
                status.generation() == 2 && status.in_role("retired").is_empty()
            });
            segue.stop();
        }
    }
}

/// As `podman run` does: the main process tells the app below the monitor of its container, and so does the monitor, if somebody
/// tells that. A second signal may end a server in the middle of an answer.
#[test]
fn an_app_below_a_monitor_has_the_stop_signal_once() {
    const APP: &str = r#"n=0; trap 'n=$((n + 1))' TERM; echo >ready."$SEGUE_GENERATION"
        until [ -e end."$SEGUE_GENERATION" ]; do sleep 0.05; done
        echo "stop signals of generation $SEGUE_GENERATION: $n" >&2"#;
    const MONITOR: &str = r#"sh -c "$1" & app=$!; trap 'kill "$app"' TERM
        echo "$app" >app.new; mv app.new app."$SEGUE_GENERATION"; while [ -e "/proc/$app" ]; do wait "$app"; done"#;
    const MAIN: &str = r#"env -u NOTIFY_SOCKET setsid --fork sh -c "$0" sh "$1"; exec 3<&-; g=$SEGUE_GENERATION
        trap 'sleep 0.5; kill "$(cat app.$g)"; echo >end.$g' TERM; echo >main.$g
        until [ -s app.$g ]; do sleep 0.05; done; while [ -e "/proc/$(cat app.$g)" ]; do sleep 0.05; done"#;
    let app = Program::new("/bin/sh").args(["-c", MAIN, MONITOR, APP]);
    let segue = Setup::new(app).flags(["--ready", "exec:500ms"]).start();
    // Each of the three has its trap before the first of them is told.
    let wait_for_traps = |generation: u64| {
        for name in ["ready", "app", "main"] {
            let file = segue.path(&format!("{name}.{generation}"));
            segue_tests::wait_until("it has its trap", || file.exists());
        }
    };
    wait_for_traps(1);
    segue.reload_ok(&["--drained"]);
    let said = segue.process().wait_for_line("stop signals of generation 1: ");
    assert!(said.text.ends_with(": 1"), "{}", said.text);
    wait_for_traps(2);
    segue.stop();
}
