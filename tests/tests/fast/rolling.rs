//! `--rolling K`: a reload goes in steps, on a machine that has no room for two whole generations.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use segue_tests::executable;
use segue_tests::figures::{say, scale};
use segue_tests::load::{Kind, Load};
use segue_tests::proc;
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};

const WORKERS: usize = 4;

/// Four workers, replaced `step` at a time. What runs is a script that a file can change: `bad` lets worker 2 fail at its start, `hold`
/// lets worker 1 wait before it becomes the app.
fn rolling(step: &str) -> Setup {
    let setup = Setup::new(Program::new("./app"));
    let good = setup.path("good");
    setup.deploy("good", &Program::app());
    let (here, app) = (setup.path(""), setup.path("app"));
    let script = format!(
        "#!/bin/sh\n\
         if [ \"$SEGUE_WORKER\" = 2 ] && [ -e {here}/bad ]; then exit 3; fi\n\
         while [ \"$SEGUE_WORKER\" = 1 ] && [ -e {here}/hold ]; do sleep 0.02; done\n\
         exec {good}\n",
        here = here.display(),
        good = good.display()
    );
    executable::write(&app, script.as_bytes());
    let directory = here.display().to_string();
    setup.flags(["--workers", "4", "--rolling", step, "--chdir", &directory])
}

fn touch(segue: &Segue, name: &str) {
    fs::write(segue.path(name), "").expect("a file");
}

fn remove(segue: &Segue, name: &str) {
    fs::remove_file(segue.path(name)).expect("a file");
}

/// Counts the processes of the app again and again, from outside.
struct Census {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<usize>,
}

impl Census {
    fn begin(segue: &Segue) -> Self {
        let (stop, pid) = (Arc::new(AtomicBool::new(false)), segue.process().pid());
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut most = 0;
            while !told.load(Ordering::SeqCst) {
                let path = format!("/proc/{pid}/task/{pid}/children");
                let children = fs::read_to_string(path).unwrap_or_default();
                // A zombie has no memory any more.
                let living = children.split_whitespace().filter(|child| {
                    let seen = child.parse().ok().and_then(proc::look);
                    seen.is_some_and(|seen| !matches!(seen.state, 'Z' | 'X'))
                });
                most = most.max(living.count());
            }
            most
        });
        Self { stop, thread }
    }

    /// The most that ran at once.
    fn end(self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().expect("the census")
    }
}

/// Reloads under a load, with a look at how many processes run.
fn reloads_under_load(segue: &Segue, kind: Kind, reloads: u64) -> usize {
    let load = Load::start(kind, &segue.target(), 3);
    let census = Census::begin(segue);
    for generation in 2..=reloads + 1 {
        segue.reload_ok(&[]);
        load.wait_for_generation(generation);
        load.wait_for_more(50);
    }
    let most = census.end();
    let tally = load.stop();
    say(format_args!(
        "rolling, {kind:?}, {reloads} reloads, at most {most} processes: {}",
        tally.figures()
    ));
    tally.assert_nothing_lost();
    most
}

#[test]
fn rolling_reloads_lose_nothing_and_never_run_more_than_a_step_beyond_the_workers() {
    for (step, kind) in [(1, Kind::Fresh), (3, Kind::KeepAlive)] {
        let segue = rolling(&step.to_string()).start();
        let most = reloads_under_load(&segue, kind, scale(4, 40));
        assert!(most <= WORKERS + step, "{most} processes ran at once");
        segue.stop();
    }
}

/// Without the option the same reload runs two whole generations, and the same look sees it.
#[test]
fn the_census_sees_two_whole_generations() {
    let segue = Setup::new(Program::app()).flags(["--workers", "4"]).start();
    let load = Load::start(Kind::Fresh, &segue.target(), 3);
    let census = Census::begin(&segue);
    for generation in 2..=6 {
        segue.reload_ok(&[]);
        load.wait_for_generation(generation);
    }
    let most = census.end();
    drop(load);
    assert!(most > WORKERS + 1, "at most {most} processes were seen");
    segue.stop();
}

#[test]
fn a_step_that_fails_takes_all_steps_back() {
    let segue = rolling("1").start();
    let born = segue.status().pids(1);
    let load = Load::start(Kind::Fresh, &segue.target(), 3);
    touch(&segue, "bad");
    let failed = segue.reload(&[]);
    assert_eq!(failed.code, Some(1));
    assert!(
        failed.stderr.contains("generation 2: exited with status 3"),
        "{failed:?}"
    );
    segue.process().wait_for_line("generation 2 has 2 of 4 workers");
    // Its workers drain, and make room for those that generation 1 gets back.
    let back = segue.wait_until("generation 1 is whole", |status| {
        status.in_role("retired").is_empty() && status.pids(1).len() == WORKERS && status.state() == "serving"
    });
    assert_eq!(back.generation(), 1);
    assert!(
        back.pids(1).iter().filter(|pid| born.contains(pid)).count() >= 2,
        "{born:?} {back:?}"
    );
    remove(&segue, "bad");
    segue.reload_ok(&[]);
    load.wait_for_generation(3);
    load.stop().assert_nothing_lost();
    segue.stop();
}

#[test]
fn the_probe_is_asked_before_anybody_drains() {
    let segue = rolling("1")
        .flags(["--probe", "[ ! -e bad ]", "--probe-timeout", "4s"])
        .start();
    let born = segue.status().pids(1);
    touch(&segue, "bad");
    // The script would let worker 2 fail; it never comes to that.
    let failed = segue.reload(&[]);
    assert_eq!(failed.code, Some(1));
    assert!(failed.stderr.contains("probe"), "{failed:?}");
    assert!(!segue.process().stderr().contains("generation 2 has"));
    assert_eq!(segue.status().pids(1), born);
    segue.stop();
}

#[test]
fn a_crash_more_workers_and_a_second_reload_during_the_steps() {
    let segue = rolling("1").start();
    let born = segue.status().pids(1);
    touch(&segue, "hold");
    let first = segue.begin("reload", &[]);
    segue.process().wait_for_line("generation 2 has 1 of 4 workers");
    // Worker 3 of the old generation has not made room yet, so it is started again there.
    kill(Pid::from_raw(born[3]), Signal::SIGKILL).unwrap();
    segue.process().wait_for_line("generation 1, worker 3");
    assert_eq!(segue.run("workers", &["5"]).code, Some(0));
    let second = segue.begin("reload", &[]);
    remove(&segue, "hold");
    assert_eq!(first.finish().code, Some(0));
    assert_eq!(second.finish().code, Some(0));
    let whole = segue.wait_until("five workers of generation 3", |status| {
        status.generation() == 3 && status.in_role("retired").is_empty() && status.pids(3).len() == 5
    });
    assert_eq!(whole.count("restarts"), 1);
    segue.stop();
}

#[test]
fn a_stop_during_the_steps_ends_everything() {
    let segue = rolling("2").start();
    touch(&segue, "hold");
    let reload = segue.begin("reload", &[]);
    segue.process().wait_for_line("generation 2, worker 0");
    segue.stop();
    assert_eq!(reload.finish().code, Some(1));
}
