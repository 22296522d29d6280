//! The fixtures do what their names say, seen without Segue.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use nix::sys::signal::Signal;
use segue_tests::binaries::Binary;
use segue_tests::http::{self, Target};
use segue_tests::process::Process;
use segue_tests::program::Program;
use segue_tests::stand_in::{Family, StandIn};

/// A fixture with a listener and a notify socket that the test reads.
struct Bare {
    process: Process,
    messages: Receiver<Vec<u8>>,
    target: Target,
    _directory: tempfile::TempDir,
}

fn bare(line: &str) -> Bare {
    let directory = segue_tests::segue::directory();
    let notify = UnixDatagram::bind(directory.path().join("notify")).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let target = Target::Tcp(listener.local_addr().unwrap());
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", "export LISTEN_PID=$$; exec \"$@\" 3<&0 0</dev/null", "sh"])
        .args(Program::fixture(line).words())
        .stdin(std::process::Stdio::from(std::os::fd::OwnedFd::from(listener)))
        .envs([
            ("LISTEN_FDS", "1"),
            ("LISTEN_FDNAMES", "web"),
            ("WATCHDOG_USEC", "300000"),
        ])
        .env("NOTIFY_SOCKET", directory.path().join("notify"))
        .env("SEGUE_DRAIN_TIMEOUT_MS", "5000");
    Bare {
        process: Process::start(&mut command),
        messages: collect(notify),
        target,
        _directory: directory,
    }
}

/// Reads without end, so that no fixture waits for room in the queue.
fn collect(notify: UnixDatagram) -> Receiver<Vec<u8>> {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 256 * 1024];
        loop {
            match notify.recv(&mut buffer) {
                Ok(length) if sender.send(buffer[..length].to_vec()).is_ok() => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => return,
            }
        }
    });
    receiver
}

impl Bare {
    fn next_message(&self) -> Vec<u8> {
        self.messages.recv_timeout(segue_tests::patience()).unwrap()
    }

    fn wait_for_message(&self, wanted: &[u8]) {
        while self.next_message() != wanted {}
    }

    fn said_nothing(&self) -> bool {
        self.messages.try_recv().is_err()
    }
}

#[test]
fn those_that_end_end_as_they_say() {
    for (line, code) in [
        ("crash-at-start", Some(101)),
        ("crash-at-start status=7", Some(7)),
        ("killed-at-start", None),
        ("killed-at-start signal=KILL", None),
        ("exit-0-at-once", Some(0)),
        ("status-then-dies text=oops", Some(1)),
        ("forks-child-and-exits", Some(0)),
        ("binds-itself", Some(1)),
        ("shuts-listener then=die", Some(5)),
        ("clears-nonblock", Some(6)),
        ("no-such-vice", Some(1)),
        ("good no-such-option=1", Some(1)),
    ] {
        let bare = bare(line);
        assert_eq!(
            bare.process.wait_for_exit().code(),
            code,
            "{line}: {}",
            bare.process.stderr()
        );
        if line.starts_with("forks") {
            // Its child serves on and would for ever.
            let pid = http_pid(&bare.target);
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL);
        } else if !line.starts_with("status") {
            assert!(bare.said_nothing(), "{line} said something");
        }
    }
}

fn http_pid(target: &Target) -> i32 {
    let mut client = target.connect().unwrap();
    client
        .ask(&http::get("/ping"))
        .unwrap()
        .header(http::PID)
        .parse()
        .unwrap()
}

#[test]
fn those_that_say_ready_and_die_do_both() {
    for (line, code) in [
        ("ready-and-exit", Some(0)),
        ("ready-then-dies after=1ms", Some(3)),
        ("ready-then-killed after=1ms", None),
    ] {
        let bare = bare(line);
        assert_eq!(bare.next_message(), b"READY=1", "{line}");
        assert_eq!(bare.process.wait_for_exit().code(), code, "{line}");
    }
}

