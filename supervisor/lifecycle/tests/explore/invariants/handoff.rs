//! Who starts beside whom, and who takes over.

use std::collections::BTreeSet;

use super::{Step, Verdict, all_ready};
use crate::explore::explorer::Node;
use crate::explore::world::{Leader, Told, is_queue};
use crate::{Effect, FIRST, Fact, Handoff, Life, Mode, Number, Progress, Record, Role, Stage, State, Worker};

/// A handoff begins only if the candidate is not one too many. Restarts and rollbacks never wait.
pub(super) fn generations_stay_within_the_limit(step: &Step) -> Verdict {
    for effect in step.effects {
        let (Effect::Prepare(number), Some(incumbent)) = (effect, step.after.incumbent()) else {
            continue;
        };
        let mut living = step.then.running();
        living.insert(incumbent.number);
        let limit = usize::from(incumbent.plan.max_generations).max(2);
        if incumbent.plan.mode == Mode::Overlap && living.len() >= limit {
            broken!("generation {number} begins beside {living:?}");
        }
    }
    Ok(())
}

/// A generation that must not run twice is started only when no process of another one is left.
pub(super) fn queue_mode_runs_one_generation(step: &Step) -> Verdict {
    step.walk(
        |effect| matches!(effect, Effect::Spawn(..)),
        |effect, world| {
            let Effect::Spawn(worker, _) = effect else {
                return Ok(());
            };
            let in_the_way =
                |other: &&Worker| other.generation != worker.generation || other.slot == worker.slot;
            if is_queue(step.after, worker.generation)
                && let Some(other) = world.processes.keys().find(in_the_way)
            {
                broken!("{worker:?} is started beside {other:?}");
            }
            Ok(())
        },
    )
}

/// A candidate takes over only when each of its workers has said that it is ready and was found alive in the same
/// turn. Probe and soak have passed, or nobody served for whom it could have waited.
pub(super) fn takeover_only_by_the_ready(step: &Step) -> Verdict {
    for effect in step.effects {
        if let Effect::Confirm(number) | Effect::ConfirmAnyway(number) = effect {
            probe_and_soak_are_over(step, *number)?;
        }
    }
    let Some((number, old)) = step.takeover() else {
        return Ok(());
    };
    if old != step.before.incumbent().map(|incumbent| incumbent.number) {
        broken!("{old:?} was not the incumbent");
    }
    let Some(generation) = step.before.generation(number) else {
        broken!("generation {number} does not exist");
    };
    if !all_ready(step.world, generation) {
        broken!("generation {number} takes over and is not ready");
    }
    let dead = generation
        .processes
        .iter()
        .filter(|process| matches!(process.life, Life::Starting | Life::Serving))
        .find(|process| {
            step.world
                .processes
                .get(&process.worker)
                .is_none_or(|p| p.leader != Leader::Running)
        });
    if let Some(dead) = dead {
        broken!("generation {number} takes over and {:?} is dead", dead.worker);
    }
    Ok(())
}

/// A candidate that was seen without a listener that it needs fails: it neither takes over nor takes a step.
pub(super) fn nobody_takes_over_without_a_listener(step: &Step) -> Verdict {
    let Some(number) = step.then.unheld else {
        return Ok(());
    };
    let stepped = step
        .facts()
        .any(|fact| matches!(fact, Fact::Stepped(of, _) if of == number));
    if stepped || step.takeover().is_some_and(|(of, _)| of == number) {
        broken!("generation {number} goes on without a listener");
    }
    Ok(())
}

fn probe_and_soak_are_over(step: &Step, number: Number) -> Verdict {
    let Some(plan) = step.after.generation(number).map(|generation| generation.plan) else {
        return Ok(());
    };
    if !step.after.somebody_serves() && step.before.incumbent().is_some() {
        return Ok(());
    }
    let slots = step.after.generation(number).map_or(0, |g| g.slots.len());
    let first_step = plan.rolling == 0 || slots <= usize::from(plan.rolling);
    let whole = slots >= usize::from(plan.workers);
    if plan.probe == Stage::Kept && first_step && step.then.passed != Some(number) {
        broken!("generation {number} did not pass its probe");
    }
    if plan.soak == Stage::Kept && whole && step.then.soaked != Some(number) && step.after.somebody_serves() {
        broken!("generation {number} did not soak");
    }
    Ok(())
}

/// A reload that was told to begin (or to wait) is told once to be over: when its handoff is, whatever has ended it,
/// and before the next one begins. The first start is nobody's reload.
pub(super) fn reloads_are_told_as_they_are(step: &Step) -> Verdict {
    step.walk(
        |effect| matches!(effect, Effect::Tell(_)),
        |effect, world| {
            let waited = step.before.handoff() == Handoff::Waiting;
            let seeks = matches!(step.after.handoff(), Handoff::Candidate(_, Progress::Seeking));
            match effect {
                Effect::Tell(Fact::WaitingForRoom) if world.reloading && !seeks => {
                    broken!("a reload waits beside another")
                }
                Effect::Tell(Fact::HandoffBegan(number)) if world.reloading && !waited => {
                    broken!("{number} begins before the last reload is over")
                }
                Effect::Tell(Fact::ReloadOver) if !world.reloading => broken!("over, and none had begun"),
                _ => Ok(()),
            }
        },
    )?;
    let under_way = match step.after.handoff() {
        Handoff::Waiting => true,
        handoff => handoff.candidate().is_some_and(|number| number > FIRST),
    };
    if step.then.reloading != under_way {
        broken!(
            "told to be reloading: {}, in {:?}",
            step.then.reloading,
            step.after.handoff()
        );
    }
    Ok(())
}

