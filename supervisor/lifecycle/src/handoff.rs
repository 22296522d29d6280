//! The reload, from the request to the takeover or the failure.
//!
//! Each function below answers one event; what counts only at one point of the handoff asks [`Handoff::is_at`] first.

use crate::generation::{Generation, Role, Standing};
use crate::stop::Phase;
use crate::vocabulary::{
    Cause, Effect, Ending, Fact, Mode, Number, Outcome, Plan, Record, Stage, Ticket, Timer, Until, Wait,
};
use crate::{FIRST, Lifecycle};

/// The handoff that is under way, if one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Handoff {
    /// None is under way.
    Idle,
    /// One was asked for, and waits until a retired generation has gone.
    Waiting,
    /// This candidate has come so far.
    Candidate(Number, Progress),
}

/// How far a candidate has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Progress {
    /// Its birth record is being made.
    Preparing,
    /// Where listeners are steered: the record is made, and each lane that it may have was taken meanwhile. It waits for one.
    Seeking,
    /// Its workers are starting (in queue mode: as soon as the incumbent is gone).
    Starting,
    /// Each of its workers is ready, and the probe is run until it passes.
    Probing,
    /// Both generations serve for a while.
    Soaking,
    /// Each of its workers is looked at once more, just before the incumbent is told to drain.
    Confirming,
    /// Where listeners are steered: new clients go to the candidate, and the incumbent accepts those that it still has
    /// waiting.
    Switching,
}

impl Handoff {
    /// Whose handoff is under way.
    pub const fn candidate(self) -> Option<Number> {
        match self {
            Handoff::Idle | Handoff::Waiting => None,
            Handoff::Candidate(number, _) => Some(number),
        }
    }

    /// Whether this candidate has come just so far.
    pub fn is_at(self, number: Number, progress: Progress) -> bool {
        self == Handoff::Candidate(number, progress)
    }
}

impl Lifecycle {
    /// A request waits for the next handoff, even if one is under way: its candidate may have read an older binary.
    pub(crate) fn on_reload(&mut self, ticket: Ticket, until: Until) {
        match self.phase {
            Phase::Running => self.queue_ticket(ticket, until),
            Phase::Stopping(_) | Phase::Killing(_) | Phase::Finished => {
                self.effects.push(Effect::Answer(ticket, Outcome::Stopping));
            }
        }
    }

    /// No handoff is under way any more. Those who were told that a reload began (or waits) are told that it is over.
    pub(crate) fn reload_over(&mut self) {
        let over = match core::mem::replace(&mut self.handoff, Handoff::Idle) {
            Handoff::Idle => false,
            Handoff::Waiting => true,
            Handoff::Candidate(number, _) => number != FIRST,
        };
        if over {
            self.tell(Fact::ReloadOver);
        }
    }

    /// Begin the next handoff if one was asked for, none is under way and there is room for a candidate.
    pub(crate) fn begin_next(&mut self) {
        match self.phase {
            Phase::Running => {}
            Phase::Stopping(_) | Phase::Killing(_) | Phase::Finished => return,
        }
        match self.handoff {
            Handoff::Idle | Handoff::Waiting => {}
            Handoff::Candidate(_, progress) if self.planted.takes_two_candidates(progress) => {}
            Handoff::Candidate(..) => return,
        }
        if !self.tickets.any_queued() {
            return;
        }
        if !self.has_room() {
            self.make_room();
        }
        if self.has_room() {
            let number = self.new_number();
            self.handoff = Handoff::Candidate(number, Progress::Preparing);
            self.tickets.attach_queued(number);
            self.tell(Fact::HandoffBegan(number));
            self.effects.push(Effect::Prepare(number));
        } else if self.handoff == Handoff::Idle {
            self.handoff = Handoff::Waiting;
            self.tell(Fact::WaitingForRoom);
        }
    }

    /// In queue mode the incumbent leaves before the candidate comes, so there is always room.
    fn has_room(&self) -> bool {
        let Some(incumbent) = self.incumbent() else {
            return true;
        };
        let limit = usize::from(incumbent.plan.max_generations);
        let living = self
            .generations
            .values()
            .filter(|generation| generation.lives())
            .count();
        match incumbent.plan.mode {
            Mode::Queue => true,
            Mode::Overlap => {
                (living < limit.max(2) || self.planted.exceeds_generations())
                    && self.free_lane(incumbent.plan).is_some()
            }
        }
    }

    pub(crate) fn on_prepared(&mut self, number: Number, plan: Plan) {
        // Whatever the stage, the record exists now and is forgotten at the end of the step if nobody needs it.
        self.records.insert(Record(number));
        if self.handoff.is_at(number, Progress::Preparing) {
            self.start_candidate(number, plan);
        }
    }

