//! Requests for a reload and their answers: one each.

use crate::Lifecycle;
use crate::generation::Role;
use crate::line::{Saved as _, line};
use crate::vocabulary::{Cause, Effect, Number, Outcome, Ticket, Until};
use alloc::string::String;
use alloc::vec::Vec;

/// A ticket whose generation has been started.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Held {
    ticket: Ticket,
    until: Until,
    generation: Number,
    /// From the takeover on: the retired generations that [`Until::Drained`] waits for.
    draining: Option<Vec<Number>>,
}

/// Every ticket that has not been answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tickets {
    /// They wait for the next handoff to begin, and share it.
    queued: Vec<(Ticket, Until)>,
    /// They wait for the outcome of a generation that was started after they came.
    held: Vec<Held>,
}

impl Tickets {
    pub(crate) const fn new() -> Self {
        Self {
            queued: Vec::new(),
            held: Vec::new(),
        }
    }

    pub(crate) fn any_queued(&self) -> bool {
        !self.queued.is_empty()
    }

    pub(crate) fn attach_queued(&mut self, generation: Number) {
        let attached = self.queued.drain(..).map(|(ticket, until)| Held {
            ticket,
            until,
            generation,
            draining: None,
        });
        self.held.extend(attached);
    }

    /// A line for each: one that is queued has no generation yet.
    pub(crate) fn save(&self, text: &mut String) {
        for (ticket, until) in &self.queued {
            let saved = SavedTicket {
                ticket: *ticket,
                until: *until,
                generation: None,
                draining: None,
            };
            saved.save(text);
        }
        for held in &self.held {
            let saved = SavedTicket {
                ticket: held.ticket,
                until: held.until,
                generation: Some(held.generation),
                draining: held.draining.clone(),
            };
            saved.save(text);
        }
    }

    /// Take one that was read.
    pub(crate) fn take(&mut self, saved: SavedTicket) {
        let SavedTicket {
            ticket,
            until,
            generation,
            draining,
        } = saved;
        match generation {
            None => self.queued.push((ticket, until)),
            Some(generation) => self.held.push(Held {
                ticket,
                until,
                generation,
                draining,
            }),
        }
    }
}

/// A ticket as its line tells of it. Without a generation it waits for the next one.
pub(crate) struct SavedTicket {
    ticket: Ticket,
    until: Until,
    generation: Option<Number>,
    draining: Option<Vec<Number>>,
}

line!(SavedTicket "core-ticket" {
    "number" ticket;
    "until" until;
    "generation" generation if any;
    "draining" draining if any;
});

impl Lifecycle {
    pub(crate) fn queue_ticket(&mut self, ticket: Ticket, until: Until) {
        self.tickets.queued.push((ticket, until));
        if let Some(number) = self.planted.joins_running_handoff(self.handoff) {
            self.tickets.attach_queued(number);
        }
    }

    /// The takeover answers those who wait for no more; the others learn what they wait for.
    pub(crate) fn answer_taken_over(&mut self, number: Number) {
        let retired: Vec<Number> = self
            .generations
            .values()
            .filter(|g| matches!(g.role, Role::Lingering | Role::Retired))
            .map(|g| g.number)
            .collect();
        for held in self
            .tickets
            .held
            .iter_mut()
            .filter(|held| held.generation == number)
        {
            held.draining = Some(retired.clone());
        }
        if self.planted.answers_twice() {
            let again = self
                .tickets
                .held
                .iter()
                .filter(|held| held.until == Until::Takeover);
            let again: Vec<Effect> = again
                .map(|held| Effect::Answer(held.ticket, Outcome::TookOver(number)))
                .collect();
            self.effects.extend(again);
        }
        self.answer_where(Outcome::TookOver(number), |held| {
            held.generation == number && held.until == Until::Takeover
        });
    }

    pub(crate) fn answer_settled(&mut self, number: Number) {
        self.answer_where(Outcome::Settled(number), |held| {
            held.generation == number && held.until == Until::Settled
        });
    }

    /// It crashed on probation, and may never pass it.
    pub(crate) fn answer_no_way_back(&mut self, number: Number, cause: Cause) {
        if self.planted.hopes_for_ever() {
            return;
        }
        self.answer_where(Outcome::NoWayBack(number, cause), |held| {
            held.generation == number && held.until == Until::Settled
        });
    }

    /// The old generation is replaced before its probation ended: it never becomes the last good.
    pub(crate) fn answer_superseded(&mut self, old: Number, new: Number) {
        self.answer_where(Outcome::Replaced(old, new), |held| {
            held.generation == old && held.until == Until::Settled
        });
    }

    /// Answer those whose retired generations are gone.
    pub(crate) fn answer_drained(&mut self) {
        let generations = &self.generations;
        let (done, held) = self
            .tickets
            .held
            .drain(..)
            .partition(|held| match (held.until, &held.draining) {
                (Until::Drained, Some(_)) if self.planted.answers_drained_early() => true,
                (Until::Drained, Some(draining)) => draining.iter().all(|old| !generations.contains_key(old)),
                (Until::Drained, None) | (Until::Takeover | Until::Settled, _) => false,
            });
        self.tickets.held = held;
        let done: Vec<Held> = done;
        for held in done {
            self.effects
                .push(Effect::Answer(held.ticket, Outcome::Drained(held.generation)));
        }
    }

    /// The generation failed, in whatever way the outcome says: nobody waits for it any more.
    pub(crate) fn answer_all_of(&mut self, number: Number, outcome: Outcome) {
        if self.planted.loses_tickets() {
            self.tickets.held.retain(|held| held.generation != number);
        }
        self.answer_where(outcome, |held| held.generation == number);
    }

    /// A generation that was to be gone serves again.
    pub(crate) fn answer_drained_in_vain(&mut self, old: Number, cause: Cause) {
        let waits = |held: &Held| {
            held.draining
                .as_ref()
                .is_some_and(|draining| draining.contains(&old))
        };
        let in_vain: Vec<Number> = self
            .tickets
            .held
            .iter()
            .filter(|held| waits(held))
            .map(|held| held.generation)
            .collect();
        for generation in in_vain {
            self.answer_where(Outcome::RolledBack(generation, old, cause), |held| {
                held.generation == generation && waits(held)
            });
        }
    }

    /// Answer every ticket there is.
    pub(crate) fn answer_everyone(&mut self, outcome: Outcome) {
        self.tickets.attach_queued(Number::MAX);
        self.answer_where(outcome, |_| true);
    }

    fn answer_where(&mut self, outcome: Outcome, meant: impl Fn(&Held) -> bool) {
        let (answered, held): (Vec<Held>, Vec<Held>) = self.tickets.held.drain(..).partition(meant);
        self.tickets.held = held;
        self.effects
            .extend(answered.iter().map(|held| Effect::Answer(held.ticket, outcome)));
    }
}
