//! Calls that fail while the supervisor becomes another binary: from the request to the answer, before its exec and behind it, and
//! those of the check.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use nix::errno::Errno;
use segue_tests::load::{Kind, Load};
use segue_tests::process::Finished;
use segue_tests::segue::Segue;
use segue_tests::strace::{self, Counts, Tracer, count, read};
use segue_tests::{long_run, needs, patience, pool};

use super::AT_ONCE;
use super::injected::{
    at_rest, every_call_has_its_row, nothing_is_left_open, open_by, setup, told, unharmed,
};
use super::strace::{Fault, Met, Suffered, When, Whom};
use super::table::{Call, Fails, TABLE, errnos};

/// Whose calls fail, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// The supervisor's, until it has executed.
    Before,
    /// Those of the dynamic loader and the C library of what it has executed.
    Runtime,
    /// Its own from `main` to the answer.
    After,
    /// Those of the check, from its fork on.
    Check,
}

/// What an upgrade calls.
#[derive(Debug, Default)]
struct Reference {
    before: Counts,
    runtime: Counts,
    after: Counts,
    check: Counts,
}

/// A fault and its part.
#[derive(Clone, Copy, Debug)]
struct Task {
    call: Call,
    part: Part,
    /// Whose call of that number fails as well: the supervisor's while its check is meant, for strace counts for each process
    /// alone.
    beside: Part,
    fault: Fault,
}

/// When they fail for a client it is told that the connection was closed, or that its request did not come.
const LOSE_THE_CLIENT: [&str; 5] = ["epoll_ctl", "getsockopt", "ioctl", "recvfrom", "sendto"];

/// A program of Rust's standard library ends when it gets no memory.
const MEMORY: [&str; 2] = ["mmap", "mremap"];

/// Calls of the allocator: whether it makes them depends on how the heap happens to lie, and differs from run to run.
const ALLOCATOR: [&str; 4] = ["madvise", "mmap", "mremap", "munmap"];

impl Task {
    const fn whom(&self) -> Whom {
        match self.part {
            Part::Before | Part::Runtime | Part::After => Whom::Supervisor,
            Part::Check => Whom::Check,
        }
    }

    /// Whether the supervisor may end, so that the next one adopts the app: nobody is there who could do anything about what the
    /// dynamic loader is refused.
    fn may_end_it(&self) -> bool {
        let ending = matches!(self.call.fails, Fails::Ending(_));
        self.beside == Part::Runtime || ending || MEMORY.contains(&self.call.name)
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?})", self.fault, self.part)
    }
}

#[test]
fn each_call_fails_while_it_becomes_another_binary() {
    if needs::or_skip("starved, while it is upgraded", strace::available()).is_none() {
        return;
    }
    let reference = record();
    let counts = [
        &reference.before,
        &reference.runtime,
        &reference.after,
        &reference.check,
    ];
    every_call_has_its_row(counts.into_iter().flat_map(|counts| counts.keys()));
    let tasks = tasks(&reference);
    let met = Mutex::new(BTreeSet::new());
    let scenes: Mutex<Vec<Scene>> = Mutex::default();
    pool::each(AT_ONCE, &tasks, |task| {
        // One that a fault has spoilt is not used again.
        let kept = scenes.lock().unwrap().pop();
        let mut scene = kept.unwrap_or_else(Scene::new);
        if scene.suffer(task) == Met::Somebody {
            met.lock().unwrap().insert(task.fault.call);
        }
        match task.call.fails {
            // What strace did not let it close stays open.
            Fails::Leaking(_) => scene.end(),
            Fails::With(_) | Fails::Ending(_) | Fails::Never(_) => scenes.lock().unwrap().push(scene),
        }
    });
    scenes.into_inner().unwrap().into_iter().for_each(Scene::end);
    let names = tasks.iter().map(|task| task.fault.call);
    let missed: BTreeSet<_> = names.filter(|name| !ALLOCATOR.contains(name)).collect();
    let missed: Vec<_> = missed.difference(&met.into_inner().unwrap()).copied().collect();
    assert!(missed.is_empty(), "these were never met: {missed:?}");
}

/// An upgrade, recorded.
fn record() -> Reference {
    let segue = setup().start();
    let (alone, both) = (segue.path("trace"), segue.path("traces"));
    upgraded_under(&segue, &["-s", "200", "-o"], &alone);
    upgraded_under(&segue, &["-s", "200", "-f", "-ff", "-o"], &both);
    let mut reference = split(&read(&alone));
    for entry in std::fs::read_dir(segue.path("")).unwrap().flatten() {
        let text = read(&entry.path());
        if entry.file_name().to_string_lossy().starts_with("traces.") && text.contains("\"check-state\"") {
            text.lines().for_each(|line| count(&mut reference.check, line));
        }
    }
    assert!(reference.check.contains_key("execve"), "{reference:?}");
    segue.stop();
    reference
}

fn upgraded_under(segue: &Segue, words: &[&str], to: &Path) {
    let words = words.iter().map(std::ffi::OsString::from);
    let tracer = Tracer::attach(segue.process().pid(), words.chain([to.into()]));
    let done = segue.run("upgrade", &[]);
    tracer.detach();
    assert_eq!(done.code, Some(0), "{done:?}");
}

fn split(trace: &str) -> Reference {
    let mut reference = Reference::default();
    let mut part = Part::Before;
    for line in trace.lines() {
        // The first thing that main does.
        if part == Part::Runtime && line.contains("RLIMIT_AS") {
            part = Part::After;
        }
        let counts = match part {
            Part::Before => &mut reference.before,
            Part::Runtime => &mut reference.runtime,
            Part::After => &mut reference.after,
            Part::Check => &mut reference.check,
        };
        count(counts, line);
        if part == Part::Before && line.starts_with("execve(") {
            part = Part::Runtime;
        }
    }
    assert_eq!(part, Part::After, "{trace}");
    reference
}

