//! What an app that has failed said at last: on its standard error, and by STATUS= and ERRNO=.

use std::collections::BTreeSet;
use std::path::Path;

use nix::unistd::Pid;
use segue_lifecycle::{Cause, Number, Worker};

use super::Shell;
use crate::clock;
use crate::protocol::{LastWords, StderrKind, StderrPlace, one_line, rfc3339};
use crate::stderr::{LastLines, Stderr, StderrFile, last_lines};

/// The longest path that is shown, in characters.
const LONGEST_PATH: usize = 1024;

impl Shell {
    /// `; its stderr ends: "no database"; its last STATUS: "booted" (errno 111: connection refused)`, as far as it is known.
    pub(super) fn last_words(&self, worker: Worker) -> String {
        let Some(info) = self.workers.get(&worker) else {
            return String::new();
        };
        let status = info.last_status();
        match self.last_lines(worker) {
            Some(last) if !last.lines.is_empty() => {
                let others = self.others_in(worker);
                let whose = if others.is_empty() {
                    "its stderr".to_owned()
                } else {
                    format!("stderr (also of {others})")
                };
                format!("; {}{status}", last.quoted(&whose))
            }
            Some(_) if status.is_empty() => "; nothing on its stderr".to_owned(),
            Some(_) | None => status,
        }
    }

    /// The same, where it is not certain that there is such a worker.
    pub(super) fn last_words_of(&self, worker: Option<Worker>) -> String {
        worker.map(|worker| self.last_words(worker)).unwrap_or_default()
    }

    /// The same for programs: the lines, and where they are.
    pub(super) fn words_after(&self, cause: Cause) -> LastWords {
        let worker = match cause {
            Cause::NotPrepared => None,
            Cause::NotSpawned(worker)
            | Cause::Exited(worker)
            | Cause::NotReady(worker)
            | Cause::Stuck(worker) => Some(worker),
            Cause::Unheld(number) | Cause::Deaf(number) => self.first_worker(number),
            Cause::Probe => self.probes.newest().and_then(|number| self.first_worker(number)),
        };
        let Some(worker) = worker else {
            return LastWords::default();
        };
        let last_lines = self.last_lines(worker).map(|last| last.lines.clone());
        LastWords {
            last_lines: last_lines.unwrap_or_default(),
            stderr: self.stderr_place(worker),
        }
    }

    /// The worker that speaks for a generation where no single one is to blame.
    pub(super) fn first_worker(&self, number: Number) -> Option<Worker> {
        let mut workers = self.workers.keys().filter(|worker| worker.generation == number);
        workers.next().copied()
    }

    fn stderr_place(&self, worker: Worker) -> Option<StderrPlace> {
        let info = self.workers.get(&worker)?;
        let path = |path: &Path| Some(one_line(&path.to_string_lossy(), LONGEST_PATH));
        let new = StderrPlace::new;
        Some(match info.stderr.as_ref()? {
            Stderr::File(file) => {
                let kind = match self.last_lines(worker) {
                    None => StderrKind::UnreadFile,
                    Some(_) if self.others_in(worker).is_empty() => StderrKind::File,
                    Some(_) => StderrKind::SharedFile,
                };
                StderrPlace {
                    path: path(&file.path),
                    ..new(kind)
                }
            }
            Stderr::Journal(identifier) => {
                let age = clock::now().saturating_duration_since(info.started);
                StderrPlace {
                    identifier: Some(identifier.clone()),
                    pid: info.pid.map(Pid::as_raw),
                    since: clock::wall().checked_sub(age).map(rfc3339),
                    ..new(StderrKind::Journal)
                }
            }
            Stderr::Terminal(name) => StderrPlace {
                path: path(name),
                ..new(StderrKind::Terminal)
            },
            Stderr::Device(name) => StderrPlace {
                path: path(name),
                ..new(StderrKind::Device)
            },
            Stderr::Null => new(StderrKind::Null),
            Stderr::Pipe => new(StderrKind::Pipe),
            Stderr::Socket => new(StderrKind::Socket),
            Stderr::Other => new(StderrKind::Other),
        })
    }

    /// The last lines of a worker's standard error, if that is a file that can be read. They are read when they are asked for first,
    /// which is when the worker has failed.
    pub(super) fn last_lines(&self, worker: Worker) -> Option<&LastLines> {
        let info = self.workers.get(&worker)?;
        let Some(Stderr::File(file)) = &info.stderr else {
            return None;
        };
        let read = || last_lines(file, |line| self.log.is_ours(line));
        info.last_lines.get_or_init(read).as_ref()
    }

    /// Who else writes to the file that is a worker's standard error: `generation 1`, `other workers`. Empty if nobody does.
    fn others_in(&self, worker: Worker) -> String {
        let others: BTreeSet<Number> = match self.workers.get(&worker).and_then(|info| info.stderr.as_ref()) {
            Some(Stderr::File(file)) => self.writers_of(file, worker),
            Some(_) | None => BTreeSet::new(),
        };
        let numbers: Vec<String> = others
            .iter()
            .filter(|number| **number != worker.generation)
            .map(|number| format!("generation {number}"))
            .collect();
        match (numbers.is_empty(), others.contains(&worker.generation)) {
            (true, true) => "other workers".to_owned(),
            (true, false) => String::new(),
            (false, true | false) => numbers.join(", "),
        }
    }

    fn writers_of(&self, file: &StderrFile, but: Worker) -> BTreeSet<Number> {
        let writes = |stderr: &Option<Stderr>| match stderr {
            Some(Stderr::File(other)) => other.id == file.id,
            Some(_) | None => false,
        };
        let mut numbers = BTreeSet::new();
        for (worker, info) in &self.workers {
            if *worker != but && writes(&info.stderr) {
                numbers.insert(worker.generation);
            }
        }
        numbers
    }
}
