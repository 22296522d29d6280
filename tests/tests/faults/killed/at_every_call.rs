//! `kill -9` at every system call of a reload: right before the kernel does what it is asked for, and so right after whatever was
//! asked before. Each write of the state is among them. (Half a write cannot be had from a kernel that finishes what it has begun;
//! the keeper's own tests cut one short at each byte.)

use std::fmt;

use segue_tests::figures::say;
use segue_tests::load::{Kind, Load};
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};
use segue_tests::strace::{self, Counts, Tracer};
use segue_tests::{long_run, needs};
use tempfile::NamedTempFile;

use super::assert_nobody_is_a_stranger;

/// Calls between which the rest of a reload lies: what is written down, begun, told and let go. Where this is not the long run, one in
/// [`EACH`] of these is tried, others each time.
const MILESTONES: [&str; 5] = ["pwrite64", "clone", "clone3", "pidfd_send_signal", "sendto"];

/// See [`MILESTONES`]: a kill takes more than a second, since the loads have slow requests among them.
const EACH: usize = 3;

/// A system call of a reload.
pub(super) struct Last {
    call: String,
    /// Counted from 1.
    nth: usize,
}

impl Last {
    pub(super) fn new(call: &str, nth: usize) -> Self {
        let call = call.to_owned();
        Self { call, nth }
    }

    /// Each call that was made.
    pub(super) fn all(counts: &Counts) -> impl Iterator<Item = Self> {
        let each = |(call, count): (&String, &usize)| {
            (1..=*count).map(|nth| Self::new(call, nth)).collect::<Vec<_>>()
        };
        counts.iter().flat_map(each)
    }
}

impl fmt::Display for Last {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} number {}", self.call, self.nth)
    }
}

/// A reload until the retired generation is gone.
const RELOAD: &[&str] = &["--drained"];

/// What the supervisor calls in a reload with these flags.
pub(super) fn calls_of(segue: &Segue, reload: &[&str]) -> Counts {
    let output = NamedTempFile::new().unwrap();
    let to = ["-o".as_ref(), output.path().as_os_str()];
    let tracer = Tracer::attach(segue.process().pid(), to);
    segue.reload_ok(reload);
    tracer.detach();
    let mut counts = Counts::new();
    for line in strace::read(output.path()).lines() {
        strace::count(&mut counts, line);
    }
    assert!(counts.contains_key("pwrite64"), "{counts:?}");
    counts
}

fn all_that_are_tried(counts: &Counts) -> Vec<Last> {
    if long_run() {
        return Last::all(counts).collect();
    }
    let first = fastrand::usize(..EACH);
    say(format_args!(
        "of the calls that are tried, one in {EACH}, from number {first} on"
    ));
    Last::all(counts)
        .filter(|last| MILESTONES.contains(&last.call.as_str()))
        .skip(first)
        .step_by(EACH)
        .collect()
}

/// What a reload was like.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The call was made, and the supervisor died of it.
    Killed,
    /// This reload had fewer of these calls.
    Survived,
}

/// Reloads with these flags; the supervisor is killed as it makes that call.
pub(super) fn reload_until(segue: &Segue, last: &Last, reload: &[&str]) -> End {
    let Last { call, nth } = last;
    let pid = segue.process().pid();
    let words = [
        "-o".to_owned(),
        "/dev/null".to_owned(),
        "-e".to_owned(),
        format!("trace={call}"),
        "-e".to_owned(),
        format!("inject={call}:signal=KILL:when={nth}"),
    ];
    let tracer = Tracer::attach(pid, words);
    let told = segue.run("reload", reload);
    tracer.detach();
    // A process that answers now has not been killed: the signal comes before the call, and nobody traces any more.
    if told.code == Some(0) && segue.run("status", &[]).code == Some(0) {
        return End::Survived;
    }
    let _ = segue.process().wait_for_exit();
    End::Killed
}

#[test]
fn killed_at_every_call_of_a_reload_nothing_is_lost_and_nobody_is_left() {
    let Some(()) = needs::or_skip("killed at every call", strace::available()) else {
        return;
    };
    let mut segue = Setup::new(Program::app()).flags(["--probation", "200ms"]).start();
    let target = segue.target();
    let loads = Kind::ALL.map(|kind| Load::start(kind, &target, 1));
    let counts = calls_of(&segue, RELOAD);
    let (mut killed, mut survived) = (0, 0);
    for last in all_that_are_tried(&counts) {
        match reload_until(&segue, &last, RELOAD) {
            End::Survived => survived += 1,
            End::Killed => {
                killed += 1;
                segue.resume();
            }
        }
        let status = segue.wait_until("the reload is over", |status| {
            status.state() == "serving" && status.in_role("candidate").is_empty()
        });
        assert_nobody_is_a_stranger(&segue, &status, &last.to_string());
    }
    say(format_args!(
        "a reload makes {} system calls; killed at {killed} of them, {survived} were not made again",
        counts.values().sum::<usize>()
    ));
    assert!(killed > 0, "nobody was killed");
    for load in loads {
        load.stop().assert_nothing_lost();
    }
    segue.reload_ok(RELOAD);
    segue.stop();
}

/// What the dead supervisor had forked shares its lock until it executes: here that takes half a second.
#[test]
fn a_child_that_has_not_executed_yet_does_not_keep_the_next_one_from_starting() {
    let Some(()) = needs::or_skip("killed before the child executes", strace::available()) else {
        return;
    };
    let mut segue = Setup::new(Program::app()).start();
    // Children alone make this call.
    let delay = [
        "-e",
        "trace=close_range",
        "-e",
        "inject=close_range:delay_enter=500ms",
    ];
    let words = ["-f", "-o", "/dev/null"].into_iter().chain(delay);
    let tracer = Tracer::attach(segue.process().pid(), words);
    assert_eq!(segue.run("reload", &["--no-wait"]).code, Some(0));
    segue.wait_until("it has forked", |status| !status.pids(2).is_empty());
    segue.kill();
    segue.resume();
    tracer.detach();
    segue.reload_ok(&[]);
    segue.stop();
}
