//! What must hold at every step of every story: one documented function per invariant, listed in [`ALL`].
//!
//! Each looks at one step: what was known before it, the event, the effects in their order, and what is known after.

use std::collections::BTreeSet;
use std::format;
use std::string::String;
use std::vec::Vec;

use super::explorer::Node;
use super::world::{Leader, Told, World, candidate, is_queue, is_stopping};
use crate::{
    Effect, Event, Fact, Generation, Handoff, Leader as KnownLeader, Life, Lifecycle, Mode, Number, Outcome,
    Record, Role, Signal, SlotState, Stage, Standing, State, Ticket, Timer, Until, Worker,
};

/// One step of the core, seen from outside.
pub(super) struct Step<'a> {
    pub(super) before: &'a Lifecycle,
    /// The world after the event has happened and before anything was done about it.
    pub(super) world: &'a World,
    pub(super) event: Event,
    pub(super) effects: &'a [Effect],
    pub(super) after: &'a Lifecycle,
    /// The world once the effects are performed.
    pub(super) then: &'a World,
}

/// What is wrong, if anything.
pub(super) type Verdict = Result<(), String>;

macro_rules! list {
    ($(#[$doc:meta])* $all:ident: $of:ident; $($name:ident),* $(,)?) => {
        $(#[$doc])*
        pub(super) const $all: &[(&str, fn(&$of) -> Verdict)] = &[$((stringify!($name), $name)),*];
    };
}

list! {
    /// What must hold of each step.
    OF_STEPS: Step;
    each_ticket_gets_one_answer,
    answers_come_from_a_later_start,
    answers_are_true,
    no_signal_to_the_gone,
    timers_start_and_stop_once,
    generations_stay_within_the_limit,
    queue_mode_runs_one_generation,
    whoever_served_still_serves,
    takeover_only_by_the_ready,
    records_are_used_while_kept,
    workers_are_never_named_twice,
    one_probe_at_a_time,
    crash_on_probation_rolls_back,
    only_the_trusted_become_last_good,
    back_off_goes_on,
    given_up_only_when_killed,
}

list! {
    /// What must hold of each state at rest.
    OF_STATES: Node;
    every_wait_has_a_timer,
    every_timer_has_its_wait,
    one_candidate_one_incumbent,
    records_are_forgotten,
    everybody_is_told_of_the_stop,
    no_orphan,
    the_stale_is_ignored,
    nothing_after_the_end,
}

/// The one invariant that is about all that can follow: see `Explorer::ends`.
pub(super) const STOP_ALWAYS_ENDS: &str = "stop_always_ends";

macro_rules! broken {
    ($($text:tt)*) => { return Err(format!($($text)*)) };
}

impl Step<'_> {
    fn facts(&self) -> impl Iterator<Item = Fact> + '_ {
        self.effects.iter().filter_map(|effect| match effect {
            Effect::Tell(fact) => Some(*fact),
            _ => None,
        })
    }

    fn told(&self, fact: Fact) -> bool {
        self.facts().any(|told| told == fact)
    }

    fn answers(&self) -> impl Iterator<Item = (Ticket, Outcome)> + '_ {
        self.effects.iter().filter_map(|effect| match effect {
            Effect::Answer(ticket, outcome) => Some((*ticket, *outcome)),
            _ => None,
        })
    }

    fn signals(&self) -> impl Iterator<Item = (Worker, Signal)> + '_ {
        self.effects.iter().filter_map(|effect| match effect {
            Effect::Signal(worker, signal) => Some((*worker, *signal)),
            _ => None,
        })
    }

    /// Visit each effect of interest together with the world as it is when its turn comes.
    fn walk(
        &self,
        interesting: fn(&Effect) -> bool,
        mut visit: impl FnMut(&Effect, &World) -> Verdict,
    ) -> Verdict {
        if !self.effects.iter().any(interesting) {
            return Ok(());
        }
        let mut world = self.world.clone();
        for effect in self.effects {
            visit(effect, &world)?;
            world.account(*effect);
        }
        Ok(())
    }

    /// The generation that has just failed after or instead of a takeover, and the one that replaces it.
    fn rollback(&self) -> Option<(Number, Number)> {
        self.facts().find_map(|fact| match fact {
            Fact::RolledBack(failed, number, _) => Some((failed, number)),
            _ => None,
        })
    }

    fn takeover(&self) -> Option<(Number, Option<Number>)> {
        self.facts().find_map(|fact| match fact {
            Fact::TookOver(number, old) => Some((number, old)),
            _ => None,
        })
    }

    fn failed_candidate(&self) -> Option<Number> {
        self.facts().find_map(|fact| match fact {
            Fact::CandidateFailed(number, _) => Some(number),
            _ => None,
        })
    }
}

