//! By what a worker is known to be ready: its own word, or what is seen of it.
//!
//! With [`Readiness::Auto`] an app that never notifies is ready when it has waited for clients for a while. One that does notify
//! may wait for clients long before it can answer them. So once an app has notified, its word is waited for: of everybody that is
//! started while the last good generation, or the one that serves, is of a record that has notified.

use crate::Lifecycle;
use crate::generation::{Life, Role};
use crate::vocabulary::{Effect, Fact, Readiness, Record, Timer, Wait, Worker};

impl Lifecycle {
    /// By what this worker is known to be ready: as its plan says, but never [`Readiness::Auto`] where it is to notify as those did
    /// that it follows.
    pub fn readiness_of(&self, worker: Worker) -> Option<Readiness> {
        let generation = self.generations.get(&worker.generation)?;
        let has_notified = |record: Record| self.notifiers.contains(&record);
        let followed = [
            self.last_good.map(|(record, _)| record),
            self.fallback.map(|(record, _)| record),
            self.incumbent().map(|incumbent| incumbent.record),
        ];
        let notifies = has_notified(generation.record) || followed.into_iter().flatten().any(has_notified);
        let planned = generation.plan.readiness;
        let is_to_speak = planned == Readiness::Auto && notifies && !self.planted.believes_the_silent();
        Some(if is_to_speak { Readiness::Notify } else { planned })
    }

    /// Whether it matters that this worker is seen to wait for clients ([`crate::Event::Accepts`]).
    pub fn is_to_be_seen(&self, worker: Worker) -> bool {
        let starts = self
            .process(worker)
            .is_some_and(|process| process.life == Life::Starting);
        starts
            && match self.readiness_of(worker) {
                Some(Readiness::Accepting) => true,
                Some(Readiness::Auto) => !self.timers.contains(&Timer::Silent(worker)),
                Some(Readiness::Notify | Readiness::Alive) | None => false,
            }
    }

    pub(crate) fn on_executed(&mut self, worker: Worker) {
        let readiness = self.plan_of(worker.generation).map(|plan| plan.readiness);
        match (self.process(worker).map(|process| process.life), readiness) {
            (Some(Life::Starting), Some(Readiness::Alive)) => self.arm(Timer::Alive(worker), Wait::Alive),
            (
                Some(Life::Starting),
                Some(Readiness::Notify | Readiness::Accepting | Readiness::Auto) | None,
            )
            | (Some(Life::Serving | Life::Draining | Life::Killed) | None, _) => {}
        }
    }

    /// `READY=1` is the app's own word. It is remembered even where something else counts, and even if it comes when the worker
    /// serves already: those that follow are to say it, too.
    pub(crate) fn on_ready(&mut self, worker: Worker) {
        self.note_notifier(worker);
        match self.plan_of(worker.generation).map(|plan| plan.readiness) {
            Some(Readiness::Notify | Readiness::Auto) => self.became_ready(worker),
            Some(Readiness::Alive | Readiness::Accepting) | None => {}
        }
    }

    /// A worker that starts or serves has said something about its start.
    pub(crate) fn note_notifier(&mut self, worker: Worker) {
        match self.process(worker).map(|process| process.life) {
            Some(Life::Starting | Life::Serving) => {}
            Some(Life::Draining | Life::Killed) | None => return,
        }
        let record = self
            .generations
            .get(&worker.generation)
            .map(|generation| generation.record);
        let kept = record.filter(|record| self.records.contains(record));
        self.notifiers.extend(kept);
    }

    pub(crate) fn on_accepts(&mut self, worker: Worker) {
        if !self.is_to_be_seen(worker) {
            return;
        }
        match self.readiness_of(worker) {
            Some(Readiness::Accepting) => self.became_ready(worker),
            Some(Readiness::Auto) => self.arm(Timer::Silent(worker), Wait::Silent),
            Some(Readiness::Notify | Readiness::Alive) | None => {}
        }
    }

    /// It has accepted for a while and said nothing. Another worker may have notified meanwhile.
    pub(crate) fn stayed_silent(&mut self, worker: Worker) {
        match self.readiness_of(worker) {
            Some(Readiness::Auto) => self.became_ready(worker),
            Some(Readiness::Notify | Readiness::Accepting | Readiness::Alive) | None => {}
        }
    }

    /// A worker that is already ready, draining or gone says nothing new.
    pub(crate) fn became_ready(&mut self, worker: Worker) {
        match self.process(worker).map(|process| process.life) {
            Some(Life::Starting) => {}
            Some(Life::Serving | Life::Draining | Life::Killed) | None => return,
        }
        self.set_life(worker, Life::Serving);
        self.effects.push(Effect::NoteReady(worker));
        self.tell(Fact::WorkerReady(worker));
        self.watch(worker);
        let Some(generation) = self.generations.get(&worker.generation) else {
            return;
        };
        let number = generation.number;
        let crashed_before = generation
            .slots
            .get(usize::from(worker.slot))
            .is_some_and(|slot| slot.failures > 0);
        if crashed_before {
            self.arm(Timer::Calm(number, worker.slot), Wait::Calm);
        }
        match self.generations.get(&number).map(|generation| generation.role) {
            Some(Role::Candidate) => self.candidate_gained(number),
            Some(Role::Incumbent) => self.begin_probation(number),
            Some(Role::Lingering | Role::Retired | Role::Relief) | None => {}
        }
    }
}
