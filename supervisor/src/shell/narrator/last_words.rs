//! What an app that has failed said at last: on its standard error, and by STATUS= and ERRNO=.

use std::collections::BTreeSet;
use std::path::Path;

use nix::unistd::Pid;
use segue_lifecycle::{Cause, Number, Record, Worker};

use crate::clock;
use crate::listeners::{Listener, shares};
use crate::protocol::{LastWords, StderrKind, StderrPlace, one_line, rfc3339};
use crate::shell::narrator::view::View;
use crate::stderr::{LastLines, Stderr, last_lines};

/// The longest path that is shown, in characters.
const LONGEST_PATH: usize = 1024;

/// The number of the first socket that an app is lent, sd_listen_fds(3).
const FIRST_FD: usize = 3;

impl View<'_> {
    /// `; its stderr ends: "no database"; its last STATUS: "booted" (errno 111: connection refused)`, as far as it is known.
    pub(crate) fn last_words(&self, worker: Worker) -> String {
        let Some(info) = self.fleet.workers.get(&worker) else {
            return String::new();
        };
        let status = info.last_status();
        let words = match self.last_lines(worker) {
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
        };
        words + &self.whose_port(worker).unwrap_or_default()
    }

    /// `; segue has this port; the app must take the socket at fd 3`, if it failed because it bound an address that it was lent.
    fn whose_port(&self, worker: Worker) -> Option<String> {
        let lines = self
            .last_lines(worker)
            .map_or(&[][..], |last| last.lines.as_slice());
        let complaint = lines.iter().rev().find(|line| tells_of_a_busy_address(line));
        let info = self.fleet.workers.get(&worker)?;
        if complaint.is_none() && info.errno != Some(libc::EADDRINUSE) {
            return None;
        }
        let complaint = complaint.map_or("", String::as_str);
        // By the record that was made for it: the core may have buried the generation by now.
        let birth = self.records.births.get(&Record(worker.generation))?;
        let began_with = self
            .records
            .generations
            .get(&worker.generation)?
            .began_with
            .unwrap_or(1);
        let lane = self.core.lane_of(worker.generation);
        let lent: Vec<String> = shares(&birth.listeners, lane, worker.slot, began_with)
            .into_iter()
            .map(Listener::address_text)
            .collect();
        place_of_the_busy(complaint, &lent).map(|place| {
            let fd = FIRST_FD + place;
            format!("; segue has this port; the app must take the socket at fd {fd}")
        })
    }

    /// The same, where it is not certain that there is such a worker.
    pub(crate) fn last_words_of(&self, worker: Option<Worker>) -> String {
        worker.map(|worker| self.last_words(worker)).unwrap_or_default()
    }

    /// The same for programs: the lines, and where they are.
    pub(crate) fn words_after(&self, cause: Cause) -> LastWords {
        let worker = match cause {
            Cause::NotPrepared | Cause::NotSwitched(_) => None,
            Cause::NotSpawned(worker)
            | Cause::Exited(worker)
            | Cause::NotReady(worker)
            | Cause::Stuck(worker) => Some(worker),
            Cause::Unheld(number) | Cause::Deaf(number) | Cause::Unaccepted(number) => {
                self.first_worker(number)
            }
            Cause::Probe => self
                .fleet
                .probes
                .newest()
                .and_then(|number| self.first_worker(number)),
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
    pub(crate) fn first_worker(&self, number: Number) -> Option<Worker> {
        let mut workers = self
            .fleet
            .workers
            .keys()
            .filter(|worker| worker.generation == number);
        workers.next().copied()
    }

    fn stderr_place(&self, worker: Worker) -> Option<StderrPlace> {
        let info = self.fleet.workers.get(&worker)?;
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
    pub(crate) fn last_lines(&self, worker: Worker) -> Option<&LastLines> {
        let info = self.fleet.workers.get(&worker)?;
        let Some(Stderr::File(file)) = &info.stderr else {
            return None;
        };
        let read = || last_lines(file, |line| self.log.is_ours(line));
        info.last_lines.get_or_init(read).as_ref()
    }

    /// Who else writes to the file that is a worker's standard error: `generation 1`, `other workers`. Empty if nobody does.
    fn others_in(&self, worker: Worker) -> String {
        let others: BTreeSet<Number> = match self
            .fleet
            .workers
            .get(&worker)
            .and_then(|info| info.stderr.as_ref())
        {
            Some(Stderr::File(file)) => self.fleet.writers_of(file, worker),
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
}

/// Whether a line says that an address is in use: in the words of errno(3), of Node, or of Gunicorn.
fn tells_of_a_busy_address(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    let words = ["address already in use", "eaddrinuse", "connection in use"];
    words.iter().any(|words| line.contains(words))
}

/// Which of these listeners a complaint about a busy address is about, from 0. If it names a port, by that; if it names none, and
/// there is one listener, that one.
fn place_of_the_busy(complaint: &str, lent: &[String]) -> Option<usize> {
    let named: Vec<&str> = ports_in(complaint).collect();
    let is_named = |address: &String| {
        let port = address.rsplit(':').next().unwrap_or_default();
        named.contains(&port)
    };
    if named.is_empty() {
        return (lent.len() == 1).then_some(0);
    }
    lent.iter().position(is_named)
}

/// What stands where a port would: digits behind a colon, or behind a comma and a blank.
fn ports_in(line: &str) -> impl Iterator<Item = &str> {
    let digits = |rest: &str| rest.bytes().take_while(u8::is_ascii_digit).count();
    let after = move |separator: &'static str| {
        line.match_indices(separator).filter_map(move |(at, _)| {
            let rest = line.get(at + separator.len()..)?;
            rest.get(..digits(rest)).filter(|port| !port.is_empty())
        })
    };
    after(":").chain(after(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_about_a_busy_address_is_understood_in_every_language() {
        let lent = ["127.0.0.1:8000", "*:443", "unix:/run/app.sock"].map(str::to_owned);
        for (line, place) in [
            (
                "bind 127.0.0.1:8000: Address already in use (os error 98)",
                Some(0),
            ),
            ("Error: listen EADDRINUSE: address already in use :::443", Some(1)),
            ("[ERROR] Connection in use: ('127.0.0.1', 8000)", Some(0)),
            ("listen tcp :9000: bind: address already in use", None),
            // It names no port, and there are several.
            ("OSError: [Errno 98] Address already in use", None),
        ] {
            assert!(tells_of_a_busy_address(line), "{line}");
            assert_eq!(place_of_the_busy(line, &lent), place, "{line}");
        }
        let one = &lent[..1];
        assert_eq!(
            place_of_the_busy("OSError: [Errno 98] Address already in use", one),
            Some(0)
        );
        assert_eq!(
            place_of_the_busy("listen tcp :9000: bind: address already in use", one),
            None
        );
        assert!(!tells_of_a_busy_address("database at 127.0.0.1:8000 refused"));
    }
}
