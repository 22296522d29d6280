#![cfg_attr(not(test), no_std)]
//! The lifecycle of generations under Segue: one state machine, `step(event) -> effects`.
//!
//! ```text
//!             reload                 all READY       probe 0       soak over     nobody dead
//!   Idle ───────────▶ Preparing ─▶ Starting ───▶ Probing ───▶ Soaking ───▶ Confirming ───▶ takeover
//!    ▲  ╲ no room        │             │             │            │             │             │
//!    │   ▶ Waiting       ╰──── a worker exits, overruns its start, or the probe fails ────╮   │
//!    │                                                                                    ▼   ▼
//!    ╰──────────────────────────────── the candidate is retired ◀──────────────── failed   incumbent
//!                                                                                        on probation
//! ```
//!
//! This crate holds no pid, file descriptor, path, clock, error or log line, and cannot do I/O. Time enters as
//! [`Event::Due`] and leaves as [`Effect::Arm`] and [`Effect::Disarm`]. Start reading at `handoff.rs`, which is
//! the reload; `workers.rs` is what one worker goes through, `readiness.rs` by what it is known to be ready; `rolling.rs` is the handoff
//! in steps; `lanes.rs` is the handoff where each generation has a socket of its own, and `linger.rs` what
//! that spares the old one; `probation.rs` is trust and rollback;
//! `stop.rs` is the end. `upgrade.rs` is a small machine of its own.
//!
//! # The contract with the caller
//!
//! * Call [`Lifecycle::step`] with each event in the order in which it happened; perform the effects in their order.
//! * [`Effect::Prepare`], [`Effect::Confirm`], [`Effect::ConfirmAnyway`], [`Effect::Count`] and the last [`Effect::Switch`] are answered by an event; so is each run of
//!   [`Effect::Probe`].
//! * A worker that was spawned is reported [`Event::Exited`] once and then [`Event::Gone`] once, or only
//!   [`Event::SpawnFailed`]. Everything else about a worker may be late or doubled: it is then ignored.
//! * A timer comes due only when the effects of all earlier events are performed: one that is armed anew or extended
//!   in a turn has not come due in it. (One that is disarmed in it may be reported all the same, and is ignored.)
//! * After [`Effect::Finish`] nothing more is asked; a ticket that comes in the same turn is refused.

extern crate alloc;

mod generation;
mod handoff;
mod lanes;
mod line;
mod linger;
mod planted;
mod probation;
mod readiness;
mod rolling;
mod save;
mod stop;
mod tickets;
mod timers;
mod token;
pub mod upgrade;
mod vocabulary;
mod words;
mod workers;

#[cfg(test)]
#[path = "../tests/explore/main.rs"]
mod explore;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

pub use generation::{Generation, Leader, Life, Process, Role, Slot, SlotState, Standing};
pub use handoff::{Handoff, Progress};
pub use line::Flaw;
#[cfg(test)]
pub use planted::Bug;
pub use token::Token;
pub use vocabulary::{
    Cause, Effect, Ending, Event, FIRST, Fact, Lane, LingerEnd, Mode, Number, Outcome, Plan, Readiness,
    Record, Signal, Stage, Ticket, Timer, Until, Wait, Worker,
};

pub use words::NoSuchWord;

use lanes::Lanes;
use planted::Planted;
use stop::Phase;
use tickets::Tickets;

/// What the supervisor as a whole is doing, in the words of `segue status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// The first generation is not yet ready.
    Starting,
    /// The incumbent serves and no handoff is under way.
    Serving,
    /// A handoff is under way.
    HandingOff,
    /// No worker of the incumbent serves; a start is under way or waits for its back-off.
    BackingOff,
    /// A stop was asked for.
    Stopping,
}

/// The state machine. See the crate's documentation for the contract with the caller.
///
/// Invariants, each checked by the explorer in `tests/`: in overlap mode a generation that served still serves unless it
/// crashed or a stop was asked; nobody drains before a successor is ready; each ticket gets one answer; each
/// timer that is disarmed was running; a record is kept as long as something may be started from it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lifecycle {
    generations: BTreeMap<Number, Generation>,
    incumbent: Option<Number>,
    handoff: Handoff,
    last_good: Option<(Record, Plan)>,
    /// In queue mode, what is started again if the candidate fails; set while nobody is the incumbent.
    fallback: Option<(Record, Plan)>,
    tickets: Tickets,
    timers: BTreeSet<Timer>,
    records: BTreeSet<Record>,
    /// Those of them from which a worker was started that has notified: see [`Lifecycle::readiness_of`].
    notifiers: BTreeSet<Record>,
    /// The number of workers that was asked for at run time; it outranks the plan.
    workers_wanted: Option<u16>,
    next_number: Number,
    phase: Phase,
    lanes: Lanes,
    planted: Planted,
    effects: Vec<Effect>,
}