#[test]
fn those_that_serve_serve_every_route_and_drain() {
    for line in [
        "good",
        "slow-start after=1ms",
        "sets-nonblock",
        "double-ready",
        "ready-from-child",
        "closes-stdout",
        "changes-cwd",
        "noisy",
        "listens-1",
        "extends-timeout after=1ms",
        "stopping-first",
        "reloading",
        "ignores-probe",
        "closes-idle",
        "daemonises",
        "unlinks-notify",
        "bad-notify",
        "floods-notify",
        "leaks-grandchild",
        "watchdog-trigger after=1ms",
        "clears-nonblock then=ready",
    ] {
        let bare = bare(line);
        let mut client = bare.target.connect().unwrap();
        let echoed = client.ask(&http::post("/echo", b"hello")).unwrap();
        assert_eq!(echoed.text(), "hello", "{line}");
        let streamed = client.ask(&http::get("/bytes?n=2345")).unwrap();
        assert_eq!(
            (streamed.body.len(), &streamed.body[..3]),
            (2345, &b"abc"[..]),
            "{line}"
        );
        assert_eq!(
            client.ask(&http::get("/ping")).unwrap().text(),
            r#"{"message":"test"}"#,
            "{line}"
        );
        assert_eq!(client.ask(&http::get("/nothing")).unwrap().status, 404, "{line}");
        let last = client.ask(&http::get_and_close("/healthz")).unwrap();
        assert!(last.close, "{line}");
        drop(client);
        if ![
            "ready-from-child",
            "daemonises",
            "unlinks-notify",
            "floods-notify",
        ]
        .contains(&line)
        {
            bare.wait_for_message(b"READY=1");
        }
        let pid = nix::unistd::Pid::from_raw(last.header(http::PID).parse().unwrap());
        nix::sys::signal::kill(pid, Signal::SIGTERM).unwrap();
        assert_eq!(
            bare.process.wait_for_exit().code(),
            Some(0),
            "{line}: {}",
            bare.process.stderr()
        );
        if line == "leaks-grandchild" {
            let log = bare.process.stderr();
            let leaked: i32 = log
                .split("leaks process ")
                .nth(1)
                .unwrap()
                .split_whitespace()
                .next()
                .unwrap()
                .parse()
                .unwrap();
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(leaked), Signal::SIGKILL).unwrap();
        }
    }
}

#[test]
fn those_that_ignore_the_stop_signal_do() {
    for (line, says) in [
        ("ignores-term", "ignores the stop signal"),
        ("stubborn-candidate", "ignores the stop signal"),
        ("hangs-in-drain", "draining"),
    ] {
        let bare = bare(line);
        // An answer proves that it has got past its start.
        http_pid(&bare.target);
        bare.process.signal(Signal::SIGTERM);
        bare.process.wait_for_line(says);
        assert!(bare.process.is_running(), "{line}");
    }
}

#[test]
fn those_that_never_say_ready_do_not() {
    for line in ["never-ready", "bad-notify then=nothing", "ready-at-term"] {
        let bare = bare(line);
        http_pid(&bare.target);
        bare.process.signal(Signal::SIGTERM);
        assert_eq!(bare.process.wait_for_exit().code(), Some(0), "{line}");
        let mut said = vec![bare.next_message()];
        while said.last().is_some_and(|message| message != b"STOPPING=1") {
            said.push(bare.next_message());
        }
        assert_eq!(
            said.iter().any(|message| message == b"READY=1"),
            line == "ready-at-term",
            "{line}"
        );
    }
}

#[test]
fn the_watchdog_is_fed_by_the_good_and_starved_by_the_stuck() {
    let good = bare("good");
    for _ in 0..5 {
        good.wait_for_message(b"WATCHDOG=1");
    }
    let stuck = bare("watchdog-stuck count=2");
    stuck.wait_for_message(b"READY=1");
    stuck.wait_for_message(b"WATCHDOG=1");
    stuck.wait_for_message(b"WATCHDOG=1");
    // Seven periods of silence: a heartbeat would show.
    assert!(stuck.messages.recv_timeout(Duration::from_millis(700)).is_err());
}

#[test]
fn a_birth_record_shows_exactly_what_the_launcher_gave() {
    let stand_in = StandIn::start(Program::fixture("good"), Family::Tcp);
    let mut client = stand_in.target().connect().unwrap();
    let birth: serde_json::Value =
        serde_json::from_slice(&client.ask(&http::get("/birth")).unwrap().body).unwrap();
    let fds = birth["fds"].as_array().unwrap();
    // The stand-in's shell may hand on more than that; whether a supervisor does is for its own tests to say.
    let numbers: Vec<i64> = fds.iter().filter_map(|fd| fd["fd"].as_i64()).collect();
    assert!(numbers.starts_with(&[0, 1, 2, 3]), "{birth}");
    assert!(
        fds[3]["target"].as_str().unwrap().starts_with("socket:"),
        "{birth}"
    );
    assert_eq!(birth["pid"], i64::from(stand_in.incumbent().pid()));
    assert_eq!(birth["env"]["LISTEN_PID"], stand_in.incumbent().pid().to_string());
    assert_eq!(birth["signals"]["blocked"], "0000000000000000");
    assert!(birth["limits"]["Max open files"].is_string(), "{birth}");
    assert!(birth["umask"].is_string() && birth["cwd"].is_string());
}

#[test]
fn a_wrapper_that_forks_is_named() {
    let mut command = Command::new(Binary::Fixture.path());
    command.arg("good").envs([
        ("LISTEN_FDS", "1"),
        ("LISTEN_FDNAMES", "web"),
        ("LISTEN_PID", "1"),
    ]);
    let done = Process::start(&mut command).finish();
    assert_eq!(done.code, Some(1));
    assert!(done.stderr.contains("a wrapper forked"), "{}", done.stderr);
}
