//! Steering: each generation has a lane of its own, and the kernel sends every new client to one of them.
//!
//! The takeover begins with the switch: from then on new clients go to the candidate, and the incumbent is told to drain when
//! nobody waits in its lane any more (or when its time for that is up). A candidate that fails until then is switched away from,
//! and the incumbent has never heard of it.
//!
//! Clients can still come to wait in a lane to which new ones do not go: a handshake that began before the switch, an old
//! generation that hangs. A *relief* generation, one worker from the incumbent's record, is lent that lane and drains when its
//! queue is empty. Where no relief comes, since the incumbent does not serve or its relief workers fail, the lane is given up:
//! a candidate may have it if no other is free, for an incumbent that hangs must be replaceable.
//!
//! A reload begins when a lane is free. If late clients, or a rollback, take it while the record of the candidate is made, the candidate
//! *seeks*: it waits for a lane as a reload does that has not begun. Each generation that has one is bounded by a timer.

use crate::Lifecycle;
use crate::generation::{Generation, Role, Standing};
use crate::handoff::{Handoff, Progress};
use crate::line::{Saved as _, line};
use crate::stop::Phase;
use crate::vocabulary::{Cause, Effect, Fact, Lane, Number, Plan, Timer, Wait};
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

/// What the core knows of the lanes, besides which generation has which.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Lanes {
    /// Where new clients go; none as long as nothing was ever steered.
    pointed: Option<Lane>,
    /// Those in which clients wait though new ones do not go there.
    waiting: BTreeSet<Lane>,
    /// Those of them for which a relief worker was due and could not be started, or has failed.
    given_up: BTreeSet<Lane>,
    /// The plan of a candidate that seeks a lane.
    sought: Option<Plan>,
}

impl Lanes {
    pub(crate) fn has_waiting(&self, lane: Lane) -> bool {
        self.waiting.contains(&lane)
    }

    /// Whether a candidate seeks one.
    pub(crate) fn are_sought(&self) -> bool {
        self.sought.is_some()
    }

    pub(crate) fn save_if_any(&self, text: &mut String) {
        if *self != Self::default() {
            self.save(text);
        }
    }

    /// Those that were read: none is given up in which nobody waits.
    pub(crate) fn without_strangers(mut self) -> Self {
        self.given_up.retain(|lane| self.waiting.contains(lane));
        self
    }
}

line!(Lanes "core-lanes" {
    "pointed" pointed if any;
    "waiting" waiting;
    "given-up" given_up;
    "sought" sought if any;
});

impl Lifecycle {
    /// The lane to which new clients go, if listeners are steered.
    pub fn pointed(&self) -> Option<Lane> {
        self.lanes.pointed
    }