/// What people are told is done as well, once, in the same step: a takeover, a rollback, a burial, the word of a worker that is
/// ready, the end of all waiting for one that cannot be killed.
pub(super) fn deeds_match_the_words(step: &Step) -> Verdict {
    let told = |fact: &Fact| match *fact {
        Fact::TookOver(number, _) => Some(Effect::TakeOver(number)),
        Fact::RolledBack(_, number, _) => {
            let record = step.after.generation(number).map(|generation| generation.record);
            Some(Effect::RollBack(number, record.unwrap_or(Record(0))))
        }
        Fact::SwitchedBack(_, number, _) => Some(Effect::TakeBack(number)),
        Fact::Ended(number) => Some(Effect::Bury(number)),
        Fact::WorkerReady(worker) => Some(Effect::NoteReady(worker)),
        Fact::Unkillable(worker) => Some(Effect::Abandon(worker)),
        Fact::HandoffBegan(_)
        | Fact::WaitingForRoom
        | Fact::ReloadOver
        | Fact::StillWaiting(_)
        | Fact::Settled(_)
        | Fact::Stepped(..)
        | Fact::CandidateFailed(..)
        | Fact::NoWayBack(..)
        | Fact::LingerOver(..)
        | Fact::Deaf(_)
        | Fact::Relief(..)
        | Fact::ReliefFailed(..)
        | Fact::NotSwitched(_)
        | Fact::Unaccepted(_)
        | Fact::Crashed(..)
        | Fact::Restarted(_)
        | Fact::Overran(_)
        | Fact::Stopping => None,
    };
    let is_deed = |effect: &&Effect| {
        matches!(
            effect,
            Effect::TakeOver(_)
                | Effect::TakeBack(_)
                | Effect::RollBack(..)
                | Effect::Bury(_)
                | Effect::NoteReady(_)
                | Effect::Abandon(_)
        )
    };
    let mut asked: Vec<String> = step
        .facts()
        .filter_map(|fact| told(&fact))
        .map(|deed| deed.to_string())
        .collect();
    let mut done: Vec<String> = step
        .effects
        .iter()
        .filter(is_deed)
        .map(ToString::to_string)
        .collect();
    asked.sort_unstable();
    done.sort_unstable();
    if asked != done {
        broken!("told is {asked:?}, done is {done:?}");
    }
    Ok(())
}

/// There is one candidate at a time and one incumbent; a handoff is about the candidate; what `status` says of
/// all this is true.
pub(super) fn one_candidate_one_incumbent(node: &Node) -> Verdict {
    let with = |role| {
        node.core
            .generations()
            .filter(move |generation| generation.role == role)
            .map(|g| g.number)
    };
    let expected = match node.core.handoff() {
        Handoff::Candidate(_, Progress::Preparing | Progress::Seeking) => None,
        handoff => handoff.candidate(),
    };
    if !with(Role::Candidate).eq(expected) {
        broken!(
            "candidates in {:?} are {:?}",
            node.core.handoff(),
            with(Role::Candidate).collect::<BTreeSet<_>>()
        );
    }
    if !with(Role::Incumbent).eq(node.core.incumbent().map(|incumbent| incumbent.number)) {
        broken!(
            "the incumbents are {:?}",
            with(Role::Incumbent).collect::<BTreeSet<_>>()
        );
    }
    if node.world.preparing.len() > 1 {
        broken!("{:?} are prepared at once", node.world.preparing);
    }
    let serving = node.core.incumbent().is_some_and(|incumbent| {
        node.world.processes.iter().any(|(worker, process)| {
            let alive = process.leader != Leader::Reported && process.told == Told::Nothing;
            worker.generation == incumbent.number && process.ready && alive
        })
    });
    if node.core.state() == State::Serving && !serving {
        broken!("nobody serves");
    }
    Ok(())
}

/// The name of a worker is never used again: each start in a slot has a higher number.
pub(super) fn workers_are_never_named_twice(step: &Step) -> Verdict {
    step.walk(
        |effect| matches!(effect, Effect::Spawn(..)),
        |effect, world| {
            let Effect::Spawn(worker, _) = effect else {
                return Ok(());
            };
            let last = world.starts.get(&(worker.generation, worker.slot));
            if last.is_some_and(|last| *last >= worker.start) || world.processes.contains_key(worker) {
                broken!("{worker:?} is started again (the last start was {last:?})");
            }
            Ok(())
        },
    )
}

/// A probe command runs only while its generation is probed, and one at a time.
pub(super) fn one_probe_at_a_time(step: &Step) -> Verdict {
    step.walk(
        |effect| matches!(effect, Effect::Probe(_)),
        |effect, world| match (effect, world.probe) {
            (Effect::Probe(number), Some(running)) => {
                broken!("{number} is probed while the probe of {running} runs")
            }
            _ => Ok(()),
        },
    )?;
    match (step.then.probe, step.after.handoff()) {
        (Some(number), Handoff::Candidate(candidate, Progress::Probing)) if number == candidate => Ok(()),
        (Some(number), handoff) => broken!("the probe of {number} runs in {handoff:?}"),
        (None, _) => Ok(()),
    }
}
