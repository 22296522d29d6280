//! What is the same behind an upgrade as before it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use segue_tests::birth;
use segue_tests::http;
use segue_tests::load::{Kind, Load};
use segue_tests::proc;
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup, Status};
use segue_tests::wait_until;
use serde_json::Value;

use super::shelf::{self, NEWER, Next, VERSION};
use super::{upgrade, upgrade_until};

#[test]
fn the_same_process_goes_on_with_the_same_app_and_listeners() {
    let setup = Setup::new(Program::app())
        .listen("web=127.0.0.1:0")
        .listen("side=unix:side");
    // However slow the machine is, probation does not pass meanwhile, which the status would show.
    let segue = shelf::start(setup.flags(["--pid-file", "app.pid", "--workers", "2", "--probation", "1h"]));
    segue.reload_ok(&["--drained"]);
    let target = segue.target();
    let loads = Kind::ALL.map(|kind| Load::start(kind, &target, 1));
    let pid = segue.process().pid();
    let (command_line, control) = (read(pid, "cmdline"), fs::metadata(segue.control()).unwrap());
    let first = segue.status();
    let mut early = None;
    for _ in 0..4 {
        let after = upgrade(&segue);
        for key in [
            "generations",
            "generation",
            "listeners",
            "last_reload",
            "restarts",
            "rollbacks",
        ] {
            assert_eq!(steady(&after, key), steady(&first, key), "{key}");
        }
        let kinds = || {
            let now: Vec<String> = proc::descriptors(pid).into_values().collect();
            sorted(
                now.iter()
                    .map(|one| one.split(':').next().unwrap_or_default().to_owned()),
            )
        };
        // That of the last client may be open for a moment more.
        let early = early.get_or_insert_with(kinds);
        wait_until("no fd is left over", || kinds().len() <= early.len());
        for load in &loads {
            load.wait_for_more(3);
        }
    }
    assert_eq!(read(pid, "cmdline"), command_line);
    let now = fs::metadata(segue.control()).unwrap();
    assert_eq!((now.ino(), now.mode()), (control.ino(), control.mode()));
    assert_eq!(
        fs::read_to_string(segue.path("app.pid")).unwrap(),
        format!("{pid}\n")
    );
    let second = segue.run("run", &["--name", "app", "--", "true"]);
    assert!(
        second.stderr.contains(&format!("is already running (pid {pid})")),
        "{second:?}"
    );
    segue.reload_ok(&[]);
    for load in loads {
        load.wait_for_generation(3);
        load.stop().assert_nothing_lost();
    }
    let paths = [segue.path("app.pid"), segue.path("side")];
    segue.stop();
    assert!(
        paths.iter().all(|path| !path.exists()),
        "what was made goes with the last"
    );
}

/// What does not change by itself.
fn steady(status: &Status, key: &str) -> Value {
    let mut value = status.0[key].clone();
    for generation in value.as_array_mut().into_iter().flatten() {
        for worker in generation["workers"].as_array_mut().into_iter().flatten() {
            worker["connections"] = Value::Null;
        }
        generation["binary"]["sha256"] = Value::Null;
        if generation.get("queued").is_some() {
            generation["queued"] = Value::Null;
        }
    }
    value
}

fn sorted(words: impl Iterator<Item = String>) -> Vec<String> {
    let mut words: Vec<String> = words.collect();
    words.sort();
    words
}

fn read(pid: i32, file: &str) -> Vec<u8> {
    fs::read(format!("/proc/{pid}/{file}")).unwrap()
}

#[test]
fn usr2_upgrades_too() {
    let segue = shelf::start(Setup::new(Program::app()));
    shelf::put(&segue, Next::Newer);
    segue.signal(Signal::SIGUSR2);
    let pid = segue.process().pid();
    let line = segue.process().wait_for_line("upgraded: ");
    let said = format!("upgraded: segue {VERSION} to {NEWER}, pid {pid}, generation 1 serves");
    assert!(line.text.ends_with(&said), "{}", line.text);
    segue.reload_ok(&[]);
    segue.stop();
}

#[test]
fn the_same_binary_is_fine() {
    let segue = shelf::start(Setup::new(Program::app()));
    for _ in 0..3 {
        let done = segue.run("upgrade", &[]);
        assert_eq!(done.code, Some(0), "{done:?}");
    }
    segue.stop();
}

