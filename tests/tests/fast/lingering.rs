//! Steered, an old generation keeps its connections for a while, and is the way back: what that spares servers that lose requests
//! at their stop signal. Each figure beside its control.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use segue_tests::figures::{say, scale};
use segue_tests::http::Target;
use segue_tests::ledger::{Ledger, Tally};
use segue_tests::load::parked::Parked;
use segue_tests::load::{Kind, Load};
use segue_tests::needs;
use segue_tests::patience;
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup, Status};

const STEERED: &str = "127.0.0.1:0,steer";
const SHARED: &str = "127.0.0.1:0";
/// How many connections are idle when the stop signal comes.
const IDLE: usize = 20;
/// Longer than any test waits.
const LONG: [&str; 2] = ["--linger", "1h"];

/// A server that its stop signal ends at once, and that keeps idle connections for so many seconds.
fn abrupt(keep_alive: &str) -> Program {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/servers/abrupt.py");
    Program::new("python3").args([file, keep_alive])
}

fn has_python(test: &str) -> bool {
    needs::or_skip(test, needs::program("python3")).is_some()
}

fn lingering(program: Program) -> Segue {
    Setup::new(program).listen(STEERED).flags(LONG).start()
}

fn end(pids: &[i32]) {
    for pid in pids {
        assert_eq!(kill(Pid::from_raw(*pid), Signal::SIGKILL), Ok(()), "{pid}");
    }
}

fn is_gone(segue: &Segue, generation: u64) {
    segue.wait_until("the old one is gone", |status| status.pids(generation).is_empty());
}

/// Reloads under new connections while other clients wait, after each request, until the server closes their connection.
#[test]
fn a_server_that_its_stop_signal_ends_loses_nothing() {
    if !has_python("a server that ends at SIGTERM") {
        return;
    }
    let segue = lingering(abrupt("2"));
    let (new, pausing) = (
        Load::start(Kind::Fresh, &segue.target(), 2),
        Load::start(Kind::Pausing, &segue.target(), 16),
    );
    let reloads = scale(2, 20);
    for old in 1..=reloads {
        segue.reload_ok(&[]);
        new.wait_for_more(20);
        is_gone(&segue, old);
    }
    for (kind, load) in [("new", new), ("pausing", pausing)] {
        let tally = load.stop();
        say(format_args!(
            "linger, a server that ends at SIGTERM, {kind} connections, {reloads} reloads: {}",
            tally.figures()
        ));
        tally.assert_nothing_lost();
    }
    segue.stop();
}

/// Requests on idle connections just after the takeover; the connections are closed then.
fn asked_after_the_takeover(listener: &str) -> (Tally, Segue) {
    let segue = Setup::new(abrupt("3600")).listen(listener).start();
    let ledger = Ledger::default();
    let idle = Parked::idle(&segue.target(), &ledger, IDLE);
    segue.reload_ok(&[]);
    if listener == SHARED {
        is_gone(&segue, 1);
    }
    idle.finish();
    let tally = ledger.tally();
    say(format_args!(
        "{listener}, {IDLE} idle connections asked after the takeover: {}",
        tally.figures()
    ));
    (tally, segue)
}

#[test]
fn idle_connections_are_answered_after_the_takeover() {
    if !has_python("a server that ends at SIGTERM") {
        return;
    }
    let (tally, segue) = asked_after_the_takeover(STEERED);
    tally.assert_nothing_lost();
    segue
        .process()
        .wait_for_line("generation 1 has no connection left");
    is_gone(&segue, 1);
    segue.stop();
}

#[test]
fn control_on_a_shared_listener_idle_connections_are_lost() {
    if !has_python("a server that ends at SIGTERM") {
        return;
    }
    let (tally, segue) = asked_after_the_takeover(SHARED);
    tally.assert_detector_fired();
    segue.stop();
}

/// Clients that never pause keep the old version until its time is up; then an app that drains loses none of their requests.
#[test]
fn clients_that_never_pause_are_left_to_the_drain() {
    let setup = Setup::new(Program::app()).listen(STEERED);
    let segue = setup.flags(["--linger", "1s"]).start();
    let load = Load::start(Kind::KeepAlive, &segue.target(), 4);
    for _ in 0..scale(2, 20) {
        segue.reload_ok(&["--drained"]);
        load.wait_for_more(50);
    }
    segue.process().wait_for_line("--linger 1s is over");
    let tally = load.stop();
    say(format_args!(
        "linger 1s, clients that never pause: {}",
        tally.figures()
    ));
    tally.assert_nothing_lost();
    segue.stop();
}

