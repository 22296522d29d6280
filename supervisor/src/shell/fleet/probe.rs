//! The probe: a shell command that asks the candidate, through a listener of its own, whether it really answers.

use std::collections::BTreeMap;

use std::os::fd::{AsFd as _, BorrowedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use segue_lifecycle::{Event, Number};

use crate::children::ExitStatus;
use crate::launch::{self, WorkerIdentity};
use crate::shell::narrator::view::View;
use crate::shell::{Child, Shell};
use crate::state::{Field as _, Fields as _, Flaw, Row, Rows, Whole as _, whole};
use crate::sys::errno_text;

/// The runs of the probe command.
#[derive(Debug)]
pub(crate) struct Probes {
    /// By generation: the number of the last run, and how it ended if it has.
    runs: BTreeMap<Number, Run>,
}

#[derive(Debug)]
struct Run {
    number: u32,
    end: Option<String>,
}

whole!(Run { "run" number; "end" end; });

impl Probes {
    pub(crate) const fn new() -> Self {
        Self {
            runs: BTreeMap::new(),
        }
    }

    /// How the last run that ended did, in words.
    pub(crate) fn last_end(&self, generation: Number) -> Option<&str> {
        self.runs.get(&generation)?.end.as_deref()
    }

    /// The generation that was probed last.
    pub(crate) fn newest(&self) -> Option<Number> {
        self.runs.keys().next_back().copied()
    }

    pub(crate) fn forget(&mut self, generation: Number) {
        self.runs.remove(&generation);
    }

    /// Write a row for each generation that was probed.
    pub(crate) fn save(&self, rows: &mut Rows) {
        for (generation, run) in &self.runs {
            generation.write("generation", rows.begin("probed"));
            run.save_fields(rows);
        }
    }

    /// Read them.
    pub(crate) fn restore(rows: &[Row<'_>]) -> Result<Self, Flaw> {
        let mut probes = Self::new();
        for row in rows.iter().filter(|row| row.kind() == "probed") {
            let generation = Number::read("generation", *row)?;
            probes.runs.insert(generation, Run::of_row(*row)?);
        }
        Ok(probes)
    }
}

impl Shell {
    /// Run the probe command once.
    pub(crate) fn start_probe(&mut self, number: Number) {
        let run = self
            .fleet
            .probes
            .runs
            .entry(number)
            .or_insert(Run { number: 0, end: None });
        run.number += 1;
        let key = Child::Probe(number, run.number);
        match self.view().spawn_probe(number) {
            Ok(Some(spawned)) => {
                self.fleet.children.add(key, spawned.pid, spawned.pidfd);
                let began = self.fleet.children.began(key);
                self.journal.mark_forked(key, spawned.pid, began);
                if let Err(errno) = spawned.go.begin() {
                    // It exits, and what that means for the probe is seen then.
                    self.log.error(&format!("probe: pipe: {}", errno_text(errno)));
                }
            }
            Ok(None) => {}
            Err(text) => self.probe_ended(number, Some(text)),
        }
    }

    /// A run of the probe command has ended. Only the last run speaks; one that was ended by us has nothing to say.
    pub(crate) fn probe_exited(&mut self, number: Number, run: u32, status: ExitStatus) {
        // What the command left running in its group is of no use to anybody.
        let _ = self
            .fleet
            .children
            .signal_group(Child::Probe(number, run), Signal::SIGKILL);
        match self.fleet.probes.runs.get(&number) {
            Some(last) if last.number == run => {}
            Some(_) | None => return,
        }
        let failure = match status {
            ExitStatus::Code(0) => None,
            ExitStatus::Code(_) | ExitStatus::Signal { .. } | ExitStatus::Unknown => Some(status.to_string()),
        };
        self.probe_ended(number, failure);
    }

    fn probe_ended(&mut self, number: Number, failure: Option<String>) {
        let event = if failure.is_none() {
            Event::ProbePassed(number)
        } else {
            Event::ProbeFailed(number)
        };
        if let Some(run) = self.fleet.probes.runs.get_mut(&number) {
            run.end = failure;
        }
        self.events.push_back(event);
    }

    /// End a run that may still be going on.
    pub(crate) fn end_probe(&mut self, number: Number) {
        if let Some(run) = self.fleet.probes.runs.get(&number) {
            let _ = self
                .fleet
                .children
                .signal_group(Child::Probe(number, run.number), Signal::SIGKILL);
        }
    }
}

impl View<'_> {
    fn spawn_probe(&self, number: Number) -> Result<Option<launch::Spawned>, String> {
        let (Some(generation), Some(core)) = (
            self.records.generations.get(&number),
            self.core.generation(number),
        ) else {
            return Ok(None);
        };
        let (Some(birth), Some(command)) = (self.records.births.get(&core.record), &generation.config.probe)
        else {
            return Ok(None);
        };
        // The command runs as the app's user, whom the launch has reported before the app could become ready.
        let mut workers = self
            .fleet
            .workers
            .iter()
            .filter(|(worker, _)| worker.generation == number);
        if let (Some(listener), Some(uid)) = (&generation.probe, workers.find_map(|(_, info)| info.uid)) {
            listener.give_to(uid.into()).map_err(|error| error.to_string())?;
        }
        let path = self.given.place.probe_socket(number);
        let identity = WorkerIdentity {
            generation: number,
            slot: 0,
        };
        birth
            .usable()?
            .spawn_shell(identity, &self.given.config.name, command, &path)
            .map(Some)
            .map_err(|error| error.to_string())
    }

    /// Why the probe did not pass, in words: how its last run ended, and whether anybody serves its listener.
    pub(crate) fn probe_in_words(&self, number: Number) -> String {
        let limit = self
            .records
            .generations
            .get(&number)
            .and_then(|generation| generation.config.probe_timeout);
        let limit = limit
            .map(|limit| format!(" within {}", crate::protocol::setting(limit)))
            .unwrap_or_default();
        let last = self.fleet.probes.last_end(number).unwrap_or("still running");
        let unserved = self
            .records
            .generations
            .get(&number)
            .and_then(|generation| generation.probe.as_ref());
        let unserved = match unserved.map(|listener| somebody_waits(listener.as_fd())) {
            Some(true) => "; the app does not serve the listener \"probe\"",
            Some(false) | None => "",
        };
        format!("the probe did not pass{limit} (last run: {last}){unserved}")
    }
}

/// Whether a connection waits to be accepted: a listening socket is then readable (poll(2)).
fn somebody_waits(listener: BorrowedFd<'_>) -> bool {
    let mut poll_set = [PollFd::new(listener, PollFlags::POLLIN)];
    poll(&mut poll_set, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}