impl Lifecycle {
    /// The machine before its first generation, and the effect that prepares that one.
    pub fn new() -> (Self, Vec<Effect>) {
        Self::with(Planted::none())
    }

    fn with(planted: Planted) -> (Self, Vec<Effect>) {
        let machine = Self {
            generations: BTreeMap::new(),
            incumbent: None,
            handoff: Handoff::Candidate(FIRST, Progress::Preparing),
            last_good: None,
            fallback: None,
            tickets: Tickets::new(),
            timers: BTreeSet::new(),
            records: BTreeSet::new(),
            notifiers: BTreeSet::new(),
            workers_wanted: None,
            next_number: FIRST + 1,
            phase: Phase::Running,
            lanes: Lanes::default(),
            planted,
            effects: Vec::new(),
        };
        (machine, alloc::vec![Effect::Prepare(FIRST)])
    }

    /// A machine that errs in one way, to prove that the explorer notices.
    #[cfg(test)]
    pub fn with_bug(bug: Bug) -> (Self, Vec<Effect>) {
        Self::with(Planted::one(bug))
    }

    /// This machine with the bug of another: a saved text tells of none.
    #[cfg(test)]
    fn with_bug_of(mut self, other: &Self) -> Self {
        self.planted = other.planted;
        self
    }

    /// Take in one event; return what is to be done about it, in order.
    pub fn step(&mut self, event: Event) -> Vec<Effect> {
        match (self.phase, event) {
            (Phase::Running | Phase::Stopping(_) | Phase::Killing(_), event) => {
                self.dispatch(event);
                self.come_to_rest();
            }
            // It came in the turn of the end, and is owed its answer.
            (Phase::Finished, Event::Reload(..)) if self.planted.drops_the_late_ticket() => {}
            (Phase::Finished, Event::Reload(ticket, until)) => self.on_reload(ticket, until),
            (Phase::Finished, _) => {}
        }
        core::mem::take(&mut self.effects)
    }

    fn dispatch(&mut self, event: Event) {
        match event {
            Event::Reload(ticket, until) => self.on_reload(ticket, until),
            Event::Prepared(number, plan) => self.on_prepared(number, plan),
            Event::PrepareFailed(number) => self.on_prepare_failed(number),
            Event::SpawnFailed(worker) => self.on_spawn_failed(worker),
            Event::Executed(worker) => self.on_executed(worker),
            Event::Ready(worker) => self.on_ready(worker),
            Event::Accepts(worker) => self.on_accepts(worker),
            Event::MoreTime(worker) => self.on_more_time(worker),
            Event::Alive(worker) => self.on_alive(worker),
            Event::Stuck(worker) => self.on_stuck(worker),
            Event::Exited(worker) => self.on_exited(worker),
            Event::Gone(worker) => self.on_gone(worker),
            Event::ProbePassed(number) => self.on_probe_passed(number),
            Event::ProbeFailed(number) => self.on_probe_failed(number),
            Event::Confirmed(number) => self.on_confirmed(number),
            Event::Unawaited(number) => self.on_unawaited(number),
            Event::Unheld(number) => self.on_unheld(number),
            Event::Deaf(number) => self.on_deaf(number),
            Event::Switched(number) => self.on_switched(number),
            Event::NotSwitched(number) => self.on_not_switched(number),
            Event::TokenPlaced(number) => self.on_token_placed(number),
            Event::TokenExcused(number) => self.on_token_excused(number),
            Event::TokenAccepted(number) => self.on_token_accepted(number),
            Event::Stranded(lane) => self.on_stranded(lane),
            Event::Relieved(lane) => self.on_relieved(lane),
            Event::Unused(number) => self.on_unused(number),
            Event::InUse(number) => self.on_in_use(number),
            Event::RoomWanted => self.make_room(),
            Event::Due(timer) => self.on_due(timer),
            Event::Workers(count) => self.on_workers(count),
            Event::Stop => self.on_stop(),
        }
    }

    /// A timer that was disarmed in the same turn in which it came due is stale, and ignored.
    fn on_due(&mut self, timer: Timer) {
        if !self.timers.remove(&timer) && !self.planted.hears_the_stale() {
            return;
        }
        match timer {
            Timer::Start(worker) => self.not_ready(worker),
            Timer::Hint(worker) => self.tell(Fact::StillWaiting(worker)),
            Timer::Alive(worker) => self.became_ready(worker),
            Timer::Silent(worker) => self.stayed_silent(worker),
            Timer::Watchdog(worker) => self.on_stuck(worker),
            Timer::Drain(worker) => self.overran(worker),
            Timer::Kill(worker) => self.unkillable(worker),
            Timer::Probe(number) => self.probe_overran(number),
            Timer::ProbeAgain(number) => self.probe_again(number),
            Timer::Soak(number) => self.soaked(number),
            Timer::Look(number) => self.look_again(number),
            Timer::Await(number) => self.awaited_in_vain(number),
            Timer::Switch => self.switch_again(),
            Timer::Relieve(lane) => self.relieve(lane),
            Timer::Linger(number) => self.lingered(number),
            Timer::Count(number) => self.count_again(number),
            Timer::Probation(number) => self.settle(number),
            Timer::BackOff(number, slot) => self.backed_off(number, slot),
            Timer::Calm(number, slot) => self.calmed(number, slot),
            Timer::Stop => self.stop_overran(),
        }
    }

