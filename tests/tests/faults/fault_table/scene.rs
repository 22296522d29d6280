//! Runs a row: incumbent, load, story, verdict.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use segue_tests::binaries::Binary;
use segue_tests::ledger::{Reason, Tally};
use segue_tests::load::{Kind, Load};
use segue_tests::proc;
use segue_tests::process::Finished;
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};

use super::{Fault, Lost, New, ON_PROBATION, files};

/// With these flags, `segue dev` runs in the place of `segue run`.
pub(super) const DEVELOPED: &[&str] = &["--watch", "src", "--build", "cp src/app app"];

/// What it builds from.
pub(super) const SOURCE: &str = "src/app";

/// The stage of one row.
pub(super) struct Scene {
    pub(super) segue: Segue,
    fault: &'static Fault,
    load: Vec<Load>,
}

/// Runs one row to its end and checks everything that it promises.
pub(super) fn run(fault: &'static Fault) {
    let scene = Scene::open(fault);
    let done = (fault.story)(&scene);
    scene.judge(&done);
}

impl Scene {
    fn open(fault: &'static Fault) -> Self {
        let setup = match fault.config {
            Some(_) => Setup::from_config(),
            None => Setup::new(Program::new("./app")),
        };
        let accepted = setup.path("accepted");
        let directory = setup.path("");
        let fill = |text: &str| filled(text, &directory.to_string_lossy());
        if let Some(text) = fault.config {
            std::fs::write(setup.path("segue.toml"), fill(text)).unwrap();
        }
        setup.deploy("app", &Program::fixture(fault.incumbent));
        let setup = if is_developed(fault) {
            std::fs::create_dir(setup.path("src")).unwrap();
            setup.deploy(SOURCE, &Program::fixture(fault.incumbent));
            setup.developed()
        } else {
            setup
        };
        let (setup, flags) = match fault.flags.strip_prefix(ON_PROBATION) {
            Some(others) => (setup.trusted_at_once(), others),
            None => (setup.flags(default_flags(fault)), fault.flags),
        };
        let segue = setup
            .env("FIXTURE_ACCEPTED", accepted)
            .flags(fault.config.iter().flat_map(|_| ["--config", "segue.toml"]))
            .flags(flags.iter().map(|flag| fill(flag)))
            .start();
        let target = segue.target();
        let load = [Kind::Fresh, Kind::KeepAlive]
            .map(|kind| Load::start(kind, &target, 1))
            .into();
        Self { segue, fault, load }
    }

    /// From the next reload on, generations are on probation: for rows with [`ON_PROBATION`].
    pub(super) fn distrust(&self) {
        self.segue.distrust();
    }

    /// Puts the row's new version in its place.
    pub(super) fn deploy(&self) {
        self.deploy_at(&self.segue.path("app"));
    }

    /// Puts the row's new version at a path.
    pub(super) fn deploy_at(&self, app: &Path) {
        match self.fault.new {
            New::App(line) => deploy(app, &Program::fixture(line)),
            New::Script(text) => {
                let fixture = Binary::Fixture.path();
                let segue = Binary::Segue.path();
                let text = text
                    .replace("{fixture}", &fixture.to_string_lossy())
                    .replace("{segue}", &segue.to_string_lossy());
                let words = ["-c".to_owned(), text];
                deploy(app, &Program::new("/bin/sh").args(words));
            }
            New::File(make) => make(app),
            New::Config(text) => {
                let text = filled(text, &self.segue.path("").to_string_lossy());
                std::fs::write(self.segue.path("segue.toml"), text).unwrap();
            }
        }
    }

    /// Puts a fixture in the app's place.
    pub(super) fn deploy_app(&self, line: &str) {
        self.segue.deploy("app", &Program::fixture(line));
    }

    /// `segue reload` with the row's flags, to its end.
    pub(super) fn reload(&self) -> Finished {
        self.segue.reload(self.fault.reload)
    }

    /// The plain story.
    pub(super) fn deploy_and_reload(&self) -> Finished {
        self.deploy();
        self.reload()
    }

