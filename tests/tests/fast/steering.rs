//! Steered listeners: the takeover is a switch in the kernel, no client meets a candidate, and nobody who waits elsewhere is
//! forgotten. Each figure beside its control: the same with one socket for all generations.

use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use segue_tests::figures::{say, scale};
use segue_tests::http::Target;
use segue_tests::ledger::Ledger;
use segue_tests::load::parked::Parked;
use segue_tests::load::{Kind, Load};
use segue_tests::needs;
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup, Status};

const STEERED: &str = "127.0.0.1:0,steer";
const SHARED: &str = "127.0.0.1:0";
/// How many clients wait while nobody accepts them.
const QUEUE: usize = 50;
/// For apps that end only when they are killed: a reload leaves them alone, and a stop does not wait.
const STUBBORN: [&str; 4] = ["--drain-timeout", "1h", "--stop-timeout", "100ms"];

fn start(program: Program, listener: &str) -> Segue {
    Setup::new(program).listen(listener).start()
}

/// A reload, until its version has answered. Relief workers may have had numbers in between.
fn reload_until_heard(segue: &Segue, load: &Load) {
    segue.reload_ok(&[]);
    load.wait_for_generation(segue.status().generation());
}

fn put(path: &Path) {
    std::fs::write(path, "").unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

fn signal(pid: i32, signal: Signal) {
    assert_eq!(kill(Pid::from_raw(pid), signal), Ok(()), "{signal} to {pid}");
}

fn slots_of(segue: &Segue) -> Vec<(u64, Option<u64>)> {
    let status = segue.status();
    let listeners = status.0["listeners"].as_array().cloned().unwrap_or_default();
    let slot = |one: &serde_json::Value| Some((one["slot"].as_u64()?, one["generation"].as_u64()));
    listeners.iter().filter_map(slot).collect()
}

/// Reloads under this load. Nothing may be lost.
fn nothing_is_lost(kind: Kind) {
    let reloads = scale(10, 200);
    // Where the old version lingers, clients on kept connections stay with it.
    let setup = Setup::new(Program::app()).listen(STEERED);
    let segue = setup.flags(["--linger", "0s"]).start();
    let load = Load::start(kind, &segue.target(), 3);
    for _ in 0..reloads {
        reload_until_heard(&segue, &load);
        load.wait_for_more(50);
    }
    let tally = load.stop();
    say(format_args!(
        "steered, {kind:?}, {reloads} reloads: {}",
        tally.figures()
    ));
    tally.assert_nothing_lost();
    segue.stop();
}

#[test]
fn reloads_lose_no_new_connection() {
    nothing_is_lost(Kind::Fresh);
}

#[test]
fn reloads_lose_nothing_on_kept_connections() {
    nothing_is_lost(Kind::KeepAlive);
}

#[test]
fn reloads_lose_no_post() {
    nothing_is_lost(Kind::Post);
}

#[test]
fn reloads_lose_no_stream() {
    nothing_is_lost(Kind::Http2);
}

/// Clients that connect after `reload ok` was said, while the old version serves on whatever it is told: how many of them it answers.
fn answers_of_the_old(listener: &str) -> u64 {
    let clients = scale(300, 10_000);
    let setup = Setup::new(Program::fixture("ignores-term")).listen(listener);
    let segue = setup.flags(STUBBORN).start();
    let target = segue.target();
    let mut old = 0;
    for generation in 2..=3 {
        segue.reload_ok(&[]);
        old += (0..clients).filter(|_| target.who_answers() < generation).count() as u64;
    }
    segue.signal(Signal::SIGTERM);
    segue.ended();
    say(format_args!(
        "{listener}: {old} of {} answers after the takeover came from an old version",
        2 * clients
    ));
    old
}

#[test]
fn a_client_that_connects_after_the_takeover_meets_the_new_version() {
    assert_eq!(answers_of_the_old(STEERED), 0);
}

#[test]
fn control_a_shared_listener_leaves_it_to_chance_whom_a_client_meets() {
    assert_ne!(answers_of_the_old(SHARED), 0);
}

/// How many clients were answered by versions that failed their probe.
fn answers_of_candidates(listener: &str, enough: impl Fn(u64) -> bool) -> u64 {
    let setup = Setup::new(Program::fixture("good")).listen(listener);
    let bad = setup.path("bad");
    let probe = format!("[ ! -e {} ]", bad.display());
    let segue = setup.flags(["--probe", &probe, "--probe-timeout", "3s"]).start();
    put(&bad);
    let load = Load::start(Kind::Fresh, &segue.target(), 3);
    let of_candidates = |load: &Load| {
        let tally = load.ledger().tally();
        let others = tally
            .by_generation
            .iter()
            .filter(|(generation, _)| *generation != "1");
        others.map(|(_, count)| count).sum::<u64>()
    };
    for _ in 0..5 {
        assert_eq!(segue.reload(&[]).code, Some(1), "its probe fails");
        if enough(of_candidates(&load)) {
            break;
        }
    }
    load.wait_for_more(50);
    let count = of_candidates(&load);
    let tally = load.stop();
    say(format_args!(
        "{listener}: {count} of {} answers came from versions that failed their probe",
        tally.answered
    ));
    tally.assert_nothing_lost();
    segue.stop();
    count
}

#[test]
fn no_client_meets_a_candidate_that_fails() {
    assert_eq!(answers_of_candidates(STEERED, |_| false), 0);
}

#[test]
fn control_on_a_shared_listener_candidates_answer() {
    assert_ne!(answers_of_candidates(SHARED, |count| count > 0), 0);
}

#[test]
fn clients_of_an_incumbent_that_hangs_are_answered_after_the_reload() {
    let segue = start(Program::fixture("good"), STEERED);
    let target = segue.target();
    let ledger = Ledger::default();
    let old = segue.status().pids(1);
    old.iter().for_each(|pid| signal(*pid, Signal::SIGSTOP));
    let queued = Parked::queued(&target, &ledger, QUEUE);
    segue.reload_ok(&[]);
    segue
        .process()
        .wait_for_line("a relief worker, is started to answer them");
    queued.finish();
    old.iter().for_each(|pid| signal(*pid, Signal::SIGKILL));
    let tally = ledger.tally();
    say(format_args!(
        "steered, {QUEUE} clients of a stopped incumbent: {}",
        tally.figures()
    ));
    tally.assert_nothing_lost();
    let alone = |status: &Status| status.pids(1).is_empty() && status.in_role("relief").is_empty();
    segue.wait_until("the relief worker has ended by itself", alone);
    assert_eq!(target.who_answers(), 2);
    segue.stop();
}

/// The new version takes over, is bad, and dies with clients in its queue: the last good one answers them.
#[test]
fn clients_of_a_version_that_is_rolled_back_are_answered() {
    let setup = Setup::new(Program::new("./app"))
        .listen(STEERED)
        .trusted_at_once()
        // One that lingers would serve again.
        .flags(["--linger", "0s"]);
    setup.deploy("app", &Program::fixture("good"));
    let directory = setup.path("");
    let segue = setup
        .flags(["--chdir".into(), directory.into_os_string()])
        .start();
    segue.wait_until("it is trusted", |status| {
        status.0["generations"][0]["probation"] == "passed"
    });
    segue.distrust();
    let target = segue.target();
    segue.reload_ok(&[]);
    let bad = segue.status().pids(2);
    bad.iter().for_each(|pid| signal(*pid, Signal::SIGSTOP));
    let ledger = Ledger::default();
    let queued = Parked::queued(&target, &ledger, QUEUE);
    bad.iter().for_each(|pid| signal(*pid, Signal::SIGKILL));
    queued.finish();
    let tally = ledger.tally();
    say(format_args!(
        "steered, {QUEUE} clients of a version that was rolled back: {}",
        tally.figures()
    ));
    tally.assert_nothing_lost();
    segue.wait_until("it was rolled back", |status| status.count("rollbacks") == 1);
    assert_eq!(target.who_answers(), 3);
    segue.stop();
}

/// What status says, and that slots are used by turns and only while they are free.
#[test]
fn each_generation_has_a_slot_of_its_own() {
    let setup = Setup::new(Program::fixture("ignores-term")).listen("127.0.0.1:0,steer,slots=3");
    let segue = setup.flags(STUBBORN).start();
    assert_eq!(slots_of(&segue), [(0, Some(1)), (1, None), (2, None)]);
    segue.reload_ok(&[]);
    segue.reload_ok(&[]);
    assert_eq!(slots_of(&segue), [(0, Some(1)), (1, Some(2)), (2, Some(3))]);
    let target = segue.target();
    assert_eq!(target.who_answers(), 3);
    let reload = segue.begin("reload", &[]);
    segue.process().wait_for_line("reload waits: each slot");
    for pid in segue.status().pids(2) {
        signal(pid, Signal::SIGKILL);
    }
    assert!(reload.wait_for_exit().success());
    assert_eq!(slots_of(&segue), [(0, Some(1)), (1, Some(4)), (2, Some(3))]);
    assert_eq!(target.who_answers(), 4);
    segue.signal(Signal::SIGTERM);
    segue.ended();
}

/// The supervisor is killed while three slots are lent to nobody else, or two generations live: its successor knows which is which.
#[test]
fn after_kill_9_clients_go_where_they_went() {
    let setup = Setup::new(Program::new("./app")).listen("127.0.0.1:0,steer");
    setup.deploy("app", &Program::fixture("ignores-term"));
    let directory = setup.path("").into_os_string();
    let mut segue = setup.flags(STUBBORN).flags(["--chdir".into(), directory]).start();
    let target = segue.target();
    let goes_on = |segue: &mut Segue, generation: u64| {
        segue.kill();
        segue.resume();
        for _ in 0..scale(50, 1_000) {
            assert_eq!(target.who_answers(), generation);
        }
    };
    goes_on(&mut segue, 1);
    segue.deploy("app", &Program::fixture("good"));
    segue.reload_ok(&[]);
    segue.deploy("app", &Program::fixture("ignores-term"));
    segue.reload_ok(&[]);
    segue.wait_until("the second is gone", |status| status.pids(2).is_empty());
    goes_on(&mut segue, 3);
    segue.deploy("app", &Program::fixture("good"));
    let load = Load::start(Kind::Fresh, &target, 3);
    reload_until_heard(&segue, &load);
    reload_until_heard(&segue, &load);
    load.stop().assert_nothing_lost();
    segue.signal(Signal::SIGTERM);
    segue.ended();
}

#[test]
fn an_upgrade_in_place_keeps_the_slots() {
    let segue = start(Program::fixture("good"), STEERED);
    segue.reload_ok(&["--drained"]);
    let load = Load::start(Kind::Fresh, &segue.target(), 3);
    let upgraded = segue.run("upgrade", &[]);
    assert_eq!(upgraded.code, Some(0), "{upgraded:?}");
    assert_eq!(slots_of(&segue), [(0, None), (1, Some(2)), (2, None), (3, None)]);
    reload_until_heard(&segue, &load);
    load.stop().assert_nothing_lost();
    assert_eq!(segue.target().who_answers(), segue.status().generation());
    segue.stop();
}

/// Opens the same address four times, as a socket unit with four lines does; clients come before the service has run one
/// instruction, and the kernel spreads them over all slots.
pub(super) const OPENER: &str = r#"
import os, socket, sys, time
port, slots, clients = 0, [], []
for number in range(4):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    s.bind(("127.0.0.1", port))
    s.listen(1000)
    port = s.getsockname()[1]
    slots.append(s)
print("port", port, file=sys.stderr, flush=True)
while not os.path.exists(os.environ["GATE"]):
    time.sleep(0.01)
for number, s in enumerate(slots):
    os.dup2(s.fileno(), 103 + number)
for number in range(4):
    os.dup2(103 + number, 3 + number)
    os.close(103 + number)
os.environ.update(LISTEN_FDS="4", LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES="web:web:web:web")
os.execvp(sys.argv[1], sys.argv[1:])
"#;

#[test]
fn a_client_from_before_the_service_ran_is_answered() {
    if needs::or_skip("an opener of sockets", needs::program("python3")).is_none() {
        return;
    }
    let setup = Setup::new(Program::fixture("good")).listen("web=127.0.0.1:0,steer");
    let gate = setup.path("gate");
    let segue = setup
        .env("GATE", &gate)
        .opened_by(["python3", "-c", OPENER])
        .spawn();
    let line = segue.process().wait_for_line("port ");
    let port = line.text.trim_start_matches("port ").trim();
    let target = Target::parse(&format!("127.0.0.1:{port}"));
    let ledger = Ledger::default();
    let early = Parked::queued(&target, &ledger, 200);
    put(&gate);
    early.finish();
    let tally = ledger.tally();
    say(format_args!(
        "steered, {} clients before the service ran: {}",
        tally.sent,
        tally.figures()
    ));
    tally.assert_nothing_lost();
    let by_relief = tally
        .by_generation
        .iter()
        .filter(|(generation, _)| *generation != "1");
    assert_ne!(by_relief.count(), 0, "they came to one slot: {}", tally.figures());
    segue.wait_until("relief workers end by themselves", |status| {
        status.in_role("relief").is_empty() && status.in_role("retired").is_empty()
    });
    let load = Load::start(Kind::Fresh, &target, 3);
    reload_until_heard(&segue, &load);
    reload_until_heard(&segue, &load);
    load.stop().assert_nothing_lost();
    segue.stop();
}

#[test]
fn what_does_not_go_with_steering_is_refused_by_name() {
    for (listener, flags, why) in [
        (
            STEERED,
            &["--mode", "queue"][..],
            "steer goes without `mode = queue`",
        ),
        (STEERED, &["--soak", "1s"], "steer goes without `soak`"),
        (
            STEERED,
            &["--workers", "2", "--rolling", "1"],
            "steer goes without `rolling`",
        ),
        ("127.0.0.1:0,steer,sockets=2", &[], "steer goes without `sockets`"),
        (
            "127.0.0.1:0,sockets=2",
            &["--steer"],
            "steer goes without `sockets`",
        ),
        (
            "127.0.0.1:0,steer,reuse-port",
            &[],
            "steer goes without `reuse-port`",
        ),
        ("unix:socket,steer", &[], "listen option steer is for"),
    ] {
        let refused = Setup::new(Program::fixture("good"))
            .listen(listener)
            .flags(flags.iter().copied());
        let refused = refused.start_in_vain();
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.stderr.contains(why), "{why}: {refused:?}");
    }
}

/// `--steer` is for each listener that can be steered; status says who waits in each slot.
#[test]
fn steering_for_all_and_who_waits_in_each_slot() {
    let setup = Setup::new(Program::fixture("good")).listen(SHARED);
    let segue = setup.listen("unix:side").flags(["--steer"]).start();
    assert_eq!(slots_of(&segue), [(0, Some(1)), (1, None), (2, None), (3, None)]);
    let pid = segue.status().pids(1)[0];
    signal(pid, Signal::SIGSTOP);
    let ledger = Ledger::default();
    let queued = Parked::queued(&segue.target(), &ledger, 3);
    let waits = |status: &Status| -> Vec<Option<u64>> {
        let listeners = status.0["listeners"].as_array().cloned().unwrap_or_default();
        listeners
            .iter()
            .take(4)
            .map(|one| one["queued"].as_u64())
            .collect()
    };
    segue.wait_until("three wait in the first slot", |status| {
        waits(status) == [Some(3), Some(0), Some(0), Some(0)]
    });
    signal(pid, Signal::SIGCONT);
    queued.finish();
    ledger.tally().assert_nothing_lost();
    segue.stop();
}
