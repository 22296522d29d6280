//! What the service manager above Segue hears. The test plays systemd, as far as it listens.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot look at its subject has failed"
)]

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use segue_tests::binaries::Binary;
use segue_tests::executable;
use segue_tests::http::{Client, get};
use segue_tests::manager::{self, Manager, monotonic_micros, status_of, time_of};
use segue_tests::process::Process;
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};

/// A supervisor below a manager that listens.
fn below(setup: Setup) -> (Manager, Setup) {
    let manager = Manager::listen();
    let setup = setup.env("NOTIFY_SOCKET", manager.path());
    (manager, setup)
}

/// The same of a fixture that is deployed as `./app`, so that a test can put another one in its place.
fn deployed(vice: &str, flags: &[&str]) -> (Manager, Segue) {
    let setup = Setup::new(Program::new("./app")).flags(flags);
    setup.deploy("app", &Program::fixture(vice));
    let (manager, setup) = below(setup);
    let segue = setup.start();
    manager.wait_for(0, "READY=1");
    (manager, segue)
}

/// The manager hears STOPPING=1 last of all states; nothing is left.
fn stop(segue: Segue, manager: &Manager) {
    segue.stop();
    manager.mark();
    assert_eq!(manager.states(0).last().unwrap(), "STOPPING");
    // The very last word is not waited for longer than 2 s if the manager is too busy to have room for it.
    let last = manager.status();
    assert!(last == "stopped" || last.starts_with("stopping"), "{last}");
}

