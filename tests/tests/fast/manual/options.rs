//! segue-run(8): every option of a listener, signals, exit status. The options of segue run are written into the page by
//! the table in supervisor/src/config/options, whose own test compares them.

use segue_tests::mdoc::Page;

use super::help;
use super::pages::{assert_finds, assert_none, compare, names, page, read, source};

const RUN: &str = "segue-run(8)";

fn listener_options(page: &Page) -> Vec<String> {
    let items = page.subsection("LISTEN ADDRESSES", "Options of a listener");
    let name = |name: String| name.split('=').next().unwrap_or_default().to_owned();
    let documented = names(items.flat_map(|item| item.names()).map(name));
    compare(
        RUN,
        "the listener option {}",
        &documented,
        &help::listener_options(),
    )
}

#[test]
fn every_option_of_a_listener_is_in_the_page() {
    assert_none(&listener_options(&page("segue-run.8")));
    let run = source("segue-run.8");
    assert_finds(&run, ".It Cm free-bind", ".It Cm freebind", listener_options);
}

/// The signals that the supervisor takes, from its source; two of them are its own business.
fn signals(page: &Page) -> Vec<String> {
    let taken = read("supervisor/src/signals.rs");
    let taken = taken.split_once("const TAKEN").map_or("", |(_, rest)| rest);
    let taken = taken.split_once("];").map_or("", |(list, _)| list);
    let mut taken = names(
        taken
            .split("Signal::SIG")
            .skip(1)
            .filter_map(|rest| rest.split(',').next()),
    );
    assert!(taken.remove("CHLD") && taken.remove("WINCH"), "{taken:?}");
    let documented = names(page.section("SIGNALS").flat_map(|item| item.names()));
    let help = help::list("run", "Signals to segue run");
    assert!(help.len() >= 6, "the help was not understood: {help:?}");
    let mut complaints = compare(RUN, "the signal {}", &documented, &taken);
    complaints.extend(
        help.difference(&documented)
            .map(|name| format!("{RUN} does not document {name}")),
    );
    complaints
}

#[test]
fn every_signal_is_in_the_page() {
    assert_none(&signals(&page("segue-run.8")));
    assert_finds(&source("segue-run.8"), ".It USR1", ".It USR3", signals);
}

fn exit_status(page: &Page) -> Vec<String> {
    let documented = names(page.section("EXIT STATUS").map(|item| &item.head));
    compare(
        RUN,
        "the exit status {}",
        &documented,
        &help::list("run", "Exit codes"),
    )
}

#[test]
fn every_exit_status_is_in_the_page() {
    assert_none(&exit_status(&page("segue-run.8")));
    assert_finds(&source("segue-run.8"), ".It 2\n", ".It 7\n", exit_status);
}
