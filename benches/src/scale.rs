//! What many listeners and many workers cost.

use std::time::{Duration, Instant};

use segue_tests::proc::Footprint;
use segue_tests::program::Program;
use segue_tests::segue::Setup;

use crate::stats::{median, ms};
use crate::{Extent, Row};

/// Reloads of which the median is taken.
const RELOADS: usize = 5;

pub(crate) fn rows(_: Extent) -> Vec<Row> {
    vec![listeners(), workers()]
}

fn listeners() -> Row {
    let shown = [10, 100, 1000].map(|count| {
        let setup = Setup::new(Program::fixture("good")).flags(["--probation", "0s"]);
        let setup = (0..count).fold(setup, |setup, number| setup.listen(format!("unix:l{number}")));
        format!("{count}: {}", measure(setup))
    });
    Row {
        what: "listeners: a reload, memory (PSS)".to_owned(),
        measured: shown.join("; "),
        beside: "-".to_owned(),
        goal: "works; linear",
    }
}

fn workers() -> Row {
    let shown = [1, 16, 256].map(|count: u32| {
        let setup = Setup::new(Program::fixture("good")).flags([
            "--probation",
            "0s",
            "--workers",
            &count.to_string(),
        ]);
        format!("{count}: {}", measure(setup))
    });
    Row {
        what: "workers: a reload, memory (PSS)".to_owned(),
        measured: shown.join("; "),
        beside: "-".to_owned(),
        goal: "works; linear",
    }
}

fn measure(setup: Setup) -> String {
    let segue = setup.start();
    let reloads: Vec<Duration> = (0..RELOADS)
        .map(|_| {
            let start = Instant::now();
            segue.reload_ok(&["--drained"]);
            start.elapsed()
        })
        .collect();
    let pss = Footprint::of(segue.process().pid()).pss_kib;
    segue.stop();
    format!("{}, {pss} KiB", ms(median(&reloads)))
}
