//! Two generations in memory: whether a candidate fits, whom the kernel kills if not, and that people are told who was killed.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot look at its subject has failed"
)]

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use segue_tests::load::{Kind, Load};
use segue_tests::memory_limit::MemoryLimit;
use segue_tests::needs;
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};

/// What the report of a worker says that was killed for memory.
const OOM: &str = "(out of memory: the kernel's OOM killer)";

fn score(pid: i32) -> i32 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
    text.trim().parse().unwrap()
}

fn only_pid(segue: &Segue, generation: u64) -> i32 {
    let pids = segue.status().pids(generation);
    assert_eq!(pids.len(), 1, "{pids:?}");
    pids[0]
}

/// Whether we have CAP_SYS_RESOURCE, without which nobody goes below what he was born with. (Containers seldom have it.)
fn may_lower() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .unwrap();
    u64::from_str_radix(effective.trim(), 16).unwrap() & (1 << 24) != 0
}

/// A supervisor that is born with this oom_score_adj.
fn born_with(score: i32, flags: &[&str]) -> Segue {
    let script = format!("echo {score} > /proc/self/oom_score_adj && exec \"$@\"");
    Setup::new(Program::fixture("hangs-in-drain"))
        .opened_by(["sh", "-c", &script, "sh"])
        .flags(["--drain-timeout", "1m", "--stop-timeout", "0s"])
        .flags(flags)
        .start()
}

#[test]
fn the_app_keeps_the_score_and_one_that_drains_goes_first() {
    let segue = born_with(100, &[]);
    let own = score(segue.process().pid());
    if may_lower() {
        assert_eq!(own, -1000);
    } else {
        assert!(own <= 100, "{own}");
    }
    let old = only_pid(&segue, 1);
    assert_eq!(score(old), 100);
    segue.reload_ok(&[]);
    assert_eq!((score(old), score(only_pid(&segue, 2))), (400, 100));
    segue.stop();
}

#[test]
fn a_score_that_the_app_may_not_have_fails_its_start() {
    if may_lower() {
        return;
    }
    let refused = Setup::new(Program::fixture("good"))
        .flags(["--oom-score-adj", "-1000"])
        .start_in_vain();
    assert_eq!(refused.code, Some(1));
    assert!(
        refused
            .stderr
            .contains("the first start failed: oom_score_adj -1000: permission denied"),
        "{}",
        refused.stderr
    );
}

#[test]
fn what_protects_the_supervisor_is_not_inherited() {
    let segue = born_with(100, &["--oom-score-adj", "250"]);
    assert_eq!(score(only_pid(&segue, 1)), 250);
    segue.stop();
    if !may_lower() {
        // The rest is the unit test in `launch`.
        return;
    }
    let segue = born_with(-500, &[]);
    assert_eq!(score(only_pid(&segue, 1)), 0);
    segue.stop();
    let segue = born_with(-500, &["--oom-score-adj", "-30"]);
    assert_eq!(score(only_pid(&segue, 1)), -30);
    segue.stop();
}

#[test]
fn the_forked_workers_of_an_app_are_told_as_well() {
    let shell = Program::new("/bin/sh").args(["-c", "trap '' TERM; sleep 1000 & wait; sleep 1000"]);
    let segue = Setup::new(shell)
        .flags([
            "--ready",
            "exec:100ms",
            "--drain-timeout",
            "1m",
            "--stop-timeout",
            "0s",
        ])
        .start();
    let old = only_pid(&segue, 1);
    // The shell has been executed; when it forks is up to the machine.
    segue.wait_until("the shell has forked", |_| {
        !segue_tests::proc::children(old).is_empty()
    });
    let children = segue_tests::proc::children(old);
    let before = score(old);
    segue.reload_ok(&[]);
    for child in children {
        assert_eq!(score(child.pid), before + 300);
    }
    segue.stop();
}

