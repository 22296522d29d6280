//! The machine as text, so that another supervisor can go on with it.
//!
//! A line is a kind and fields (`line.rs`), with values from `words.rs`. Kinds and keys that are not known are passed over: a later version wrote them. What is missing, or does not fit together, is refused: the
//! code relies on a machine that could have come about.

use crate::Lifecycle;
use crate::generation::{Generation, Process, Role, Slot, SlotState};
use crate::handoff::{Handoff, Progress};
use crate::lanes::Lanes;
use crate::line::{Fields, Flaw, Line, Saved, flaw, line};
use crate::planted::Planted;
use crate::tickets::{SavedTicket, Tickets};
use crate::token::Token;
use crate::vocabulary::{Number, Plan, Record, Timer, Worker};
use crate::words::{self, Word};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

/// A record and the plan that goes with it, in one word.
impl Word for (Record, Plan) {
    fn write(&self, word: &mut String) {
        self.0.write(word);
        self.1.write(word);
    }

    fn read(parts: &mut words::Parts<'_>) -> Option<Self> {
        Some((Word::read(parts)?, Word::read(parts)?))
    }
}

/// The key by which the line of a slot names its generation.
const GENERATION: &str = "generation";

/// The kind of a line that names a timer, and the key of its name.
const TIMER: &str = "core-timer";
const IS: &str = "is";

line!(Lifecycle "core-machine" {
    "next" next_number;
    "handoff" handoff;
    "phase" phase;
    "incumbent" incumbent if any;
    "last-good" last_good if any;
    "fallback" fallback if any;
    "workers" workers_wanted if any;
    "records" records;
    "notifiers" notifiers;
} besides {
    lanes Lanes::default();
    generations BTreeMap::new();
    tickets Tickets::new();
    timers BTreeSet::new();
    planted Planted::none();
    effects Vec::new();
});

line!(Generation "core-generation" {
    "number" number;
    "record" record;
    "role" role;
    "standing" standing;
    "lane" lane or 0;
    "token" token or Token::Unasked;
    "plan" plan;
    "starts" starts;
} besides {
    slots Vec::new();
    processes Vec::new();
});

line!(Slot "core-slot" { "state" state; "failures" failures; });
line!(Process "core-process" { "is" worker; "life" life; "leader" leader; });

impl Lifecycle {
    /// The whole machine as lines, each with its newline; every kind begins with `core-`. To be called between two steps.
    pub fn save(&self) -> String {
        let mut text = String::new();
        Saved::save(self, &mut text);
        self.lanes.save_if_any(&mut text);
        for generation in self.generations.values() {
            generation.save(&mut text);
            for slot in &generation.slots {
                let mut line = Line::begin(&mut text, Slot::KIND);
                line.field(GENERATION, &generation.number);
                slot.write_fields(&mut line);
                line.end();
            }
            generation.processes.iter().for_each(|one| one.save(&mut text));
        }
        self.tickets.save(&mut text);
        let is_saved = |timer: &&Timer| !self.planted.saves_no_probation(**timer);
        for timer in self.timers.iter().filter(is_saved) {
            let mut line = Line::begin(&mut text, TIMER);
            line.field(IS, timer);
            line.end();
        }
        text
    }

    /// The machine of which [`Lifecycle::save`] wrote these lines; others may stand between them.
    ///
    /// # Errors
    /// A line lacks something or means nothing, or the whole does not fit together.
    pub fn load(text: &str) -> Result<Self, Flaw> {
        let lines = || text.split('\n').map(Fields);
        let machine = lines().find(|line| line.kind() == Self::KIND);
        let machine = machine.ok_or_else(|| flaw(Self::KIND, "there is no such line"))?;
        let mut loaded: Self = Saved::load(machine)?;
        for line in lines() {
            match line.kind() {
                Generation::KIND => {
                    let generation = Generation::load(line)?;
                    loaded.generations.insert(generation.number, generation);
                }
                Slot::KIND => {
                    let number = line.get(GENERATION)?;
                    loaded.saved(number, line)?.slots.push(Slot::load(line)?);
                }
                Process::KIND => {
                    let process = Process::load(line)?;
                    let number = process.worker.generation;
                    loaded.saved(number, line)?.processes.push(process);
                }
                SavedTicket::KIND => loaded.tickets.take(SavedTicket::load(line)?),
                Lanes::KIND => loaded.lanes = Lanes::load(line)?.without_strangers(),
                TIMER => {
                    loaded.timers.insert(line.get(IS)?);
                }
                _ => {}
            }
        }
        match loaded.inconsistency() {
            Some(what) => Err(flaw("it does not fit together", what)),
            None => Ok(loaded),
        }
    }