    /// What follows from the new state, whatever event led to it. The order matters: what has ended makes room
    /// for what is to begin.
    fn come_to_rest(&mut self) {
        self.bury();
        self.stop_seeking();
        self.begin_next();
        self.point();
        self.spawn_wanted();
        self.answer_drained();
        self.forget_unused();
        self.finish_if_over();
    }

    /// Drop the retired generations whose last process is gone.
    fn bury(&mut self) {
        let over: Vec<Number> = self
            .generations
            .values()
            .filter(|generation| !generation.lives())
            .map(|g| g.number)
            .collect();
        for number in over {
            self.generations.remove(&number);
            self.tell(Fact::Ended(number));
            if !self.planted.buries_nobody() {
                self.effects.push(Effect::Bury(number));
            }
        }
    }

    /// Forget the birth records from which nothing can be started any more.
    fn forget_unused(&mut self) {
        let needed = |record: &Record| {
            let by_generation = self
                .generations
                .values()
                .any(|g| g.record == *record && g.role != Role::Retired);
            by_generation
                || self.handoff == Handoff::Candidate(record.0, Progress::Seeking)
                || self.last_good.is_some_and(|(good, _)| good == *record)
                || self.fallback.is_some_and(|(good, _)| good == *record)
        };
        if self.planted.keeps_records() {
            return;
        }
        let planted = self.planted.forgets_last_good();
        let unused: Vec<Record> = self
            .records
            .iter()
            .copied()
            .filter(|record| {
                !needed(record) || planted && self.last_good.is_some_and(|(good, _)| good == *record)
            })
            .collect();
        for record in unused {
            self.records.remove(&record);
            self.notifiers.remove(&record);
            self.effects.push(Effect::Forget(record));
        }
    }

    fn new_number(&mut self) -> Number {
        let number = self.next_number;
        self.next_number += 1;
        number
    }

    fn tell(&mut self, fact: Fact) {
        self.effects.push(Effect::Tell(fact));
    }

    /// Start a timer that is not running.
    fn arm(&mut self, timer: Timer, wait: Wait) {
        if self.planted.forgets_drain_timer(timer) {
            return;
        }
        if self.timers.insert(timer) {
            self.effects.push(Effect::Arm(timer, wait));
        }
    }

    /// Stop a timer if it is running.
    fn disarm(&mut self, timer: Timer) {
        if self.timers.remove(&timer) || self.planted.disarms_twice(timer) {
            self.effects.push(Effect::Disarm(timer));
        }
    }

    /// What the supervisor as a whole is doing.
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Stopping(_) | Phase::Killing(_) | Phase::Finished => return State::Stopping,
            Phase::Running => {}
        }
        if self.incumbent.is_none() && self.fallback.is_none() {
            return State::Starting;
        }
        match self.handoff {
            Handoff::Candidate(..) => State::HandingOff,
            Handoff::Idle | Handoff::Waiting if self.somebody_serves() => State::Serving,
            Handoff::Idle | Handoff::Waiting => State::BackingOff,
        }
    }

    /// Whether a worker of the incumbent serves at this moment.
    pub fn somebody_serves(&self) -> bool {
        self.incumbent().is_some_and(Generation::serves)
    }

    /// The generation that serves, or is being restarted to serve.
    pub fn incumbent(&self) -> Option<&Generation> {
        self.incumbent.and_then(|number| self.generations.get(&number))
    }

    /// How far a handoff has come.
    pub fn handoff(&self) -> Handoff {
        self.handoff
    }

    /// Every generation that is alive or meant to be, oldest first.
    pub fn generations(&self) -> impl Iterator<Item = &Generation> {
        self.generations.values()
    }

    /// The generation with this number, while it is alive or meant to be.
    pub fn generation(&self, number: Number) -> Option<&Generation> {
        self.generations.get(&number)
    }

    /// The timers that are running.
    pub fn timers(&self) -> impl Iterator<Item = Timer> + '_ {
        self.timers.iter().copied()
    }

    /// The record that a rollback would start from.
    pub fn last_good(&self) -> Option<Record> {
        self.last_good.map(|(record, _)| record)
    }

    /// How many workers the next generation with this plan is going to have.
    pub fn workers_of(&self, plan: Plan) -> u16 {
        self.workers_wanted.unwrap_or(plan.workers).max(1)
    }
}