    pub(crate) fn start_candidate(&mut self, number: Number, plan: Plan) {
        let Some(lane) = self.free_lane(plan) else {
            return self.seek_lane(number, plan);
        };
        self.handoff = Handoff::Candidate(number, Progress::Starting);
        match plan.mode {
            Mode::Queue => self.step_aside(number),
            Mode::Overlap if self.planted.drains_before_ready() => self.step_aside(number),
            Mode::Overlap => {}
        }
        let plan = Plan {
            workers: self.workers_of(plan),
            ..plan
        };
        let mut candidate = Generation::new(
            number,
            Record(number),
            plan,
            Role::Candidate,
            Standing::Untried,
            lane,
        );
        candidate.slots.truncate(usize::from(self.first_slots(plan)));
        self.generations.insert(number, candidate);
        self.ask_token(number);
    }

    /// Queue mode: the incumbent drains first. What it ran from (or the last good) is kept to fall back on.
    fn step_aside(&mut self, candidate: Number) {
        let Some(incumbent) = self.incumbent() else { return };
        let (number, own) = (incumbent.number, (incumbent.record, incumbent.plan));
        self.fallback = Some(self.last_good.unwrap_or(own));
        self.incumbent = None;
        self.retire(number);
        self.answer_superseded(number, candidate);
    }

    pub(crate) fn on_prepare_failed(&mut self, number: Number) {
        if self.handoff.is_at(number, Progress::Preparing) {
            self.fail_candidate(number, Cause::NotPrepared);
        }
    }

    /// A candidate that has grown is not ready until its new workers are, and is then probed again; one that has
    /// shrunk may have lost just the worker that was waited for.
    pub(crate) fn candidate_resized(&mut self, number: Number) {
        let ready = self.generations.get(&number).is_some_and(Generation::all_serve);
        match self.handoff {
            Handoff::Candidate(
                candidate,
                Progress::Probing | Progress::Soaking | Progress::Confirming | Progress::Switching,
            ) if candidate == number && !ready => {
                self.end_stage();
                self.handoff = Handoff::Candidate(number, Progress::Starting);
            }
            Handoff::Idle | Handoff::Waiting | Handoff::Candidate(..) => self.candidate_gained(number),
        }
    }

    /// One more worker of a candidate is ready. Readiness counts when all of them are.
    pub(crate) fn candidate_gained(&mut self, number: Number) {
        let ready = self.generations.get(&number).is_some_and(Generation::all_serve);
        if ready && self.handoff.is_at(number, Progress::Starting) {
            self.probe_or_go_on(number);
        }
    }

    fn probe_or_go_on(&mut self, number: Number) {
        match self.plan_of(number).map(|plan| plan.probe) {
            Some(Stage::Kept) if self.is_first_step(number) => {
                self.handoff = Handoff::Candidate(number, Progress::Probing);
                self.arm(Timer::Probe(number), Wait::Probe);
                self.effects.push(Effect::Probe(number));
                if self.planted.probes_twice() {
                    self.effects.push(Effect::Probe(number));
                }
            }
            Some(Stage::Kept | Stage::Skipped) | None => self.soak_or_confirm(number),
        }
    }

    pub(crate) fn on_probe_passed(&mut self, number: Number) {
        if self.handoff.is_at(number, Progress::Probing) {
            self.disarm(Timer::Probe(number));
            self.disarm(Timer::ProbeAgain(number));
            self.soak_or_confirm(number);
        }
    }

    /// A failed run is no verdict: the app may need a moment. The verdict is the probe's timer.
    pub(crate) fn on_probe_failed(&mut self, number: Number) {
        if self.handoff.is_at(number, Progress::Probing) {
            self.arm(Timer::ProbeAgain(number), Wait::ProbeAgain);
        }
    }

    /// The timers of the probe run only while probing, so the stage need not be asked again.
    pub(crate) fn probe_again(&mut self, number: Number) {
        self.effects.push(Effect::Probe(number));
    }

    pub(crate) fn probe_overran(&mut self, number: Number) {
        self.fail_candidate(number, Cause::Probe);
    }

    /// A soak compares two generations that both serve; with nobody else serving it would only cost time. Where the handoff
    /// goes in steps it comes after the last one.
    fn soak_or_confirm(&mut self, number: Number) {
        match self.plan_of(number).map(|plan| plan.soak) {
            Some(Stage::Kept) if self.somebody_serves() && self.is_whole(number) => {
                self.handoff = Handoff::Candidate(number, Progress::Soaking);
                self.arm(Timer::Soak(number), Wait::Soak);
            }
            Some(Stage::Kept | Stage::Skipped) | None => self.confirm(number),
        }
    }

    pub(crate) fn soaked(&mut self, number: Number) {
        self.confirm(number);
    }