    /// Waits for a line of the log that matches a pattern.
    #[track_caller]
    pub(super) fn logged(&self, pattern: &str) {
        self.logged_times(pattern, 1);
    }

    /// Waits for so many lines of the log that match a pattern.
    #[track_caller]
    pub(super) fn logged_times(&self, pattern: &str, times: usize) {
        let end = Instant::now() + segue_tests::patience();
        let process = self.segue.process();
        loop {
            let mark = process.mark();
            let log = process.log();
            let found = log.iter().filter(|line| matches(pattern, own_words(&line.text)));
            if found.count() >= times {
                return;
            }
            assert!(
                Instant::now() < end,
                "not in the log: {pattern}\n{}",
                process.stderr()
            );
            process.wait_for_news(mark);
        }
    }

    /// The pid of a generation's first worker, once it has one.
    #[track_caller]
    pub(super) fn pid(&self, generation: u64) -> Pid {
        let status = self
            .segue
            .wait_until("a worker", |status| !status.pids(generation).is_empty());
        Pid::from_raw(status.pids(generation)[0])
    }

    /// Kills a generation's first worker from outside, as an operator or the kernel would.
    #[track_caller]
    pub(super) fn kill(&self, generation: u64, signal: Signal) {
        nix::sys::signal::kill(self.pid(generation), signal).unwrap();
    }

    /// Waits until a generation has answered something that was asked from now on.
    #[track_caller]
    pub(super) fn answered_by(&self, generation: u64) {
        let key = generation.to_string();
        for load in &self.load {
            let so_far = count(&load.ledger().tally(), &key);
            // The request under way may be older than the question.
            load.ledger()
                .wait_until(&format!("answers of generation {generation}"), |tally| {
                    count(tally, &key) >= so_far + 2
                });
        }
    }

    /// Waits until a generation's first worker has stopped itself (a fixture's vice): `SIGCONT` lets it go on.
    #[track_caller]
    pub(super) fn held(&self, generation: u64) {
        let pid = self.pid(generation).as_raw();
        let end = Instant::now() + segue_tests::patience();
        while proc::look(pid).is_none_or(|seen| seen.state != 'T') {
            assert!(
                Instant::now() < end,
                "not stopped: pid {pid}\n{}",
                self.segue.process().stderr()
            );
            std::thread::sleep(segue_tests::LOOK);
        }
    }

    fn judge(mut self, done: &Finished) {
        let fault = self.fault;
        let log = self.segue.process().stderr();
        assert_eq!(done.code, Some(fault.exit), "exit code; {done:?}\n{log}");
        let printed = [&done.stdout, &done.stderr];
        let said = printed
            .iter()
            .any(|text| text.lines().any(|line| matches(fault.says, &without_place(line))));
        assert!(said, "not said: {}\n{done:?}\n{log}", fault.says);
        fault.logs.iter().for_each(|pattern| self.logged(pattern));
        if fault.serves == 0 {
            self.close_ended();
            return;
        }
        self.segue.wait_until("the right generation serves", |status| {
            status.state() == "serving" && status.generation() == fault.serves
        });
        assert_eq!(self.segue.status().last_outcome(), fault.outcome, "{log}");
        self.answered_by(fault.serves);
        let tally = self.stop_load();
        self.judge_losses(&tally);
        if is_developed(fault) {
            self.segue.signal(Signal::SIGINT);
            self.segue.ended();
        } else {
            self.segue.stop();
        }
    }

    /// The supervisor was stopped: what it refused from then on is no loss of a reload.
    fn close_ended(mut self) {
        let _ = self.stop_load();
        self.segue.ended();
    }

    fn stop_load(&mut self) -> Tally {
        let mut sum = Tally::default();
        self.load.drain(..).for_each(|load| sum.add(load.stop()));
        sum
    }

