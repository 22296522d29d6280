//! Who is told to end, and why.

use super::{Step, Verdict, linger, rolling};
use crate::explore::world::{Leader, Told, is_queue, is_stopping};
use crate::{Effect, Event, Fact, Role, Signal, Timer, Worker};

/// A worker that was reaped, was never created or is given up cannot be signalled; nor a main process that is
/// known to be dead, except with its group.
pub(super) fn no_signal_to_the_gone(step: &Step) -> Verdict {
    step.walk(
        |effect| matches!(effect, Effect::Signal(..)),
        |effect, world| {
            let Effect::Signal(worker, signal) = effect else {
                return Ok(());
            };
            let Some(process) = world.processes.get(worker) else {
                broken!("{signal:?} to {worker:?}, which is gone");
            };
            match signal {
                Signal::Stop | Signal::Abort if process.leader == Leader::Reported => {
                    broken!("{signal:?} to the dead main process of {worker:?}")
                }
                Signal::StopGroup if process.leader != Leader::Reported => {
                    broken!("{signal:?} to {worker:?}, whose main process lives")
                }
                Signal::Stop | Signal::StopGroup | Signal::Abort | Signal::Kill => Ok(()),
            }
        },
    )
}

/// Nobody is told to end without a cause: a successor has taken over (in queue mode: is about to start; in a handoff in steps: is ready
/// in the same slot), the
/// generation has failed, fewer workers were asked for, it is stuck, or a stop was asked for. Nobody is killed who
/// was not asked first.
pub(super) fn the_incumbent_still_serves(step: &Step) -> Verdict {
    for (worker, signal) in step.signals() {
        let Some(process) = step.world.processes.get(&worker) else {
            continue;
        };
        let cause = match signal {
            Signal::Stop => process.told == Told::Nothing && may_drain(step, worker),
            Signal::StopGroup => matches!(step.event, Event::Exited(dead) if dead == worker),
            Signal::Abort => match step.event {
                Event::Stuck(stuck) | Event::Due(Timer::Watchdog(stuck)) => stuck == worker,
                _ => false,
            },
            Signal::Kill => {
                let asked = process.told == Told::ToStop || process.leader == Leader::Reported;
                let overran = step.event == Event::Due(Timer::Drain(worker));
                let stop =
                    is_stopping(step.before) && matches!(step.event, Event::Stop | Event::Due(Timer::Stop));
                asked && (overran || stop)
            }
        };
        if !cause {
            broken!("{signal:?} to {worker:?} ({process:?}) without a cause");
        }
    }
    Ok(())
}

fn may_drain(step: &Step, worker: Worker) -> bool {
    let number = worker.generation;
    if is_stopping(step.after) && !is_stopping(step.before) {
        return true;
    }
    match step.event {
        Event::Workers(count) => return worker.slot >= count,
        Event::Due(Timer::Start(late)) if late == worker => return true,
        _ => {}
    }
    let rolled_back = step.rollback().is_some_and(|(failed, _)| failed == number);
    match step.before.generation(number).map(|generation| generation.role) {
        Some(Role::Candidate) => rolled_back || step.failed_candidate() == Some(number),
        Some(Role::Incumbent) => {
            let stepped_aside = matches!(step.event, Event::Prepared(new, _) if is_queue(step.after, new));
            let stepped = rolling::makes_room(step, worker);
            rolled_back
                || stepped_aside
                || stepped
                || linger::has_ended(step, number)
                || step.takeover().is_some_and(|(_, old)| old == Some(number))
        }
        Some(Role::Relief) => {
            let lane = step.before.lane_of(number);
            matches!(step.event, Event::Relieved(_)) || step.event == Event::Due(Timer::Relieve(lane))
        }
        Some(Role::Lingering) => {
            linger::has_ended(step, number)
                || linger::lost(step, number)
                || linger::is_one_too_many(step, worker)
        }
        Some(Role::Retired) | None => false,
    }
}

/// A worker is given up as unkillable only if it was killed before, and has had its time to die.
pub(super) fn given_up_only_when_killed(step: &Step) -> Verdict {
    for fact in step.facts() {
        let Fact::Unkillable(worker) = fact else { continue };
        let killed = step
            .world
            .processes
            .get(&worker)
            .is_some_and(|process| process.told == Told::Killed);
        let waited = step.event == Event::Due(Timer::Kill(worker)) || step.event == Event::Due(Timer::Stop);
        if !killed || !waited {
            broken!("{worker:?} is given up (killed: {killed})");
        }
    }
    Ok(())
}
