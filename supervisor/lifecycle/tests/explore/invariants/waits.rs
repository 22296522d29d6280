//! Timers, and that nothing can hang.

use std::collections::BTreeSet;

use super::{Step, Verdict, all_ready, is_serving, rolling};
use crate::explore::explorer::Node;
use crate::explore::world::{Leader, Told, is_stopping};
use crate::{
    Effect, Event, Generation, Handoff, Leader as KnownLeader, Life, Mode, Progress, Role, SlotState, Stage,
    Standing, Timer, Until, Worker,
};

/// A timer is armed only when it is not running, and disarmed or extended only when it is; none runs after the
/// end.
pub(super) fn timers_start_and_stop_once(step: &Step) -> Verdict {
    let mut running: Vec<Timer> = step.before.timers().collect();
    let stop = |running: &mut Vec<Timer>, timer: Timer| {
        let place = running.iter().position(|other| *other == timer);
        place.map(|place| running.remove(place)).is_some()
    };
    if let Event::Due(timer) = step.event {
        stop(&mut running, timer);
    }
    for effect in step.effects {
        match effect {
            Effect::Arm(timer, _) if running.contains(timer) => broken!("{timer:?} is armed a second time"),
            Effect::Arm(timer, _) => running.push(*timer),
            Effect::Disarm(timer) if !stop(&mut running, *timer) => {
                broken!("{timer:?} is disarmed and not running")
            }
            Effect::Extend(timer, _) if !running.contains(timer) => {
                broken!("{timer:?} is extended and not running")
            }
            Effect::Extend(timer, _) if !matches!(timer, Timer::Start(_) | Timer::Drain(_)) => {
                broken!("{timer:?} is extended, and is no app's to extend")
            }
            _ => {}
        }
    }
    running.sort_unstable();
    if !running.iter().copied().eq(step.after.timers()) {
        broken!(
            "running are {running:?}, known are {:?}",
            step.after.timers().collect::<Vec<_>>()
        );
    }
    Ok(())
}

/// Whatever is waited for has a timer or an answer on its way: nothing can hang.
pub(super) fn every_wait_has_a_timer(node: &Node) -> Verdict {
    if node.world.finished {
        return Ok(());
    }
    let timers: BTreeSet<Timer> = node.core.timers().collect();
    if is_stopping(&node.core) && !timers.contains(&Timer::Stop) {
        broken!("the stop has no timer");
    }
    the_handoff_can_go_on(node, &timers)?;
    for generation in node.core.generations() {
        its_processes_have_timers(node, generation, &timers)?;
        its_slots_can_go_on(node, generation, &timers)?;
    }
    the_tickets_wait_for_something(node)
}

fn the_handoff_can_go_on(node: &Node, timers: &BTreeSet<Timer>) -> Verdict {
    let goes_on = match node.core.handoff() {
        Handoff::Idle => {
            is_stopping(&node.core)
                || node
                    .world
                    .tickets
                    .values()
                    .all(|asked| asked.generation.is_some())
        }
        Handoff::Waiting | Handoff::Candidate(_, Progress::Seeking) => {
            node.core.generations().any(|g| match g.role {
                Role::Retired | Role::Relief => node.world.running().contains(&g.number),
                // One that lingers was told to drain for it, or waits until another has.
                Role::Candidate | Role::Incumbent | Role::Lingering => false,
            }) || node
                .world
                .stranded
                .iter()
                .any(|lane| !node.core.has_given_up(*lane))
        }
        Handoff::Candidate(number, Progress::Preparing) => node.world.preparing.contains(&number),
        // Its workers have timers of their own.
        Handoff::Candidate(number, Progress::Starting) => node
            .core
            .generation(number)
            .is_some_and(|g| !all_ready(&node.world, g)),
        Handoff::Candidate(number, Progress::Probing) => {
            let again = timers.contains(&Timer::ProbeAgain(number));
            timers.contains(&Timer::Probe(number)) && (node.world.probe == Some(number)) != again
        }
        Handoff::Candidate(number, Progress::Soaking) => timers.contains(&Timer::Soak(number)),
        Handoff::Candidate(number, Progress::Confirming) => {
            let looks = node.world.confirming.is_some_and(|(of, _)| of == number);
            let waits = timers.contains(&Timer::Look(number)) && timers.contains(&Timer::Await(number));
            looks || waits
        }
        Handoff::Candidate(number, Progress::Switching) => {
            node.world.switching.is_some_and(|(of, _)| of == number)
        }
    };
    if !goes_on {
        broken!("{:?} cannot go on", node.core.handoff());
    }
    Ok(())
}

fn its_processes_have_timers(node: &Node, generation: &Generation, timers: &BTreeSet<Timer>) -> Verdict {
    let stopping = is_stopping(&node.core);
    for process in &generation.processes {
        let worker = process.worker;
        let bounded = match process.life {
            Life::Starting => timers.contains(&Timer::Start(worker)),
            Life::Serving => {
                generation.plan.watchdog == Stage::Skipped || timers.contains(&Timer::Watchdog(worker))
            }
            Life::Draining => stopping || timers.contains(&Timer::Drain(worker)),
            Life::Killed => stopping || timers.contains(&Timer::Kill(worker)),
        };
        if !bounded {
            broken!("nothing bounds {worker:?} while it is {:?}", process.life);
        }
        let outside = node.world.processes.get(&worker);
        let dead = outside.is_none_or(|process| process.leader == Leader::Reported);
        if dead != (process.leader == KnownLeader::Exited) {
            broken!("{worker:?} is thought {:?}, and is {outside:?}", process.leader);
        }
    }
    Ok(())
}

