//! Birth records, probation, rollback and back-off.

use std::collections::BTreeSet;

use super::{Step, Verdict, linger};
use crate::explore::explorer::Node;
use crate::explore::world::is_stopping;
use crate::{
    Effect, Event, FIRST, Fact, Handoff, Life, Lifecycle, Mode, Progress, Readiness, Record, Role, SlotState,
    Stage, Standing, Timer, Wait,
};

/// A worker is started only from a birth record that was made and is still kept, and a record is forgotten once.
pub(super) fn records_are_used_while_kept(step: &Step) -> Verdict {
    step.walk(
        |effect| matches!(effect, Effect::Spawn(..) | Effect::Forget(_)),
        |effect, world| match effect {
            Effect::Spawn(_, record) | Effect::Forget(record) if !world.records.contains(record) => {
                broken!("{effect:?}, and kept are {:?}", world.records)
            }
            _ => Ok(()),
        },
    )
}

/// Where an app decides itself how it is known to be ready, and one that a worker follows has said something about its start, the
/// worker is ready by its own word alone.
pub(super) fn who_notifies_is_waited_for(step: &Step) -> Verdict {
    for effect in step.effects {
        let Effect::NoteReady(worker) = effect else {
            continue;
        };
        let plan = step
            .before
            .generation(worker.generation)
            .map(|generation| generation.plan);
        let decides = plan.is_some_and(|plan| plan.readiness == Readiness::Auto);
        let speaks = step.event == Event::Ready(*worker);
        if decides && !speaks && step.world.is_to_speak(*worker, step.before) {
            broken!("{worker:?} counts as ready without a word, by {:?}", step.event);
        }
    }
    Ok(())
}

/// A birth record is kept as long as something may be started from it, and no longer.
pub(super) fn records_are_forgotten(node: &Node) -> Verdict {
    let active = node
        .core
        .generations()
        .filter(|generation| generation.role != Role::Retired);
    let mut needed: BTreeSet<Record> = active.map(|generation| generation.record).collect();
    needed.extend(node.core.last_good());
    if let Handoff::Candidate(number, Progress::Seeking) = node.core.handoff() {
        needed.insert(Record(number));
    }
    let queue = node
        .core
        .generations()
        .any(|generation| generation.plan.mode == Mode::Queue);
    // In queue mode one more is kept, to fall back on while there is no incumbent.
    let spare = usize::from(queue && node.core.incumbent().is_none() && !is_stopping(&node.core));
    let kept = &node.world.records;
    if !needed.is_subset(kept) || kept.difference(&needed).count() > spare {
        broken!("{kept:?} are kept, {needed:?} are needed");
    }
    Ok(())
}

/// A crash of an incumbent on probation means rollback to the last good, if there is one, or else to whoever lingers; any other crash of an
/// incumbent means that the worker is started again.
pub(super) fn crash_on_probation_rolls_back(step: &Step) -> Verdict {
    let (Event::Exited(worker)
    | Event::Stuck(worker)
    | Event::SpawnFailed(worker)
    | Event::Due(Timer::Start(worker) | Timer::Watchdog(worker))) = step.event
    else {
        return Ok(());
    };
    let Some(generation) = step.before.generation(worker.generation) else {
        return Ok(());
    };
    let asked = generation
        .processes
        .iter()
        .any(|process| process.worker == worker && matches!(process.life, Life::Draining | Life::Killed));
    if generation.role != Role::Incumbent || asked {
        return Ok(());
    }
    let good = step.before.last_good();
    let replaced = step.rollback().map(|(failed, _)| failed) == Some(generation.number);
    let back = linger::way_back(step.before).is_some();
    if replaced && good.is_some() && step.after.incumbent().map(|incumbent| incumbent.record) != good {
        broken!("{:?} was the last good", good);
    }
    let due = generation.standing == Standing::Untried && (good.is_some() || back);
    if replaced != due {
        broken!(
            "{worker:?} has crashed ({:?}, last good {good:?}): rolled back {replaced}",
            generation.standing
        );
    }
    let hopeless = generation.standing == Standing::Untried && !due && generation.number != FIRST;
    if (step.no_way_back() == Some(generation.number)) != hopeless {
        broken!(
            "{worker:?} has crashed without a last good, told: {:?}",
            step.no_way_back()
        );
    }
    Ok(())
}

