//! Rolling: a handoff in steps, for machines that have no memory for two whole generations.
//!
//! The candidate begins with some of its slots only. When all of these are ready and were looked at once more, as many
//! places of the incumbent are yielded to them: their workers drain, and the candidate gets its next slots. The last step
//! is the takeover. If any of them fails, the places that were yielded are taken back.
//!
//! How many processes run is bounded in one place: while [`Lifecycle::is_full`], nobody is started. What may still be started then waits for
//! one that drains, and that has a timer; or, beside a candidate in its steps, for the outcome of these.

use crate::Lifecycle;
use crate::generation::{Generation, Role, Slot, SlotState};
use crate::handoff::{Handoff, Progress};
use crate::vocabulary::{Fact, Mode, Number, Plan};
use alloc::vec::Vec;

impl Plan {
    /// How many workers a step replaces, if the handoff goes in steps.
    const fn step(self) -> Option<u16> {
        match self.mode {
            Mode::Overlap if self.rolling > 0 => Some(self.rolling),
            Mode::Overlap | Mode::Queue => None,
        }
    }
}

impl Lifecycle {
    /// The slots that a candidate begins with: all of them, if nobody serves whom it could replace in steps.
    pub(crate) fn first_slots(&self, plan: Plan) -> u16 {
        match plan.step() {
            Some(step) if self.incumbent.is_some() => plan.workers.min(step),
            Some(_) | None => plan.workers,
        }
    }

    /// Whether this is a candidate that grows by its steps alone.
    pub(crate) fn is_rolling(&self, number: Number) -> bool {
        let candidate = self.generations.get(&number);
        let candidate = candidate.filter(|generation| generation.role == Role::Candidate);
        candidate.is_some_and(|candidate| candidate.plan.step().is_some()) && self.incumbent.is_some()
    }

    /// Whether each worker that a candidate shall have has its slot.
    pub(crate) fn is_whole(&self, number: Number) -> bool {
        let generation = self.generations.get(&number);
        generation.is_none_or(|generation| generation.slots.len() >= usize::from(generation.plan.workers))
    }

    /// Whether the probe is still to be asked: it judges the first step, before anybody drains.
    pub(crate) fn is_first_step(&self, number: Number) -> bool {
        let generation = self.generations.get(&number);
        generation.is_none_or(|candidate| {
            !self.is_rolling(number) || candidate.slots.len() <= usize::from(candidate.plan.rolling)
        })
    }

    /// The slots of the candidate are ready: as many places of the incumbent are yielded, and the next slots are wanted.
    pub(crate) fn take_step(&mut self, number: Number) {
        let Some(candidate) = self.generations.get_mut(&number) else {
            return;
        };
        let ready = candidate.slots.len();
        let next = ready.saturating_add(usize::from(candidate.plan.rolling));
        let next = next.min(usize::from(candidate.plan.workers));
        candidate.slots.resize(next, Slot::new());
        self.handoff = Handoff::Candidate(number, Progress::Starting);
        self.yield_places(ready);
        self.tell(Fact::Stepped(number, u16::try_from(ready).unwrap_or(u16::MAX)));
    }

    /// One place stays with the incumbent until the takeover, however many workers the candidate has.
    pub(crate) fn yield_places(&mut self, ready: usize) {
        let Some(incumbent) = self
            .incumbent
            .and_then(|number| self.generations.get_mut(&number))
        else {
            return;
        };
        let number = incumbent.number;
        let count = ready.min(incumbent.slots.len().saturating_sub(1));
        let places = incumbent.slots.iter_mut().take(count);
        let yielded = Slot {
            state: SlotState::Yielded,
            failures: 0,
        };
        let before: Vec<Slot> = places
            .map(|slot| core::mem::replace(slot, yielded.clone()))
            .collect();
        for (index, slot) in (0u16..).zip(before) {
            self.clear_slot(number, index, slot.state);
        }
    }

    /// The candidate has failed: the incumbent is again what it was.
    pub(crate) fn take_back(&mut self) {
        if self.planted.leaves_places_empty() {
            return;
        }
        let Some(incumbent) = self
            .incumbent
            .and_then(|number| self.generations.get_mut(&number))
        else {
            return;
        };
        for slot in &mut incumbent.slots {
            match slot.state {
                SlotState::Yielded => slot.state = SlotState::Wanted,
                SlotState::Wanted | SlotState::Running(_) | SlotState::BackingOff => {}
            }
        }
    }

    /// Whether as many processes run as may: the workers that are wanted, and one step more. Those that drain count, whatever
    /// generation they are of.
    pub(crate) fn is_full(&self) -> bool {
        let active = || self.generations.values().filter(|g| g.role != Role::Retired);
        let candidate = active().find(|generation| generation.role == Role::Candidate);
        let step = candidate.or(self.incumbent()).and_then(|g| g.plan.step());
        let Some(step) = step.filter(|_| !self.planted.crowds_the_machine()) else {
            return false;
        };
        let workers = active().map(|generation| generation.plan.workers).max();
        let running: usize = self.generations.values().map(|g| g.processes.len()).sum();
        running >= usize::from(workers.unwrap_or(1)) + usize::from(step)
    }

    /// What is wanted, in the order in which it gets room: the candidate first, for the incumbent may have to wait for it
    /// to become whole, and it never waits for the incumbent.
    pub(crate) fn by_urgency(&self) -> impl Iterator<Item = &Generation> {
        let of = |wanted: Role| self.generations.values().filter(move |g| g.role == wanted);
        of(Role::Candidate)
            .chain(of(Role::Incumbent))
            .chain(of(Role::Relief))
    }
}
