//! What must hold at every step of every story: one documented function per invariant, listed in [`OF_STEPS`],
//! [`OF_STATES`] and [`OF_CORES`].
//!
//! The first look at one step (what was known before it, the event, the effects in their order, what is known
//! after it), the others at the state that it led to: at all of it, or at the machine alone.

/// Leave the check of an invariant: it is broken, and this is how.
macro_rules! broken {
    ($($text:tt)*) => { return Err(format!($($text)*)) };
}

mod ending;
mod handoff;
mod lanes;
mod linger;
mod rolling;
mod saved;
mod signals;
mod tickets;
mod trust;
mod waits;

use super::explorer::Node;
use super::world::World;
use crate::{
    Effect, Event, Fact, Generation, Life, Lifecycle, Number, Outcome, Signal, SlotState, Ticket, Worker,
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
    ($(#[$doc:meta])* $all:ident: $of:ident; $($file:ident::$name:ident),* $(,)?) => {
        $(#[$doc])*
        pub(super) const $all: &[(&str, fn(&$of) -> Verdict)] = &[$((stringify!($name), $file::$name)),*];
    };
}

list! {
    /// What must hold of each step.
    OF_STEPS: Step;
    tickets::each_ticket_gets_one_answer,
    tickets::answers_come_from_a_later_start,
    tickets::answers_are_true,
    signals::no_signal_to_the_gone,
    waits::timers_start_and_stop_once,
    handoff::generations_stay_within_the_limit,
    handoff::queue_mode_runs_one_generation,
    signals::the_incumbent_still_serves,
    handoff::takeover_only_by_the_ready,
    handoff::nobody_takes_over_without_a_listener,
    trust::who_notifies_is_waited_for,
    trust::records_are_used_while_kept,
    handoff::workers_are_never_named_twice,
    handoff::one_probe_at_a_time,
    handoff::reloads_are_told_as_they_are,
    handoff::deeds_match_the_words,
    trust::crash_on_probation_rolls_back,
    trust::deaf_on_probation_rolls_back,
    trust::only_the_trusted_become_last_good,
    trust::back_off_goes_on,
    signals::given_up_only_when_killed,
    rolling::steps_wait_for_room,
    lanes::a_lane_is_free_when_it_is_given,
    lanes::lanes_are_given_up_in_need,
    lanes::a_reload_waits_for_a_lane,
    lanes::relief_is_for_the_forsaken,
    linger::whoever_lingers_keeps_its_clients,
    linger::who_lingers_is_the_way_back,
    lanes::a_steered_candidate_is_seen_to_accept,
}

list! {
    /// What must hold of each state at rest.
    OF_STATES: Node;
    waits::every_wait_has_a_timer,
    waits::every_timer_has_its_wait,
    handoff::one_candidate_one_incumbent,
    rolling::places_are_yielded_to_a_candidate,
    lanes::new_clients_go_to_the_incumbent,
    lanes::who_waits_elsewhere_is_relieved,
    linger::whoever_lingers_is_looked_at_and_ends,
    trust::records_are_forgotten,
    ending::everybody_is_told_of_the_stop,
    ending::no_orphan,
    ending::nothing_after_the_end,
}

list! {
    /// What must hold of each machine, whatever world is around it.
    OF_CORES: Lifecycle;
    ending::the_stale_is_ignored,
    saved::a_successor_knows_the_same,
}

/// The one invariant that is about all that can follow: see `Explorer::ends`.
pub(super) const STOP_ALWAYS_ENDS: &str = "stop_always_ends";

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
            Fact::RolledBack(failed, number, _) | Fact::SwitchedBack(failed, number, _) => {
                Some((failed, number))
            }
            _ => None,
        })
    }

    /// The generation that has just crashed on probation and is started again.
    fn no_way_back(&self) -> Option<Number> {
        self.facts().find_map(|fact| match fact {
            Fact::NoWayBack(number, _) => Some(number),
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
            SlotState::Wanted | SlotState::BackingOff | SlotState::Yielded => false,
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
            SlotState::Wanted | SlotState::BackingOff | SlotState::Yielded => false,
        })
}
