//! The end, and what comes too late.

use super::Verdict;
use crate::explore::explorer::Node;
use crate::explore::world::{Told, is_stopping};
use crate::{
    Effect, Event, Handoff, Life, Lifecycle, Outcome, Progress, Role, Ticket, Timer, Token, Until, Worker,
};

/// Once a stop was asked for, every worker was told to end.
pub(super) fn everybody_is_told_of_the_stop(node: &Node) -> Verdict {
    let untold = node
        .world
        .processes
        .iter()
        .find(|(_, process)| process.told == Told::Nothing);
    match untold {
        Some((worker, _)) if is_stopping(&node.core) => broken!("{worker:?} is not told"),
        Some(_) | None => Ok(()),
    }
}

/// At the end no process is left, save those that people were told cannot be killed.
pub(super) fn no_orphan(node: &Node) -> Verdict {
    if node.world.finished && !node.world.processes.is_empty() {
        broken!("{:?} is left", node.world.running());
    }
    Ok(())
}

/// What comes too late or a second time changes nothing: a timer that was disarmed in the turn in which it came
/// due, a doubled word, a word about a worker that is gone.
pub(super) fn the_stale_is_ignored(machine: &Lifecycle) -> Verdict {
    let mut core = machine.clone();
    for event in stale(machine) {
        let effects = core.step(event);
        if !effects.is_empty() {
            broken!("{event:?} came too late and led to {effects:?}");
        }
    }
    if core != *machine {
        broken!("something came too late and changed the state to {core:?}");
    }
    Ok(())
}

fn stale(core: &Lifecycle) -> Vec<Event> {
    let mut events = Vec::new();
    let mut timers = vec![Timer::Stop];
    for generation in core.generations() {
        let number = generation.number;
        for process in &generation.processes {
            let worker = process.worker;
            timers.extend([Timer::Start(worker), Timer::Hint(worker), Timer::Alive(worker)]);
            timers.extend([
                Timer::Silent(worker),
                Timer::Watchdog(worker),
                Timer::Drain(worker),
                Timer::Kill(worker),
            ]);
            if process.life != Life::Starting {
                events.extend([Event::Accepts(worker), Event::Executed(worker)]);
            }
            if matches!(process.life, Life::Draining | Life::Killed) {
                events.extend([Event::Ready(worker), Event::Alive(worker), Event::Stuck(worker)]);
            }
        }
        for (index, _) in (0u16..).zip(&generation.slots) {
            timers.extend([Timer::BackOff(number, index), Timer::Calm(number, index)]);
            // One that never was is as unknown as one that is gone.
            events.extend(everything_about(Worker {
                generation: number,
                slot: index,
                start: 99,
            }));
        }
        timers.extend([
            Timer::Probe(number),
            Timer::ProbeAgain(number),
            Timer::Soak(number),
        ]);
        timers.extend([
            Timer::Probation(number),
            Timer::Linger(number),
            Timer::Count(number),
        ]);
        let counted_later = core.timers().any(|timer| timer == Timer::Count(number));
        if generation.role != Role::Lingering || counted_later {
            events.extend([Event::Unused(number), Event::InUse(number)]);
        }
        if core.handoff() != Handoff::Candidate(number, Progress::Probing) {
            events.extend([Event::ProbePassed(number), Event::ProbeFailed(number)]);
        }
        if core.handoff() != Handoff::Candidate(number, Progress::Confirming) {
            events.push(Event::Confirmed(number));
        }
        if core.handoff() != Handoff::Candidate(number, Progress::Switching) {
            events.push(Event::Switched(number));
        }
        match generation.token {
            Token::Unasked | Token::Accepted | Token::Excused => {
                events.extend([Event::TokenPlaced(number), Event::TokenAccepted(number)]);
            }
            Token::Asked | Token::Placed => {}
        }
    }
    events.extend(everything_about(Worker {
        generation: 0,
        slot: 0,
        start: 0,
    }));
    timers.retain(|timer| !core.timers().any(|running| running == *timer));
    events.extend(timers.into_iter().map(Event::Due));
    events
}

fn everything_about(worker: Worker) -> [Event; 9] {
    [
        Event::SpawnFailed(worker),
        Event::Executed(worker),
        Event::Ready(worker),
        Event::Accepts(worker),
        Event::MoreTime(worker),
        Event::Alive(worker),
        Event::Stuck(worker),
        Event::Exited(worker),
        Event::Gone(worker),
    ]
}

/// After the end nothing is asked, no timer runs and no record is kept; a ticket that comes in the same turn is
/// refused.
pub(super) fn nothing_after_the_end(node: &Node) -> Verdict {
    if !node.world.finished {
        return Ok(());
    }
    let left = (node.core.timers().count(), node.world.records.len());
    if left != (0, 0) {
        broken!("timers and records left: {left:?}");
    }
    let mut core = node.core.clone();
    let refusal = [Effect::Answer(Ticket(99), Outcome::Stopping)];
    if core.step(Event::Reload(Ticket(99), Until::Takeover)) != refusal {
        broken!("a late ticket is not refused");
    }
    for event in [Event::Stop, Event::Due(Timer::Stop), Event::Workers(3)] {
        let effects = core.step(event);
        if !effects.is_empty() {
            broken!("{event:?} leads to {effects:?}");
        }
    }
    Ok(())
}
