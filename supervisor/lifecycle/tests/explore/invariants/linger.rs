//! Old generations that keep their clients, and the way back to them.

use super::{Step, Verdict};
use crate::explore::explorer::Node;
use crate::explore::world::is_stopping;
use crate::{
    Effect, Event, Fact, Generation, Handoff, Lifecycle, LingerEnd, Number, Progress, Role, Timer, Worker,
};

/// A generation that lingers is told to drain when it has no connection, when its time is up, when a reload needs its room, or
/// when all of it ends; and then it is said why. Its room is needed only by a reload that found none.
pub(super) fn whoever_lingers_keeps_its_clients(step: &Step) -> Verdict {
    for fact in step.facts() {
        let Fact::LingerOver(number, why) = fact else {
            continue;
        };
        let honest = match why {
            LingerEnd::Unused => step.event == Event::Unused(number),
            LingerEnd::Time => step.event == Event::Due(Timer::Linger(number)),
            LingerEnd::Room => {
                let waited = matches!(
                    step.before.handoff(),
                    Handoff::Waiting | Handoff::Candidate(_, Progress::Seeking)
                );
                let waits = step.told(Fact::WaitingForRoom) || waited;
                let older = step
                    .before
                    .generations()
                    .any(|one| one.role == Role::Lingering && one.number < number);
                (waits || step.event == Event::RoomWanted) && !older
            }
        };
        if !honest {
            broken!(
                "generation {number} lingers no more ({why:?}) at {:?}",
                step.event
            );
        }
    }
    Ok(())
}

/// Whether its linger was told to be over, so that it drains.
pub(super) fn has_ended(step: &Step, number: Number) -> bool {
    step.facts()
        .any(|fact| matches!(fact, Fact::LingerOver(of, _) if of == number))
}

/// Whether the last of its workers that served has just failed, so that the others of it are told to drain.
pub(super) fn lost(step: &Step, number: Number) -> bool {
    let (Event::Exited(Worker { generation, .. })
    | Event::Stuck(Worker { generation, .. })
    | Event::Due(Timer::Watchdog(Worker { generation, .. }))) = step.event
    else {
        return false;
    };
    generation == number && step.after.generation(number).is_none_or(|one| !one.serves())
}

/// Whether it serves again, and fewer workers were asked for since.
pub(super) fn is_one_too_many(step: &Step, worker: Worker) -> bool {
    let number = worker.generation;
    let back = step
        .facts()
        .any(|fact| matches!(fact, Fact::SwitchedBack(_, to, _) if to == number));
    let wanted = step.after.generation(number).map(|one| one.plan.workers);
    back && wanted.is_some_and(|wanted| worker.slot >= wanted)
}

/// The generation to which new clients can be sent back: one that lingers and runs the last good record, or any if there is none.
pub(super) fn way_back(core: &Lifecycle) -> Option<&Generation> {
    let good = core.last_good();
    let lingering = core
        .generations()
        .filter(|one| one.role == Role::Lingering && one.serves());
    lingering
        .filter(|one| good.is_none_or(|good| good == one.record))
        .last()
}

/// An incumbent that fails on probation is switched away from, to whoever lingers and may serve again: nobody is started for it, and
/// new clients go there in the same step, unless a candidate has them already.
pub(super) fn who_lingers_is_the_way_back(step: &Step) -> Verdict {
    let Some((failed, number)) = step.rollback() else {
        return Ok(());
    };
    let was_incumbent = step
        .before
        .incumbent()
        .is_some_and(|incumbent| incumbent.number == failed);
    let wanted = way_back(step.before)
        .filter(|_| was_incumbent)
        .map(|one| one.number);
    let back = step.facts().any(|fact| matches!(fact, Fact::SwitchedBack(..)));
    if back != wanted.is_some() || wanted.is_some_and(|wanted| wanted != number) {
        broken!("{failed} is rolled back to {number}, and {wanted:?} lingers");
    }
    let switched = step.effects.contains(&Effect::Switch(number));
    if back && !switched && step.after.switched_to() == Some(number) {
        broken!("{number} serves again, and new clients do not go there");
    }
    Ok(())
}

/// Whoever lingers serves, ends by itself when its time is up, and is looked at until then.
pub(super) fn whoever_lingers_is_looked_at_and_ends(node: &Node) -> Verdict {
    for one in node.core.generations().filter(|one| one.role == Role::Lingering) {
        let runs = |timer: Timer| node.core.timers().any(|other| other == timer);
        let looked_at = runs(Timer::Count(one.number)) || node.world.counting.contains(&one.number);
        if !one.serves() || is_stopping(&node.core) || !runs(Timer::Linger(one.number)) || !looked_at {
            broken!("generation {} lingers for nothing or for ever", one.number);
        }
    }
    Ok(())
}
