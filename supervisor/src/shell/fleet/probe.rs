//! The probe: a shell command that asks the candidate whether it really answers: through the front door of its slot where a listener is
//! steered, else through a listener of its own.

use std::collections::BTreeMap;
use std::rc::Rc;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use segue_lifecycle::{Event, Number};

use crate::children::ExitStatus;
use crate::launch::{self, GoAhead, Question, WorkerIdentity};
use crate::listeners::{FrontDoor, Listener, ProbeSource, shares};
use crate::log::Log;
use crate::shell::Child;
use crate::shell::fleet::{Fleet, Ground};
use crate::shell::records::births::lend;
use crate::state::{Field as _, Fields as _, Flaw, Row, Rows, Whole as _, whole};
use crate::sys::errno_text;

/// The runs of the probe command.
#[derive(Debug)]
pub(crate) struct Probes {
    /// By generation: the number of the last run, and how it ended if it has.
    runs: BTreeMap<Number, Run>,
    /// By generation: the slots whose front doors are open to the run that goes on.
    open: BTreeMap<Number, Vec<Rc<Listener>>>,
}

#[derive(Debug)]
struct Run {
    number: u32,
    end: Option<String>,
    /// From where the connections of the run come that goes on.
    source: Option<ProbeSource>,
}

whole!(Run { "run" number; "end" end; "source" source; });

