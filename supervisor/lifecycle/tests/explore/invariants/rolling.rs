//! Handoffs in steps.

use super::{Step, Verdict};
use crate::explore::explorer::Node;
use crate::explore::world::Leader;
use crate::{Effect, Event, Generation, Lifecycle, Mode, Role, SlotState, Worker};

fn active(core: &Lifecycle) -> impl Iterator<Item = &Generation> {
    core.generations()
        .filter(|generation| generation.role.is_active())
}

/// The number of processes that may run at once, if reloads are rolling.
pub(super) fn limit(core: &Lifecycle) -> Option<usize> {
    let candidate = active(core).find(|generation| generation.role == Role::Candidate);
    let plan = candidate.or(core.incumbent())?.plan;
    let workers = active(core).map(|generation| generation.plan.workers).max()?;
    let bounded = plan.mode == Mode::Overlap && plan.rolling > 0;
    bounded.then_some(usize::from(workers) + usize::from(plan.rolling))
}

/// Where reloads are rolling, nobody is started beside as many processes as are workers wanted and replaced at a time;
/// those that drain count, and so do those of retired generations.
pub(super) fn steps_wait_for_room(step: &Step) -> Verdict {
    step.walk(
        |effect| matches!(effect, Effect::Spawn(..)),
        |effect, world| {
            let running = world.processes.len();
            match (effect, limit(step.after)) {
                (Effect::Spawn(..), Some(limit)) if running >= limit => {
                    broken!("{effect:?} beside {running} processes")
                }
                _ => Ok(()),
            }
        },
    )
}

/// A place is yielded only by the incumbent and to a candidate in its steps. Until that one is whole, the incumbent keeps a place.
pub(super) fn places_are_yielded_to_a_candidate(node: &Node) -> Verdict {
    let candidate = active(&node.core).find(|generation| generation.role == Role::Candidate);
    let whole = candidate.is_some_and(|g| g.slots.len() >= usize::from(g.plan.workers));
    for generation in active(&node.core) {
        let yielded = |slot: &crate::Slot| slot.state == SlotState::Yielded;
        if !generation.slots.iter().any(yielded) {
            continue;
        }
        if generation.role != Role::Incumbent || candidate.is_none_or(|g| g.plan.rolling == 0) {
            broken!("generation {} has yielded a place to nobody", generation.number);
        }
        if !whole && generation.slots.iter().all(yielded) {
            broken!("generation {} has yielded its last place", generation.number);
        }
    }
    Ok(())
}

/// Whether this worker of the incumbent makes room for one of the candidate's that is ready and was seen alive.
pub(super) fn makes_room(step: &Step, worker: Worker) -> bool {
    let Event::Confirmed(number) = step.event else {
        return false;
    };
    let Some(candidate) = step.before.generation(number) else {
        return false;
    };
    let slot = candidate.slots.get(usize::from(worker.slot));
    let Some(SlotState::Running(start)) = slot.map(|slot| slot.state) else {
        return false;
    };
    let successor = Worker {
        generation: number,
        start,
        ..worker
    };
    let outside = step.world.processes.get(&successor);
    outside.is_some_and(|process| process.ready && process.leader == Leader::Running)
}