/// A ticket is answered once, as soon as its generation has come as far as was asked or has failed, and before
/// the end.
fn each_ticket_gets_one_answer(step: &Step) -> Verdict {
    let mut open: BTreeSet<Ticket> = step.world.tickets.keys().copied().collect();
    for (ticket, _) in step.answers() {
        if !open.remove(&ticket) {
            broken!("{ticket:?} is answered a second time");
        }
    }
    if step.then.finished && !open.is_empty() {
        broken!("{open:?} open at the end");
    }
    let over = [step.failed_candidate(), step.rollback().map(|(failed, _)| failed)];
    for (ticket, asked) in &step.then.tickets {
        if asked.generation.is_some() && over.contains(&asked.generation) {
            broken!("{ticket:?} is not answered though its generation has failed");
        }
        let taken_over = step.takeover().map(|(number, _)| number);
        if taken_over.is_some() && asked.generation == taken_over && asked.until == Until::Takeover {
            broken!("{ticket:?} is not answered at the takeover");
        }
    }
    Ok(())
}

/// Only the first generation that was prepared after a request may answer it: an earlier one may have read an
/// older binary.
fn answers_come_from_a_later_start(step: &Step) -> Verdict {
    step.walk(
        |effect| matches!(effect, Effect::Answer(..)),
        |effect, world| {
            let Effect::Answer(ticket, outcome) = effect else {
                return Ok(());
            };
            let answering = match outcome {
                Outcome::TookOver(number)
                | Outcome::Settled(number)
                | Outcome::Drained(number)
                | Outcome::Replaced(number, _)
                | Outcome::Failed(number, _)
                | Outcome::RolledBack(number, _, _) => Some(*number),
                Outcome::Stopping => None,
            };
            let asked = world.tickets.get(ticket).map(|asked| asked.generation);
            if let (Some(number), Some(generation)) = (answering, asked)
                && generation != Some(number)
            {
                broken!("{ticket:?} belongs to {generation:?} and is answered by {number}");
            }
            Ok(())
        },
    )
}

/// Each answer says what has really happened, and what the ticket had asked for.
fn answers_are_true(step: &Step) -> Verdict {
    step.walk(
        |effect| matches!(effect, Effect::Answer(..)),
        |effect, world| {
            let Effect::Answer(ticket, outcome) = effect else {
                return Ok(());
            };
            let Some(asked) = world.tickets.get(ticket) else {
                return Ok(());
            };
            let honest = match *outcome {
                Outcome::TookOver(number) => {
                    asked.until == Until::Takeover
                        && step.takeover().is_some_and(|(taker, _)| taker == number)
                }
                Outcome::Settled(number) => asked.until == Until::Settled && step.told(Fact::Settled(number)),
                Outcome::Drained(_) => {
                    let running = world.running();
                    asked.until == Until::Drained && !asked.draining.iter().any(|old| running.contains(old))
                }
                Outcome::Replaced(old, new) => {
                    let by_takeover = step.told(Fact::TookOver(new, Some(old)));
                    let stepped_aside = step
                        .before
                        .incumbent()
                        .is_some_and(|incumbent| incumbent.number == old)
                        && is_queue(step.after, new);
                    asked.until == Until::Settled && (by_takeover || stepped_aside)
                }
                Outcome::Failed(number, cause) => step.told(Fact::CandidateFailed(number, cause)),
                Outcome::RolledBack(failed, number, cause) => {
                    step.told(Fact::RolledBack(failed, number, cause))
                        && step
                            .after
                            .incumbent()
                            .is_some_and(|incumbent| incumbent.number == number)
                }
                Outcome::Stopping => is_stopping(step.after),
            };
            if !honest {
                broken!("{ticket:?} ({:?}) is told {outcome:?}", asked.until);
            }
            Ok(())
        },
    )
}

