//! Where new clients go, and those who wait elsewhere.

use super::{Step, Verdict, all_ready};
use crate::explore::explorer::Node;
use crate::explore::scenarios::SCENARIOS;
use crate::explore::world::is_stopping;
use crate::{Effect, Event, Fact, Handoff, Lane, Number, Progress, Role, Timer};

/// As many as are looked at; no scenario has more.
const LANES: Lane = 8;

/// Where listeners are steered, new clients go to the incumbent, or to the candidate that is about to take over: one that is ready
/// and was looked at once more.
pub(super) fn new_clients_go_to_the_incumbent(node: &Node) -> Verdict {
    let steered = node
        .core
        .generations()
        .any(|generation| generation.plan.lanes > 0);
    if is_stopping(&node.core) || !steered {
        return Ok(());
    }
    let switched = node
        .world
        .switched
        .and_then(|number| node.core.generation(number));
    let lane = switched.map(|generation| generation.lane);
    match node.core.handoff() {
        Handoff::Candidate(number, Progress::Switching) => {
            let Some(candidate) = node.core.generation(number) else {
                broken!("{number} is switched to and does not exist");
            };
            if lane != Some(candidate.lane) || !all_ready(&node.world, candidate) {
                broken!("{number} is switched to, and clients go to {lane:?}");
            }
        }
        _ => {
            let Some(incumbent) = node.core.incumbent() else {
                // A first generation that is to have more workers after the switch stays where clients go: there is nobody else.
                let first = node.core.handoff().candidate();
                if let Some(switched) = node.world.switched.filter(|switched| first != Some(*switched)) {
                    broken!("clients go to {switched}, and nobody has taken over");
                }
                return Ok(());
            };
            // A kernel that refused is asked again.
            let again = node.core.timers().any(|timer| timer == Timer::Switch);
            if !again && lane.is_some_and(|lane| lane != incumbent.lane) {
                broken!(
                    "clients go to {lane:?}, and {} has {}",
                    incumbent.number,
                    incumbent.lane
                );
            }
        }
    }
    Ok(())
}

/// A candidate that is steered gets a lane that no other generation has and in which nobody waits; or else, if there is none, one
/// in which those who wait have no relief worker to hope for.
pub(super) fn a_lane_is_free_when_it_is_given(step: &Step) -> Verdict {
    for new in step.after.generations() {
        let is_new = step.before.generation(new.number).is_none() && new.role == Role::Candidate;
        if !is_new || new.plan.lanes == 0 {
            continue;
        }
        let other = step
            .after
            .generations()
            .find(|other| other.number != new.number && other.lane == new.lane);
        if let Some(other) = other {
            broken!("{} and {} have the lane {}", new.number, other.number, new.lane);
        }
        if !step.world.stranded.contains(&new.lane) {
            continue;
        }
        let others = || {
            step.after
                .generations()
                .filter(|other| other.number != new.number)
        };
        let is_free =
            |lane: &Lane| !step.world.stranded.contains(lane) && others().all(|other| other.lane != *lane);
        if !step.after.has_given_up(new.lane) || (0..new.plan.lanes).any(|lane| is_free(&lane)) {
            broken!("{} gets the lane {}, in which clients wait", new.number, new.lane);
        }
    }
    Ok(())
}

/// A lane is given up when a relief worker was due and the incumbent did not serve, or when one has failed; never before.
pub(super) fn lanes_are_given_up_in_need(step: &Step) -> Verdict {
    for lane in 0..LANES {
        if step.before.has_given_up(lane) || !step.after.has_given_up(lane) {
            continue;
        }
        let failed = step.facts().any(|fact| matches!(fact, Fact::ReliefFailed(..)));
        let nobody_serves = step.event == Event::Due(Timer::Relieve(lane)) && !step.before.somebody_serves();
        if !failed && !nobody_serves {
            broken!("the lane {lane} is given up");
        }
    }
    Ok(())
}

