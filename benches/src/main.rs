//! Measures Segue on this machine, against a named peer or a physical floor in the same run, and prints the table
//! of `docs/BENCHMARKS.md`.
//!
//! `cargo run --release -p segue-benches` takes about three minutes on a quiet machine; `-- --quick` takes less and is for seeing that it works;
//! `-- takeover` (rest, traffic, axum, probes, scale, pairs) measures one section again. `-- steering` prints the table of
//! `docs/steering.md` instead, in about five minutes; `-- peers`, which only runs when it is asked for, what others do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench that cannot measure has nothing to go on with"
)]

mod axum;
mod bare;
mod pairs;
mod peers;
mod probes;
mod rest;
mod scale;
mod stats;
mod steering;
mod takeover;
mod traffic;

use std::time::Duration;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    /// Reloads of which the median is taken.
    pub(crate) reloads: usize,
    /// Handoffs under load.
    pub(crate) handoffs: usize,
    /// How long the supervisor is watched at rest.
    pub(crate) rest: Duration,
    /// How long each load runs.
    pub(crate) load: Duration,
    /// Reloads in the leak check.
    pub(crate) leak: usize,
}

const FULL: Extent = Extent {
    reloads: 100,
    handoffs: 20,
    rest: Duration::from_secs(60),
    load: Duration::from_secs(10),
    leak: 1000,
};

const QUICK: Extent = Extent {
    reloads: 10,
    handoffs: 3,
    rest: Duration::from_secs(5),
    load: Duration::from_secs(2),
    leak: 50,
};

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Row {
    /// What was measured.
    pub(crate) what: String,
    /// What came out.
    pub(crate) measured: String,
    /// What it is compared with, in the same run.
    pub(crate) beside: String,
    /// What it should be.
    pub(crate) goal: &'static str,
}

/// The section that is left out unless it is asked for: it takes as long as all others.
const PEERS: &str = "peers";

/// Measures some rows of the table.
type Section = fn(Extent) -> Vec<Row>;

fn main() {
    let extent = if std::env::args().any(|word| word == "--quick") {
        QUICK
    } else {
        FULL
    };
    println!("{}\n", machine());
    if std::env::args().any(|word| word == "steering") {
        return steering::print(extent);
    }
    println!("| figure | measured | compared with, in the same run | goal |\n|---|---|---|---|");
    let sections: [(&str, Section); 8] = [
        ("takeover", takeover::rows),
        ("rest", rest::rows),
        ("traffic", traffic::rows),
        ("axum", axum::rows),
        ("probes", probes::rows),
        ("scale", scale::rows),
        ("pairs", pairs::rows),
        (PEERS, peers::rows),
    ];
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    for (name, section) in sections {
        let is_wanted = match wanted.is_empty() {
            true => name != PEERS,
            false => wanted.iter().any(|word| word == name),
        };
        if !is_wanted {
            continue;
        }
        for row in section(extent) {
            println!(
                "| {} | {} | {} | {} |",
                row.what, row.measured, row.beside, row.goal
            );
        }
    }
}

/// What it was measured on: kernel, processor, cores, date.
fn machine() -> String {
    let first = |path: &str, key: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let line = text
            .lines()
            .find(|line| line.starts_with(key))
            .unwrap_or_default()
            .to_owned();
        line.split_once(':')
            .map_or(line.clone(), |(_, value)| value.trim().to_owned())
    };
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "Measured {} on {cores} cores of {}, Linux {}, with a release build of version {}.",
        stats::today(),
        first("/proc/cpuinfo", "model name"),
        kernel.split('-').next().unwrap_or_default().trim(),
        env!("CARGO_PKG_VERSION"),
    )
}