    /// The generation that a line is about: its own line was before.
    fn saved(&mut self, number: Number, line: Fields<'_>) -> Result<&mut Generation, Flaw> {
        let generation = self.generations.get_mut(&number);
        generation.ok_or_else(|| flaw("of no generation", line.0))
    }

    /// What the code relies on and a text may lack.
    fn inconsistency(&self) -> Option<&'static str> {
        let in_role = |number: Number, role| self.generation(number).is_some_and(|g| g.role == role);
        let candidate = match self.handoff {
            Handoff::Idle
            | Handoff::Waiting
            | Handoff::Candidate(_, Progress::Preparing | Progress::Seeking) => None,
            Handoff::Candidate(number, _) => Some(number),
        };
        let has_record = |record: Record| self.records.contains(&record);
        let seeking = match self.handoff {
            Handoff::Candidate(number, Progress::Seeking) => Some(Record(number)),
            Handoff::Idle | Handoff::Waiting | Handoff::Candidate(..) => None,
        };
        let kept = self.last_good.iter().chain(&self.fallback);
        let mut living = self.generations.values().filter(|g| g.role.is_active());
        if self.generations.keys().any(|number| *number >= self.next_number) {
            Some("a generation has a number that is yet to be given")
        } else if self
            .incumbent
            .is_some_and(|number| !in_role(number, Role::Incumbent))
        {
            Some("the incumbent is no generation in that role")
        } else if candidate.is_some_and(|number| !in_role(number, Role::Candidate)) {
            Some("the candidate is no generation in that role")
        } else if living.any(|g| {
            !has_record(g.record)
                || Some(g.number) != self.incumbent.filter(|_| g.role == Role::Incumbent).or(candidate)
        }) {
            Some("a generation has no record, or a role that is another's")
        } else if seeking.is_some() != self.lanes.are_sought()
            || seeking.is_some_and(|record| !has_record(record))
        {
            Some("a candidate that seeks a lane has no record or no plan")
        } else if kept.into_iter().any(|(record, _)| !has_record(*record)) {
            Some("a record to fall back on is not kept")
        } else if !self.notifiers.is_subset(&self.records) {
            Some("a record from which somebody has notified is not kept")
        } else if !self.generations.values().all(Generation::is_consistent) {
            Some("a slot has no process, or a process no start")
        } else if !self.timers.iter().all(|timer| self.is_about_somebody(*timer)) {
            Some("a timer is about nobody")
        } else {
            None
        }
    }

    fn is_about_somebody(&self, timer: Timer) -> bool {
        match timer {
            Timer::Start(worker)
            | Timer::Hint(worker)
            | Timer::Alive(worker)
            | Timer::Silent(worker)
            | Timer::Watchdog(worker)
            | Timer::Drain(worker)
            | Timer::Kill(worker) => self.process(worker).is_some(),
            Timer::Probe(number)
            | Timer::ProbeAgain(number)
            | Timer::Soak(number)
            | Timer::Look(number)
            | Timer::Await(number)
            | Timer::Probation(number)
            | Timer::Linger(number)
            | Timer::Count(number)
            | Timer::BackOff(number, _)
            | Timer::Calm(number, _) => self.generations.contains_key(&number),
            Timer::Relieve(lane) => self.lanes.has_waiting(lane),
            Timer::Switch | Timer::Stop => true,
        }
    }
}

impl Generation {
    /// Whether each process was started in a slot, and each slot that runs has its process.
    fn is_consistent(&self) -> bool {
        let started = |worker: Worker| {
            let starts = self.starts.get(usize::from(worker.slot));
            worker.generation == self.number && starts.is_some_and(|starts| worker.start < *starts)
        };
        let filled = |(slot, state): (u16, SlotState)| match state {
            SlotState::Running(start) => {
                let generation = self.number;
                self.process(Worker {
                    generation,
                    slot,
                    start,
                })
                .is_some()
            }
            SlotState::Wanted | SlotState::BackingOff | SlotState::Yielded => true,
        };
        let states = self.slots.iter().map(|slot| slot.state);
        let retired_has_slots = self.role == Role::Retired && !self.slots.is_empty();
        self.plan.workers > 0
            && !retired_has_slots
            && self.slots.len() <= usize::from(u16::MAX)
            && self.processes.iter().all(|process| started(process.worker))
            && (0u16..).zip(states).all(filled)
    }
}