/// An incumbent that accepts nobody is rolled back on probation, if there is a last good; in every other case nobody is
/// told to stop for it, and its probation does not pass meanwhile.
pub(super) fn deaf_on_probation_rolls_back(step: &Step) -> Verdict {
    let Event::Deaf(number) = step.event else {
        return Ok(());
    };
    let Some(incumbent) = step
        .before
        .incumbent()
        .filter(|incumbent| incumbent.number == number)
    else {
        if !step.effects.is_empty() {
            broken!("generation {number} does not serve, and {:?}", step.effects);
        }
        return Ok(());
    };
    let untried = incumbent.standing == Standing::Untried;
    let good = step.before.last_good().is_some();
    let due = untried && (good || linger::way_back(step.before).is_some());
    if (step.rollback().map(|(failed, _)| failed) == Some(number)) != due {
        broken!(
            "generation {number} is deaf: rolled back {:?}, due {due}",
            step.rollback()
        );
    }
    if due {
        return Ok(());
    }
    if step.signals().next().is_some() || !step.told(Fact::Deaf(number)) {
        broken!("generation {number} is deaf, and {:?}", step.effects);
    }
    let timer = Timer::Probation(number);
    let renewed = [Effect::Disarm(timer), Effect::Arm(timer, Wait::Probation)];
    if untried && step.before.timers().any(|runs| runs == timer) && !step.effects.starts_with(&renewed) {
        broken!("the probation of generation {number} goes on though it is deaf");
    }
    Ok(())
}

/// What becomes the last good record has served as the incumbent through its probation; one that was superseded
/// or has failed never does.
pub(super) fn only_the_trusted_become_last_good(step: &Step) -> Verdict {
    let (was, is) = (step.before.last_good(), step.after.last_good());
    if was == is || is_stopping(step.after) {
        return Ok(());
    }
    let incumbent = step.after.incumbent();
    let settled = incumbent.is_some_and(|incumbent| {
        let passed = match incumbent.plan.probation {
            Stage::Kept => step.event == Event::Due(Timer::Probation(incumbent.number)),
            Stage::Skipped => step
                .takeover()
                .is_some_and(|(number, _)| number == incumbent.number),
        };
        passed && Some(incumbent.record) == is && step.told(Fact::Settled(incumbent.number))
    });
    if !settled {
        broken!("{is:?} has become the last good instead of {was:?}");
    }
    Ok(())
}

/// A candidate that fails leaves the incumbent as it was: a back-off that ran runs on.
pub(super) fn back_off_goes_on(step: &Step) -> Verdict {
    if step.failed_candidate().is_none() || is_stopping(step.after) {
        return Ok(());
    }
    // Places that were yielded are filled again.
    let kept = |core: &Lifecycle| {
        let mut slots = core.incumbent().map(|g| (g.number, g.slots.clone()));
        let yielded = step
            .before
            .incumbent()
            .map(|g| g.slots.clone())
            .unwrap_or_default();
        if let Some((_, slots)) = &mut slots {
            let mut yielded = yielded.iter().map(|slot| slot.state == SlotState::Yielded);
            slots.retain(|_| yielded.next() != Some(true));
        }
        slots
    };
    let (before, after) = (kept(step.before), kept(step.after));
    let backs_off = |core: &Lifecycle| -> BTreeSet<Timer> {
        core.timers()
            .filter(|timer| matches!(timer, Timer::BackOff(..)))
            .collect()
    };
    if before != after || backs_off(step.before) != backs_off(step.after) {
        broken!("the incumbent was {before:?} and is {after:?}");
    }
    Ok(())
}
