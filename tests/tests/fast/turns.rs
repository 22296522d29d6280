//! A loop that was held up (a slow machine, a stopped process, a suspended one) finds words and deadlines at once. The words
//! count: what was said in time is not too late because it was read late.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot look at its subject has failed"
)]

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};

/// The deadlines of these tests: long enough for a slow machine to say its word in, short enough to wait for.
const DEADLINE: Duration = Duration::from_secs(6);

/// Holds the supervisor up from now until its deadlines have passed, and longer. Nothing tells that time has passed, so
/// this is the one thing that is waited for by the clock.
fn hold_up(segue: &Segue, meanwhile: impl FnOnce()) {
    segue.signal(Signal::SIGSTOP);
    let until = Instant::now() + 2 * DEADLINE;
    meanwhile();
    while Instant::now() < until {
        std::thread::sleep(segue_tests::LOOK);
    }
    segue.signal(Signal::SIGCONT);
}

#[test]
fn a_ready_that_came_in_time_counts_though_it_is_read_late() {
    let setup = Setup::new(Program::new("./app")).flags(["--start-timeout", "6s"]);
    setup.deploy("app", &Program::fixture("good"));
    let segue = setup.start();
    segue.deploy("app", &Program::fixture("slow-start after=1s"));
    let mark = segue.process().mark();
    let reload = segue.begin("reload", &[]);
    segue.wait_until("the candidate has been started", |status| {
        !status.pids(2).is_empty()
    });
    // It says READY=1 just before this line.
    hold_up(&segue, || {
        segue.process().wait_for_line_after(mark, "serving");
    });
    let done = reload.finish();
    assert_eq!(done.code, Some(0), "{done:?}\n{}", segue.process().stderr());
    assert_eq!(segue.status().generation(), 2);
    segue.stop();
}

#[test]
fn a_watchdog_that_was_fed_is_no_crash_though_the_food_is_seen_late() {
    let segue = Setup::new(Program::app()).flags(["--watchdog", "6s"]).start();
    let pids = segue.status().pids(1);
    hold_up(&segue, || {});
    // The answer is given in a turn in which all that is due has been dealt with.
    let status = segue.status();
    assert_eq!(
        (status.pids(1), status.count("restarts")),
        (pids, 0),
        "{}",
        segue.process().stderr()
    );
    segue.stop();
}

/// READY=1 stays in its queue until it is written down, and what was said after it came in time as well.
#[test]
fn what_was_said_after_ready_counts_before_a_deadline() {
    let fixture = segue_tests::binaries::Binary::Fixture.path();
    let script = format!(
        "told() {{ echo told >&2; until [ -e go ]; do sleep 0.1; done; \
         {0} say text=READY=1; {0} say text=EXTEND_TIMEOUT_USEC=600000000; echo all is said >&2; \
         until [ -e end ]; do sleep 0.1; done; echo ends by itself >&2; exit 0; }}; \
         trap told TERM; echo waiting >&2; while :; do sleep 0.1; done",
        fixture.display()
    );
    let setup = Setup::new(Program::new("./app")).flags(["--ready", "exec:100ms", "--drain-timeout", "6s"]);
    setup.deploy("app", &Program::new("/bin/sh").args(["-c", &script]));
    let segue = setup.start();
    segue.process().wait_for_line("waiting");
    segue.deploy("app", &Program::fixture("good"));
    assert_eq!(segue.run("reload", &["--no-wait"]).code, Some(0));
    segue.process().wait_for_line("told");
    hold_up(&segue, || {
        std::fs::write(segue.path("go"), "").unwrap();
        segue.process().wait_for_line("all is said");
    });
    // The answer is given in a turn in which all that is due has been dealt with.
    assert_eq!(segue.status().pids(1).len(), 1, "{}", segue.process().stderr());
    std::fs::write(segue.path("end"), "").unwrap();
    segue.process().wait_for_line("ends by itself");
    segue.stop();
}

/// O_NONBLOCK belongs to the open socket that all workers share: one that has set it before it says READY=1 must not find it
/// cleared because another is started (tokio's runtime would block in accept, or panic).
#[test]
fn a_worker_that_starts_keeps_the_flags_that_its_sibling_has_set() {
    let fixture = segue_tests::binaries::Binary::Fixture.path();
    let script = format!(
        "if [ \"$SEGUE_WORKER\" = 0 ]; then exec {} never-ready; fi; echo \"the second is there\" >&2; exec sleep 1000",
        fixture.display()
    );
    let segue = Setup::new(Program::new("/bin/sh").args(["-c", &script])).spawn();
    segue.process().wait_for_line("serving without READY=1");
    let flags = || {
        let pid = segue.status().pids(1)[0];
        let text = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/3")).unwrap();
        let flags = text.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
        u32::from_str_radix(flags.trim(), 8).unwrap()
    };
    const O_NONBLOCK: u32 = 0o4000;
    assert_ne!(flags() & O_NONBLOCK, 0, "the fixture sets it");
    assert_eq!(segue.run("workers", &["2"]).code, Some(0));
    segue.process().wait_for_line("the second is there");
    assert_ne!(flags() & O_NONBLOCK, 0, "it stays");
    segue.signal(nix::sys::signal::Signal::SIGTERM);
    let _ = segue.process().wait_for_exit();
}