fn its_slots_can_go_on(node: &Node, generation: &Generation, timers: &BTreeSet<Timer>) -> Verdict {
    let number = generation.number;
    for (index, slot) in (0u16..).zip(&generation.slots) {
        let goes_on = match slot.state {
            SlotState::Running(start) => {
                let worker = Worker {
                    generation: number,
                    slot: index,
                    start,
                };
                generation.processes.iter().any(|process| {
                    process.worker == worker && matches!(process.life, Life::Starting | Life::Serving)
                })
            }
            SlotState::BackingOff => timers.contains(&Timer::BackOff(number, index)),
            // It is filled when the candidate has failed, and that one has timers; or when whoever replaced it has.
            SlotState::Yielded if generation.role == Role::Lingering => true,
            SlotState::Yielded => node.core.handoff().candidate().is_some(),
            // So does one that finds no room; the candidate itself never waits for the incumbent, but for those that drain.
            SlotState::Wanted
                if rolling::limit(&node.core).is_some_and(|limit| node.world.processes.len() >= limit) =>
            {
                let drains = node.world.processes.values().any(|p| p.told != Told::Nothing);
                drains || generation.role == Role::Incumbent && node.core.handoff().candidate().is_some()
            }
            // In queue mode it waits for processes, and they have timers.
            SlotState::Wanted => {
                let in_the_way = |worker: &Worker| worker.generation != number || worker.slot == index;
                let queues = generation.plan.mode == Mode::Queue;
                // A steered candidate waits for its token.
                node.world.placing == Some(number) || queues && node.world.processes.keys().any(in_the_way)
            }
        };
        if !goes_on {
            broken!("slot {index} of generation {number} is {slot:?} and nothing goes on");
        }
        if slot.failures > 0 && is_serving(generation, index) && !timers.contains(&Timer::Calm(number, index))
        {
            broken!("the crashes in slot {index} of generation {number} are never forgiven");
        }
    }
    let untried = generation.role == Role::Incumbent && generation.standing == Standing::Untried;
    if untried && all_ready(&node.world, generation) && !timers.contains(&Timer::Probation(number)) {
        broken!("the probation of generation {number} never ends");
    }
    Ok(())
}

fn the_tickets_wait_for_something(node: &Node) -> Verdict {
    for (ticket, asked) in &node.world.tickets {
        let Some(number) = asked.generation else { continue };
        let waits = match asked.until {
            _ if node.core.handoff().candidate() == Some(number) => true,
            Until::Takeover => false,
            Until::Settled => node.core.incumbent().is_some_and(|incumbent| {
                incumbent.number == number && incumbent.standing == Standing::Untried
            }),
            Until::Drained => {
                let running = node.world.running();
                asked.draining.iter().any(|old| running.contains(old))
            }
        };
        if !waits {
            broken!("{ticket:?} ({:?} of {number}) waits for nothing", asked.until);
        }
    }
    Ok(())
}

/// A timer runs only while there is something that it bounds: none is left armed.
pub(super) fn every_timer_has_its_wait(node: &Node) -> Verdict {
    let life = |worker: Worker| {
        let generation = node.core.generation(worker.generation);
        generation
            .and_then(|g| g.processes.iter().find(|p| p.worker == worker))
            .map(|process| process.life)
    };
    let slot = |number, index: u16| {
        node.core
            .generation(number)
            .and_then(|generation| generation.slots.get(usize::from(index)))
    };
    let handoff = node.core.handoff();
    for timer in node.core.timers() {
        let has = match timer {
            Timer::Start(worker) | Timer::Hint(worker) | Timer::Alive(worker) | Timer::Silent(worker) => {
                life(worker) == Some(Life::Starting)
            }
            Timer::Watchdog(worker) => life(worker) == Some(Life::Serving),
            Timer::Drain(worker) => life(worker) == Some(Life::Draining),
            Timer::Kill(worker) => life(worker) == Some(Life::Killed),
            Timer::Probe(number) | Timer::ProbeAgain(number) => {
                handoff == Handoff::Candidate(number, Progress::Probing)
            }
            Timer::Soak(number) => handoff == Handoff::Candidate(number, Progress::Soaking),
            Timer::Look(number) | Timer::Await(number) => {
                handoff == Handoff::Candidate(number, Progress::Confirming)
            }
            Timer::Probation(number) => node
                .core
                .incumbent()
                .is_some_and(|g| g.number == number && g.standing == Standing::Untried),
            Timer::BackOff(number, index) => {
                slot(number, index).is_some_and(|slot| slot.state == SlotState::BackingOff)
            }
            Timer::Calm(number, index) => {
                let crashed = slot(number, index).is_some_and(|slot| slot.failures > 0);
                crashed && node.core.generation(number).is_some_and(|g| is_serving(g, index))
            }
            Timer::Linger(number) | Timer::Count(number) => {
                let generation = node.core.generation(number);
                generation.is_some_and(|generation| generation.role == Role::Lingering)
            }
            Timer::Switch => node.core.incumbent().is_some(),
            Timer::Relieve(lane) => node.world.stranded.contains(&lane),
            Timer::Stop => is_stopping(&node.core),
        };
        if !has {
            broken!("{timer:?} runs for nothing");
        }
    }
    Ok(())
}