    fn judge_losses(&self, tally: &Tally) {
        let log = self.segue.process().stderr();
        let accounted = tally.answered + tally.declined + tally.lost.len() as u64;
        assert_eq!(tally.sent, accounted, "unaccounted requests: {tally}");
        match self.fault.lost {
            Lost::Nothing => assert!(tally.lost.is_empty(), "{tally}\n{log}"),
            Lost::AcceptedBy(generations) => {
                let accepted = self.accepted_by(generations);
                let others = tally.lost.iter().filter(|(_, _, loss)| {
                    let port = loss.port.unwrap_or(0);
                    !accepted.contains(&port) || loss.reason == Reason::TimedOut
                });
                // A process that is killed can have accepted one connection that it had no time to note.
                assert!(others.count() <= usize::from(self.kills()), "{tally}\n{log}");
            }
            Lost::Unconnected => {
                let finds_none = format!("os error {}", nix::errno::Errno::ENOENT as i32);
                let others = tally
                    .lost
                    .iter()
                    .filter(|(_, _, loss)| !loss.detail.contains(&finds_none));
                assert_eq!(others.count(), 0, "{tally}\n{log}");
            }
            Lost::Queued => {
                let longest = tally
                    .lost
                    .iter()
                    .filter(|(_, _, loss)| loss.reason == Reason::TimedOut);
                assert_eq!(longest.count(), 0, "{tally}\n{log}");
            }
        }
    }

    fn kills(&self) -> bool {
        let log = self.segue.process().stderr();
        // SIGABRT, after which nothing is noted either.
        ["killed", "no WATCHDOG=1"]
            .iter()
            .any(|words| log.contains(words))
    }

    fn accepted_by(&self, generations: &[u64]) -> BTreeSet<u16> {
        let text = std::fs::read_to_string(self.segue.path("accepted")).unwrap();
        let noted = text.lines().filter_map(|line| {
            let (generation, port) = line.split_once(' ')?;
            Some((generation.parse::<u64>().ok()?, port.parse().ok()?))
        });
        noted
            .filter(|(generation, _)| generations.contains(generation))
            .map(|(_, port)| port)
            .collect()
    }
}

/// A script that execs a program, renamed into its place.
fn deploy(app: &Path, program: &Program) {
    let text = format!("#!/bin/sh\nexec {} \"$@\"\n", program.shell_words());
    files::replace(app, text.as_bytes(), 0o755);
}

fn is_developed(fault: &Fault) -> bool {
    fault.flags.starts_with(DEVELOPED)
}

/// Trust at once, unless the row is about probation: otherwise a generation that was well would be on probation still.
fn default_flags(fault: &Fault) -> &'static [&'static str] {
    if fault.flags.contains(&"--probation") {
        &[]
    } else {
        &["--probation", "none"]
    }
}

fn count(tally: &Tally, generation: &str) -> u64 {
    tally.by_generation.get(generation).copied().unwrap_or(0)
}

fn filled(text: &str, directory: &str) -> String {
    let text = text.replace("{dir}", directory.trim_end_matches('/'));
    if text.contains("{poll}") {
        return text.replace("{poll}", &Binary::SeguePoll.path().to_string_lossy());
    }
    text
}

/// A line of the log without its prefix.
pub(super) fn own_words(line: &str) -> &str {
    match line.split_once("]: ") {
        Some((prefix, words)) if prefix.starts_with("segue[") => words,
        Some(_) | None => line,
    }
}

/// Whether a whole line is as the pattern says, in which `…` stands for anything.
pub(super) fn matches(pattern: &str, line: &str) -> bool {
    let Some((front, back)) = pattern.split_once('…') else {
        return pattern == line;
    };
    let Some(rest) = line.strip_prefix(front) else {
        return false;
    };
    let starts = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
    starts.into_iter().any(|at| matches(back, &rest[at..]))
}

/// A line without the words on where the stderr of the version that failed went: here it is always the pipe of the harness.
fn without_place(line: &str) -> String {
    let Some((before, rest)) = line.split_once("; the stderr of generation ") else {
        return line.to_owned();
    };
    let place = rest.split_once(" is a pipe");
    place.map_or_else(|| line.to_owned(), |(_, after)| format!("{before}{after}"))
}