#[test]
fn a_reload_that_does_not_fit_is_refused_and_the_app_serves_on() {
    let segue = Setup::new(Program::fixture("good"))
        .flags(["--min-free-memory", "1000000G"])
        .start();
    let load = Load::start(Kind::Fresh, &segue.target(), 2);
    let before = only_pid(&segue, 1);
    let refused = segue.reload(&[]);
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stderr.contains("generation 2: ")
            && refused
                .stderr
                .contains(" MiB of memory are free, --min-free-memory asks for 1024000000 MiB ("),
        "{}",
        refused.stderr
    );
    load.wait_for_more(100);
    assert_eq!(only_pid(&segue, 1), before);
    load.stop().assert_nothing_lost();
    segue.stop();
}

#[test]
fn memory_is_not_asked_for_while_nobody_serves() {
    let script = "[ $SEGUE_GENERATION != 1 ] || [ ! -e broken ] || exit 3; exec \"$0\" good";
    let good = Program::fixture("good").words()[0].clone();
    let setup = Setup::new(Program::new("/bin/sh").args(["-c".into(), script.into(), good]));
    let (broken, directory) = (setup.path("broken"), setup.path("").into_os_string());
    let segue = setup
        .flags(["--min-free-memory", "1000000G", "--chdir"])
        .flags([directory])
        .start();
    std::fs::write(&broken, "").unwrap();
    kill(Pid::from_raw(only_pid(&segue, 1)), Signal::SIGKILL).unwrap();
    segue.process().wait_for_line("exited with status 3");
    segue.wait_until("it backs off", |status| status.state() == "backing-off");
    // A reload then mends it, and need not wait for the pause to pass.
    segue.reload_ok(&[]);
    segue.stop();
}

/// A supervisor that reads its settings from a file, which [`set`] writes.
fn from_file(limit: Option<&MemoryLimit>, flags: &[&str], words: &str) -> Segue {
    let setup = Setup::new(Program::fixture(words));
    let file = setup.path("segue.toml");
    std::fs::write(&file, "").unwrap();
    let setup = match limit {
        Some(limit) => setup.opened_by(limit.opener()),
        None => setup,
    };
    setup
        .flags(["--config".as_ref(), file.as_os_str()])
        .flags(flags)
        .start()
}

fn set(segue: &Segue, text: &str) {
    std::fs::write(segue.path("segue.toml"), text).unwrap();
}

const PATIENT: [&str; 4] = ["--drain-timeout", "none", "--stop-timeout", "0s"];

#[test]
fn a_reload_waits_for_memory_as_long_as_an_old_generation_drains() {
    let limit = MemoryLimit::make("waits", 256);
    let Some(limit) = needs::or_skip(
        "a_reload_waits_for_memory_as_long_as_an_old_generation_drains",
        limit,
    ) else {
        return;
    };
    let segue = from_file(Some(&limit), &PATIENT, "hoards-memory mib=120");
    let old = only_pid(&segue, 1);
    segue.reload_ok(&[]);
    // Two hoards lie in it now; a third fits when one of them is gone.
    set(&segue, "min-free-memory = '100M'\nstart-timeout = 'none'\n");
    let reload = segue.begin("reload", &[]);
    let line = segue.process().wait_for_line("reload waits: ").text;
    assert!(
        line.contains("--min-free-memory asks for 100 MiB (cgroup /") && line.contains(&limit.name()),
        "{line}"
    );
    assert_eq!(segue.status().in_role("candidate"), [0_u64; 0]);
    kill(Pid::from_raw(old), Signal::SIGKILL).unwrap();
    let done = reload.finish();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(segue.status().generation(), 3);
    segue.stop();
}

#[test]
fn a_reload_that_waits_for_memory_fails_when_it_has_waited_long_enough() {
    let segue = from_file(None, &PATIENT, "hangs-in-drain");
    segue.reload_ok(&[]);
    set(&segue, "min-free-memory = '1000000G'\nstart-timeout = '2s'\n");
    let refused = segue.reload(&[]);
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stderr.contains("reload failed: generation 3: "),
        "{}",
        refused.stderr
    );
    segue.process().wait_for_line("reload waits: ");
    assert_eq!(
        (segue.status().generation(), segue.status().state()),
        (2, "serving")
    );
    // What was asked for too much is no obstacle later.
    set(&segue, "");
    segue.reload_ok(&[]);
    segue.stop();
}

