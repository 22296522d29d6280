//! The machine as text, so that another supervisor can go on with it.
//!
//! A line is a kind and fields, `core-process is=4.0.2 life=serving leader=running`, with values from `words.rs`. Kinds and keys that are
//! not known are passed over: a later version wrote them. What is missing, or does not fit together, is refused: the
//! code relies on a machine that could have come about.

use crate::Lifecycle;
use crate::generation::{Generation, Process, Role, Slot, SlotState};
use crate::handoff::{Handoff, Progress};
use crate::lanes::Lanes;
use crate::planted::Planted;
use crate::tickets::Tickets;
use crate::token::Token;
use crate::vocabulary::{Number, Plan, Record, Timer, Worker};
use crate::words::{self, Word};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// Why a text is no machine, in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw(String);

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for Flaw {}

/// `CAUSE: LINE`.
fn flaw(cause: &str, line: &str) -> Flaw {
    let mut text = String::from(cause);
    text.push_str(": ");
    text.push_str(line);
    Flaw(text)
}

/// A line that is being written.
pub(crate) struct Line<'a>(&'a mut String);

impl<'a> Line<'a> {
    pub(crate) fn begin(text: &'a mut String, kind: &str) -> Self {
        text.push_str(kind);
        Self(text)
    }

    pub(crate) fn field(self, key: &str, value: &impl Word) -> Self {
        self.0.push(' ');
        self.0.push_str(key);
        self.0.push('=');
        value.write(self.0);
        self
    }

    pub(crate) fn field_if_any(self, key: &str, value: Option<&impl Word>) -> Self {
        match value {
            Some(value) => self.field(key, value),
            None => self,
        }
    }

    pub(crate) fn numbers(self, key: &str, numbers: impl Iterator<Item = u64>) -> Self {
        self.0.push(' ');
        self.0.push_str(key);
        self.0.push('=');
        for (place, number) in numbers.enumerate() {
            if place > 0 {
                self.0.push(',');
            }
            words::push_number(self.0, number);
        }
        self
    }

    pub(crate) fn end(self) {
        self.0.push('\n');
    }
}

/// A line that is being read.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a>(&'a str);

impl<'a> Fields<'a> {
    fn kind(self) -> &'a str {
        self.0.split(' ').next().unwrap_or_default()
    }

    fn raw(self, key: &str) -> Option<&'a str> {
        let mut fields = self.0.split(' ').skip(1);
        fields.find_map(|field| field.strip_prefix(key)?.strip_prefix('='))
    }

    pub(crate) fn get_if_any<W: Word>(self, key: &str) -> Result<Option<W>, Flaw> {
        match self.raw(key) {
            Some(raw) => words::read_whole(raw).map(Some).ok_or_else(|| flaw(key, self.0)),
            None => Ok(None),
        }
    }

    pub(crate) fn get<W: Word>(self, key: &str) -> Result<W, Flaw> {
        self.get_if_any(key)?.ok_or_else(|| flaw(key, self.0))
    }

    pub(crate) fn numbers_if_any(self, key: &str) -> Result<Option<Vec<u64>>, Flaw> {
        let Some(raw) = self.raw(key) else { return Ok(None) };
        let numbers = raw.split(',').filter(|number| !number.is_empty());
        let numbers: Result<_, _> = numbers.map(str::parse).collect();
        numbers.map(Some).map_err(|_| flaw(key, self.0))
    }
}

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

impl Lifecycle {
    /// The whole machine as lines, each with its newline; every kind begins with `core-`. To be called between two steps.
    pub fn save(&self) -> String {
        let mut text = String::new();
        Line::begin(&mut text, "core-machine")
            .field("next", &self.next_number)
            .field("handoff", &self.handoff)
            .field("phase", &self.phase)
            .field_if_any("incumbent", self.incumbent.as_ref())
            .field_if_any("last-good", self.last_good.as_ref())
            .field_if_any("fallback", self.fallback.as_ref())
            .field_if_any("workers", self.workers_wanted.as_ref())
            .numbers("records", self.records.iter().map(|record| record.0))
            .numbers("notifiers", self.notifiers.iter().map(|record| record.0))
            .end();
        self.lanes.save(&mut text);
        for generation in self.generations.values() {
            generation.save(&mut text);
        }
        self.tickets.save(&mut text);
        for timer in &self.timers {
            if self.planted.saves_no_probation(*timer) {
                continue;
            }
            Line::begin(&mut text, "core-timer").field("is", timer).end();
        }
        text
    }

