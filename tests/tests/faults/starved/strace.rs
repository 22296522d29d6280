//! strace(1): what a supervisor calls, and calls of it that fail.

use std::ffi::OsString;
use std::time::Instant;

use nix::sys::signal::Signal;
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};
use segue_tests::strace::{Counts, Tracer, count, read};
use tempfile::NamedTempFile;

/// Which of the calls of one name fail.
#[derive(Clone, Copy, Debug)]
pub(super) enum When {
    /// The one with this number, counted from 1.
    Only(usize),
    /// That and all that follow.
    From(usize),
}

/// A fault: what strace is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub(super) call: &'static str,
    pub(super) errno: &'static str,
    pub(super) when: When,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.when {
            When::Only(nth) => write!(f, "{} {} (number {nth})", self.call, self.errno),
            When::From(nth) => write!(f, "{} {} (from number {nth} on)", self.call, self.errno),
        }
    }
}

impl Fault {
    fn words(&self) -> [String; 4] {
        let when = match self.when {
            When::Only(nth) => nth.to_string(),
            When::From(nth) => format!("{nth}+"),
        };
        [
            "-e".to_owned(),
            format!("trace={}", self.call),
            "-e".to_owned(),
            format!("inject={}:error={}:when={when}", self.call, self.errno),
        ]
    }

    /// In front of `segue run`: the fault is there from the start. The process that is started is the supervisor's (`-D`).
    pub(super) fn opener(&self) -> Vec<String> {
        let fixed = ["strace", "-D", "-qq", "-o", "/dev/null"].map(str::to_owned);
        fixed.into_iter().chain(self.words()).collect()
    }
}

/// Whom a fault meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whom {
    /// The supervisor alone.
    Supervisor,
    /// Its children, too, until they have executed.
    Children,
    /// Its children, too, even when they have executed: the check of an upgrade.
    Check,
}

/// Whether a fault has met anybody: the call that it was meant for need not have been made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Met {
    Somebody,
    Nobody,
}

/// A fault that a running supervisor suffers.
pub(super) struct Suffered {
    tracer: Tracer,
    trace: NamedTempFile,
}

impl Suffered {
    /// Gives a running supervisor a fault until it is detached.
    #[track_caller]
    pub(super) fn by(pid: i32, fault: &Fault, whom: Whom) -> Self {
        let children: &[&str] = match whom {
            Whom::Supervisor => &[],
            Whom::Children => &["-f", "-b", "execve"],
            Whom::Check => &["-f"],
        };
        let trace = NamedTempFile::new().expect("a file for the trace");
        let to = ["-o".into(), trace.path().into()];
        let arguments = to.into_iter().chain(children.iter().map(OsString::from));
        let words = fault.words().map(OsString::from);
        Self {
            tracer: Tracer::attach(pid, arguments.chain(words)),
            trace,
        }
    }

    /// Makes an end of it.
    pub(super) fn detach(self) -> Met {
        self.tracer.detach();
        if read(self.trace.path()).contains("(INJECTED)") {
            Met::Somebody
        } else {
            Met::Nobody
        }
    }
}

/// What a supervisor and its children call in a normal life.
#[derive(Debug, Default)]
pub(super) struct Reference {
    /// Before `main`.
    pub(super) runtime: Counts,
    /// From `main` until the first generation serves.
    pub(super) start: Counts,
    /// From then until the stop is asked for.
    pub(super) life: Counts,
    /// From then on.
    pub(super) stop: Counts,
    /// What a child calls before it executes.
    pub(super) child: Counts,
}

impl Reference {
    /// Every call that was seen.
    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        let all = [&self.runtime, &self.start, &self.life, &self.stop, &self.child];
        all.into_iter().flat_map(Counts::keys)
    }
}

/// Start, reload, failed reload, crash and restart, number of workers, status and stop, all of it recorded.
pub(super) fn record() -> Reference {
    let setup = Setup::new(Program::new("./app"));
    let trace = setup.path("trace");
    setup.deploy("app", &Program::fixture("good"));
    let mut words = ["strace", "-D", "-s", "200", "-q", "-o"]
        .map(OsString::from)
        .to_vec();
    words.push(trace.clone().into());
    let segue = setup.opened_by(words).flags(super::FLAGS).start();
    live(&segue);
    let _ = segue.run("stop", &[]);
    let _ = segue.process().wait_for_exit();
    let end = Instant::now() + segue_tests::patience();
    // The line that says so is the tracer's last.
    while !read(&trace).contains("+++ exited") {
        assert!(Instant::now() < end, "strace does not end");
        std::thread::sleep(segue_tests::LOOK);
    }
    let mut reference = split(&read(&trace));
    reference.child = record_child();
    reference
}

/// What a child calls before it executes.
fn record_child() -> Counts {
    let setup = Setup::new(Program::new("./app"));
    let prefix = setup.path("trace");
    setup.deploy("app", &Program::fixture("good"));
    let segue = setup.flags(super::FLAGS).start();
    let to = ["-f", "-b", "execve", "-ff", "-o"].map(OsString::from);
    let arguments = to.into_iter().chain([prefix.clone().into()]);
    let tracer = Tracer::attach(segue.process().pid(), arguments);
    segue.reload_ok(&[]);
    tracer.detach();
    let pid = segue.status().pids(2)[0];
    let mut counts = Counts::new();
    let text = read(&prefix.with_extension(pid.to_string()));
    text.lines().for_each(|line| count(&mut counts, line));
    assert!(counts.contains_key("execve"), "{text}");
    segue.stop();
    counts
}

fn live(segue: &Segue) {
    segue.reload_ok(&["--drained"]);
    segue.deploy("app", &Program::new("false"));
    assert_eq!(segue.reload(&[]).code, Some(1));
    segue.deploy("app", &Program::fixture("good"));
    segue.reload_ok(&["--settled"]);
    let status = segue.status();
    let pid = status.pids(status.generation())[0];
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL);
    let again = segue.wait_until("it was started again", |status| {
        status.state() == "serving" && !status.pids(status.generation()).contains(&pid)
    });
    assert_eq!(again.count("restarts"), 1);
    assert_eq!(segue.run("workers", &["2"]).code, Some(0));
    assert_eq!(segue.run("workers", &["1"]).code, Some(0));
    segue.signal(Signal::SIGHUP);
    segue.wait_until("reloaded and at rest", |status| {
        status.state() == "serving"
            && status.generation() > again.generation()
            && status.in_role("retired").is_empty()
    });
}

fn split(supervisor: &str) -> Reference {
    let mut reference = Reference::default();
    /// The part of a life that a line belongs to.
    enum Part {
        Runtime,
        Start,
        Life,
        Stop,
    }
    let mut part = Part::Runtime;
    for line in supervisor.lines() {
        // The first thing that main does.
        if matches!(part, Part::Runtime) && line.contains("RLIMIT_AS") {
            part = Part::Start;
        }
        match part {
            Part::Runtime => count(&mut reference.runtime, line),
            Part::Start => count(&mut reference.start, line),
            Part::Life => count(&mut reference.life, line),
            Part::Stop => count(&mut reference.stop, line),
        }
        if line.contains("generation 1 serves") {
            part = Part::Life;
        }
        if line.contains(": stop asked for by") {
            part = Part::Stop;
        }
    }
    reference
}