/// Version 1 is trusted and has one client that stays; version 2 has taken over and is not trusted.
fn before_a_crash(program: &Program, flags: &[&str]) -> (Segue, Ledger, Parked) {
    let setup = Setup::new(Program::new("./app"))
        .listen(STEERED)
        .trusted_at_once();
    setup.deploy("app", &Program::fixture("slow-start after=300ms"));
    let directory = setup.path("").into_os_string();
    let segue = setup.flags(["--chdir".into(), directory]).flags(flags).start();
    segue.wait_until("it is trusted", |status| {
        status.0["generations"][0]["probation"] == "passed"
    });
    segue.distrust();
    segue.deploy("app", program);
    let ledger = Ledger::default();
    let idle = Parked::idle(&segue.target(), &ledger, 1);
    segue.reload_ok(&[]);
    (segue, ledger, idle)
}

/// Clients come until one of them is answered by another generation than this; all of them are answered in the end.
fn until_another_answers(target: &Target, than: u64) -> Duration {
    let began = Instant::now();
    let (told, heard) = mpsc::channel();
    let mut clients = Vec::new();
    loop {
        let (target, told) = (target.clone(), told.clone());
        clients.push(thread::spawn(move || {
            if target.who_answers() != than {
                let _ = told.send(began.elapsed());
            }
        }));
        if let Ok(after) = heard.recv_timeout(Duration::from_millis(2)) {
            clients
                .into_iter()
                .for_each(|client| assert!(client.join().is_ok(), "each is answered"));
            return after;
        }
        assert!(began.elapsed() < patience(), "no client is answered");
    }
}

/// Who serves after a crash of version 2, and how soon the first client is answered.
fn after_a_crash(flags: &[&str]) -> u64 {
    let (segue, ledger, idle) = before_a_crash(&Program::fixture("slow-start after=300ms"), flags);
    end(&segue.status().pids(2));
    let after = until_another_answers(&segue.target(), 2);
    let status = segue.wait_until("it was rolled back", |status| status.count("rollbacks") == 1);
    assert_eq!(status.last_outcome(), "rolled-back");
    let serves = status.generation();
    say(format_args!(
        "a crash on probation, {flags:?}: generation {serves} answers {} ms after it (an app that takes 300 ms to start)",
        after.as_millis()
    ));
    idle.finish();
    if serves == 1 {
        ledger.tally().assert_nothing_lost();
    }
    segue.reload_ok(&[]);
    segue.stop();
    serves
}

#[test]
fn a_crash_on_probation_sends_clients_back_to_who_lingers() {
    assert_eq!(after_a_crash(&LONG), 1);
}

#[test]
fn control_without_linger_the_last_good_is_started_anew() {
    assert_ne!(after_a_crash(&["--linger", "0s"]), 1);
}

#[test]
fn a_version_that_accepts_nobody_is_switched_away_from() {
    // It accepts one client, and so takes over, and nobody after that.
    let deaf = Program::fixture("never-accepts count=1");
    let (segue, ledger, idle) = before_a_crash(&deaf, &["--linger", "1h", "--accept-timeout", "500ms"]);
    let queued = Parked::queued(&segue.target(), &ledger, IDLE);
    segue
        .process()
        .wait_for_line("generation 1, which lingered, serves again");
    segue.wait_until("it serves", |status| status.generation() == 1);
    queued.finish();
    idle.finish();
    ledger.tally().assert_nothing_lost();
    assert_eq!(segue.target().who_answers(), 1);
    segue.stop();
}

/// Its worker counts for the last good as soon as probation is over: from then on a crash means a restart.
#[test]
fn after_probation_there_is_no_way_back() {
    let (segue, ledger, idle) = before_a_crash(&Program::fixture("good"), &LONG);
    segue.trust();
    segue.reload_ok(&[]);
    segue.wait_until("it is trusted", |status| {
        let generations = status.0["generations"].as_array().cloned().unwrap_or_default();
        generations
            .iter()
            .any(|one| one["generation"] == 3 && one["probation"] == "passed")
    });
    end(&segue.status().pids(3));
    segue.wait_until("it was started again", |status| {
        status.count("restarts") == 1 && status.state() == "serving"
    });
    assert_eq!(segue.status().generation(), 3);
    idle.finish();
    ledger.tally().assert_nothing_lost();
    segue.stop();
}

fn lingers(generation: u64) -> impl Fn(&Status) -> bool {
    move |status| status.in_role("lingering").contains(&generation)
}