/// An app that waits for a word in a pipe, and only then becomes `program`.
fn gated(setup: &Setup, name: &str, program: &Program) {
    nix::unistd::mkfifo(&setup.path("gate"), Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    gate(&setup.path(name), program);
}

fn gate(path: &Path, program: &Program) {
    let beside = path.with_extension("new");
    let script = format!("#!/bin/sh\nread word < gate\nexec {}\n", program.shell_words());
    executable::write(&beside, script.as_bytes());
    fs::rename(&beside, path).unwrap();
}

/// The generation that serves now has accepted this one, and drains until it is dropped.
fn request_that_lasts(segue: &Segue) -> Client {
    let mut client = segue.target().connect().unwrap();
    client.ask(&get("/ping")).unwrap();
    client
        .write(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhalf")
        .unwrap();
    client
}

fn open_gate(segue: &Segue) {
    fs::write(segue.path("gate"), "go\n").unwrap();
}

/// Of a reload that has ended: one RELOADING=1 with a time since `asked`, in one datagram, and then READY=1. Returns the
/// status that came with it.
fn closed(manager: &Manager, mark: usize, asked: u64) -> String {
    assert_eq!(manager.states(mark), ["RELOADING", "READY"]);
    let heard = manager.heard();
    let time = time_of(
        heard
            .iter()
            .skip(mark)
            .find(|text| text.starts_with("RELOADING=1\n"))
            .unwrap(),
    );
    assert!(
        (asked..=monotonic_micros()).contains(&time.unwrap()),
        "{heard:#?}"
    );
    let ready = heard
        .iter()
        .skip(mark)
        .find(|text| text.starts_with("READY=1"))
        .unwrap();
    status_of(ready).unwrap_or_default().to_owned()
}

#[test]
fn ready_is_told_when_the_first_generation_is_and_not_before() {
    let setup = Setup::new(Program::new("./app"));
    gated(&setup, "app", &Program::fixture("good"));
    let (manager, setup) = below(setup);
    let segue = setup.spawn();
    manager.wait_for(0, "STATUS=generation 1 starts");
    segue.wait_until("its worker starts", |status| {
        !status.in_role("candidate").is_empty()
    });
    manager.mark();
    assert_eq!(manager.states(0), [""; 0]);
    open_gate(&segue);
    manager.wait_for(0, "READY=1");
    let pid = segue
        .wait_until("it serves", |status| status.state() == "serving")
        .0["generations"][0]["workers"][0]["pid"]
        .clone();
    let status = manager.status();
    assert!(
        status.starts_with(&format!("serving generation 1 (pid {pid}, ")),
        "{status}"
    );
    assert!(status.ends_with(" to ready)"), "{status}");
    stop(segue, &manager);
}

#[test]
fn a_first_start_that_fails_is_never_ready() {
    let (manager, setup) = below(Setup::new(Program::fixture("status-then-dies")));
    let ended = setup.start_in_vain();
    assert_eq!(ended.code, Some(1));
    manager.mark();
    assert_eq!(manager.states(0), ["STOPPING"]);
    let status = manager.status();
    assert!(
        status.starts_with("the first start failed: exited with status 1 after"),
        "{status}"
    );
    assert!(status.contains("cannot reach the database"), "{status}");
}

#[test]
fn each_reload_is_closed_before_its_ticket_is_answered_however_it_ends() {
    let (manager, segue) = deployed("good", &["--probation", "0s"]);
    let (mark, asked) = (manager.mark(), monotonic_micros());
    segue.reload_ok(&[]);
    // What is behind this mark came after the answer.
    manager.mark();
    let status = closed(&manager, mark, asked);
    assert!(status.starts_with("serving generation 2 (pid "), "{status}");

    segue.deploy("app", &Program::fixture("crash-at-start"));
    let (mark, asked) = (manager.mark(), monotonic_micros());
    assert_eq!(segue.reload(&[]).code, Some(1));
    manager.mark();
    let status = closed(&manager, mark, asked);
    assert!(
        status.starts_with("reload failed: generation 3: exited with status 101 after "),
        "{status}"
    );
    assert!(status.contains("; serving generation 2 (pid "), "{status}");

    fs::remove_file(segue.path("app")).unwrap();
    let (mark, asked) = (manager.mark(), monotonic_micros());
    assert_eq!(segue.reload(&[]).code, Some(1));
    manager.mark();
    let status = closed(&manager, mark, asked);
    assert!(
        status.contains("no such file or directory; serving generation 2"),
        "{status}"
    );

    segue.deploy("app", &Program::fixture("good"));
    let (mark, asked) = (manager.mark(), monotonic_micros());
    segue.signal(Signal::SIGHUP);
    manager.wait_for(mark, "READY=1");
    let status = closed(&manager, mark, asked);
    assert!(
        status.starts_with("serving generation 5 (pid "),
        "the failure is forgotten: {status}"
    );
    manager.wait("the retired generation is gone", |heard| {
        let last = heard.iter().rev().find_map(|text| status_of(text));
        last.filter(|status| !status.contains("draining")).map(drop)
    });
    stop(segue, &manager);
}

#[test]
fn a_broken_file_closes_the_reload_that_read_it() {
    let setup = Setup::from_config().flags(["--config", "segue.toml"]);
    let good = format!(
        "command = [{:?}, \"good\"]\nlisten = [\"127.0.0.1:0\"]\n",
        Program::fixture("good").words()[0].display()
    );
    fs::write(setup.path("segue.toml"), &good).unwrap();
    let (manager, setup) = below(setup);
    let segue = setup.start();
    fs::write(segue.path("segue.toml"), "command = 7").unwrap();
    let (mark, asked) = (manager.mark(), monotonic_micros());
    segue.signal(Signal::SIGHUP);
    manager.wait_for(mark, "READY=1");
    let status = closed(&manager, mark, asked);
    assert!(status.starts_with("reload failed: generation 2: "), "{status}");
    assert!(status.contains("; serving generation 1 (pid "), "{status}");
    stop(segue, &manager);
}

#[test]
fn a_hangup_during_a_handoff_gets_a_pair_of_its_own_with_a_later_time() {
    let setup = Setup::new(Program::new("./app")).flags(["--probation", "0s"]);
    setup.deploy("app", &Program::fixture("good"));
    nix::unistd::mkfifo(&setup.path("gate"), Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let (manager, setup) = below(setup);
    let segue = setup.start();
    gate(&segue.path("app"), &Program::fixture("good"));
    let (mark, asked) = (manager.mark(), monotonic_micros());
    let waiting = segue.begin("reload", &[]);
    manager.wait_for(mark, "RELOADING=1");
    let signalled = monotonic_micros();
    segue.signal(Signal::SIGHUP);
    segue.process().wait_for_line("reload asked for by SIGHUP");
    // The third shares the generation of the second.
    segue.signal(Signal::SIGHUP);
    manager.mark();
    assert_eq!(manager.states(mark), ["RELOADING"]);
    open_gate(&segue);
    assert_eq!(waiting.finish().code, Some(0));
    segue.process().wait_for_line("generation 3: handoff began");
    open_gate(&segue);
    manager.wait("the end of both", |heard| {
        (heard
            .iter()
            .skip(mark)
            .filter(|text| text.starts_with("READY=1"))
            .count()
            == 2)
            .then_some(())
    });
    assert_eq!(manager.states(mark), ["RELOADING", "READY", "RELOADING", "READY"]);
    let times: Vec<u64> = manager
        .heard()
        .iter()
        .skip(mark)
        .filter_map(|text| time_of(text))
        .collect();
    assert!(asked <= times[0] && times[0] <= signalled, "{times:?}");
    assert!(signalled <= times[1], "{times:?}");
    stop(segue, &manager);
}

#[test]
fn a_reload_that_waits_for_room_is_open_until_it_has_ended() {
    let (manager, segue) = deployed("good", &["--probation", "0s", "--max-generations", "2"]);
    let slow = request_that_lasts(&segue);
    segue.reload_ok(&[]);
    let mark = manager.mark();
    let waiting = segue.begin("reload", &[]);
    segue.process().wait_for_line("reload waits");
    manager.wait_for(mark, "a reload waits until one is gone");
    assert_eq!(manager.states(mark), ["RELOADING"]);
    drop(slow);
    assert_eq!(waiting.finish().code, Some(0));
    manager.mark();
    // The second time is for those who asked while it waited.
    assert_eq!(manager.states(mark), ["RELOADING", "RELOADING", "READY"]);
    stop(segue, &manager);
}

#[test]
fn a_stop_closes_the_reload_and_then_tells_of_itself() {
    let (manager, segue) = deployed("good", &[]);
    segue.deploy("app", &Program::fixture("never-ready"));
    let mark = manager.mark();
    let waiting = segue.begin("reload", &[]);
    manager.wait_for(mark, "RELOADING=1");
    segue.process().wait_for_line("serving without READY=1");
    segue.run("stop", &[]);
    assert_eq!(waiting.finish().code, Some(1));
    segue.ended();
    manager.mark();
    assert_eq!(manager.states(mark), ["RELOADING", "READY", "STOPPING"]);
}

#[test]
fn a_reload_that_is_refused_because_of_a_stop_is_not_told() {
    let (manager, segue) = deployed("good", &[]);
    let slow = request_that_lasts(&segue);
    let mark = manager.mark();
    segue.signal(Signal::SIGTERM);
    manager.wait_for(mark, "stopping: 1 generation drains");
    segue.signal(Signal::SIGHUP);
    assert_eq!(segue.reload(&[]).code, Some(1));
    segue.process().wait_for_line("reload asked for by SIGHUP");
    drop(slow);
    segue.ended();
    manager.mark();
    assert_eq!(manager.states(mark), ["STOPPING"]);
}

#[test]
fn in_queue_mode_a_failure_is_closed_and_the_status_follows_the_rollback() {
    let (manager, segue) = deployed("good", &["--mode", "queue", "--probation", "0s"]);
    let (mark, asked) = (manager.mark(), monotonic_micros());
    segue.reload_ok(&[]);
    manager.mark();
    closed(&manager, mark, asked);

    segue.deploy("app", &Program::fixture("crash-at-start"));
    let (mark, asked) = (manager.mark(), monotonic_micros());
    assert_eq!(segue.reload(&[]).code, Some(1));
    manager.mark();
    let status = closed(&manager, mark, asked);
    assert!(
        status.starts_with("reload rolled back: generation 3: exited with status 101"),
        "{status}"
    );
    manager.wait_for(mark, "; serving generation 4 (pid ");
    stop(segue, &manager);
}

#[test]
fn the_status_follows_crashes_and_rollbacks_that_nobody_asked_for() {
    let (manager, segue) = deployed("good", &["--probation", "1h"]);
    segue.deploy(
        "app",
        &Program::fixture("ready-then-dies once=serving after=10ms"),
    );
    let mark = manager.mark();
    let _ = segue.reload(&[]);
    // Generation 1 is not yet trusted, so that generation 2 is started again, and again.
    let backing_off = manager.wait_for(mark, "nobody serves; generation 2, worker 0 (pid ");
    assert!(
        manager.heard()[backing_off].contains("crashed: exited with status 3"),
        "{:?}",
        manager.heard()
    );
    segue.deploy("app", &Program::fixture("good"));
    let mark = manager.mark();
    segue.reload_ok(&[]);
    manager.wait_for(mark, "STATUS=serving generation 3 (pid ");
    manager.mark();
    assert_eq!(manager.states(mark), ["RELOADING", "READY"]);
    stop(segue, &manager);
}

#[test]
fn the_words_of_an_app_are_shown_and_a_flood_of_them_is_not_passed_on() {
    let (manager, setup) = below(Setup::new(Program::fixture("chatty count=5000")));
    let segue = setup.start();
    manager.wait_for(0, " to ready) - the last\\tword");
    let told = manager.heard().len();
    assert!(told < 500, "{told} datagrams for 5000 words");
    let status = manager.status();
    assert!(status.starts_with("serving generation 1 (pid "), "{status}");
    stop(segue, &manager);
}

#[test]
fn the_words_of_those_that_drain_are_shown_too() {
    let (manager, setup) = below(Setup::new(Program::app()));
    let segue = setup.start();
    let mut client = request_that_lasts(&segue);
    segue.reload_ok(&[]);
    let last_is = |what: &str, right: fn(&str) -> bool| {
        manager.wait(what, |heard| {
            let last = heard.iter().rev().find_map(|message| status_of(message));
            last.filter(|status| right(status)).map(drop)
        });
    };
    last_is("what generation 1 said", |status| {
        status.contains(", 1 draining - serving ")
            && status.ends_with("; generation 1: draining 1 connection")
    });
    client.write(b"a half").unwrap();
    client.response().unwrap();
    drop(client);
    last_is("generation 1 is gone", |status| {
        status.starts_with("serving generation 2") && !status.contains("generation 1")
    });
    stop(segue, &manager);
}

#[test]
fn several_workers_are_one_line() {
    let (manager, setup) = below(Setup::new(Program::fixture("good")).flags(["--workers", "5"]));
    let segue = setup.start();
    manager.wait_for(0, " and 2 more, ");
    manager.mark();
    assert_eq!(manager.states(0), ["READY"]);
    stop(segue, &manager);
}

/// Says READY=1, and more at its stop.
fn talks_at_its_stop(text: &str) -> Program {
    let fixture = Program::fixture("").words()[0].display().to_string();
    let script = format!(
        "trap \"'{fixture}' say text={text}; exit 0\" TERM; '{fixture}' say text=READY=1; sleep 10000 & wait"
    );
    Program::new("/bin/sh").args(["-c", &script])
}

#[test]
fn a_wish_for_more_time_is_passed_on_while_the_manager_waits() {
    let (manager, setup) = below(Setup::new(Program::new("./app")).flags(["--probation", "0s"]));
    setup.deploy("app", &Program::fixture("extends-timeout after=500ms"));
    let segue = setup.start();
    let ready = manager.wait_for(0, "READY=1");
    let asked = manager.wait_for(0, "EXTEND_TIMEOUT_USEC=10000000");
    assert!(asked < ready, "{:?}", manager.heard());

    let mark = manager.mark();
    segue.deploy("app", &talks_at_its_stop("EXTEND_TIMEOUT_USEC=7000000"));
    segue.reload_ok(&["--drained"]);
    segue.deploy("app", &Program::fixture("good"));
    // The retired generation asks when the reload is over, and nobody above waits for it.
    segue.reload_ok(&["--drained"]);
    segue.deploy("app", &talks_at_its_stop("EXTEND_TIMEOUT_USEC=9000000"));
    segue.reload_ok(&["--drained"]);
    manager.mark();
    let wishes = |mark: usize| {
        manager
            .heard()
            .iter()
            .skip(mark)
            .filter(|text| text.starts_with("EXTEND"))
            .count()
    };
    assert_eq!(wishes(mark), 0, "{:?}", manager.heard());

    segue.deploy("app", &Program::fixture("extends-and-stops"));
    let mark = manager.mark();
    let waiting = segue.begin("reload", &[]);
    manager.wait_for(mark, "EXTEND_TIMEOUT_USEC=1000000");
    let mark = manager.mark();
    segue.run("stop", &[]);
    assert_eq!(waiting.finish().code, Some(1));
    segue.ended();
    manager.wait_for(mark, "EXTEND_TIMEOUT_USEC=9000000");
}

#[test]
fn the_loop_feeds_the_watchdog_of_the_manager() {
    let (manager, setup) = below(Setup::new(Program::fixture("good")).env("WATCHDOG_USEC", "200000"));
    let segue = setup.start();
    let mut mark = 0;
    for _ in 0..5 {
        mark = manager.wait_for(mark, "WATCHDOG=1") + 1;
    }
    // Only a loop that goes round feeds it: a stopped one does not.
    segue.signal(Signal::SIGSTOP);
    segue.process().wait_until_stopped();
    let mark = manager.mark();
    segue.signal(Signal::SIGCONT);
    manager.wait_for(mark, "WATCHDOG=1");
    stop(segue, &manager);
}

#[test]
fn a_watchdog_that_is_not_ours_or_makes_no_sense_is_not_fed() {
    let (manager, setup) = below(Setup::new(Program::fixture("good")));
    let segue = setup
        .env("WATCHDOG_USEC", "1000")
        .env("WATCHDOG_PID", "1")
        .start();
    stop(segue, &manager);
    assert!(!manager.heard().iter().any(|text| text.contains("WATCHDOG")));

    let (manager, setup) = below(Setup::new(Program::fixture("good")));
    let segue = setup.env("WATCHDOG_USEC", "soon").start();
    segue
        .process()
        .wait_for_line("WATCHDOG_USEC=\"soon\": not a number; no watchdog is fed");
    stop(segue, &manager);
    assert!(!manager.heard().iter().any(|text| text.contains("WATCHDOG")));
}

#[test]
fn a_manager_that_does_not_read_stops_nobody_and_hears_the_last_state() {
    let setup = Setup::new(Program::fixture("good")).flags(["--probation", "0s"]);
    let directory = segue_tests::segue::directory();
    let path = directory.path().join("notify");
    let deaf = UnixDatagram::bind(&path).unwrap();
    let segue = setup.env("NOTIFY_SOCKET", &path).start();
    // Each is at least three datagrams; the queue of a socket is a few hundred at most, and ten by default.
    for _ in 0..20 {
        segue.reload_ok(&["--drained"]);
    }
    assert_eq!(segue.status().generation(), 21);
    // Now it reads: among the last is the end of the last reload, and how it is now.
    deaf.set_read_timeout(Some(segue_tests::patience())).unwrap();
    let (mut states, mut status) = (Vec::new(), String::new());
    while !status.starts_with("serving generation 21 (pid ") || status.contains(", 1 draining") {
        let mut buffer = [0; 4096];
        let length = manager::receive(&deaf, &mut buffer).unwrap();
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        states.extend(
            ["READY=1", "RELOADING=1"]
                .into_iter()
                .filter(|state| text.starts_with(state)),
        );
        status = status_of(&text).map_or(status, str::to_owned);
    }
    assert_eq!(states.last(), Some(&"READY=1"), "{states:?}");
    drop(deaf);
    segue.stop();
}

#[test]
fn an_abstract_address_is_a_manager_too() {
    use std::os::linux::net::SocketAddrExt as _;
    let name = format!("segue-test-manager-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let socket = UnixDatagram::bind_addr(&address).unwrap();
    socket.set_read_timeout(Some(segue_tests::patience())).unwrap();
    let setup = Setup::new(Program::fixture("good")).env("NOTIFY_SOCKET", format!("@{name}"));
    let segue = setup.start();
    let mut buffer = [0; 4096];
    while !buffer.starts_with(b"READY=1\n") {
        manager::receive(&socket, &mut buffer).unwrap();
    }
    segue.stop();
}

#[test]
fn what_the_manager_says_to_segue_is_not_for_the_app_and_all_else_is() {
    let (manager, setup) = below(Setup::new(Program::fixture("good")));
    let passed = [
        "STATE_DIRECTORY",
        "CREDENTIALS_DIRECTORY",
        "INVOCATION_ID",
        "SYSTEMD_EXEC_PID",
        "CACHE_DIRECTORY",
    ];
    // The stream of the journal is not the app's stderr here, so that its name would be a lie.
    let kept = [
        "WATCHDOG_USEC",
        "WATCHDOG_PID",
        "MAINPID",
        "MANAGERPID",
        "JOURNAL_STREAM",
    ];
    let setup = passed
        .iter()
        .chain(&kept)
        .fold(setup, |setup, key| setup.env(*key, "1:1"));
    let segue = setup.start();
    let answer = segue.target().connect().unwrap().ask(&get("/birth")).unwrap();
    let birth: serde_json::Value = serde_json::from_str(&answer.text()).unwrap();
    for key in passed {
        assert_eq!(birth["env"][key], "1:1", "{key}");
    }
    for key in kept {
        assert!(birth["env"][key].is_null(), "{key}");
    }
    assert_ne!(birth["env"]["NOTIFY_SOCKET"], manager.path().to_str().unwrap());
    stop(segue, &manager);
}

#[test]
fn check_notes_where_the_values_of_a_unit_do_not_fit() {
    let directory = segue_tests::segue::directory();
    let unit = directory.path().join("app.service");
    fs::write(
        &unit,
        "[Service]\nType=exec\nTimeoutStartSec=45\nTimeoutStopSec=30\n",
    )
    .unwrap();
    let path = unit.display().to_string();
    let check = |unit: &str, bin: &Path| {
        let mut command = Command::new(Binary::Segue.path());
        command.args([
            "check",
            "--unit",
            unit,
            "--drain-timeout",
            "30s",
            "--mode",
            "queue",
            "-l",
            "80",
            "/bin/true",
        ]);
        Process::start(command.env("PATH", bin)).finish()
    };
    let done = check(&path, directory.path());
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let notes: Vec<&str> = done.stderr.lines().collect();
    let starts = [
        "Type=exec: ",
        "ExecStart= does not run ",
        "ExecReload= does not run ",
        // The drain comes first in queue mode.
        "TimeoutStartSec=45s ends reloads that may take 60s ",
        "TimeoutStopSec=30s kills ",
        "StartLimitIntervalSec=10s: ",
        "RuntimeDirectory= is not set: ",
        "KillMode=control-group: ",
        "OOMPolicy=stop: ",
        "Restart=no: ",
    ];
    assert_eq!(notes.len(), starts.len(), "{notes:#?}");
    for (note, start) in notes.iter().zip(starts) {
        assert!(
            note.starts_with(&format!("segue: note: unit {path}: {start}")),
            "{note}"
        );
    }

    let fitting = "\
[Unit]
StartLimitIntervalSec=0
[Service]
Type=notify
TimeoutStopSec=40
TimeoutStartSec=2min
ExecStart=
ExecStart=/usr/bin/segue run --name app --config /etc/segue/app.toml
ExecReload=/usr/bin/segue reload --name app
KillMode=mixed
OOMPolicy=continue
Restart=always
RuntimeDirectory=segue/app
";
    fs::create_dir(directory.path().join("app.service.d")).unwrap();
    fs::write(directory.path().join("app.service.d/fit.conf"), fitting).unwrap();
    let done = check(&path, directory.path());
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""));

    // A name is asked for from systemctl, here one that stands in for it and hangs after its answer.
    let systemctl = directory.path().join("systemctl");
    let shown = "\
LoadState=loaded
Type=notify
NotifyAccess=main
TimeoutStartUSec=infinity
TimeoutStopUSec=10s
StartLimitIntervalUSec=0
KillMode=process
KillSignal=15
FileDescriptorStoreMax=4096
Restart=always
OOMPolicy=continue
RuntimeDirectory=segue/app
RuntimeDirectoryPreserve=restart
ExecStart={ path=/usr/bin/segue ; argv[]=/usr/bin/segue run --name app ; ignore_errors=no }
ExecReload={ path=/usr/bin/segue ; argv[]=/usr/bin/segue reload --name app ; ignore_errors=no }
ExecStop={ path=/usr/bin/segue ; argv[]=/usr/bin/segue cleanup --name app ; ignore_errors=no }
ExecStopPost={ path=/usr/bin/segue ; argv[]=/usr/bin/segue cleanup --name app ; ignore_errors=no }
";
    let script = format!("#!/bin/sh\necho '{shown}'\nexec >&-\nexec /bin/sleep 10000\n");
    executable::write(&systemctl, script.as_bytes());
    let done = check("app", directory.path());
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(
        done.stderr
            .starts_with("segue: note: unit app: TimeoutStopSec=10s kills "),
        "{}",
        done.stderr
    );

    fs::remove_file(systemctl).unwrap();
    for (unit, why) in [
        ("app", "unit app: systemctl cannot be executed"),
        ("./none", "unit ./none: no such file or directory"),
    ] {
        let done = check(unit, directory.path());
        assert_eq!((done.code, done.stderr), (Some(1), format!("segue: {why}\n")));
    }
}
