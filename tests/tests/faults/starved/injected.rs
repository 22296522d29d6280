//! Calls that fail because strace(1) says so.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Instant;

use segue_tests::figures::say;
use segue_tests::load::{Kind, Load};
use segue_tests::process::Finished;
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup, Status};
use segue_tests::strace::{self, Counts};
use segue_tests::{long_run, needs, patience, pool, proc};

use super::strace::{Fault, Met, Reference, Suffered, When, Whom, record};
use super::table::{Call, Fails, TABLE, errnos};
use super::{AT_ONCE, FLAGS};

/// What a test of one call does.
struct Task {
    call: Call,
    whom: Whom,
    faults: Vec<Fault>,
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {:?}", self.call.name, self.whom)
    }
}

/// What is to be done to whom; `None` where nothing can be injected.
fn reference(test: &str) -> Option<Reference> {
    needs::or_skip(test, strace::available())?;
    let reference = record();
    every_call_has_its_row(reference.names());
    if !long_run() {
        say(format_args!(
            "{test}: every call has its row; they are made to fail with SEGUE_LONG=1 (tests/faults/told/ does it with the first and the last use of each)"
        ));
        return None;
    }
    Some(reference)
}

#[test]
fn each_call_fails_while_it_supervises() {
    let Some(reference) = reference("starved, while it supervises") else {
        return;
    };
    for call in TABLE {
        if let Fails::Never(reason) = call.fails {
            println!("{}: never made to fail: {reason}", call.name);
        }
    }
    // Each call has a supervisor of its own.
    let mut tasks = tasks(&reference.life, Whom::Supervisor);
    // A count of strace begins anew with each child.
    tasks.extend(self::tasks(&reference.child, Whom::Children));
    pool::each(AT_ONCE, &tasks, while_it_supervises);
}

#[test]
fn each_call_fails_at_its_start() {
    let Some(reference) = reference("starved, at its start") else {
        return;
    };
    let before = |call: &Call| reference.runtime.get(call.name).copied();
    let starts = TABLE
        .iter()
        .flat_map(|call| faults(call, &reference.start, before(call), Depth::Errnos));
    pool::each(AT_ONCE, &starts.collect::<Vec<Fault>>(), at_its_start);
}

#[test]
fn each_call_fails_at_its_end() {
    let Some(reference) = reference("starved, at its end") else {
        return;
    };
    let stops = TABLE
        .iter()
        .flat_map(|call| faults(call, &reference.stop, None, Depth::Once));
    pool::each(AT_ONCE, &stops.collect::<Vec<Fault>>(), at_its_end);
}

/// Each of these calls is in the table.
pub(super) fn every_call_has_its_row<'a>(names: impl Iterator<Item = &'a String>) {
    let known: BTreeSet<&str> = TABLE.iter().map(|call| call.name).collect();
    let unknown: BTreeSet<_> = names.filter(|name| !known.contains(name.as_str())).collect();
    assert!(
        unknown.is_empty(),
        "these calls have no row in table.rs: {unknown:?}"
    );
}

fn tasks(made: &Counts, whom: Whom) -> Vec<Task> {
    let task = |call: &Call| Task {
        call: *call,
        whom,
        faults: faults(call, made, None, depth(call, whom)),
    };
    let all = TABLE.iter().map(task);
    all.filter(|task| !task.faults.is_empty()).collect()
}

/// A child that fails is one thing to the supervisor, whatever the reason; but each reason of exec has its own words.
fn depth(call: &Call, whom: Whom) -> Depth {
    match whom {
        Whom::Supervisor => Depth::Full,
        Whom::Children if call.name == "execve" => Depth::Errnos,
        Whom::Children | Whom::Check => Depth::Once,
    }
}

/// How much is tried where this is not the long run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Depth {
    /// Each errno for all of the calls, and the first errno for the first call alone.
    Full,
    /// Each errno for all of the calls.
    Errnos,
    /// The first errno for all of the calls.
    Once,
}