/// The next supervisor knows who lingers, after an upgrade and after kill -9: it is the way back, and it ends by itself.
#[test]
fn whoever_lingers_outlives_the_supervisor() {
    let (mut segue, ledger, idle) = before_a_crash(&Program::fixture("good"), &LONG);
    assert_eq!(segue.run("upgrade", &[]).code, Some(0));
    segue.wait_until("it lingers after an upgrade", lingers(1));
    segue.kill();
    segue.resume();
    segue.wait_until("it lingers after kill -9", lingers(1));
    end(&segue.status().pids(2));
    segue.wait_until("it serves again", |status| status.generation() == 1);
    segue.reload_ok(&[]);
    segue.wait_until("it lingers again", lingers(1));
    segue.kill();
    segue.resume();
    idle.finish();
    ledger.tally().assert_nothing_lost();
    is_gone(&segue, 1);
    segue.stop();
}

/// A reload needs a slot, or a place among the generations: whoever has lingered for longest is told to stop.
#[test]
fn a_reload_does_not_wait_for_whoever_lingers() {
    for (listener, flags) in [
        ("127.0.0.1:0,steer,slots=2", ["--max-generations", "8"]),
        (STEERED, ["--max-generations", "2"]),
    ] {
        let setup = Setup::new(Program::fixture("good")).listen(listener);
        let segue = setup.flags(LONG).flags(flags).start();
        let ledger = Ledger::default();
        let idle = Parked::idle(&segue.target(), &ledger, 1);
        segue.reload_ok(&[]);
        let second = Parked::idle(&segue.target(), &ledger, 1);
        segue.reload_ok(&[]);
        segue
            .process()
            .wait_for_line("generation 1 is told to stop before --linger 1h is over");
        segue.wait_until("the second lingers", lingers(2));
        second.finish();
        drop(idle);
        segue.stop();
    }
}

/// So it is with memory.
#[test]
fn whoever_lingers_makes_room_in_memory() {
    let setup = Setup::new(Program::fixture("good")).listen(STEERED);
    let file = setup.path("settings.toml");
    let settings = |text: &str| {
        let written = std::fs::write(&file, text);
        written.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    };
    settings("linger = '1h'\n");
    let segue = setup.flags(["--config".as_ref(), file.as_os_str()]).start();
    let ledger = Ledger::default();
    let idle = Parked::idle(&segue.target(), &ledger, 1);
    segue.reload_ok(&[]);
    settings("linger = '1h'\nmin-free-memory = '1000000G'\nstart-timeout = '1s'\n");
    let refused = segue.reload(&[]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    segue
        .process()
        .wait_for_line("generation 1 is told to stop before --linger 1h is over");
    drop(idle);
    segue.stop();
}

#[test]
fn nobody_lingers_for_longer_than_asked() {
    let setup = Setup::new(Program::fixture("good")).listen(STEERED);
    let segue = setup.flags(["--linger", "2s"]).start();
    let ledger = Ledger::default();
    let idle = Parked::idle(&segue.target(), &ledger, 1);
    let drained = segue.begin("reload", &["--drained"]);
    segue.process().wait_for_line("--linger 2s is over");
    assert!(drained.wait_for_exit().success());
    drop(idle);
    segue.stop();
}

/// One that hangs is aborted, and not replaced.
#[test]
fn the_watchdog_watches_whoever_lingers() {
    let setup = Setup::new(Program::fixture("good")).listen(STEERED);
    let segue = setup.flags(LONG).flags(["--watchdog", "10s"]).start();
    let ledger = Ledger::default();
    let idle = Parked::idle(&segue.target(), &ledger, 1);
    segue.reload_ok(&[]);
    segue.wait_until("it lingers", lingers(1));
    for pid in segue.status().pids(1) {
        assert_eq!(kill(Pid::from_raw(pid), Signal::SIGSTOP), Ok(()), "{pid}");
    }
    is_gone(&segue, 1);
    assert_eq!(segue.status().count("restarts"), 0);
    assert_eq!(segue.target().who_answers(), 2);
    drop(idle);
    segue.stop();
}

/// `stop` does not linger, and where a listener is shared nobody does.
#[test]
fn a_stop_and_a_shared_listener_know_no_linger() {
    let segue = lingering(Program::fixture("good"));
    let ledger = Ledger::default();
    let idle = Parked::idle(&segue.target(), &ledger, 1);
    segue.reload_ok(&[]);
    segue.wait_until("it lingers", lingers(1));
    drop(idle);
    segue.stop();
    let setup = Setup::new(Program::fixture("good"))
        .listen(STEERED)
        .listen("unix:side");
    let segue = setup.flags(LONG).start();
    segue
        .process()
        .wait_for_line("linger has no effect unless each listener is steered");
    segue.reload_ok(&["--drained"]);
    segue.stop();
}
