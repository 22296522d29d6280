//! Steering when the kernel refuses: what is so is told, and it is tried again.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use segue_tests::ledger::Ledger;
use segue_tests::load::parked::Parked;
use segue_tests::needs;
use segue_tests::program::Program;
use segue_tests::segue::Setup;
use segue_tests::strace::{self, Tracer};

const STEERED: &str = "127.0.0.1:0,steer";

/// Makes every such call of a process fail, until it is detached.
fn refuse(pid: i32, call: &str, error: &str) -> Tracer {
    let inject = format!("inject={call}:error={error}");
    let trace = format!("trace={call}");
    Tracer::attach(pid, ["-o", "/dev/null", "-e", &trace, "-e", &inject])
}

fn trouble(status: &segue_tests::segue::Status) -> &str {
    status.listener("trouble").as_str().unwrap_or_default()
}

/// The next supervisor tells the kernel again where clients go.
#[test]
fn a_switch_that_is_refused_after_an_upgrade_is_told_and_made_later() {
    if needs::or_skip("steering that is refused", strace::available()).is_none() {
        return;
    }
    let segue = Setup::new(Program::fixture("good")).listen(STEERED).start();
    let tracer = refuse(segue.process().pid(), "setsockopt", "ENOMEM");
    assert_eq!(segue.run("upgrade", &[]).code, Some(0));
    segue
        .process()
        .wait_for_line("new clients do not reach generation 1, which serves");
    segue.wait_until("status tells of it", |status| {
        trouble(status).contains("new clients do not reach it")
    });
    tracer.detach();
    segue.wait_until("it is tried again", |status| trouble(status).is_empty());
    segue.reload_ok(&[]);
    segue.stop();
}

/// Without room for one more fd nobody hears of the clients in the old slot: it is tried again until there is.
#[test]
fn slots_that_cannot_be_watched_are_watched_later() {
    if needs::or_skip("slots that cannot be watched", strace::available()).is_none() {
        return;
    }
    let setup = Setup::new(Program::fixture("good")).listen(STEERED);
    let segue = setup.flags(["--drain-timeout", "1h"]).start();
    let ledger = Ledger::default();
    let old = segue.status().pids(1);
    for pid in &old {
        assert_eq!(kill(Pid::from_raw(*pid), Signal::SIGSTOP), Ok(()));
    }
    let queued = Parked::queued(&segue.target(), &ledger, 10);
    let tracer = refuse(segue.process().pid(), "epoll_create1", "EMFILE");
    segue.reload_ok(&[]);
    segue.process().wait_for_line("watch the slots of the listeners");
    // It has answered this in a turn after that of the takeover: the old slot is among those that it could not watch.
    assert_eq!(segue.status().generation(), 2);
    tracer.detach();
    queued.finish();
    ledger.tally().assert_nothing_lost();
    for pid in old {
        assert_eq!(kill(Pid::from_raw(pid), Signal::SIGKILL), Ok(()));
    }
    segue.stop();
}