    /// The machine of which [`Lifecycle::save`] wrote these lines; others may stand between them.
    ///
    /// # Errors
    /// A line lacks something or means nothing, or the whole does not fit together.
    pub fn load(text: &str) -> Result<Self, Flaw> {
        let lines = || text.split('\n').map(Fields);
        let machine = lines().find(|line| line.kind() == "core-machine");
        let machine = machine.ok_or_else(|| flaw("core-machine", "there is no such line"))?;
        let records = machine.numbers_if_any("records")?.unwrap_or_default();
        let notifiers = machine.numbers_if_any("notifiers")?.unwrap_or_default();
        let mut loaded = Self {
            generations: BTreeMap::new(),
            incumbent: machine.get_if_any("incumbent")?,
            handoff: machine.get("handoff")?,
            last_good: machine.get_if_any("last-good")?,
            fallback: machine.get_if_any("fallback")?,
            tickets: Tickets::new(),
            timers: BTreeSet::new(),
            records: records.into_iter().map(Record).collect(),
            notifiers: notifiers.into_iter().map(Record).collect(),
            workers_wanted: machine.get_if_any("workers")?,
            next_number: machine.get("next")?,
            phase: machine.get("phase")?,
            lanes: Lanes::default(),
            planted: Planted::none(),
            effects: Vec::new(),
        };
        for line in lines() {
            match line.kind() {
                "core-generation" => {
                    let generation = Generation::load(line)?;
                    loaded.generations.insert(generation.number, generation);
                }
                "core-slot" => loaded.generation_of(line)?.slots.push(Slot {
                    state: line.get("state")?,
                    failures: line.get("failures")?,
                }),
                "core-process" => {
                    let worker: Worker = line.get("is")?;
                    let process = Process {
                        worker,
                        life: line.get("life")?,
                        leader: line.get("leader")?,
                    };
                    let generation = loaded.generations.get_mut(&worker.generation);
                    let generation = generation.ok_or_else(|| flaw("of no generation", line.0))?;
                    generation.processes.push(process);
                }
                "core-ticket" => loaded.tickets.load(line)?,
                "core-lanes" => loaded.lanes = Lanes::load(line)?,
                "core-timer" => {
                    loaded.timers.insert(line.get("is")?);
                }
                _ => {}
            }
        }
        match loaded.inconsistency() {
            Some(what) => Err(flaw("it does not fit together", what)),
            None => Ok(loaded),
        }
    }

    fn generation_of(&mut self, line: Fields<'_>) -> Result<&mut Generation, Flaw> {
        let number: Number = line.get("generation")?;
        let generation = self.generations.get_mut(&number);
        generation.ok_or_else(|| flaw("of no generation", line.0))
    }

    /// What the code relies on and a text may lack.
    fn inconsistency(&self) -> Option<&'static str> {
        let in_role = |number: Number, role| self.generation(number).is_some_and(|g| g.role == role);
        let candidate = match self.handoff {
            Handoff::Idle | Handoff::Waiting | Handoff::Candidate(_, Progress::Preparing) => None,
            Handoff::Candidate(number, _) => Some(number),
        };
        let has_record = |record: Record| self.records.contains(&record);
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
    fn save(&self, text: &mut String) {
        let Self {
            number,
            record,
            plan,
            role,
            standing,
            lane,
            token,
            slots,
            starts,
            processes,
        } = self;
        Line::begin(text, "core-generation")
            .field("number", number)
            .field("record", record)
            .field("role", role)
            .field("standing", standing)
            .field_if_any("lane", Some(lane).filter(|lane| **lane > 0))
            .field_if_any("token", Some(token).filter(|token| **token != Token::Unasked))
            .field("plan", plan)
            .numbers("starts", starts.iter().map(|start| u64::from(*start)))
            .end();
        for slot in slots {
            Line::begin(text, "core-slot")
                .field("generation", number)
                .field("state", &slot.state)
                .field("failures", &slot.failures)
                .end();
        }
        for process in processes {
            Line::begin(text, "core-process")
                .field("is", &process.worker)
                .field("life", &process.life)
                .field("leader", &process.leader)
                .end();
        }
    }

    fn load(line: Fields<'_>) -> Result<Self, Flaw> {
        let starts = line.numbers_if_any("starts")?.unwrap_or_default();
        let starts: Result<_, _> = starts.into_iter().map(u32::try_from).collect();
        Ok(Self {
            number: line.get("number")?,
            record: line.get("record")?,
            plan: line.get("plan")?,
            role: line.get("role")?,
            standing: line.get("standing")?,
            lane: line.get_if_any("lane")?.unwrap_or_default(),
            token: line.get_if_any("token")?.unwrap_or(Token::Unasked),
            slots: Vec::new(),
            starts: starts.map_err(|_| flaw("starts", line.0))?,
            processes: Vec::new(),
        })
    }

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
