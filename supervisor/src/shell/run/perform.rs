//! From effects to what they do outside.

use std::time::Instant;

use segue_lifecycle::{Effect, Event, FIRST, Number};

use crate::clock;
use crate::shell::confirming::{Confirming, confirming};
use crate::shell::facts::Telling;
use crate::shell::fleet::{Ground, ground};
use crate::shell::inspection::flags;
use crate::shell::inspection::look::{LAST_LOOK, Patience};
use crate::shell::starting::{Starting, starting};
use crate::shell::wishes::{Wishes, wishes};
use crate::shell::{Alarm, Shell};

impl Shell {
    /// Perform one effect.
    pub(crate) fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Prepare(number) => starting!(self).begin_handoff(number),
            Effect::Spawn(worker, record) => starting!(self).spawn(worker, record),
            Effect::Signal(worker, signal) => self.fleet.signal(worker, signal, &ground!(self)),
            Effect::Arm(timer, wait) => {
                let length = self.view().length_of(timer, wait, &self.timers);
                self.timers.arm(Alarm::Core(timer), length, clock::now());
            }
            Effect::Disarm(timer) => self.timers.disarm(Alarm::Core(timer)),
            Effect::Extend(timer, worker) => {
                let ground = ground!(self);
                let extension = self.fleet.extend(timer, worker, &ground, &mut self.timers);
                self.narrator.pass_on_extension(timer, extension, &self.timers);
            }
            Effect::Probe(number) => starting!(self).start_probe(number),
            Effect::EndProbe(number) => self.fleet.end_probe(number),
            Effect::Confirm(number) => self.confirm(number, Patience::Left),
            Effect::ConfirmAnyway(number) => self.confirm(number, Patience::Over),
            Effect::NoteReady(worker) => {
                self.fleet.note_ready(worker);
                self.records.note_ready(worker.generation, &self.core, &self.log);
            }
            Effect::TakeOver(number) => {
                self.trim_heap |= number == FIRST;
                self.records.take_over(number, &self.core, &self.log);
            }
            Effect::TakeBack(number) => {
                self.queues.begin_anew();
                self.records.take_back(number, &self.core, &self.log);
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
                let ground = ground!(self);
                let placed = self.steering.place_token(number, &ground, &mut self.timers);
                self.events.extend(placed);
            }
            Effect::Answer(ticket, outcome) => wishes!(self).answer(ticket, outcome),
            Effect::Tell(fact) => {
                let queues = &mut self.queues;
                let starting = starting!(self);
                Telling { queues, starting }.tell(fact);
            }
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

    /// Look once more at each worker of a candidate, just before the incumbent is told to drain.
    fn confirm(&mut self, number: Number, patience: Patience) {
        let Some(mut begun) = confirming!(self).begin(number) else {
            return;
        };
        if self.fleet.any_dies_within(number, LAST_LOOK, &mut begun.awaited) {
            self.sweep();
        }
        let event = confirming!(self).finish(number, begun, patience);
        if event == Event::Unheld(number) {
            // It may have ended since: then that is why.
            self.sweep();
        }
        self.events.push_back(event);
    }

    /// New clients go to this generation.
    fn switch(&mut self, number: Number) {
        if let Err(text) = self.steering.switch(number, &ground!(self)) {
            let refused = self.records.note_not_switched(number, text, &self.log);
            return self.events.push_back(refused);
        }
        self.answer_switch(clock::now());
    }

    /// A candidate that has died meanwhile is reported before the switch to it is answered.
    pub(crate) fn answer_switch(&mut self, now: Instant) {
        let ground = ground!(self);
        if let Some(number) = self.steering.switched(now, &ground, &mut self.timers) {
            if self.fleet.any_is_dead(number) {
                self.sweep();
            }
            self.events.push_back(Event::Switched(number));
        }
    }
}
