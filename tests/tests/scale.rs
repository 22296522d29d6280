//! Many of everything: listeners, workers, connections of a draining generation, retired generations. Larger with `SEGUE_LONG=1`.

use std::cell::RefCell;

use segue_tests::crowd::Crowd;
use segue_tests::figures::{say, scale};
use segue_tests::proc::Footprint;
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup, Status};

/// Retired generations that are alive at once; beside them the incumbent and a candidate.
const RETIRED: u64 = 50;

// The sample app goes on with a slow answer whose client has left, so the two tests with a crowd end by the kill after
// `--stop-timeout`: that a drain comes to its end is for other tests.

fn say_footprint(segue: &Segue, what: &str) {
    say(format_args!("{what}: {:?}", Footprint::of(segue.process().pid())));
}

/// The open connections of a generation's first worker, as the status tells.
fn connections(status: &Status, generation: u64) -> usize {
    let all = status.0["generations"].as_array().map_or(&[][..], Vec::as_slice);
    let found = all.iter().find(|entry| entry["generation"] == generation);
    let seen = found.and_then(|entry| entry["workers"][0]["connections"].as_u64());
    seen.map_or(0, |count| usize::try_from(count).unwrap_or(usize::MAX))
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
    let segue = Setup::new(Program::app())
        .flags([
            "--drain-timeout",
            "none",
            "--stop-timeout",
            "1s",
            "--probation",
            "0s",
        ])
        .start();
    let crowd = Crowd::open(&segue.target(), count);
    segue.wait_until("all connections are accepted", |status| {
        connections(status, 1) == count
    });
    segue.reload_ok(&[]);
    let status = segue.status();
    assert_eq!((status.generation(), status.in_role("retired")), (2, vec![1]));
    assert_eq!(
        connections(&status, 1),
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
    let segue = Setup::new(Program::app())
        .flags([
            "--max-generations",
            "52",
            "--drain-timeout",
            "none",
            "--stop-timeout",
            "1s",
        ])
        .flags(["--probation", "0s"])
        .start();
    let target = segue.target();
    // The generation before may take a connection as long as it has not heard of its retirement: those that it takes stay open, too.
    let crowds = RefCell::new(Vec::new());
    for generation in 1..=RETIRED {
        segue.wait_until("the generation has a connection of its own", |status| {
            connections(status, generation) > 0 || {
                crowds.borrow_mut().push(Crowd::open(&target, 1));
                false
            }
        });
        segue.reload_ok(&[]);
    }
    let crowds = crowds.into_inner();
    let retired: Vec<u64> = (1..=RETIRED).collect();
    assert_eq!(segue.status().in_role("retired"), retired);
    assert_eq!(crowds.iter().map(Crowd::ended).sum::<usize>(), 0);
    say_footprint(&segue, &format!("{RETIRED} retired generations"));
    segue.reload_under_load();
    drop(crowds);
    segue.stop();
}
