//! `docs/LIFECYCLE.md` is kept true: its generated part is what the explorer sees.

use std::fs;

use super::bugs;
use super::scenarios::{SCENARIOS, is_long};
use super::table::Table;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/LIFECYCLE.md");
const MARK: &str = "<!-- From here on generated: SEGUE_BLESS=1 cargo test -p segue-lifecycle document -->\n";

/// The prose above the mark is written by hand, what is below it by this test.
#[test]
fn document_is_true() {
    if is_long() {
        println!("skipped: the document is about the ordinary bounds");
        return;
    }
    let mut table = Table::default();
    let mut explored = String::from("| scenario | states | transitions |\n|---|---:|---:|\n");
    for scenario in &SCENARIOS {
        let report = scenario.explore();
        assert!(report.story.is_none(), "the scenario `{}` fails", scenario.name);
        table.add(&report.table);
        explored += &format!(
            "| {} | {} | {} |\n",
            scenario.name, report.states, report.transitions
        );
    }
    assert!(
        table.unseen().is_empty(),
        "never seen in any scenario: {:?}",
        table.unseen()
    );
    let generated = format!(
        "## What follows from each event\n\n{}## What was explored\n\n{explored}\n## The invariants\n\n{}",
        table.render(),
        bugs::table()
    );
    let document = fs::read_to_string(PATH).expect("docs/LIFECYCLE.md");
    let (prose, written) = document.split_once(MARK).expect("the mark in docs/LIFECYCLE.md");
    let generated = format!("\n{generated}");
    if written == generated {
        return;
    }
    assert!(
        std::env::var_os("SEGUE_BLESS").is_some(),
        "docs/LIFECYCLE.md is out of date: run `SEGUE_BLESS=1 cargo test -p segue-lifecycle document` and read the diff"
    );
    fs::write(PATH, format!("{prose}{MARK}{generated}")).expect("docs/LIFECYCLE.md can be written");
}
