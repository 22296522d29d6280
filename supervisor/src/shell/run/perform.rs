//! From effects to what they do outside.

use std::time::{Duration, Instant};

use segue_lifecycle::{Effect, Event, FIRST, Number, Outcome, Ticket, Timer, Wait, Worker};

use crate::clock;
use crate::shell::fleet::orders::Extension;
use crate::shell::fleet::{Ground, ground};
use crate::shell::inspection::flags;
use crate::shell::inspection::look::{LAST_LOOK, Patience, Seen, Verdict};
use crate::shell::narrator::view::{View, view};
use crate::shell::starting::{Starting, starting};
use crate::shell::tokens::Acceptance;
use crate::shell::{Alarm, Shell, waits};

impl Shell {
    /// Perform one effect.
    pub(crate) fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Prepare(number) => starting!(self).begin_handoff(number),
            Effect::Spawn(worker, record) => starting!(self).spawn(worker, record),
            Effect::Signal(worker, signal) => self.fleet.signal(worker, signal, &ground!(self)),
            Effect::Arm(timer, wait) => self.arm(timer, wait),
            Effect::Disarm(timer) => self.timers.disarm(Alarm::Core(timer)),
            Effect::Extend(timer, worker) => self.extend(timer, worker),
            Effect::Probe(number) => starting!(self).start_probe(number),
            Effect::EndProbe(number) => self.fleet.end_probe(number),
            Effect::Confirm(number) => self.confirm(number, Patience::Left),
            Effect::ConfirmAnyway(number) => self.confirm(number, Patience::Over),
            Effect::NoteReady(worker) => {
                self.fleet.note_ready(worker);
                self.records.note_flags(worker.generation, &self.core, &self.log);
                self.records.flags_due = true;
            }
            Effect::TakeOver(number) => {
                self.trim_heap |= number == FIRST;
                self.records.take_over(number, &self.core, &self.log);
                self.records.flags_due = true;
            }
            Effect::TakeBack(number) => {
                self.queues.begin_anew();
                self.records.take_back(number, &self.core, &self.log);
                self.records.flags_due = true;
            }
            Effect::RollBack(number, record) => {
                self.queues.begin_anew();
                starting!(self).roll_back(number, record);
            }
            Effect::Abandon(worker) => self.fleet.give_up_strays(worker, &ground!(self)),
            Effect::Bury(number) => {
                self.steering.tokens.bury(number, &ground!(self));
                starting!(self).bury(number);
            }
            Effect::Switch(number) => self.switch(number),
            Effect::Count(number) => self.events.push_back(self.view().look_for_clients(number)),
            Effect::PlaceToken(number) => {
                self.steering.tokens.place(number, &ground!(self));
                self.answer_placing(clock::now());
            }
            Effect::Answer(ticket, outcome) => self.answer(ticket, outcome),
            Effect::Tell(fact) => self.tell(fact),
            Effect::Forget(record) => {
                starting!(self).forget(record);
                self.steering.tokens.let_go_of_closed(&ground!(self));
            }
            Effect::Finish(ending) => self.ending = Some(ending),
        }
    }

    /// Undo the harm that processes did to what all holders of a listener share, if they may have done some.
    pub(crate) fn restore_flags(&mut self) {
        if std::mem::take(&mut self.records.flags_due) {
            flags::restore(&ground!(self), &self.fleet);
        }
    }

    fn answer(&mut self, ticket: Ticket, outcome: Outcome) {
        if self.desk.tickets.has_asker(ticket) {
            let awaited = self.view().awaited_by_now();
            self.records.withdraw_notes(&awaited, &self.core);
        }
        self.desk.answer(ticket, outcome, &view!(self));
    }

    pub(crate) fn arm(&mut self, timer: Timer, wait: Wait) {
        let newest = self.records.generations.keys().next_back().copied();
        let number = waits::of_timer(timer, newest);
        let config = number.map_or(&*self.given.config, |number| self.view().config_of(number));
        let length = waits::from_now(timer, wait, config, &self.timers);
        self.timers.arm(Alarm::Core(timer), length, clock::now());
    }

    fn extend(&mut self, timer: Timer, asking: Worker) {
        let ground = ground!(self);
        if let Some(Extension { asked, limit }) = self.fleet.extend(timer, asking, &ground, &mut self.timers)
        {
            let alarm = Alarm::Core(timer);
            self.narrator.pass_on_more_time(asked, alarm, limit, &self.timers);
        }
    }

    /// Look once more at each worker of a candidate, just before the incumbent is told to drain.
    pub(crate) fn confirm(&mut self, number: Number, patience: Patience) {
        let mut seen = self.look_at_token(number);
        if seen == Acceptance::NotYet && self.core.awaits_acceptance() == Some(number) {
            // Nothing else is of interest until then, and has been looked at.
            return self.events.push_back(Event::Unawaited(number));
        }
        if self.fleet.any_dies_within(number, LAST_LOOK) {
            self.sweep();
        }
        if seen == Acceptance::NotYet {
            seen = self.look_at_token(number);
        }
        let mut look = self.view().look_at_listeners(number, patience);
        if seen == Acceptance::NotYet && look.verdict != Verdict::Unheld {
            look = self.view().look_beside(number, look);
        }
        match look.seen {
            Seen::Leaders => {}
            // Those below a monitor are written down, so that the next supervisor knows them after a kill -9.
            Seen::Party => self.fleet.look_for_strays(&ground!(self)),
        }
        if let Some(findings) = look.findings {
            self.records.note_findings(number, findings);
        }
        let event = match (look.verdict, patience) {
            (Verdict::Unawaited, Patience::Left) => Event::Unawaited(number),
            (Verdict::Serves, Patience::Left | Patience::Over) | (Verdict::Unawaited, Patience::Over) => {
                Event::Confirmed(number)
            }
            (Verdict::Unheld, Patience::Left | Patience::Over) => {
                // It may have ended since: then that is why.
                self.sweep();
                Event::Unheld(number)
            }
        };
        self.events.push_back(event);
    }

    /// Look whether a candidate has accepted its token.
    pub(crate) fn look_at_token(&mut self, number: Number) -> Acceptance {
        let seen = self.steering.tokens.look(number, &self.core);
        if let Acceptance::Seen(accepted) = &seen {
            self.records.note_accepted(number, accepted.clone());
            self.events.push_back(Event::TokenAccepted(number));
        }
        seen
    }

    /// The candidate is started once its token waits, or none can be had.
    pub(crate) fn answer_placing(&mut self, now: Instant) {
        let placed = self.steering.tokens.arrived(now, &self.log, &mut self.timers);
        self.events.extend(placed);
    }

    /// New clients go to this generation.
    fn switch(&mut self, number: Number) {
        match self.steering.switch(number, &ground!(self)) {
            Ok(()) => self.answer_switch(clock::now()),
            Err(text) => self.not_switched(number, text),
        }
    }

    /// The kernel has refused to send new clients to this generation.
    pub(crate) fn not_switched(&mut self, number: Number, text: String) {
        self.log.error(&text);
        self.records.not_switched = Some(text);
        self.events.push_back(Event::NotSwitched(number));
    }

    /// A candidate that has died meanwhile is reported before the switch to it is answered.
    pub(crate) fn answer_switch(&mut self, now: Instant) {
        let ground = ground!(self);
        if let Some(number) = self.steering.switched(now, &ground, &mut self.timers) {
            if self.fleet.any_dies_within(number, Duration::ZERO) {
                self.sweep();
            }
            self.events.push_back(Event::Switched(number));
        }
    }
}