#[test]
fn a_stop_ends_the_wait_for_memory() {
    let segue = from_file(None, &PATIENT, "hangs-in-drain");
    segue.reload_ok(&[]);
    set(&segue, "min-free-memory = '1000000G'\nstart-timeout = 'none'\n");
    let reload = segue.begin("reload", &[]);
    segue.process().wait_for_line("reload waits: ");
    segue.stop();
    let stopped = reload.finish();
    assert_eq!(stopped.code, Some(1));
    assert!(stopped.stderr.contains("stopping"), "{}", stopped.stderr);
}

#[test]
fn a_candidate_that_is_killed_for_memory_is_reported_and_the_incumbent_unharmed() {
    let limit = MemoryLimit::make("candidate", 128);
    let name = "a_candidate_that_is_killed_for_memory_is_reported_and_the_incumbent_unharmed";
    let Some(limit) = needs::or_skip(name, limit) else {
        return;
    };
    let setup = Setup::new(Program::new("./current")).opened_by(limit.opener());
    setup.deploy("current", &Program::fixture("good"));
    let directory = setup.path("").into_os_string();
    let segue = setup.flags(["--chdir".into(), directory]).start();
    let load = Load::start(Kind::KeepAlive, &segue.target(), 2);
    let before = only_pid(&segue, 1);
    segue.deploy("current", &Program::fixture("eats-memory"));
    let failed = segue.reload(&[]);
    assert_eq!(failed.code, Some(1));
    assert!(
        failed.stderr.contains("generation 2: killed by SIGKILL after ") && failed.stderr.contains(OOM),
        "{}",
        failed.stderr
    );
    load.wait_for_more(100);
    assert_eq!(only_pid(&segue, 1), before);
    load.stop().assert_nothing_lost();
    assert!(
        segue
            .run("metrics", &[])
            .stdout
            .contains("segue_oom_kills_total{name=\"current\"} 1\n")
    );
    segue.stop();
}

#[test]
fn an_incumbent_that_is_killed_for_memory_is_reported_and_started_again() {
    let limit = MemoryLimit::make("incumbent", 128);
    let name = "an_incumbent_that_is_killed_for_memory_is_reported_and_started_again";
    let Some(limit) = needs::or_skip(name, limit) else {
        return;
    };
    let segue = Setup::new(Program::fixture("eats-memory when=ready"))
        .opened_by(limit.opener())
        .spawn();
    let crashed = segue
        .process()
        .wait_for_line("crashed: killed by SIGKILL after ")
        .text;
    assert!(crashed.contains(OOM), "{crashed}");
    segue.wait_until("it was started again", |status| status.count("restarts") >= 1);
    segue.stop();
}

/// The counters of its cgroup have not moved, so that nothing but a person was it. (Those of the machine move with the tests beside it.)
#[test]
fn a_worker_that_somebody_kills_is_not_said_to_be_killed_for_memory() {
    let name = "a_worker_that_somebody_kills_is_not_said_to_be_killed_for_memory";
    let Some(limit) = needs::or_skip(name, MemoryLimit::make("person", 128)) else {
        return;
    };
    let segue = Setup::new(Program::fixture("good"))
        .opened_by(limit.opener())
        .start();
    kill(Pid::from_raw(only_pid(&segue, 1)), Signal::SIGKILL).unwrap();
    let crashed = segue
        .process()
        .wait_for_line("crashed: killed by SIGKILL after ")
        .text;
    assert!(!crashed.contains("memory"), "{crashed}");
    segue.wait_until("it was started again", |status| status.count("restarts") == 1);
    assert_eq!(segue.status().count("oom_kills"), 0);
    segue.stop();
}
