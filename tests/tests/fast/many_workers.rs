//! 256 workers: start, reload, crash of one, more and fewer, stop; and what each costs the supervisor in file descriptors.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use segue_tests::load::{Kind, Load};
use segue_tests::proc;
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup, Status};

const MANY: usize = 256;
/// A pidfd and a notify socket for each worker.
const EACH: usize = 2;

fn wait_for(segue: &Segue, generation: u64, workers: usize) -> Status {
    segue.wait_until(
        &format!("{workers} workers of generation {generation}"),
        |status| {
            let alone = status.0["generations"]
                .as_array()
                .is_some_and(|all| all.len() == 1);
            alone && status.generation() == generation && serving(status) == workers
        },
    )
}

fn serving(status: &Status) -> usize {
    let workers = status.0["generations"][0]["workers"].as_array();
    let workers = workers.map_or(&[][..], Vec::as_slice);
    workers
        .iter()
        .filter(|worker| worker["state"] == "serving")
        .count()
}

/// The fds of a supervisor to which nobody talks: a client that has just left may still be seen.
fn descriptors(segue: &Segue, expected: usize) {
    let end = std::time::Instant::now() + segue_tests::patience();
    loop {
        let open = proc::descriptors(segue.process().pid());
        if open.len() == expected {
            return;
        }
        assert!(
            std::time::Instant::now() < end,
            "{} fds instead of {expected}: {open:?}",
            open.len()
        );
        std::thread::sleep(segue_tests::LOOK);
    }
}

/// With the soft limit on open files that most places have: two generations of 256 need more.
#[test]
fn many_workers_start_reload_crash_shrink_and_stop() {
    let segue = Setup::new(Program::fixture("good"))
        .flags(["--workers", "1", "--probation", "none"])
        .opened_by(["/bin/sh", "-c", "ulimit -Sn 1024 && exec \"$0\" \"$@\""])
        .start();
    let one = segue.descriptors().len();
    assert_eq!(segue.run("workers", &["256"]).code, Some(0));
    let grown = wait_for(&segue, 1, MANY);
    assert_eq!(grown.pids(1).len(), MANY);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", grown.pids(1)[0])).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files"));
    let soft = files.and_then(|line| line.split_whitespace().nth(3));
    assert_eq!(
        soft,
        Some("1024"),
        "the app has the limit that was there: {limits}"
    );
    let full = one + EACH * (MANY - 1);
    descriptors(&segue, full);
    let load = Load::start(Kind::Fresh, &segue.target(), 2);
    // A new start from the settings alone keeps the number that was asked for.
    segue.reload_ok(&["--drained"]);
    let reloaded = wait_for(&segue, 2, MANY);
    // The birth record has fds of its own, as the first one had.
    descriptors(&segue, full);
    load.wait_for_generation(2);
    load.stop().assert_nothing_lost();
    let victim = reloaded.pids(2)[100];
    kill(Pid::from_raw(victim), Signal::SIGKILL).unwrap();
    segue.process().wait_for_line(", worker 100 (pid ");
    let replaced = segue.wait_until("it is replaced alone", |status| {
        status.count("restarts") == 1 && serving(status) == MANY
    });
    let before = reloaded.pids(2);
    let after = replaced.pids(2);
    assert_eq!(after.iter().filter(|pid| !before.contains(pid)).count(), 1);
    descriptors(&segue, full);
    assert_eq!(segue.run("workers", &["3"]).code, Some(0));
    wait_for(&segue, 2, 3);
    descriptors(&segue, one + EACH * 2);
    segue.stop();
}

/// Started so from the beginning, and replaced by 64 at a time.
#[test]
fn many_workers_roll() {
    let segue = Setup::new(Program::fixture("good"))
        .flags(["--workers", "256", "--rolling", "64", "--probation", "none"])
        .start();
    assert_eq!(wait_for(&segue, 1, MANY).pids(1).len(), MANY);
    segue.reload_ok(&["--drained"]);
    segue
        .process()
        .wait_for_line("generation 2 has 192 of 256 workers");
    wait_for(&segue, 2, MANY);
    segue.stop();
}
