//! Linger: an old generation that gets no new clients keeps those that it has.
//!
//! Where listeners are steered, new clients go to the new generation from the switch on. The old one need not be told to drain
//! then: many a server closes connections at its stop signal that have just brought a request. It is told when it has no
//! connection left, when its time is up, or when a reload needs its room; the oldest first.
//!
//! As long as it lingers it still accepts. If the new generation fails on probation, new clients are sent back to the old one:
//! nobody is started, and nobody waits.

use crate::Lifecycle;
use crate::generation::{Role, SlotState};
use crate::vocabulary::{Cause, Effect, Fact, LingerEnd, Number, Outcome, Stage, Timer, Wait, Worker};

impl Lifecycle {
    /// The incumbent has replaced this generation: it lingers if it is to, and else drains.
    pub(crate) fn linger_or_retire(&mut self, old: Number) {
        if self.may_linger(old) {
            self.linger(old);
        } else {
            self.retire(old);
        }
    }

    /// It must have a lane of its own, to which no new clients come.
    fn may_linger(&self, old: Number) -> bool {
        let Some((old, new)) = self.generations.get(&old).zip(self.incumbent()) else {
            return false;
        };
        match old.plan.linger {
            Stage::Kept => old.plan.lanes > 0 && new.plan.lanes > 0 && old.lane != new.lane && old.serves(),
            Stage::Skipped => false,
        }
    }

    /// A worker that does not serve has no clients, and is of no use.
    fn linger(&mut self, number: Number) {
        let Some(generation) = self.generations.get_mut(&number) else {
            return;
        };
        generation.role = Role::Lingering;
        let idle = generation.idle_slots();
        self.disarm(Timer::Probation(number));
        for index in idle {
            let Some(slot) = self.slot_mut(number, index) else {
                continue;
            };
            let state = core::mem::replace(&mut slot.state, SlotState::Yielded);
            slot.failures = 0;
            self.clear_slot(number, index, state);
        }
        if !self.planted.lingers_for_ever() {
            self.arm(Timer::Linger(number), Wait::Linger);
        }
        self.arm(Timer::Count(number), Wait::Count);
    }

    /// One of its workers has ended, or hangs. Its clients are lost, and it is not replaced.
    pub(crate) fn lingering_lost(&mut self, worker: Worker) {
        let number = worker.generation;
        if let Some(slot) = self.slot_mut(number, worker.slot) {
            slot.state = SlotState::Yielded;
            slot.failures = 0;
        }
        self.disarm(Timer::Calm(number, worker.slot));
        let serves = self.generations.get(&number).is_some_and(|one| one.serves());
        if !serves {
            self.retire(number);
        }
    }

    pub(crate) fn count_again(&mut self, number: Number) {
        self.effects.push(Effect::Count(number));
    }

    /// It has connections, or nobody can see whether it has.
    pub(crate) fn on_in_use(&mut self, number: Number) {
        if self.planted.stops_at_the_first_look() {
            return self.on_unused(number);
        }
        if self.is_looked_at(number) {
            self.arm(Timer::Count(number), Wait::Count);
        }
    }

    pub(crate) fn on_unused(&mut self, number: Number) {
        if self.is_looked_at(number) {
            self.end_linger(number, LingerEnd::Unused);
        }
    }

    /// Whether an answer is owed: one that comes while the next look has its timer is of an earlier linger.
    fn is_looked_at(&self, number: Number) -> bool {
        self.is_lingering(number) && !self.timers.contains(&Timer::Count(number))
    }

    pub(crate) fn lingered(&mut self, number: Number) {
        self.end_linger(number, LingerEnd::Time);
    }

    fn end_linger(&mut self, number: Number, why: LingerEnd) {
        if self.is_lingering(number) {
            self.tell(Fact::LingerOver(number, why));
            self.retire(number);
        }
    }

    fn is_lingering(&self, number: Number) -> bool {
        let generation = self.generations.get(&number);
        generation.is_some_and(|generation| generation.role == Role::Lingering)
    }

    /// A reload needs the room of an old generation: the oldest that lingers is told to drain, unless another drains already.
    pub(crate) fn make_room(&mut self) {
        if self.planted.waits_for_the_lingering() {
            return;
        }
        let mut generations = self.generations.values();
        if generations.any(|generation| generation.role == Role::Retired) {
            return;
        }
        let oldest = self
            .generations
            .keys()
            .copied()
            .find(|number| self.is_lingering(*number));
        if let Some(oldest) = oldest {
            self.end_linger(oldest, LingerEnd::Room);
        }
    }

    /// Who can serve at once in the place of an incumbent that has failed on probation: a generation that lingers and runs the last
    /// good record; or, as long as no record is the last good, the newest that lingers.
    fn way_back(&self) -> Option<Number> {
        if self.planted.forgets_the_way_back() {
            return None;
        }
        let good = self.last_good();
        let mut known = self.generations.values().rev();
        let old = known.find(|old| {
            let is_good = good.is_none_or(|good| good == old.record);
            old.role == Role::Lingering && old.serves() && is_good
        });
        old.map(|old| old.number)
    }

    /// Send new clients back to the generation that served before, if it still does.
    pub(crate) fn goes_back(&mut self, failed: Number, cause: Cause) -> bool {
        let Some(old) = self.way_back() else {
            return false;
        };
        self.disarm(Timer::Linger(old));
        self.disarm(Timer::Count(old));
        self.incumbent = Some(old);
        if let Some(generation) = self.generations.get_mut(&old) {
            generation.role = Role::Incumbent;
        }
        // Before all else: until then new clients wait in the queue of the one that failed.
        self.point();
        self.retire(failed);
        self.effects.push(Effect::TakeBack(old));
        self.tell(Fact::SwitchedBack(failed, old, cause));
        let outcome = Outcome::RolledBack(failed, old, cause);
        self.answer_all_of(failed, outcome);
        self.answer_drained_in_vain(old, cause);
        self.fill_again(old);
        true
    }

    /// It has as many workers as whoever serves shall have.
    fn fill_again(&mut self, number: Number) {
        self.take_back();
        if let Some(plan) = self.plan_of(number) {
            self.resize(number, self.workers_of(plan));
        }
    }
}