    pub(crate) fn confirm(&mut self, number: Number) {
        self.handoff = Handoff::Candidate(number, Progress::Confirming);
        if self.planted.skips_confirmation() {
            self.take_over(number);
        } else if self.planted.yields_to_the_unseen() && !self.is_whole(number) {
            self.take_step(number);
        } else {
            self.effects.push(Effect::Confirm(number));
        }
    }

    pub(crate) fn on_confirmed(&mut self, number: Number) {
        if self.handoff.is_at(number, Progress::Confirming) && self.is_seen_accepting(number) {
            self.end_stage();
            if self.is_whole(number) {
                self.switch_or_take_over(number);
            } else {
                self.take_step(number);
            }
        }
    }

    /// Many an app says that it is ready just before it waits for clients: it is looked at again, for a while.
    pub(crate) fn on_unawaited(&mut self, number: Number) {
        if self.handoff.is_at(number, Progress::Confirming) {
            self.look_later(number);
        }
    }

    /// The timers of the last look run only while confirming, so the stage need not be asked again.
    pub(crate) fn look_again(&mut self, number: Number) {
        self.effects.push(Effect::Confirm(number));
    }

    /// Nobody was seen waiting, which may have other reasons than that nobody does.
    pub(crate) fn awaited_in_vain(&mut self, number: Number) {
        self.end_stage();
        if !self.fails_unaccepted(number) {
            self.effects.push(Effect::ConfirmAnyway(number));
        }
    }

    /// It has not what it would serve with. If nobody serves, it cannot be worse; but a candidate that takes over is trusted.
    pub(crate) fn on_unheld(&mut self, number: Number) {
        if !self.handoff.is_at(number, Progress::Confirming) {
            return;
        }
        if self.planted.believes_the_word() {
            self.on_confirmed(number);
        } else {
            self.fail_candidate(number, Cause::Unheld(number));
        }
    }

    /// The candidate becomes the incumbent, and only now is the old one told to drain, or begins to linger.
    pub(crate) fn take_over(&mut self, number: Number) {
        let old = self.incumbent.replace(number);
        self.fallback = None;
        if let Some(candidate) = self.generations.get_mut(&number) {
            candidate.role = Role::Incumbent;
        }
        // The old one is told first of all: on a shared socket both versions answer until it hears of it.
        if let Some(old) = old {
            if self.planted.trusts_the_superseded() {
                self.settle(old);
            }
            self.linger_or_retire(old);
        }
        if !self.planted.takes_over_in_words() {
            self.effects.push(Effect::TakeOver(number));
        }
        self.tell(Fact::TookOver(number, old));
        self.reload_over();
        if let Some(old) = old {
            self.answer_superseded(old, number);
        }
        self.answer_taken_over(number);
        self.begin_probation(number);
    }

    /// The candidate is given up. The incumbent serves on; in queue mode the fallback is started.
    pub(crate) fn fail_candidate(&mut self, number: Number, cause: Cause) {
        self.end_stage();
        self.retire(number);
        self.take_back();
        if self.planted.cancels_back_off() {
            self.incumbent
                .into_iter()
                .for_each(|incumbent| self.disarm(Timer::BackOff(incumbent, 0)));
        }
        match (self.incumbent, self.fallback.take()) {
            (None, Some(good)) => {
                self.roll_back_to(number, good, cause);
                self.reload_over();
            }
            (Some(_), _) => {
                self.tell(Fact::CandidateFailed(number, cause));
                self.reload_over();
                self.answer_all_of(number, Outcome::Failed(number, cause));
            }
            (None, None) => {
                self.tell(Fact::CandidateFailed(number, cause));
                self.reload_over();
                self.answer_all_of(number, Outcome::Failed(number, cause));
                self.begin_stop(Ending::NeverServed(cause));
            }
        }
    }

    /// Leave the present stage: whatever it was waiting for does not matter any more.
    pub(crate) fn end_stage(&mut self) {
        match self.handoff {
            Handoff::Candidate(number, Progress::Probing) => {
                self.disarm(Timer::Probe(number));
                self.disarm(Timer::ProbeAgain(number));
                self.effects.push(Effect::EndProbe(number));
            }
            Handoff::Candidate(number, Progress::Soaking) => self.disarm(Timer::Soak(number)),
            Handoff::Candidate(number, Progress::Confirming) => {
                self.disarm(Timer::Look(number));
                self.disarm(Timer::Await(number));
            }
            Handoff::Idle
            | Handoff::Waiting
            | Handoff::Candidate(
                _,
                Progress::Preparing | Progress::Seeking | Progress::Starting | Progress::Switching,
            ) => {}
        }
    }

    pub(crate) fn plan_of(&self, number: Number) -> Option<Plan> {
        self.generations.get(&number).map(|generation| generation.plan)
    }
}
