//! The loop: what happened outside becomes events (`gather.rs`), what the core answers is done (`perform.rs`).

pub(crate) mod gather;
pub(crate) mod perform;
pub(crate) mod succeed;

use std::time::Instant;

use segue_lifecycle::{Effect, Ending, Event, Fact, upgrade};

use crate::clock;
use crate::shell::fleet::{Ground, ground};
use crate::shell::inspection::queues::{Around, around};
use crate::shell::narrator::report::tell_who_stays;
use crate::shell::narrator::view::{View, view};
use crate::shell::save::{Everything, everything};
use crate::shell::starting::{Starting, starting};
use crate::shell::succession::draining_orphans::{Tools, tools};
use crate::shell::{Shell, ShellError};
use crate::sys;

impl Shell {
    /// Everything, to be read.
    pub(crate) const fn view(&self) -> View<'_> {
        view!(self)
    }

    /// Tell a fact to everybody whom it concerns.
    pub(crate) fn tell(&mut self, fact: Fact) {
        if matches!(fact, Fact::Deaf(_))
            && let Some(text) = self.queues.take_untold()
        {
            self.log.error(&text);
        }
        self.narrator.tell(fact, &view!(self), &self.timers);
        let view = view!(self);
        self.desk.publish(|| view.news_of(fact));
        if let Some(text) = self.narrator.progress.take() {
            self.desk.tell_progress(&text);
        }
        if fact == Fact::Stopping {
            starting!(self).end_before_reload();
        }
        if let Some(occasion) = self.view().occasion(fact) {
            starting!(self).run_hooks(&occasion);
        }
    }

    /// Turn after turn until the end. It may have come before the first wait: where no birth record could be made, nothing is
    /// left to wait for.
    pub(crate) fn go_round(&mut self) -> Result<Ending, ShellError> {
        let mut waits = false;
        loop {
            if let Some(ending) = self.ending {
                if !self.succession.draining.are_waited_for(ending) {
                    self.leave();
                    return Ok(ending);
                }
                if !std::mem::replace(&mut waits, true) {
                    self.succession.draining.say_whom_it_waits_for(&self.log);
                }
            }
            self.turn()?;
            // The next binary would know nothing of a hook that runs.
            if self.fleet.hooks.are_over() {
                let service = self.service();
                self.step_upgrade(upgrade::Event::TurnOver(service));
            }
        }
    }

    /// Wait until something happens, and deal with all of it.
    pub(crate) fn turn(&mut self) -> Result<(), ShellError> {
        let deadline = self
            .timers
            .next()
            .into_iter()
            .chain(self.desk.control.next_deadline())
            .min();
        self.hear(deadline)?;
        let now = clock::now();
        if self.timers.next().is_some_and(|next| next <= now) {
            // Whatever came before this instant counts before the deadlines that have passed by it: the process may have been
            // stopped, or the machine suspended, since the sources were last looked at.
            self.hear(Some(now))?;
            // A timer that is taken is in no row any more.
            self.keep_what_was_done();
        }
        self.take_due(now);
        self.step_all();
        self.tend_strays();
        self.end_turn();
        Ok(())
    }

    /// Wait until the deadline for something to happen outside, and deal with it.
    pub(crate) fn hear(&mut self, deadline: Option<Instant>) -> Result<(), ShellError> {
        self.restore_flags();
        self.keep_what_was_done();
        let ready = self
            .sources
            .wait(deadline, clock::now())
            .map_err(|errno| ShellError::new("epoll_wait", errno))?;
        self.log.gather();
        self.gather(ready);
        self.step_all();
        // What followed of these words is logged by now.
        self.fleet.consume_recorded();
        Ok(())
    }

    /// Step the core through every event before any of their effects is performed; performing may add events.
    pub(crate) fn step_all(&mut self) {
        while !self.events.is_empty() {
            // What is behind has these events in it, as those that come next.
            let rows = self.journal.is_behind().then(|| everything!(self).rows());
            let batch: Vec<Event> = std::mem::take(&mut self.events).into();
            self.journal.log_batch(rows, &batch);
            self.step(batch);
        }
        self.restore_flags();
    }

    /// One batch: what it tells the core to do, done.
    pub(crate) fn step(&mut self, batch: Vec<Event>) {
        if self.ending.is_some() && batch.contains(&Event::Stop) {
            self.succession.draining.end_all(&mut tools!(self));
        }
        let mut effects = Vec::new();
        for event in batch {
            effects.extend(self.core.step(event));
        }
        self.perform_all(effects);
    }

    /// Perform effects in their order. What tickets are answered is put down in that order too, but goes out last: a client that
    /// has an answer finds everything done that it tells of, and systemd told of it.
    pub(crate) fn perform_all(&mut self, effects: Vec<Effect>) {
        self.records.note_roles(&self.core);
        for (nth, effect) in effects.into_iter().enumerate() {
            self.perform(effect);
            self.journal.mark_done(nth, effect);
        }
        self.send_answers();
    }

    /// What was put down goes out, once systemd knows as much.
    pub(crate) fn send_answers(&mut self) {
        if !self.desk.answers.is_empty() {
            self.narrator.tell_status(&view!(self));
            // A client that has an answer finds the lines, too.
            self.log.write_gathered();
        }
        self.desk.send_answers();
    }

    /// Write down what the last batch has changed, if that has not been done since.
    pub(crate) fn keep_what_was_done(&mut self) {
        if self.journal.is_behind() {
            self.keep();
        }
    }

    /// Write down everything, as far as it has changed.
    pub(crate) fn keep(&mut self) {
        let rows = everything!(self).rows();
        self.journal.write(rows, &self.log);
    }

    /// What is to be done after each turn, whatever happened in it.
    pub(crate) fn end_turn(&mut self) {
        self.fleet.end_turn();
        self.fleet.watch_lingering(&mut self.timers);
        self.queues.watch(around!(self), &mut self.sources);
        self.paths.watch(&ground!(self), &mut self.sources);
        let relieved = self
            .steering
            .watch(&ground!(self), &mut self.sources, &mut self.timers);
        self.events.extend(relieved);
        view!(self).watch_starts(&mut self.timers);
        self.desk.update_interests(&mut self.sources, &self.log);
        self.narrator.notify_manager(&view!(self), &mut self.timers);
        self.log.stop_gathering();
        self.keep();
        if std::mem::take(&mut self.trim_heap) {
            sys::trim_heap();
        }
    }

    /// The last acts: the control socket tells its clients what it still has to, and everything closes.
    pub(crate) fn leave(&mut self) {
        match self.ending {
            // A stop has had the time that they would have had.
            Some(Ending::Stopped) => self.succession.draining.end_all(&mut tools!(self)),
            Some(Ending::NeverServed(_)) | None => self.succession.draining.say_who_stays(&self.log),
        }
        self.fleet.end_all_hooks(&self.log, &mut self.sources);
        tell_who_stays(&self.log);
        self.narrator.tell_status(&view!(self));
        self.desk.answer_stops();
        self.journal.keeper.remove();
    }
}