/// A worker that was reaped, was never created or is given up cannot be signalled; nor a main process that is
/// known to be dead, except with its group.
fn no_signal_to_the_gone(step: &Step) -> Verdict {
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

/// A timer is armed only when it is not running, and disarmed or extended only when it is; none runs after the
/// end.
fn timers_start_and_stop_once(step: &Step) -> Verdict {
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
            Effect::Extend(timer) if !running.contains(timer) => {
                broken!("{timer:?} is extended and not running")
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
fn every_wait_has_a_timer(node: &Node) -> Verdict {
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
        Handoff::Waiting => node
            .core
            .generations()
            .any(|g| g.role == Role::Retired && node.world.running().contains(&g.number)),
        Handoff::Preparing(number) => node.world.preparing.contains(&number),
        // Its workers have timers of their own.
        Handoff::Starting(number) => node
            .core
            .generation(number)
            .is_some_and(|g| !all_ready(&node.world, g)),
        Handoff::Probing(number) => {
            let again = timers.contains(&Timer::ProbeAgain(number));
            timers.contains(&Timer::Probe(number)) && (node.world.probe == Some(number)) != again
        }
        Handoff::Soaking(number) => timers.contains(&Timer::Soak(number)),
        Handoff::Confirming(number) => node.world.confirming == Some(number),
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
            // In queue mode it waits for processes, and they have timers.
            SlotState::Wanted => {
                let in_the_way = |worker: &Worker| worker.generation != number || worker.slot == index;
                generation.plan.mode == Mode::Queue && node.world.processes.keys().any(in_the_way)
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
            _ if candidate(node.core.handoff()) == Some(number) => true,
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

fn is_serving(generation: &Generation, index: u16) -> bool {
    generation
        .slots
        .get(usize::from(index))
        .is_some_and(|slot| match slot.state {
            SlotState::Running(start) => {
                let worker = Worker {
                    generation: generation.number,
                    slot: index,
                    start,
                };
                generation
                    .processes
                    .iter()
                    .any(|process| process.worker == worker && process.life == Life::Serving)
            }
            SlotState::Wanted | SlotState::BackingOff => false,
        })
}

/// Whether each slot has a worker that said so, as the world knows it.
fn all_ready(world: &World, generation: &Generation) -> bool {
    (0u16..)
        .zip(&generation.slots)
        .all(|(index, slot)| match slot.state {
            SlotState::Running(start) => {
                let worker = Worker {
                    generation: generation.number,
                    slot: index,
                    start,
                };
                world.processes.get(&worker).is_some_and(|process| process.ready)
            }
            SlotState::Wanted | SlotState::BackingOff => false,
        })
}

/// A timer runs only while there is something that it bounds: none is left armed.
fn every_timer_has_its_wait(node: &Node) -> Verdict {
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
            Timer::Start(worker) | Timer::Hint(worker) | Timer::Alive(worker) => {
                life(worker) == Some(Life::Starting)
            }
            Timer::Watchdog(worker) => life(worker) == Some(Life::Serving),
            Timer::Drain(worker) => life(worker) == Some(Life::Draining),
            Timer::Kill(worker) => life(worker) == Some(Life::Killed),
            Timer::Probe(number) | Timer::ProbeAgain(number) => handoff == Handoff::Probing(number),
            Timer::Soak(number) => handoff == Handoff::Soaking(number),
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
            Timer::Stop => is_stopping(&node.core),
        };
        if !has {
            broken!("{timer:?} runs for nothing");
        }
    }
    Ok(())
}

/// A handoff begins only if the candidate is not one too many. Restarts and rollbacks never wait.
fn generations_stay_within_the_limit(step: &Step) -> Verdict {
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
fn queue_mode_runs_one_generation(step: &Step) -> Verdict {
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

/// Nobody is told to end without a cause: a successor has taken over (in queue mode: is about to start), the
/// generation has failed, fewer workers were asked for, it is stuck, or a stop was asked for. Nobody is killed who
/// was not asked first.
fn whoever_served_still_serves(step: &Step) -> Verdict {
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
            rolled_back || stepped_aside || step.takeover().is_some_and(|(_, old)| old == Some(number))
        }
        Some(Role::Retired) | None => false,
    }
}

/// A candidate takes over only when each of its workers has said that it is ready and was found alive in the same
/// turn. Probe and soak have passed, or nobody served for whom it could have waited.
fn takeover_only_by_the_ready(step: &Step) -> Verdict {
    for effect in step.effects {
        if let Effect::Confirm(number) = effect {
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

fn probe_and_soak_are_over(step: &Step, number: Number) -> Verdict {
    let Some(plan) = step.after.generation(number).map(|generation| generation.plan) else {
        return Ok(());
    };
    if !step.after.somebody_serves() && step.before.incumbent().is_some() {
        return Ok(());
    }
    if plan.probe == Stage::Kept && step.then.passed != Some(number) {
        broken!("generation {number} did not pass its probe");
    }
    if plan.soak == Stage::Kept && step.then.soaked != Some(number) && step.after.somebody_serves() {
        broken!("generation {number} did not soak");
    }
    Ok(())
}

/// There is one candidate at a time and one incumbent; a handoff is about the candidate; what `status` says of
/// all this is true.
fn one_candidate_one_incumbent(node: &Node) -> Verdict {
    let with = |role| {
        node.core
            .generations()
            .filter(move |generation| generation.role == role)
            .map(|g| g.number)
    };
    let expected = match node.core.handoff() {
        Handoff::Preparing(_) => None,
        handoff => candidate(handoff),
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

/// A worker is started only from a birth record that was made and is still kept, and a record is forgotten once.
fn records_are_used_while_kept(step: &Step) -> Verdict {
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

/// A birth record is kept as long as something may be started from it, and no longer.
fn records_are_forgotten(node: &Node) -> Verdict {
    let active = node
        .core
        .generations()
        .filter(|generation| generation.role != Role::Retired);
    let mut needed: BTreeSet<Record> = active.map(|generation| generation.record).collect();
    needed.extend(node.core.last_good());
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

/// The name of a worker is never used again: each start in a slot has a higher number.
fn workers_are_never_named_twice(step: &Step) -> Verdict {
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
fn one_probe_at_a_time(step: &Step) -> Verdict {
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
        (Some(number), Handoff::Probing(candidate)) if number == candidate => Ok(()),
        (Some(number), handoff) => broken!("the probe of {number} runs in {handoff:?}"),
        (None, _) => Ok(()),
    }
}

/// A crash of an incumbent on probation means rollback to the last good, if there is one; any other crash of an
/// incumbent means that the worker is started again.
fn crash_on_probation_rolls_back(step: &Step) -> Verdict {
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
    if replaced && step.after.incumbent().map(|incumbent| incumbent.record) != good {
        broken!("{:?} was the last good", good);
    }
    let due = generation.standing == Standing::Untried && good.is_some();
    if replaced != due {
        broken!(
            "{worker:?} has crashed ({:?}, last good {good:?}): rolled back {replaced}",
            generation.standing
        );
    }
    Ok(())
}

/// What becomes the last good record has served as the incumbent through its probation; one that was superseded
/// or has failed never does.
fn only_the_trusted_become_last_good(step: &Step) -> Verdict {
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
fn back_off_goes_on(step: &Step) -> Verdict {
    if step.failed_candidate().is_none() || is_stopping(step.after) {
        return Ok(());
    }
    let before = step.before.incumbent().map(|g| (g.number, g.slots.clone()));
    let after = step.after.incumbent().map(|g| (g.number, g.slots.clone()));
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

/// Once a stop was asked for, every worker was told to end.
fn everybody_is_told_of_the_stop(node: &Node) -> Verdict {
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

/// A worker is given up as unkillable only if it was killed before, and has had its time to die.
fn given_up_only_when_killed(step: &Step) -> Verdict {
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

/// At the end no process is left, save those that people were told cannot be killed.
fn no_orphan(node: &Node) -> Verdict {
    if node.world.finished && !node.world.processes.is_empty() {
        broken!("{:?} is left", node.world.running());
    }
    Ok(())
}

/// What comes too late or a second time changes nothing: a timer that was disarmed in the turn in which it came
/// due, a doubled word, a word about a worker that is gone.
fn the_stale_is_ignored(node: &Node) -> Verdict {
    let mut core = node.core.clone();
    for event in stale(&node.core) {
        let effects = core.step(event);
        if !effects.is_empty() {
            broken!("{event:?} came too late and led to {effects:?}");
        }
    }
    if core != node.core {
        broken!("something came too late and changed the state to {core:?}");
    }
    Ok(())
}

fn stale(core: &Lifecycle) -> Vec<Event> {
    let mut events = Vec::new();
    let mut timers = std::vec![Timer::Stop];
    for generation in core.generations() {
        let number = generation.number;
        for process in &generation.processes {
            let worker = process.worker;
            timers.extend([Timer::Start(worker), Timer::Hint(worker), Timer::Alive(worker)]);
            timers.extend([Timer::Watchdog(worker), Timer::Drain(worker), Timer::Kill(worker)]);
            if process.life != Life::Starting {
                events.extend([Event::Ready(worker), Event::Executed(worker)]);
            }
            if matches!(process.life, Life::Draining | Life::Killed) {
                events.extend([Event::Alive(worker), Event::Stuck(worker)]);
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
        timers.push(Timer::Probation(number));
        if core.handoff() != Handoff::Probing(number) {
            events.extend([Event::ProbePassed(number), Event::ProbeFailed(number)]);
        }
        if core.handoff() != Handoff::Confirming(number) {
            events.push(Event::Confirmed(number));
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

fn everything_about(worker: Worker) -> [Event; 8] {
    [
        Event::SpawnFailed(worker),
        Event::Executed(worker),
        Event::Ready(worker),
        Event::MoreTime(worker),
        Event::Alive(worker),
        Event::Stuck(worker),
        Event::Exited(worker),
        Event::Gone(worker),
    ]
}

/// After the end nothing is asked, no timer runs and no record is kept; a ticket that comes in the same turn is
/// refused.
fn nothing_after_the_end(node: &Node) -> Verdict {
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
