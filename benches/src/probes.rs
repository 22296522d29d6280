//! Requests lost over many reloads, by the generators of the loss tests.

use segue_tests::load::{Kind, Load};
use segue_tests::program::Program;
use segue_tests::segue::Setup;

use crate::{Extent, Row};

pub(crate) fn rows(extent: Extent) -> Vec<Row> {
    vec![lost(extent)]
}

fn lost(extent: Extent) -> Row {
    let segue = Setup::new(Program::app()).flags(["--probation", "0s"]).start();
    let kinds = [Kind::Fresh, Kind::KeepAlive, Kind::Slow, Kind::Streamed];
    let loads: Vec<_> = kinds
        .iter()
        .map(|kind| Load::start(*kind, &segue.target(), 2))
        .collect();
    for _ in 0..extent.leak {
        segue.reload_ok(&[]);
    }
    let tallies: Vec<_> = loads.into_iter().map(Load::stop).collect();
    segue.stop();
    let sent: u64 = tallies.iter().map(|tally| tally.sent).sum();
    let lost: usize = tallies.iter().map(|tally| tally.lost.len()).sum();
    Row {
        what: format!(
            "lost over {} reloads: new connections, keep-alive, slow, streamed",
            extent.leak
        ),
        measured: format!("{lost} of {sent}"),
        beside: "the tests' negative controls".to_owned(),
        goal: "0",
    }
}
