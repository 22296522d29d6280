//! Trust: probation after a takeover, the last good record, and the rollback to it.

use crate::Lifecycle;
use crate::generation::{Generation, Role, Standing};
use crate::handoff::{Handoff, Progress};
use crate::vocabulary::{Cause, Effect, FIRST, Fact, Number, Outcome, Plan, Record, Stage, Timer, Wait};

impl Lifecycle {
    /// Start (or start again, after a crash) the probation of an incumbent that is not yet trusted. It runs
    /// only while every worker serves: a generation that crashes and restarts does not pass by waiting.
    pub(crate) fn begin_probation(&mut self, number: Number) {
        let Some(generation) = self.generations.get(&number) else {
            return;
        };
        match generation.standing {
            Standing::Proven => return,
            Standing::Untried => {}
        }
        match generation.plan.probation {
            Stage::Skipped => self.settle(number),
            Stage::Kept if generation.all_serve() => self.arm(Timer::Probation(number), Wait::Probation),
            Stage::Kept => {}
        }
    }

    /// Probation is over: what this generation was started from is the last good record.
    pub(crate) fn settle(&mut self, number: Number) {
        let Some(generation) = self.generations.get_mut(&number) else {
            return;
        };
        generation.standing = Standing::Proven;
        self.last_good = Some((generation.record, generation.plan));
        self.tell(Fact::Settled(number));
        self.answer_settled(number);
    }

    /// A worker of the incumbent has failed. On probation, with a last good record, that means rollback, by a switch if the
    /// generation that it replaced lingers;
    /// otherwise the worker is started again. On probation without one, those who wait for the end of probation are told: it
    /// may never come.
    pub(crate) fn incumbent_lost(&mut self, number: Number, slot: u16, start: u32, cause: Cause) {
        let on_probation = self
            .generations
            .get(&number)
            .is_some_and(|generation| generation.standing == Standing::Untried);
        if on_probation && self.goes_back(number, cause) {
            return;
        }
        match self.last_good {
            Some(good) if on_probation && !self.planted.restarts_on_probation() => {
                self.roll_back(number, good, cause)
            }
            Some(_) => self.restart(number, slot, start, cause),
            None => {
                self.restart(number, slot, start, cause);
                if on_probation && number != FIRST {
                    self.tell(Fact::NoWayBack(number, cause));
                    self.answer_no_way_back(number, cause);
                }
            }
        }
        self.skip_remaining_checks();
    }

    /// Clients wait, and it accepts none of them. On probation, with a last good record, that is a crash like any other:
    /// the generation that is started instead answers them. Without one nobody is killed, for it may come to itself, and nobody could do
    /// better; but as long as it lasts probation does not pass.
    pub(crate) fn on_deaf(&mut self, number: Number) {
        let Some(incumbent) = self.incumbent().filter(|incumbent| incumbent.number == number) else {
            return;
        };
        let standing = incumbent.standing;
        if standing == Standing::Untried
            && !self.planted.bears_with_the_deaf()
            && self.goes_back(number, Cause::Deaf(number))
        {
            return;
        }
        match (standing, self.last_good) {
            (Standing::Untried, Some(good)) if !self.planted.bears_with_the_deaf() => {
                self.roll_back(number, good, Cause::Deaf(number));
                self.skip_remaining_checks();
            }
            (Standing::Untried, Some(_) | None) => {
                self.disarm(Timer::Probation(number));
                self.begin_probation(number);
                self.tell(Fact::Deaf(number));
                if number != FIRST {
                    self.tell(Fact::NoWayBack(number, Cause::Deaf(number)));
                    self.answer_no_way_back(number, Cause::Deaf(number));
                }
            }
            (Standing::Proven, Some(_) | None) => self.tell(Fact::Deaf(number)),
        }
    }

    /// The incumbent has just crashed. If nobody serves any more, a candidate that is already ready does not
    /// wait for its probe or soak, nor until somebody waits on its listeners. One that has yet to be seen accepting could help nobody.
    pub(crate) fn skip_remaining_checks(&mut self) {
        if self.somebody_serves() {
            return;
        }
        match self.handoff {
            Handoff::Candidate(number, Progress::Probing | Progress::Soaking) => {
                self.end_stage();
                self.confirm(number);
            }
            Handoff::Candidate(number, Progress::Confirming)
                if self.timers.contains(&Timer::Await(number)) && !self.is_unaccepted(number) =>
            {
                self.awaited_in_vain(number);
            }
            Handoff::Idle
            | Handoff::Waiting
            | Handoff::Candidate(
                _,
                Progress::Preparing
                | Progress::Seeking
                | Progress::Starting
                | Progress::Confirming
                | Progress::Switching,
            ) => {}
        }
    }

    fn roll_back(&mut self, failed: Number, good: (Record, Plan), cause: Cause) {
        self.retire(failed);
        self.roll_back_to(failed, good, cause);
    }

    /// Start a new generation from a good record. It is the incumbent from its spawn, so that clients wait in
    /// the backlog for it; a generation that was told to drain is never asked back, for it has closed its listeners.
    pub(crate) fn roll_back_to(&mut self, failed: Number, good: (Record, Plan), cause: Cause) {
        let (record, plan) = good;
        let standing = match self.last_good {
            Some((last, _)) if last == record => Standing::Proven,
            Some(_) | None => Standing::Untried,
        };
        let number = self.new_number();
        let plan = Plan {
            workers: self.workers_of(plan),
            ..plan
        };
        let lane = self.lane_after(failed, plan);
        self.generations.insert(
            number,
            Generation::new(number, record, plan, Role::Incumbent, standing, lane),
        );
        self.incumbent = Some(number);
        self.effects.push(Effect::RollBack(number, record));
        self.tell(Fact::RolledBack(failed, number, cause));
        self.answer_all_of(failed, Outcome::RolledBack(failed, number, cause));
    }
}