impl Probes {
    pub(crate) const fn new() -> Self {
        Self {
            runs: BTreeMap::new(),
            open: BTreeMap::new(),
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
        self.shut_doors(generation);
        self.runs.remove(&generation);
    }

    /// No connection comes through the front doors of a generation any more.
    pub(crate) fn shut_doors(&mut self, generation: Number) {
        if let Some(slots) = self.open.remove(&generation) {
            slots.iter().for_each(|slot| slot.shut_front_door());
        }
        if let Some(run) = self.runs.get_mut(&generation) {
            run.source = None;
        }
    }

    /// Open the front door of each slot of a generation that has one, for a run that is about to begin: all of them to one source. What
    /// its command is told is of the first.
    ///
    /// # Errors
    /// None can be opened: why, in one line.
    fn open_doors(&mut self, generation: Number, slots: Vec<Rc<Listener>>) -> Result<FrontDoor, String> {
        self.shut_doors(generation);
        let mut first: Option<FrontDoor> = None;
        let mut why = "no listener is steered".to_owned();
        let mut open = Vec::new();
        for slot in slots {
            match slot.open_front_door(first.map(|door| door.source)) {
                Ok(door) => {
                    first.get_or_insert(door);
                    open.push(slot);
                }
                Err(cause) => why = format!("listener {}: {cause}", slot.name()),
            }
        }
        self.open.insert(generation, open);
        let door = first.ok_or_else(|| format!("the way to the candidate: {why}"))?;
        if let Some(run) = self.runs.get_mut(&generation) {
            run.source = Some(door.source);
        }
        Ok(door)
    }

    /// The program before us has let the runs in that go on, in this process.
    pub(crate) fn note_open_doors(&mut self, slots_of: impl Fn(Number) -> Vec<Rc<Listener>>) {
        for (generation, run) in &self.runs {
            let Some(source) = run.source else { continue };
            let slots = slots_of(*generation);
            slots.iter().for_each(|slot| slot.note_open_front_door(source));
            self.open.insert(*generation, slots);
        }
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

/// A run of the probe command, or a hook, that was forked, and waits for our word before it begins.
#[derive(Debug)]
pub(crate) struct ForkedCommand {
    pub(crate) child: Child,
    pub(crate) pid: Pid,
    pub(crate) began: Option<u64>,
    go: GoAhead,
}

impl ForkedCommand {
    /// It waits for our word.
    pub(crate) const fn new(child: Child, pid: Pid, began: Option<u64>, go: GoAhead) -> Self {
        Self {
            child,
            pid,
            began,
            go,
        }
    }

    /// It is written down: let it begin. `what` it is stands in the log if that fails.
    pub(crate) fn let_go(self, what: &str, log: &Log) {
        if let Err(errno) = self.go.begin() {
            // It exits, and what that means is seen then.
            log.error(&format!("{what}: launch: {}", errno_text(errno)));
        }
    }
}

impl Fleet {
    /// Fork a run of the probe command. `None` if there is nothing to probe.
    ///
    /// # Errors
    /// It cannot be forked: so the run has failed, and this is the event.
    pub(crate) fn fork_probe(
        &mut self,
        number: Number,
        ground: &Ground<'_>,
    ) -> Result<Option<ForkedCommand>, Event> {
        let run = self.probes.runs.entry(number).or_insert(Run {
            number: 0,
            end: None,
            source: None,
        });
        run.number += 1;
        let child = Child::Probe(number, run.number);
        match self.spawn_probe(number, ground) {
            Ok(Some(spawned)) => {
                self.children.add(child, spawned.pid, spawned.pidfd);
                let began = self.children.began(child);
                Ok(Some(ForkedCommand::new(child, spawned.pid, began, spawned.go)))
            }
            Ok(None) => Ok(None),
            Err(text) => Err(self.probe_ended(number, Some(text))),
        }
    }

    fn spawn_probe(
        &mut self,
        number: Number,
        ground: &Ground<'_>,
    ) -> Result<Option<launch::Spawned>, String> {
        let (Some(generation), Some(core)) = (
            ground.records.generations.get(&number),
            ground.core.generation(number),
        ) else {
            return Ok(None);
        };
        let birth = ground.records.births.get(&core.record);
        let (Some(birth), Some(command)) = (birth, &generation.config.probe) else {
            return Ok(None);
        };
        // The command runs as the app's user, whom the launch has reported before the app could become ready.
        let mut workers = self
            .workers
            .iter()
            .filter(|(worker, _)| worker.generation == number);
        if let (Some(listener), Some(uid)) = (&generation.probe, workers.find_map(|(_, info)| info.uid)) {
            listener.give_to(uid.into()).map_err(|error| error.to_string())?;
        }
        let place = &ground.given.place;
        let path = generation.probe.as_ref().map(|_| place.probe_socket(number));
        let has_runtime = birth.usable()?.has_runtime();
        let runtime = has_runtime.then(|| place.runtime_directory(number));
        let slots = slots_of(number, ground);
        let front_door = match (&generation.probe, slots.is_empty()) {
            (None, false) if birth.leads_probes_in() => Some(self.probes.open_doors(number, slots)?),
            (Some(_) | None, _) => None,
        };
        let source = front_door.map(|door| door.source.to_string());
        let question = Question {
            name: &ground.given.config.name,
            command,
            probe_path: path.as_deref(),
            front_door: front_door.map(|door| door.address).zip(source.as_deref()),
            runtime: runtime.as_deref(),
        };
        // As its first worker has them: placeholders count on that.
        let workers = generation.began_with.unwrap_or(core.plan.workers);
        let share = shares(&birth.listeners, core.lane, 0, workers);
        let listeners: Vec<_> = share.into_iter().map(lend).collect();
        let identity = WorkerIdentity {
            generation: number,
            slot: 0,
        };
        birth
            .usable()?
            .spawn_shell(&listeners, identity, &question)
            .map(Some)
            .map_err(|error| error.to_string())
    }

    /// A run of the probe command has ended. Only the last run speaks; one that was ended by us has nothing to say.
    pub(crate) fn probe_exited(&mut self, number: Number, run: u32, status: ExitStatus) -> Option<Event> {
        // What the command left running in its group is of no use to anybody.
        let _ = self
            .children
            .signal_group(Child::Probe(number, run), Signal::SIGKILL);
        match self.probes.runs.get(&number) {
            Some(last) if last.number == run => self.probes.shut_doors(number),
            Some(_) | None => return None,
        }
        let failure = match status {
            ExitStatus::Code(0) => None,
            ExitStatus::Code(_) | ExitStatus::Signal { .. } | ExitStatus::Unknown => Some(status.to_string()),
        };
        Some(self.probe_ended(number, failure))
    }

    fn probe_ended(&mut self, number: Number, failure: Option<String>) -> Event {
        let event = if failure.is_none() {
            Event::ProbePassed(number)
        } else {
            Event::ProbeFailed(number)
        };
        if let Some(run) = self.probes.runs.get_mut(&number) {
            run.end = failure;
        }
        event
    }

    /// End a run that may still be going on.
    pub(crate) fn end_probe(&mut self, number: Number) {
        if let Some(run) = self.probes.runs.get(&number) {
            let _ = self
                .children
                .signal_group(Child::Probe(number, run.number), Signal::SIGKILL);
        }
        self.probes.shut_doors(number);
    }
}

/// The slots of steered listeners that a generation has.
pub(crate) fn slots_of(number: Number, ground: &Ground<'_>) -> Vec<Rc<Listener>> {
    let mut slots = ground.records.listeners_of(number, ground.core);
    slots.retain(|listener| listener.slot().is_some());
    slots
}