/// A record that was made is used: its candidate is started, or waits for a lane and is told to. None fails for want of one.
pub(super) fn a_reload_waits_for_a_lane(step: &Step) -> Verdict {
    let Event::Prepared(number, _) = step.event else {
        return Ok(());
    };
    if step.before.handoff() != Handoff::Candidate(number, Progress::Preparing) {
        return Ok(());
    }
    let waits = match step.after.handoff() {
        Handoff::Candidate(of, Progress::Seeking) => of == number && step.told(Fact::WaitingForRoom),
        Handoff::Candidate(of, Progress::Starting) => of == number && !step.told(Fact::WaitingForRoom),
        Handoff::Idle | Handoff::Waiting | Handoff::Candidate(..) => false,
    };
    if !waits {
        broken!(
            "{number} is prepared, and then there is {:?}",
            step.after.handoff()
        );
    }
    Ok(())
}

#[test]
fn every_lane_of_a_scenario_is_looked_at() {
    for scenario in &SCENARIOS {
        for plan in scenario.rules.plans {
            assert!(
                plan.lanes <= LANES,
                "`{}` has {} lanes",
                scenario.name,
                plan.lanes
            );
        }
    }
}

/// A relief worker is started in a lane for whose clients nobody else comes: no candidate has it, and no reload waits for it that
/// can have no other.
pub(super) fn relief_is_for_the_forsaken(step: &Step) -> Verdict {
    let core = step.before;
    let reliefs = step.facts().filter_map(|fact| match fact {
        Fact::Relief(_, lane) => Some(lane),
        _ => None,
    });
    for lane in reliefs {
        let has_lane = |lane: Lane| core.generations().find(|generation| generation.lane == lane);
        let candidate = core
            .handoff()
            .candidate()
            .and_then(|number| core.generation(number));
        if candidate.is_some_and(|candidate| candidate.plan.lanes > 0 && candidate.lane == lane) {
            broken!("the lane {lane} is a candidate's, and gets a relief worker");
        }
        let lanes = match core.handoff() {
            Handoff::Candidate(_, Progress::Seeking) => core.sought_lanes(),
            _ => core.incumbent().map_or(0, |incumbent| incumbent.plan.lanes),
        };
        let is_closed = |lane: Lane| {
            has_lane(lane).is_some()
                || core.stranded().any(|waiting| waiting == lane) && !core.has_given_up(lane)
        };
        let waits = matches!(
            core.handoff(),
            Handoff::Waiting | Handoff::Candidate(_, Progress::Seeking)
        );
        let is_sought = waits && lane < lanes && core.has_given_up(lane);
        if is_sought && (0..lanes).all(is_closed) {
            broken!("a reload waits for the lane {lane}, and it gets one more relief worker");
        }
    }
    Ok(())
}

/// Clients that wait in a lane to which new ones do not go get a relief worker in time, and then another if that one fails them.
pub(super) fn who_waits_elsewhere_is_relieved(node: &Node) -> Verdict {
    if is_stopping(&node.core) || node.world.finished {
        return Ok(());
    }
    for lane in &node.world.stranded {
        let on_its_way = node.core.timers().any(|timer| timer == Timer::Relieve(*lane));
        if node.core.pointed() != Some(*lane) && !on_its_way {
            broken!("clients wait in the lane {lane}, and nobody comes");
        }
    }
    Ok(())
}

/// A candidate that is steered is started once its token waits (or none can be had), and it takes over, and clients go to it, once
/// it was seen to accept, or is excused from that for a reason that was told.
pub(super) fn a_steered_candidate_is_seen_to_accept(step: &Step) -> Verdict {
    let is_steered = |number: Number| {
        let candidate = step.before.generation(number);
        candidate.is_some_and(|one| one.role == Role::Candidate && one.plan.lanes > 0)
    };
    for effect in step.effects {
        match *effect {
            Effect::Spawn(worker, _) if is_steered(worker.generation) => {
                let number = worker.generation;
                if step.world.placing == Some(number) {
                    broken!("{worker:?} is started before its token waits");
                }
            }
            Effect::Switch(number) | Effect::TakeOver(number)
                if is_steered(number) && step.world.accepted != Some(number) =>
            {
                broken!("{number} goes on and was not seen to accept");
            }
            _ => {}
        }
    }
    Ok(())
}