fn birth(segue: &Segue) -> Value {
    birth::without_numbers(birth::of(segue))
}

#[test]
fn an_app_is_born_the_same() {
    let setup = Setup::new(Program::fixture("good"))
        .env("COLOUR", "blue = green")
        .env("EMPTY", "");
    let segue = shelf::start(setup.flags(["--umask", "027", "--env", "SIZE=1"]));
    let first = birth(&segue);
    upgrade(&segue);
    upgrade(&segue);
    segue.reload_ok(&["--drained"]);
    assert_eq!(birth(&segue), first);
    segue.stop();
}

#[test]
fn crash_restarts_and_rollbacks_know_what_they_start() {
    let setup = Setup::new(Program::new("./app")).trusted_at_once();
    setup.deploy("app", &Program::fixture("good"));
    let segue = shelf::start(setup);
    segue.reload_ok(&["--settled"]);
    segue.distrust();
    upgrade(&segue);
    // Neither path nor file is there any more.
    segue.deploy("app", &Program::fixture("crash-at-start"));
    let pid = segue.status().pids(2)[0];
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    let status = segue.wait_until("it was started again", |status| {
        status.state() == "serving" && status.pids(2).first().is_some_and(|now| *now != pid)
    });
    assert_eq!((status.generation(), status.count("restarts")), (2, 1));
    segue.process().wait_for_line("killed by SIGKILL after");
    upgrade(&segue);
    segue.deploy(
        "app",
        &Program::fixture("ready-then-dies once=serving after=20ms"),
    );
    let reload = segue.begin("reload", &["--settled"]);
    let done = reload.finish();
    assert!(
        done.code == Some(1) && done.stderr.contains("rolled back"),
        "{done:?}"
    );
    let status = segue.wait_until("the last good serves", |status| status.state() == "serving");
    assert_eq!((status.generation(), status.count("rollbacks")), (4, 1));
    let after = upgrade(&segue);
    assert_eq!(
        (
            after.last_outcome(),
            after.count("rollbacks"),
            after.count("restarts")
        ),
        ("rolled-back", 1, 1)
    );
    segue.stop();
}

#[test]
fn a_retired_generation_drains_with_the_time_that_is_left() {
    // On a slow machine the drain may be over before the first upgrade is; it has twice the time then.
    let seconds = std::iter::successors(Some(2), |seconds| Some(seconds * 2));
    let in_time = seconds.take(5).any(upgraded_while_it_drains);
    assert!(in_time, "it was always gone before the upgrade was over");
}

/// Whether it has come to that.
fn upgraded_while_it_drains(drain_seconds: u64) -> bool {
    let timeout = format!("{drain_seconds}s");
    let setup = Setup::new(Program::new("./app")).flags(["--drain-timeout", &timeout]);
    setup.deploy("app", &Program::fixture("hangs-in-drain"));
    let segue = shelf::start(setup);
    // Both binaries lie there before the drain begins: to make one takes seconds, and many on a busy machine.
    upgrade(&segue);
    segue.deploy("app", &Program::fixture("good"));
    let drained = segue.begin("reload", &["--drained"]);
    segue.process().wait_for_line("generation 2 serves");
    let upgrades = upgrade_until(&segue, "it is gone", |status| {
        status.in_role("retired").is_empty()
    });
    segue.process().wait_for_line("did not end in time: it is killed");
    let done = drained.finish();
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(
        done.stderr.contains("generation 1 is gone"),
        "progress goes on: {done:?}"
    );
    segue.stop();
    upgrades > 0
}

#[test]
fn a_request_to_a_retired_generation_is_answered() {
    let segue = shelf::start(Setup::new(Program::app()));
    let mut client = segue.target().connect().unwrap();
    client.write(&http::get("/slow?ms=1500")).unwrap();
    segue.reload_ok(&[]);
    upgrade(&segue);
    client.response().unwrap().ok().unwrap();
    segue.wait_until("it is gone", |status| status.in_role("retired").is_empty());
    segue.stop();
}

#[test]
fn a_watched_status_goes_on() {
    let segue = shelf::start(Setup::new(Program::app()));
    let watch = segue.begin("status", &["--watch"]);
    watch.wait_for_output("generation 1 serves");
    upgrade(&segue);
    segue.reload_ok(&[]);
    watch.wait_for_output("generation 2 serves");
    assert!(watch.is_running());
    // Not SIGINT, which a shell that runs the tests in the background may have told us to ignore.
    watch.signal(Signal::SIGTERM);
    let _ = watch.wait_for_exit();
    segue.stop();
}

