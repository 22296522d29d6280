//! Steered, with listeners and slots that come and go with a reload: who connects where no version serves yet, or where the new one does
//! not listen any more, and a candidate that finds each slot taken.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use segue_tests::figures::say;
use segue_tests::http::Target;
use segue_tests::ledger::Ledger;
use segue_tests::load::parked::Parked;
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};
use segue_tests::{free_port, patience, wait_until};

fn put(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// An instance whose settings are changed between its reloads.
struct Settings(PathBuf);

impl Settings {
    fn start(setup: Setup, listeners: &[&str], more: &str) -> (Self, Segue) {
        let settings = Self(setup.path("segue.toml"));
        settings.write(listeners, more);
        let segue = setup
            .flags(["--config".into(), settings.0.clone().into_os_string()])
            .start();
        (settings, segue)
    }

    fn write(&self, listeners: &[&str], more: &str) {
        let command = Program::fixture("good").as_toml();
        put(
            &self.0,
            &format!("command = {command}\nlisten = {listeners:?}\n{more}\n"),
        );
    }
}

fn at(port: u16) -> Target {
    Target::parse(&format!("127.0.0.1:{port}"))
}

/// A client that has asked, and what it has read so far.
struct Client(TcpStream);

impl Client {
    fn of(port: u16) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap_or_else(|error| panic!("{error}"));
        let asked = stream.write_all(b"GET /ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        assert!(asked.is_ok(), "{asked:?}");
        Self(stream)
    }

    /// Whether it has an answer within this time.
    fn is_answered(&mut self, within: Duration) -> bool {
        assert!(self.0.set_read_timeout(Some(within)).is_ok());
        let mut answer = [0; 12];
        self.0.read_exact(&mut answer).is_ok() && answer == *b"HTTP/1.1 200"
    }
}

/// Clients of an address that is new with a reload wait for the takeover, whichever slot the version that serves has.
fn wait_for_the_takeover(reloads_before: u32, slots: &str) {
    const CLIENTS: usize = 20;
    let setup = Setup::from_config();
    let go = setup.path("go");
    put(&go, "");
    let more = format!(
        "linger = \"0s\"\nprobation = \"0s\"\nprobe = 'test -e {}'\nprobe-timeout = \"1h\"",
        go.display()
    );
    let (settings, segue) = Settings::start(setup, &["web=127.0.0.1:0,steer"], &more);
    for _ in 0..reloads_before {
        segue.reload_ok(&["--drained"]);
    }
    let port = free_port();
    let side = format!("side=127.0.0.1:{port},steer{slots}");
    settings.write(&["web=127.0.0.1:0,steer", &side], &more);
    assert!(std::fs::remove_file(&go).is_ok());
    let mark = segue.process().mark();
    let reload = segue.begin("reload", &[]);
    segue
        .process()
        .wait_for_line(&format!("listening on 127.0.0.1:{port}"));
    let ledger = Ledger::default();
    let early = Parked::queued(&at(port), &ledger, CLIENTS);
    let mut one = Client::of(port);
    segue.process().wait_for_line_after(mark, " is ready after ");
    // Long enough for a candidate that should not answer yet, and for a relief worker of the version that serves, which could not.
    assert!(
        !one.is_answered(Duration::from_secs(1)),
        "a client meets a candidate"
    );
    let log = segue.process().stderr();
    assert!(!log.contains("a relief worker"), "{log}");
    put(&go, "");
    assert!(reload.wait_for_exit().success());
    assert!(one.is_answered(patience()));
    early.finish();
    let tally = ledger.tally();
    say(format_args!(
        "{CLIENTS} clients of a steered listener that is new with the reload{slots}: {}",
        tally.figures()
    ));
    tally.assert_nothing_lost();
    segue.wait_until("relief workers end by themselves", |status| {
        status.in_role("relief").is_empty() && status.in_role("retired").is_empty()
    });
    let new = segue.status().generation();
    assert_eq!((at(port).who_answers(), segue.target().who_answers()), (new, new));
    segue.stop();
}

#[test]
fn clients_of_a_new_listener_wait_for_the_takeover() {
    wait_for_the_takeover(0, "");
}

/// Not in the first slot, from which on those of the new listener are numbered.
#[test]
fn so_they_do_if_the_version_that_serves_has_another_slot() {
    wait_for_the_takeover(1, "");
}

/// The version that serves has the last slot, so the candidate has the first.
#[test]
fn so_they_do_if_the_listener_is_to_have_fewer_slots() {
    wait_for_the_takeover(3, ",slots=2");
}

/// The old version is the only one that listens there. It goes on as long as it lingers, and then nobody listens.
#[test]
fn clients_of_a_listener_that_was_left_out_go_to_the_version_that_lingers() {
    let port = free_port();
    let side = format!("side=127.0.0.1:{port},steer");
    let more = "linger = \"1h\"\nprobation = \"0s\"";
    let (settings, mut segue) =
        Settings::start(Setup::from_config(), &["web=127.0.0.1:0,steer", &side], more);
    let ledger = Ledger::default();
    let idle = Parked::idle(&segue.target(), &ledger, 1);
    settings.write(&["web=127.0.0.1:0,steer"], more);
    segue.reload_ok(&[]);
    let asked = || (at(port).who_answers(), segue.target().who_answers());
    assert_eq!(asked(), (1, 2));
    segue.reload_ok(&[]);
    assert_eq!((at(port).who_answers(), segue.target().who_answers()), (1, 3));
    segue.kill();
    segue.resume();
    assert_eq!((at(port).who_answers(), segue.target().who_answers()), (1, 3));
    idle.finish();
    ledger.tally().assert_nothing_lost();
    segue.wait_until("the first is gone", |status| status.pids(1).is_empty());
    wait_until("nobody listens there", || {
        TcpStream::connect(("127.0.0.1", port)).is_err()
    });
    segue.stop();
}

/// A rollback takes the last slot while the hook of a reload runs: the candidate waits for one, and nobody else notices.
#[test]
fn a_candidate_whose_slot_was_taken_waits_for_one() {
    let setup = Setup::new(Program::fixture("ignores-term"))
        .listen("127.0.0.1:0,steer,slots=3")
        .trusted_at_once();
    let hold = setup.path("hold");
    let hook = format!("while [ -e {} ]; do sleep 0.05; done", hold.display());
    let segue = setup
        .flags(["--before-reload", &hook, "--hook-timeout", "1h", "--workers", "2"])
        .flags([
            "--linger",
            "0s",
            "--drain-timeout",
            "1h",
            "--stop-timeout",
            "100ms",
        ])
        .start();
    segue.wait_until("it is trusted", |status| {
        status.0["generations"][0]["probation"] == "passed"
    });
    segue.distrust();
    segue.reload_ok(&[]);
    put(&hold, "");
    let reload = segue.begin("reload", &[]);
    segue.process().wait_for_line("generation 3: handoff began");
    // One of its two workers: the other, which drains for as long as it likes, keeps the slot.
    let crashed = segue.status().pids(2)[0];
    assert_eq!(kill(Pid::from_raw(crashed), Signal::SIGKILL), Ok(()));
    segue.wait_until("it is rolled back", |status| status.generation() == 4);
    assert!(std::fs::remove_file(&hold).is_ok());
    segue.process().wait_for_line("reload waits: each slot");
    assert_eq!(segue.target().who_answers(), 4);
    for pid in segue.status().pids(1) {
        assert_eq!(kill(Pid::from_raw(pid), Signal::SIGKILL), Ok(()));
    }
    assert!(reload.wait_for_exit().success(), "{}", segue.process().stderr());
    assert_eq!(
        (segue.status().generation(), segue.target().who_answers()),
        (3, 3)
    );
    segue.signal(Signal::SIGTERM);
    segue.ended();
}