/// In the long run each errno for all of the calls, and the first errno for each call alone.
fn faults(call: &Call, made: &Counts, before: Option<usize>, depth: Depth) -> Vec<Fault> {
    let Some(count) = made.get(call.name) else {
        return Vec::new();
    };
    let first = before.unwrap_or(0) + 1;
    let fault = |errno: &&'static str, when| Fault {
        call: call.name,
        errno,
        when,
    };
    let errnos = errnos(call);
    let (tried, alone) = match depth {
        _ if long_run() => (errnos.len(), *count),
        Depth::Full => (errnos.len(), 1),
        Depth::Errnos => (errnos.len(), 0),
        Depth::Once => (1, 0),
    };
    let always = errnos
        .iter()
        .take(tried)
        .map(|errno| fault(errno, When::From(first)));
    let once = errnos
        .iter()
        .take(1)
        .flat_map(|errno| (first..first + alone).map(move |nth| fault(errno, When::Only(nth))));
    always.chain(once).collect()
}

pub(super) fn setup() -> Setup {
    let setup = Setup::new(Program::new("./app")).flags(FLAGS);
    setup.deploy("app", &Program::fixture("good"));
    setup
}

/// What is open, as far as it tells one thing from another; sorted.
pub(super) fn open_by(pid: i32) -> Vec<String> {
    let kind = |target: String| match target.split_once(":[") {
        Some((kind, _)) => kind.to_owned(),
        None => target,
    };
    let mut all: Vec<String> = proc::descriptors(pid).into_values().map(kind).collect();
    all.sort();
    all
}

pub(super) fn at_rest(status: &Status) -> bool {
    status.state() == "serving"
        && status.in_role("retired").is_empty()
        && status.in_role("candidate").is_empty()
        && status.pids(status.generation()).len() == 1
}

fn while_it_supervises(task: &Task) {
    let mut segue = setup().start();
    segue.reload_ok(&["--settled"]);
    segue.wait_until("all is at rest", at_rest);
    let open = open_by(segue.process().pid());
    let load = Load::start(Kind::Fresh, &segue.target(), 1);
    let mut beyond = false;
    for fault in &task.faults {
        // The reference has seen more of life than what is asked for here: there are none behind the last.
        if beyond && matches!(fault.when, When::Only(_)) {
            break;
        }
        beyond = one_fault(&mut segue, task, fault, &load) == Met::Nobody;
        if let Fails::With(_) | Fails::Ending(_) = task.call.fails {
            nothing_is_left_open(&segue, &open, fault);
        }
    }
    load.stop().assert_nothing_lost();
    segue.stop();
}

fn one_fault(segue: &mut Segue, task: &Task, fault: &Fault, load: &Load) -> Met {
    let before = segue.status();
    let mark = segue.process().mark();
    let suffered = Suffered::by(segue.process().pid(), fault, task.whom);
    // What they are told does not matter here, nor whether they are told anything: a supervisor that cannot accept answers
    // nobody.
    let reload = segue.begin("reload", &["--timeout", "2s"]);
    let status = segue.begin("status", &["--timeout", "2s"]);
    let (reload, status) = (reload.finish(), status.finish());
    let met = suffered.detach();
    load.wait_for_more(2);
    let log = || {
        segue.process().log()[mark..]
            .iter()
            .map(|line| format!("{}\n", line.text))
            .collect::<String>()
    };
    println!(
        "{fault}, {:?}, met {met:?}: reload {}, status {}",
        task.whom,
        told(&reload),
        told(&status)
    );
    assert!(!log().contains("panicked"), "{fault}:\n{}", log());
    if let (Fails::Ending(_), Met::Somebody) = (task.call.fails, met) {
        let exit = segue.process().wait_for_exit();
        assert_eq!(exit.code(), Some(1), "{fault}: {exit}:\n{}", log());
        segue
            .process()
            .wait_for_line_after(mark, &format!("segue: {}: ", fault.call));
        segue.resume();
    }
    let after = segue.wait_until(&format!("{fault}: all is at rest"), at_rest);
    unharmed(&before, &after, fault, segue);
    segue.reload_ok(&["--drained"]);
    met
}

