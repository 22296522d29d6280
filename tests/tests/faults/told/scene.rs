//! One supervisor that suffers fault after fault, and what is checked after each.

use std::collections::BTreeMap;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use segue_tests::http::Target;
use segue_tests::load::{Kind, Load};
use segue_tests::proc;
use segue_tests::process::Finished;
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};

use super::Fault;
use super::strace::Strace;

/// A supervisor, and how many fds it has at rest.
pub(crate) struct Scene {
    segue: Segue,
    target: Target,
    fds: usize,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let setup = Setup::new(Program::new("./app"));
        setup.deploy("app", &Program::fixture("good"));
        let pid_file = setup.path("pid");
        let segue = setup
            .flags([
                "--probation",
                "50ms",
                "--drain-timeout",
                "2s",
                "--start-timeout",
                "10s",
            ])
            .flags(["--pid-file".into(), pid_file.into_os_string()])
            .start();
        let target = segue.target();
        let mut scene = Self {
            segue,
            target,
            fds: 0,
        };
        scene.quiet_story();
        scene.rough_story();
        scene.fds = scene.at_rest();
        scene
    }

    /// Which calls the stories make, and how often.
    pub(crate) fn calls(&self) -> BTreeMap<String, usize> {
        let strace = self.trace(&[]);
        self.quiet_story();
        self.rough_story();
        let mut seen = BTreeMap::new();
        for line in strace.detach() {
            if let Some((call, _)) = line.split_once('(')
                && call
                    .chars()
                    .all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
            {
                *seen.entry(call.to_owned()).or_default() += 1;
            }
        }
        seen
    }

    /// Lets a call fail in the midst of the stories, and checks that
    ///
    /// * while nothing of the app was meant to crash, no request was lost;
    /// * the supervisor lives, and every command was answered;
    /// * the kernel's reason is in the log or in an answer, unless the table says why nobody is told;
    /// * a reload without faults works afterwards, and nothing is left open.
    pub(crate) fn suffer(&self, fault: &Fault) {
        let mark = self.segue.process().mark();
        let inject = format!(
            "inject={}:error={}:when={}",
            fault.row.call, fault.errno, fault.when
        );
        let strace = self.trace(&[format!("trace={}", fault.row.call), inject]);
        let mut said = self.quiet_story();
        said += &self.rough_story();
        let lines = strace.detach();
        let log = self.segue.process().log();
        let log: Vec<_> = log.iter().skip(mark).map(|line| line.text.as_str()).collect();
        let log = log.join("\n");
        said += &log;
        for line in lines.iter().filter(|line| line.contains("(INJECTED)")) {
            let quiet = fault.row.quiet.iter().any(|(part, _)| line.contains(part));
            assert!(
                quiet || said.contains(text_of(fault.errno)),
                "nobody was told: {line}\nlog:\n{log}"
            );
        }
        assert!(self.segue.process().is_running(), "the supervisor ended:\n{log}");
        let fds = self.at_rest();
        assert!(
            fds <= self.fds,
            "{fds} fds, {} before: {lines:?}: {:?}\nlog:\n{log}",
            self.fds,
            proc::descriptors(self.segue.process().pid())
        );
    }

    /// Stops it in good order; nothing is left.
    pub(crate) fn end(self) {
        self.segue.stop();
    }

    fn trace(&self, expressions: &[String]) -> Strace {
        Strace::attach(
            self.segue.process().pid(),
            &self.segue.path("strace"),
            expressions,
        )
    }

    /// Nothing that was asked for here may cost a request.
    fn quiet_story(&self) -> String {
        let load = Load::start(Kind::Fresh, &self.target, 1);
        let mut said = Vec::new();
        said.push(self.segue.reload(&["--drained"]));
        self.segue.deploy("app", &Program::fixture("crash-at-start"));
        said.push(self.segue.reload(&[]));
        self.segue.deploy("app", &Program::fixture("good"));
        said.push(self.segue.run("workers", &["2"]));
        said.push(self.segue.run("workers", &["1"]));
        said.push(self.segue.run("status", &[]));
        load.wait_for_more(3);
        load.stop().assert_nothing_lost();
        joined(&said)
    }

    /// A rollback and a crash.
    fn rough_story(&self) -> String {
        let mut said = vec![self.segue.reload(&["--settled"])];
        self.segue
            .deploy("app", &Program::fixture("ready-then-dies after=1ms"));
        said.push(self.segue.reload(&["--settled"]));
        self.segue.deploy("app", &Program::fixture("good"));
        let status = self
            .segue
            .wait_until("serves", |status| status.state() == "serving");
        let worker = status.0["generations"][0]["workers"][0]["pid"].as_i64();
        if let Some(worker) = worker.and_then(|worker| i32::try_from(worker).ok()) {
            let _ = kill(Pid::from_raw(worker), Signal::SIGKILL);
            self.segue.wait_until("another one serves", |status| {
                status.state() == "serving"
                    && status.0["generations"][0]["workers"][0]["pid"].as_i64() != Some(worker.into())
            });
        }
        joined(&said)
    }

    /// How many fds are open when a reload without faults has been done and nobody drains.
    fn at_rest(&self) -> usize {
        self.segue.reload_ok(&["--drained"]);
        self.segue.reload_ok(&["--settled"]);
        let end = Instant::now() + segue_tests::patience();
        loop {
            let fds = proc::descriptors(self.segue.process().pid()).len();
            if fds <= self.fds
                || (self.fds == 0 && proc::children(self.segue.process().pid()).len() == 1)
                || Instant::now() > end
            {
                return fds;
            }
            self.segue.process().wait_for_news(self.segue.process().mark());
        }
    }
}

fn joined(said: &[Finished]) -> String {
    said.iter()
        .flat_map(|done| [done.stdout.as_str(), done.stderr.as_str()])
        .collect()
}

/// How Segue words it.
fn text_of(errno: &str) -> &'static str {
    match errno {
        "EMFILE" => "too many open files",
        "ENFILE" => "too many open files in system",
        "ENOMEM" => "out of memory",
        "EAGAIN" => "no more processes allowed",
        "ENOSPC" => "no space left on device",
        "EDQUOT" => "quota exceeded",
        "EFBIG" => "file too large",
        "EINTR" => "interrupted system call",
        "EIO" => "I/O error",
        "EPERM" => "operation not permitted",
        "EROFS" => "read-only file system",
        "EACCES" => "permission denied",
        "ENOBUFS" => "no buffer space available",
        other => panic!("{other} has no text here"),
    }
}
