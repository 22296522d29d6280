//! From effects to what they do outside.

use std::time::Instant;

use segue_lifecycle::{Effect, Event, FIRST, Number};

use crate::clock;
use crate::shell::confirming::{Confirming, confirming};
use crate::shell::fleet::{Ground, ground};
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
            Effect::TakeBack(number) => starting!(self).take_back(number),
            Effect::RollBack(number, record) => starting!(self).roll_back(number, record),
            Effect::Abandon(worker) => self.fleet.give_up_strays(worker, &ground!(self)),
            Effect::Bury(number) => starting!(self).bury(number),
            Effect::Switch(number) => {
                confirming!(self).switch(number);
                self.answer_switch(clock::now());
            }
            Effect::Count(number) => self.events.push_back(self.view().look_for_clients(number)),
            Effect::PlaceToken(number) => starting!(self).place_token(number),
            Effect::Answer(ticket, outcome) => wishes!(self).answer(ticket, outcome),
            Effect::Tell(fact) => starting!(self).tell(fact),
            Effect::Forget(record) => starting!(self).forget(record),
            Effect::Finish(ending) => self.ending = Some(ending),
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

    /// The switch is answered once nobody waits in the incumbent's slot any more. A candidate that has died meanwhile is reported before.
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
