//! An axum server on segue-app beside the same routes by axum's own `serve` with its graceful shutdown, both under Segue.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use nix::sys::signal::Signal;
use segue_tests::ledger::Ledger;
use segue_tests::load::race::{Aim, NEAR, Race};
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};

use crate::traffic::{compared, latencies, rate};
use crate::{Extent, Row};

/// How often the two are measured in turn, so that a slow moment of the machine hits both.
const TURNS: u32 = 8;

/// Kept connections on which one request each races a drain.
const PER_ROUND: usize = 200;

pub(crate) fn rows(extent: Extent) -> Vec<Row> {
    let directory = build();
    let (ours, plain) = (directory.join("axum"), directory.join("plain_axum"));
    vec![speed(extent, &ours, &plain), losses(extent, &ours, &plain)]
}

/// Builds the example servers, and returns where they are.
fn build() -> PathBuf {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let target = target.join("servers");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--release", "--locked", "--bins", "--manifest-path"])
        .arg(root.join("examples/servers/Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .status()
        .expect("cargo");
    assert!(built.success(), "build examples/servers");
    target.join("release")
}

fn start(program: &Path) -> Segue {
    let flags = ["--probation", "0s", "--max-generations", "64"];
    Setup::new(Program::new(program)).flags(flags).start()
}

fn speed(extent: Extent, ours: &Path, plain: &Path) -> Row {
    let (ours, plain) = (start(ours), start(plain));
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        without.extend(latencies(&plain.target(), extent.load / TURNS));
        with.extend(latencies(&ours.target(), extent.load / TURNS));
    }
    ours.stop();
    plain.stop();
    Row {
        what: "axum on segue-app: throughput, p99".to_owned(),
        measured: compared(&with, &without),
        beside: format!("axum's own {}", rate(&without, extent.load)),
        goal: "1.00, within 3 %",
    }
}

fn losses(extent: Extent, ours: &Path, plain: &Path) -> Row {
    let rounds = extent.reloads as u64;
    let (ours, plain) = (race(ours, rounds), race(plain, rounds));
    Row {
        what: format!("axum on segue-app: lost within {NEAR:?} of the drain, {rounds} reloads"),
        measured: format!("{} of {}", ours.lost, ours.sent),
        beside: format!("axum's own shutdown: {} of {}", plain.lost, plain.sent),
        goal: "0",
    }
}

struct Raced {
    sent: usize,
    lost: usize,
}

/// Requests on idle kept connections, aimed at the instant at which the old generation is told to drain.
fn race(program: &Path, rounds: u64) -> Raced {
    let segue = start(program);
    let (target, ledger, mut aim) = (segue.target(), Ledger::default(), Aim::default());
    let mut sent = 0;
    for generation in 1..=rounds {
        let round = aim.round(Race::Idle, &target, &ledger, PER_ROUND, || {
            hand_off(&segue, generation)
        });
        sent += round.fired;
    }
    segue.stop();
    Raced {
        sent,
        lost: ledger.tally().lost.len(),
    }
}

/// Reloads, and returns the instant at which the old generation was told to drain, as the log has it.
fn hand_off(segue: &Segue, generation: u64) -> Instant {
    let mark = segue.process().mark();
    segue.signal(Signal::SIGHUP);
    let line = format!("generation {generation} drains");
    segue.process().wait_for_line_after(mark, &line).at
}