/// Each call alone; the first of each part alone where this is not the long run, and none of those that are not our own.
fn tasks(reference: &Reference) -> Vec<Task> {
    let mut tasks = Vec::new();
    for call in TABLE {
        let Some(errno) = errnos(call).first() else {
            continue;
        };
        let made = |counts: &Counts| counts.get(call.name).copied().unwrap_or(0);
        let (before, runtime) = (made(&reference.before), made(&reference.runtime));
        for (part, first, count) in [
            (Part::Before, 1, before),
            (Part::Runtime, before + 1, runtime),
            (Part::After, before + runtime + 1, made(&reference.after)),
            (Part::Check, 1, made(&reference.check)),
        ] {
            let tried = match part {
                _ if long_run() => count,
                Part::Before | Part::After => count.min(1),
                Part::Runtime | Part::Check => 0,
            };
            let beside = |nth| match part {
                Part::Check if nth <= before => Part::Before,
                Part::Check if nth <= before + runtime => Part::Runtime,
                Part::Check => Part::After,
                Part::Before | Part::Runtime | Part::After => part,
            };
            tasks.extend((first..first + tried).map(|nth| Task {
                call: *call,
                part,
                beside: beside(nth),
                fault: Fault {
                    call: call.name,
                    errno,
                    when: When::Only(nth),
                },
            }));
        }
    }
    tasks
}

/// What a fault has left of a supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Lives,
    Ended,
}

/// A supervisor that suffers fault after fault.
struct Scene {
    segue: Segue,
    load: Load,
    open: Vec<String>,
}

impl Scene {
    fn new() -> Self {
        let segue = setup().start();
        segue.reload_ok(&["--settled"]);
        segue.wait_until("all is at rest", at_rest);
        // What the first upgrade changes is no leak.
        assert_eq!(segue.run("upgrade", &[]).code, Some(0));
        Self {
            load: Load::start(Kind::Fresh, &segue.target(), 1),
            open: open_by(segue.process().pid()),
            segue,
        }
    }

    fn suffer(&mut self, task: &Task) -> Met {
        let before = self.segue.status();
        let mark = self.segue.process().mark();
        let suffered = Suffered::by(self.segue.process().pid(), &task.fault, task.whom());
        let done = self.segue.run("upgrade", &["--timeout", "30s"]);
        let met = suffered.detach();
        println!("{task}, met {met:?}: {}", told(&done));
        match self.comes_through() {
            Life::Ended if task.may_end_it() => self.segue.resume(),
            Life::Lives => self.is_told(task, &done, mark),
            Life::Ended => panic!("{task}: it ended: {done:?}\n{}", self.log(mark)),
        }
        let after = self.segue.wait_until(&format!("{task}: all is at rest"), at_rest);
        unharmed(&before, &after, &task.fault, &self.segue);
        self.load.wait_for_more(2);
        if done.code != Some(0) {
            let again = self.segue.run("upgrade", &[]);
            assert_eq!(again.code, Some(0), "{task}: and then: {again:?}");
        }
        match task.call.fails {
            Fails::Leaking(_) => {}
            Fails::With(_) | Fails::Ending(_) | Fails::Never(_) => {
                nothing_is_left_open(&self.segue, &self.open, &task.fault);
            }
        }
        met
    }

    /// Waits until it answers, for then it has survived the fault, or until it has ended.
    fn comes_through(&self) -> Life {
        let end = Instant::now() + patience();
        loop {
            let mark = self.segue.process().mark();
            if !self.segue.process().is_running() {
                return Life::Ended;
            }
            if self.segue.run("status", &["--timeout", "5s"]).code == Some(0) {
                return Life::Lives;
            }
            assert!(Instant::now() < end, "it neither answers nor ends");
            self.segue.process().wait_for_news(mark);
        }
    }

    fn log(&self, mark: usize) -> String {
        let log = self.segue.process().log();
        log[mark..]
            .iter()
            .map(|line| format!("{}\n", line.text))
            .collect()
    }

    /// The client that asked for the upgrade knows what came of it.
    fn is_told(&self, task: &Task, done: &Finished, mark: usize) {
        let lost = LOSE_THE_CLIENT.contains(&task.fault.call);
        let refused = done.stderr.starts_with("segue: upgrade failed: ");
        let known = match (done.code, task.part) {
            (Some(0), _) => true,
            // Its own words, or the loader's.
            (Some(1), Part::Check) => refused || lost,
            // What cannot be taken over is handed over anew, and so only who waits can be lost.
            (Some(1), Part::Runtime | Part::After) => lost,
            (Some(1), Part::Before) => {
                lost || refused && done.stderr.to_lowercase().contains(&text_of(&task.fault))
            }
            _ => false,
        };
        let log = self.log(mark);
        assert!(known, "{task}: {done:?}\n{log}");
    }

    fn end(self) {
        self.load.stop().assert_nothing_lost();
        self.segue.stop();
    }
}

/// How the reason is worded.
fn text_of(fault: &Fault) -> String {
    if fault.call.starts_with("clone") && fault.errno == "EAGAIN" {
        return "no more processes allowed".to_owned();
    }
    let known = (1..200).map(Errno::from_raw);
    let errno = known
        .into_iter()
        .find(|known| format!("{known:?}") == fault.errno)
        .expect("a known errno");
    errno.desc().to_lowercase()
}