    /// The lanes in which clients wait though new ones do not go there.
    pub fn stranded(&self) -> impl Iterator<Item = Lane> + '_ {
        self.lanes.waiting.iter().copied()
    }

    /// The generation to which new clients shall go: a candidate that is switched to, else the incumbent.
    pub fn switched_to(&self) -> Option<Number> {
        match self.handoff {
            Handoff::Candidate(number, Progress::Switching) => Some(number),
            Handoff::Idle | Handoff::Waiting | Handoff::Candidate(..) => self.incumbent,
        }
    }

    /// Whether clients wait in this lane and no relief worker could be had for them.
    pub fn has_given_up(&self, lane: Lane) -> bool {
        self.lanes.given_up.contains(&lane)
    }

    /// The lane of a generation; the first if it is not known.
    pub fn lane_of(&self, number: Number) -> Lane {
        self.generations
            .get(&number)
            .map_or(0, |generation| generation.lane)
    }

    /// The newest generation that has this lane, if any has.
    pub fn holder_of(&self, lane: Lane) -> Option<Number> {
        let mut holders = self.generations.values().rev();
        holders
            .find(|generation| generation.lane == lane)
            .map(|generation| generation.number)
    }

    /// Whether no other generation has the lane of this one. A relief worker has it beside the worker that hangs there, and so has a
    /// generation that is started in the place of one that failed, if no other lane is free.
    pub fn is_alone_in_lane(&self, number: Number) -> bool {
        let lane = self.lane_of(number);
        let mut others = self.generations.values().filter(|other| other.number != number);
        others.all(|other| other.lane != lane)
    }

    /// The lane for a candidate with this plan: one that nobody has and in which nobody waits. They are used by turns, so that
    /// one is left alone as long as possible before it comes round. If there is none, one that was given up: nobody but the
    /// candidate can answer those who wait there. Generations that are not steered share the one to which new clients go: the first,
    /// unless listeners were steered before.
    pub(crate) fn free_lane(&self, plan: Plan) -> Option<Lane> {
        if plan.lanes == 0 {
            return Some(self.lanes.pointed.unwrap_or(0));
        }
        let first = self
            .incumbent()
            .map_or(0, |incumbent| incumbent.lane.wrapping_add(1));
        let lanes = || (0..plan.lanes).map(|step| first.wrapping_add(step) % plan.lanes);
        lanes()
            .find(|lane| self.is_free(*lane) || self.planted.crowds_the_lane())
            .or_else(|| lanes().find(|lane| self.is_left(*lane)))
    }

    fn is_free(&self, lane: Lane) -> bool {
        !self.is_taken(lane) && !self.lanes.has_waiting(lane)
    }

    fn is_left(&self, lane: Lane) -> bool {
        !self.is_taken(lane) && self.has_given_up(lane) && !self.planted.waits_for_the_given_up()
    }

    fn is_taken(&self, lane: Lane) -> bool {
        let mut generations = self.generations.values();
        generations.any(|generation| generation.lane == lane)
    }

    /// Each lane that this candidate may have was taken since there was room. Nobody of it is started until one is free.
    pub(crate) fn seek_lane(&mut self, number: Number, plan: Plan) {
        if self.planted.fails_without_a_lane() {
            return self.fail_candidate(number, Cause::NotPrepared);
        }
        self.handoff = Handoff::Candidate(number, Progress::Seeking);
        self.lanes.sought = Some(plan);
        self.tell(Fact::WaitingForRoom);
    }

    /// Start a candidate that seeks a lane, once one is free. Generations that linger make room for it.
    pub(crate) fn stop_seeking(&mut self) {
        let Handoff::Candidate(number, Progress::Seeking) = self.handoff else {
            return;
        };
        let Some(plan) = self.lanes.sought else { return };
        if self.free_lane(plan).is_some() {
            self.lanes.sought = None;
            self.start_candidate(number, plan);
        } else if !self.planted.seeks_in_vain() {
            self.make_room();
        }
    }

    /// The plan of the generation that waits for a lane, if one does: a candidate that seeks one, or else one that a reload waits to begin.
    fn waits_for_lane(&self) -> Option<Plan> {
        match self.handoff {
            Handoff::Waiting => self.incumbent().map(|incumbent| incumbent.plan),
            Handoff::Candidate(_, Progress::Seeking) => self.lanes.sought,
            Handoff::Idle | Handoff::Candidate(..) => None,
        }
    }

    /// From how many lanes a candidate seeks one.
    #[cfg(test)]
    pub(crate) fn sought_lanes(&self) -> Lane {
        self.lanes.sought.map_or(0, |plan| plan.lanes)
    }

    /// The lane for the successor of a generation that failed: a free one, else that one's.
    pub(crate) fn lane_after(&self, failed: Number, plan: Plan) -> Lane {
        self.free_lane(plan).unwrap_or_else(|| self.lane_of(failed))
    }

    /// The candidate was looked at once more. If its lane is another than the one to which clients go, they go there first.
    pub(crate) fn switch_or_take_over(&mut self, number: Number) {
        let Some(candidate) = self.generations.get(&number) else {
            return;
        };
        if self.is_steered(candidate) && self.lanes.pointed != Some(candidate.lane) {
            self.handoff = Handoff::Candidate(number, Progress::Switching);
        } else {
            self.take_over(number);
        }
    }

    fn is_steered(&self, generation: &Generation) -> bool {
        generation.plan.lanes > 0 || self.lanes.pointed.is_some()
    }

    /// Keep new clients going to the generation that shall have them: a candidate that is switched to, else the incumbent.
    pub(crate) fn point(&mut self) {
        match self.phase {
            Phase::Running => {}
            Phase::Stopping(_) | Phase::Killing(_) | Phase::Finished => return,
        }
        if self.planted.never_switches_back() && self.lanes.pointed > Some(0) {
            return;
        }
        let target = match self.handoff {
            Handoff::Candidate(number, Progress::Switching) => Some(number),
            Handoff::Candidate(number, Progress::Starting) if self.planted.switches_early() => Some(number),
            Handoff::Idle | Handoff::Waiting | Handoff::Candidate(..) => self.incumbent,
        };
        let Some(target) = target.and_then(|number| self.generations.get(&number)) else {
            return;
        };
        let (number, lane) = (target.number, target.lane);
        if self.is_steered(target) && self.lanes.pointed != Some(lane) {
            self.lanes.pointed = Some(lane);
            self.disarm(Timer::Switch);
            self.forget_waiting(lane);
            self.effects.push(Effect::Switch(number));
        }
    }

    pub(crate) fn switch_again(&mut self) {
        self.effects.extend(self.incumbent.map(Effect::Switch));
    }

    /// Clients of the incumbent that it has not accepted yet are relieved if it never does.
    pub(crate) fn on_switched(&mut self, number: Number) {
        if self.handoff.is_at(number, Progress::Switching) {
            self.take_over(number);
        }
    }

    /// The kernel has left everything as it was: a candidate cannot take over. For an incumbent it is asked again; a generation that goes
    /// elsewhere meanwhile is relieved.
    pub(crate) fn on_not_switched(&mut self, number: Number) {
        if self.handoff.is_at(number, Progress::Switching) {
            self.fail_candidate(number, Cause::NotSwitched(number));
        } else if self.incumbent == Some(number) {
            self.tell(Fact::NotSwitched(number));
            self.arm(Timer::Switch, Wait::Switch);
        }
    }

    /// The generation that has that lane may still accept them: they are relieved if they have waited for a while.
    pub(crate) fn on_stranded(&mut self, lane: Lane) {
        match self.phase {
            Phase::Running => {}
            Phase::Stopping(_) | Phase::Killing(_) | Phase::Finished => return,
        }
        if self.lanes.pointed == Some(lane) || self.planted.abandons_the_stranded() {
            return;
        }
        if self.lanes.waiting.insert(lane) {
            let wait = match self.relief_of(lane) {
                Some(_) => Wait::Relief,
                None => Wait::Relieve,
            };
            self.arm(Timer::Relieve(lane), wait);
        }
        if self.planted.gives_up_at_once() {
            self.lanes.given_up.insert(lane);
        }
    }

    /// Clients have waited in this lane for as long as they may.
    pub(crate) fn relieve(&mut self, lane: Lane) {
        if let Some(number) = self.relief_of(lane) {
            self.relief_lost(number, Cause::Deaf(number));
        } else if self.is_promised(lane) {
            self.arm(Timer::Relieve(lane), Wait::RelieveAgain);
        } else {
            self.start_relief(lane);
        }
    }

    /// Whether a candidate answers those who wait in this lane, or a reload waits for a lane and can have this one: another relief
    /// worker, which may fail like the one before, would only keep it.
    fn is_promised(&self, lane: Lane) -> bool {
        if self.planted.relieves_the_promised() {
            return false;
        }
        let given = |generation: &Generation| generation.role == Role::Candidate && generation.lane == lane;
        let may_have = |plan: Plan| lane < plan.lanes && self.free_lane(plan).is_none();
        let sought = self.has_given_up(lane) && self.waits_for_lane().is_some_and(may_have);
        sought || self.generations.values().any(given)
    }

    /// Start a relief worker. As long as the incumbent itself does not serve, there is nothing to start it from.
    fn start_relief(&mut self, lane: Lane) {
        // One that is not steered any more has been lent one lane, and its record knows all of them.
        let has = |plan: Plan| lane < plan.lanes || plan.lanes == 0;
        let able = |incumbent: &&Generation| incumbent.serves() && has(incumbent.plan);
        let incumbent = self.incumbent().filter(able);
        let Some((record, plan)) = incumbent.map(|incumbent| (incumbent.record, incumbent.plan)) else {
            self.lanes.given_up.insert(lane);
            return self.arm(Timer::Relieve(lane), Wait::RelieveAgain);
        };
        let number = self.new_number();
        let plan = Plan {
            workers: 1,
            rolling: 0,
            ..plan
        };
        let relief = Generation::new(number, record, plan, Role::Relief, Standing::Proven, lane);
        self.generations.insert(number, relief);
        self.tell(Fact::Relief(number, lane));
        if !self.planted.bears_with_the_relief() {
            self.arm(Timer::Relieve(lane), Wait::Relief);
        }
    }

    /// Its work is done, or nobody needs it any more.
    pub(crate) fn on_relieved(&mut self, lane: Lane) {
        self.forget_waiting(lane);
        if let Some(number) = self.relief_of(lane) {
            self.retire(number);
        }
    }

    /// The clients still wait.
    pub(crate) fn relief_lost(&mut self, number: Number, cause: Cause) {
        let lane = self.generations.get(&number).map(|relief| relief.lane);
        self.retire(number);
        self.tell(Fact::ReliefFailed(number, cause));
        if let Some(lane) = lane.filter(|lane| self.lanes.has_waiting(*lane)) {
            self.lanes.given_up.insert(lane);
            self.disarm(Timer::Relieve(lane));
            self.arm(Timer::Relieve(lane), Wait::RelieveAgain);
        }
    }

    fn relief_of(&self, lane: Lane) -> Option<Number> {
        let mut reliefs = self
            .generations
            .values()
            .filter(|generation| match generation.role {
                Role::Relief => generation.lane == lane,
                Role::Candidate | Role::Incumbent | Role::Lingering | Role::Retired => false,
            });
        reliefs.next().map(|relief| relief.number)
    }

    fn forget_waiting(&mut self, lane: Lane) {
        if self.lanes.waiting.remove(&lane) {
            self.lanes.given_up.remove(&lane);
            self.disarm(Timer::Relieve(lane));
        }
    }

    /// Everything is told to stop: nobody is started for anybody any more.
    pub(crate) fn forget_lanes(&mut self) {
        self.disarm(Timer::Switch);
        self.lanes.sought = None;
        let waiting: Vec<Lane> = self.lanes.waiting.iter().copied().collect();
        waiting.into_iter().for_each(|lane| self.forget_waiting(lane));
    }
}
