//! What the supervisor costs at rest, on disk, and after many reloads.

use std::time::{Duration, Instant};

use segue_tests::binaries::Binary;
use segue_tests::proc::{self, Footprint, Waiting};
use segue_tests::program::Program;
use segue_tests::segue::Setup;

use crate::{Extent, Row};

pub(crate) fn rows(extent: Extent) -> Vec<Row> {
    vec![at_rest(extent), size(), leak(extent)]
}

fn at_rest(extent: Extent) -> Row {
    let segue = Setup::new(Program::app()).flags(["--probation", "0s"]).spawn();
    segue.process().wait_for_line("generation 1 passed probation");
    let pid = segue.process().pid();
    // The line comes a moment before the supervisor goes to sleep again, which is counted.
    segue_tests::wait_until("it is asleep", || proc::waiting(pid) != Waiting::Not);
    let before = wakeups(pid);
    let until = Instant::now() + extent.rest;
    std::thread::sleep(until.saturating_duration_since(Instant::now()));
    let woken = wakeups(pid) - before;
    let footprint = Footprint::of(pid);
    let _ = segue.status();
    let asked = Footprint::of(pid);
    segue.stop();
    let a_minute = woken as f64 * Duration::from_secs(60).as_secs_f64() / extent.rest.as_secs_f64();
    Row {
        what: "at rest: memory (PSS), threads, wake-ups a minute".to_owned(),
        measured: format!("{} KiB, {}, {a_minute:.0}", footprint.pss_kib, footprint.threads),
        beside: format!("after a status: {} KiB", asked.pss_kib),
        goal: "1,331 KiB, 1, 0",
    }
}

/// How often the process gave up the processor to wait: each return from a wait is followed by another.
fn wakeups(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))
        .unwrap();
    line.trim().parse().unwrap()
}

fn size() -> Row {
    let size = std::fs::metadata(Binary::Segue.path()).unwrap().len();
    Row {
        what: "binary, stripped".to_owned(),
        measured: format!("{} KiB", size / 1024),
        beside: "-".to_owned(),
        goal: "under 3,072 KiB",
    }
}

fn leak(extent: Extent) -> Row {
    let segue = Setup::new(Program::app()).flags(["--probation", "0s"]).start();
    let pid = segue.process().pid();
    let after_reloads = |count: usize| {
        for _ in 0..count {
            segue.reload_ok(&["--drained"]);
        }
        Footprint::of(pid)
    };
    let early = after_reloads(10);
    let late = after_reloads(extent.leak);
    segue.stop();
    let shown = |f: &Footprint| format!("{} KiB, {}, {}, {}", f.pss_kib, f.fds, f.children, f.zombies);
    Row {
        what: format!("after {} reloads: memory, fds, children, zombies", extent.leak),
        measured: shown(&late),
        beside: format!("after 10: {}", shown(&early)),
        goal: "1,638 KiB",
    }
}