pub(super) fn told(done: &Finished) -> String {
    let line = done.stderr.lines().last().or(done.stdout.lines().next());
    format!("{:?} {:?}", done.code, line.unwrap_or_default())
}

/// Who served serves, or was replaced by a reload that went well.
pub(super) fn unharmed(before: &Status, after: &Status, fault: &Fault, segue: &Segue) {
    let same = after.pids(after.generation()) == before.pids(before.generation());
    let replaced = after.generation() > before.generation() && after.last_outcome() == "ok";
    assert!(
        same || replaced,
        "{fault}: the incumbent was harmed: {}\n{}",
        after.0,
        segue.process().stderr()
    );
    assert_eq!(after.count("restarts"), 0, "{fault}: {}", after.0);
}

/// The same is open as before; clients and a probation may still be on their way out.
pub(super) fn nothing_is_left_open(segue: &Segue, open: &[String], fault: &Fault) {
    let end = Instant::now() + patience();
    loop {
        let mark = segue.process().mark();
        let now = open_by(segue.process().pid());
        if now == open {
            return;
        }
        assert!(
            Instant::now() < end,
            "{fault}: before: {open:#?}\nnow: {now:#?}\n{}",
            segue.process().stderr()
        );
        segue.process().wait_for_news(mark);
    }
}

/// It serves all the same, or ends with exit code 1 and a line that says why.
fn at_its_start(fault: &Fault) {
    let segue = setup()
        .flags(["--start-timeout", "3s"])
        .opened_by(fault.opener())
        .spawn();
    let end = Instant::now() + patience();
    // The log may be what fails, so it is asked.
    while segue.process().is_running() && !serves(&segue) {
        let log = segue.process().stderr();
        assert!(Instant::now() < end, "{fault}: neither serves nor ends:\n{log}");
        segue.process().wait_for_news(segue.process().mark());
    }
    if segue.process().is_running() {
        println!("{fault}, at its start: serves");
        return;
    }
    let exit = segue.process().wait_for_exit();
    if exit.code() == Some(1) && fault.call != "write" {
        // Whose write fails says nothing.
        segue.process().wait_for_line(": ");
    }
    let log = segue.process().stderr();
    assert_eq!(exit.code(), Some(1), "{fault}: {exit}:\n{log}");
    let reason = log
        .lines()
        .find(|line| line.contains("failed:") || line.starts_with("segue: "));
    println!("{fault}, at its start: {}", reason.unwrap_or_default());
}

fn serves(segue: &Segue) -> bool {
    if segue.process().stderr().contains("generation 1 serves") {
        return true;
    }
    let done = segue.run("status", &["--json", "--timeout", "1s"]);
    serde_json::from_str(&done.stdout).is_ok_and(|json| Status(json).state() == "serving")
}

/// It ends, and nobody is left.
fn at_its_end(fault: &Fault) {
    let segue = setup().start();
    let pid = segue.process().pid();
    let suffered = Suffered::by(pid, fault, Whom::Supervisor);
    let stop = segue.begin("stop", &["--timeout", "2s"]).finish();
    let met = suffered.detach();
    if stop.code != Some(0) {
        // It may not have heard of it.
        let _ = segue.run("stop", &[]);
    }
    let exit = segue.process().wait_for_exit();
    println!("{fault}, at its end, met {met:?}: {} {exit}", told(&stop));
    let log = segue.process().stderr();
    assert!(!log.contains("panicked"), "{fault}:\n{log}");
    if fault.call.starts_with("epoll_") && fault.call.ends_with("wait") && met == Met::Somebody {
        assert_eq!(exit.code(), Some(1), "it cannot go on: {log}");
        return;
    }
    assert_eq!(exit.code(), Some(0), "{fault}: {exit}:\n{log}");
    let left = segue.leftover_processes();
    assert!(left.is_empty(), "{fault}: left behind: {left:?}\n{log}");
}
