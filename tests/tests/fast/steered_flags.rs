//! O_NONBLOCK of a slot is the choice of the generation that has it: it is set anew for the next generation only when nobody else has the slot.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use segue_tests::http::{Client, Target, get_and_close};
use segue_tests::proc::is_nonblocking;
use segue_tests::program::Program;
use segue_tests::segue::Setup;

const STEERED: &str = "127.0.0.1:0,steer";

fn signal(pid: i32, signal: Signal) {
    assert_eq!(kill(Pid::from_raw(pid), signal), Ok(()), "{signal} to {pid}");
}

/// Whole requests of clients who wait for the answer.
fn wait_in_line(target: &Target, count: usize) -> Vec<Client> {
    let client = |_| {
        let mut client = target.connect().unwrap_or_else(|loss| panic!("{loss:?}"));
        let sent = client.write(&get_and_close("/ping"));
        sent.unwrap_or_else(|loss| panic!("{loss:?}"));
        client
    };
    (0..count).map(client).collect()
}

/// Version 1 hangs, and would hang for good in accept if it found its flag cleared when it goes on.
#[test]
fn a_relief_worker_does_not_clear_the_flag_of_a_version_that_still_has_the_slot() {
    let setup = Setup::new(Program::new("./app")).listen(STEERED);
    setup.deploy("app", &Program::fixture("good"));
    let segue = setup.flags(["--drain-timeout", "1h"]).start();
    let old = segue.status().pids(1)[0];
    assert!(is_nonblocking(old, 3), "as it has chosen");
    signal(old, Signal::SIGSTOP);
    let _clients = wait_in_line(&segue.target(), 3);
    segue.deploy("app", &Program::fixture("one-at-a-time after=1ms"));
    segue.reload_ok(&[]);
    let line = segue.process().wait_for_line(", a relief worker, is started");
    let words = line.text.split(", a relief worker").next().unwrap_or_default();
    let relief = words.rsplit(' ').next().unwrap_or_default();
    // It has the slot by then. Whom it answers is up to this app, which does not drain.
    let ready = format!("generation {relief}, worker 0 (pid ");
    segue.process().wait_for_line(&ready);
    assert!(is_nonblocking(old, 3), "its slot was lent to a relief worker");
    signal(old, Signal::SIGKILL);
    segue.stop();
}

/// The option is for the slot of the version that a reload brings.
#[test]
fn an_option_that_a_reload_brings_leaves_the_other_slots_alone() {
    let setup = Setup::from_config();
    let file = setup.path("settings.toml");
    let write = |options: &str| {
        let text = format!("listen = [\"127.0.0.1:0,steer{options}\"]\nready = \"exec:50ms\"\n");
        std::fs::write(&file, text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    };
    write("");
    setup.deploy("app", &Program::fixture("one-at-a-time after=1ms"));
    let segue = setup
        .flags(["--config".into(), file.clone().into_os_string()])
        .flags(["--drain-timeout", "1h", "--stop-timeout", "100ms", "--", "./app"])
        .start();
    let first = segue.status().pids(1)[0];
    assert!(!is_nonblocking(first, 3));
    // So that the first stays for a while.
    signal(first, Signal::SIGSTOP);
    write(",non-blocking");
    segue.reload_ok(&[]);
    assert!(is_nonblocking(segue.status().pids(2)[0], 3), "its own slot");
    assert!(!is_nonblocking(first, 3), "the slot of the first");
    signal(first, Signal::SIGKILL);
    segue.signal(Signal::SIGTERM);
    segue.ended();
}
