//! A steered app that serves nobody can be replaced, whatever clients wait in its slots, and they are answered.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use segue_tests::binaries::Binary;
use segue_tests::figures::say;
use segue_tests::http::Target;
use segue_tests::ledger::Ledger;
use segue_tests::load::parked::Parked;
use segue_tests::needs;
use segue_tests::program::Program;
use segue_tests::segue::Setup;

use super::steering::OPENER;

/// Clients wait in each slot, no version serves and no relief worker can be started: the reload has a slot all the same.
#[test]
fn an_app_that_crashes_again_and_again_is_replaced_though_clients_wait_in_each_slot() {
    if needs::or_skip("an opener of sockets", needs::program("python3")).is_none() {
        return;
    }
    let setup = Setup::new(Program::new("./app")).listen("web=127.0.0.1:0,steer");
    let (gate, ran) = (setup.path("gate"), setup.path("ran"));
    // It runs once, and whatever is started after that ends at once.
    let once = format!(
        "[ -e {ran} ] && exit 1; : > {ran}; exec sleep 1000",
        ran = ran.display()
    );
    setup.deploy("app", &Program::new("/bin/sh").args(["-c", &once]));
    let directory = setup.path("").into_os_string();
    let segue = setup
        .env("GATE", &gate)
        .opened_by(["python3", "-c", OPENER])
        .flags(["--ready", "exec:50ms", "--chdir"])
        .flags([directory])
        .spawn();
    let line = segue.process().wait_for_line("port ");
    let port = line.text.trim_start_matches("port ").trim();
    let target = Target::parse(&format!("127.0.0.1:{port}"));
    let ledger = Ledger::default();
    let clients = Parked::queued(&target, &ledger, 200);
    std::fs::write(&gate, "").unwrap_or_else(|error| panic!("{}: {error}", gate.display()));
    let status = segue.wait_until("it has taken over", |status| status.state() == "serving");
    let pid = status.pids(1)[0];
    assert_eq!(kill(Pid::from_raw(pid), Signal::SIGKILL), Ok(()));
    segue.wait_until("it backs off", |status| status.state() == "backing-off");
    segue.deploy("app", &Program::fixture("good"));
    segue.reload_ok(&[]);
    clients.finish();
    let tally = ledger.tally();
    say(format_args!(
        "steered, {} clients of a version that never served: {}",
        tally.sent,
        tally.figures()
    ));
    tally.assert_nothing_lost();
    segue.stop();
}

/// A relief worker has memory, and ends by itself: a reload that lacks memory waits for that, as it does for an old generation.
#[test]
fn a_reload_that_lacks_memory_waits_for_a_relief_worker() {
    let setup = Setup::from_config();
    let (settings, go) = (setup.path("segue.toml"), setup.path("go"));
    let fixture = Binary::Fixture.path();
    // From the third on a worker has to wait.
    let script = format!(
        "case $SEGUE_GENERATION in 1|2) exec {fixture} good;; esac; exec {fixture} slow-start file={}",
        go.display(),
        fixture = fixture.display()
    );
    let command = Program::new("/bin/sh").args(["-c", &script]).as_toml();
    let write = |more: &str| {
        let text = format!("command = {command}\nlisten = [\"127.0.0.1:0,steer\"]\n{more}\n");
        std::fs::write(&settings, text).unwrap_or_else(|error| panic!("{}: {error}", settings.display()));
    };
    write("");
    let segue = setup
        .flags(["--config".into(), settings.clone().into_os_string()])
        .start();
    let old = segue.status().pids(1);
    for pid in &old {
        assert_eq!(kill(Pid::from_raw(*pid), Signal::SIGSTOP), Ok(()));
    }
    let ledger = Ledger::default();
    let clients = Parked::queued(&segue.target(), &ledger, 20);
    segue.reload_ok(&[]);
    segue.wait_until("a relief worker is started", |status| {
        !status.in_role("relief").is_empty()
    });
    for pid in &old {
        assert_eq!(kill(Pid::from_raw(*pid), Signal::SIGKILL), Ok(()));
    }
    segue.wait_until("the first is gone", |status| status.pids(1).is_empty());
    write("min-free-memory = \"1000000G\"");
    let reload = segue.begin("reload", &[]);
    let waits = "it goes on when old generations that drain have left enough";
    segue.process().wait_for_line(waits);
    std::fs::write(&go, "").unwrap_or_else(|error| panic!("{}: {error}", go.display()));
    clients.finish();
    ledger.tally().assert_nothing_lost();
    // Nobody is left who could leave any.
    assert!(!reload.wait_for_exit().success());
    segue.stop();
}
