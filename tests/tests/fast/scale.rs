//! Many of everything: listeners, workers, connections of a draining generation, retired generations. Larger with `SEGUE_LONG=1`.

use std::path::Path;

use segue_tests::crowd::{self, Crowd};
use segue_tests::figures::{say, scale};
use segue_tests::needs;
use segue_tests::proc::{self, Footprint};
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};

/// Retired generations that are alive at once; beside them the incumbent and a candidate.
const RETIRED: usize = 50;

fn say_footprint(segue: &Segue, what: &str) {
    say(format_args!("{what}: {:?}", Footprint::of(segue.process().pid())));
}

#[test]
fn many_listeners_are_handed_over() {
    let count = scale(200, 1_000);
    let setup = Setup::new(Program::fixture("good"));
    let setup = (0..count).fold(setup, |setup, number| setup.listen(format!("unix:l{number}")));
    let segue = setup.start();
    segue.reload_ok(&["--drained"]);
    let status = segue.status();
    assert_eq!(status.0["listeners"].as_array().map(Vec::len), Some(count));
    assert_eq!(status.generation(), 2);
    for number in [0, count / 2, count - 1] {
        let socket = std::os::unix::net::UnixStream::connect(segue.path(&format!("l{number}")));
        assert!(socket.is_ok(), "l{number}: {socket:?}");
    }
    say_footprint(&segue, &format!("{count} listeners"));
    segue.stop();
}

#[test]
fn many_workers_take_over() {
    let count = scale(64, 256);
    let segue = Setup::new(Program::fixture("good"))
        .flags(["--workers", &count.to_string()])
        .start();
    segue.reload_ok(&["--drained"]);
    let status = segue.status();
    assert_eq!((status.generation(), status.pids(2).len()), (2, count));
    say_footprint(&segue, &format!("{count} workers"));
    segue.stop();
}

#[test]
fn many_connections_drain_while_the_next_generation_serves() {
    let count = scale(2_000, 10_000);
    Crowd::make_room(count);
    let segue = crowd::patient(Setup::new(Program::app())).start();
    let crowd = crowd::drain(&segue, count);
    let status = segue.status();
    assert_eq!((status.generation(), status.in_role("retired")), (2, vec![1]));
    assert_eq!(
        status.connections(1),
        count,
        "connections of the draining generation"
    );
    segue.reload_under_load();
    assert_eq!(crowd.ended(), 0, "connections of {count} that were cut");
    say_footprint(&segue, &format!("{count} connections in a draining generation"));
    drop(crowd);
    segue.stop();
}

#[test]
fn many_retired_generations_drain_at_once() {
    let segue = crowd::patient(Setup::new(Program::app()))
        .flags(["--max-generations", &(RETIRED + 2).to_string()])
        .start();
    let crowds = crowd::retire(&segue, RETIRED);
    let retired: Vec<u64> = (1..).take(RETIRED).collect();
    assert_eq!(segue.status().in_role("retired"), retired);
    assert_eq!(crowds.iter().map(Crowd::ended).sum::<usize>(), 0);
    say_footprint(&segue, &format!("{RETIRED} retired generations"));
    segue.reload_under_load();
    drop(crowds);
    segue.stop();
}

/// What a supervisor has asked of the kernel, counted: it does not depend on how fast the machine is.
#[derive(Clone, Copy, Debug)]
struct Work {
    calls: usize,
    bytes: u64,
}

impl Work {
    /// Until now, as the trace and the kernel have it.
    fn so_far(segue: &Segue, trace: &Path) -> Self {
        let lines = std::fs::read(trace).unwrap_or_else(|error| panic!("{}: {error}", trace.display()));
        Self {
            calls: lines.iter().filter(|byte| **byte == b'\n').count(),
            bytes: proc::read_and_written(segue.process().pid()),
        }
    }

    fn since(self, before: Self) -> Self {
        Self {
            calls: self.calls - before.calls,
            bytes: self.bytes - before.bytes,
        }
    }
}

/// What a start, a reload, an upgrade and an adoption after `kill -9` ask of the kernel with so many of something.
fn work(setup: Setup) -> [(&'static str, Work); 4] {
    let trace = setup.path("trace");
    let opener = ["strace", "-D", "-qq", "-o"].map(Into::into);
    let setup = setup.opened_by(opener.into_iter().chain([trace.clone().into_os_string()]));
    let mut segue = setup.start();
    let started = Work::so_far(&segue, &trace);
    segue.reload_ok(&["--drained"]);
    let reloaded = Work::so_far(&segue, &trace);
    let upgraded = segue.run("upgrade", &[]);
    assert_eq!(upgraded.code, Some(0), "{upgraded:?}");
    let gone_on = Work::so_far(&segue, &trace);
    segue.kill();
    segue.resume();
    let adopted = Work::so_far(&segue, &trace);
    // The tracer ends a moment after whom it traced, and is nobody whom a stop has to end.
    let stopped = segue.run("stop", &[]);
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    [
        ("start", started),
        ("reload", reloaded.since(started)),
        ("upgrade", gone_on.since(reloaded)),
        ("adoption", adopted),
    ]
}

/// Four times as many ask for four times as much, and a square would be sixteen times as much. The limit lies between: what happens
/// at once is written down at once, so chance has its part in the figures.
#[track_caller]
fn assert_linear(what: &str, few: Setup, many: Setup) {
    for ((step, few), (_, many)) in work(few).into_iter().zip(work(many)) {
        say(format_args!(
            "{step}, {what}: {few:?}, with four times as many {many:?}"
        ));
        assert!(many.calls < 8 * few.calls, "calls of a {step}, {what}");
        assert!(many.bytes < 8 * few.bytes, "bytes of a {step}, {what}");
    }
}

#[test]
fn what_is_asked_of_the_kernel_grows_no_faster_than_the_numbers() {
    if needs::or_skip("scale", needs::program("strace")).is_none() {
        return;
    }
    let setup = || Setup::new(Program::fixture("good"));
    let listeners = |count| (0..count).fold(setup(), |setup, number| setup.listen(format!("unix:l{number}")));
    let workers = |count: u32| setup().flags(["--workers", &count.to_string()]);
    assert_linear("listeners", listeners(50), listeners(200));
    assert_linear("workers", workers(8), workers(32));
}