/// Starts the supervisor by `word`, which leads to `./releases/1/segue` in one way or another.
#[track_caller]
fn start_by(script: &str, link: impl FnOnce(&Path)) -> Segue {
    let setup = Setup::new(Program::app()).opened_by(["sh", "-c", script, "sh"]);
    let root = setup.path("");
    for (release, next) in [("1", Next::Same), ("2", Next::Newer)] {
        let directory = root.join("releases").join(release);
        fs::create_dir_all(&directory).unwrap();
        shelf::place(next, &directory.join("segue"));
    }
    link(&root);
    setup.start()
}

#[track_caller]
fn assert_becomes_the_newer(segue: Segue) {
    let done = segue.run("upgrade", &[]);
    assert!(
        done.stdout.contains(&format!("segue {VERSION} to {NEWER}")),
        "{done:?}"
    );
    let exe = fs::read_link(format!("/proc/{}/exe", segue.process().pid())).unwrap();
    assert!(exe.ends_with("releases/2/segue"), "{}", exe.display());
    segue.stop();
}

#[test]
fn a_symlink_that_was_switched_is_followed() {
    let switch = |root: &Path, release: &str| {
        let _ = fs::remove_file(root.join("current"));
        std::os::unix::fs::symlink(format!("releases/{release}"), root.join("current")).unwrap();
    };
    for script in [
        "shift; exec ./current/segue \"$@\"",
        "shift; PATH=\"$PWD/current:$PATH\"; exec segue \"$@\"",
        "shift; exec \"$PWD/current/segue\" \"$@\"",
    ] {
        let segue = start_by(script, |root| switch(root, "1"));
        switch(&segue.path(""), "2");
        assert_becomes_the_newer(segue);
    }
}

/// Called by a name that leads nowhere, it is looked for where the kernel knows it.
#[test]
fn a_name_that_is_none_does_no_harm() {
    let script = "shift; exec bash -c 'exec -a \"some other name\" ./releases/1/segue \"$@\"' sh \"$@\"";
    let segue = start_by(script, |_| {});
    let (old, new) = (segue.path("releases/1/segue"), segue.path("releases/2/segue"));
    fs::rename(&new, &old).unwrap();
    let done = segue.run("upgrade", &[]);
    assert!(
        done.stdout.contains(&format!("segue {VERSION} to {NEWER}")),
        "{done:?}"
    );
    segue.stop();
}

#[test]
fn a_reload_that_waits_for_a_file_to_be_written_goes_on() {
    // Such a wait lasts 5 s at most, and on a busy machine the upgrade may come later.
    let in_time = (0..6).any(|_| reload_goes_on_that_waits_for_a_file());
    if !in_time {
        segue_tests::figures::say(
            "left out: an upgrade while a file is being written: it never came in time",
        );
    }
}

/// Whether the upgrade came while the reload waited.
fn reload_goes_on_that_waits_for_a_file() -> bool {
    let setup = Setup::new(Program::app()).flags(["--env-file", "env"]);
    let path = setup.path("env");
    fs::write(&path, "").unwrap();
    let segue = shelf::start(setup);
    let written = AtomicBool::new(false);
    let (reload, waits_still) = thread::scope(|scope| {
        scope.spawn(|| {
            let until = Instant::now() + segue_tests::patience();
            while !written.load(Ordering::Relaxed) && Instant::now() < until {
                fs::write(&path, "A=1\n").unwrap();
                thread::sleep(Duration::from_millis(20));
            }
        });
        let reload = segue.begin("reload", &[]);
        segue.process().wait_for_line("generation 2 waits: ");
        // The writer may have been held up for longer than the reload waits.
        let waits_still = upgrade(&segue).generation() == 1;
        written.store(true, Ordering::Relaxed);
        (reload, waits_still)
    });
    let done = reload.finish();
    let log = segue.process().stderr();
    let refused = log.find("it is being written, for 5s now");
    if refused.is_some_and(|at| log.find("upgraded: segue").is_some_and(|upgraded| at < upgraded)) {
        return false;
    }
    assert_eq!(done.code, Some(0), "{done:?}; log:\n{}", segue.process().stderr());
    assert_eq!(segue.status().generation(), 2);
    segue.stop();
    waits_still
}
