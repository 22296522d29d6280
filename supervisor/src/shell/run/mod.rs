//! The loop: what happened outside becomes events (`gather.rs`), what the core answers is done (`perform.rs`).

pub(crate) mod gather;
pub(crate) mod perform;

use std::time::Instant;

use segue_lifecycle::{Effect, Ending, Event};

use crate::clock;
use crate::shell::narrator::view::{View, view};
use crate::shell::save::{Everything, everything};
use crate::shell::starting::{Starting, starting};
use crate::shell::succession::draining_orphans::{Tools, tools};
use crate::shell::succession::effects::{Succeeding, service, succeeding};
use crate::shell::watching::{Watching, watching};
use crate::shell::{Shell, ShellError};
use crate::sys;

/// Every source was read that was ready by then, and what followed is done: deadlines count from here.
pub(crate) struct Heard {
    until: Instant,
}

/// No event is left: the core has stepped through all of them, and their effects are performed.
pub(crate) struct Stepped(());

/// What those that were told to end had started has heard of it.
pub(crate) struct Minded(());

impl Shell {
    /// Everything, to be read.
    pub(crate) const fn view(&self) -> View<'_> {
        view!(self)
    }

    /// Turn after turn until the end. It may have come before the first wait: where no birth record could be made, nothing is
    /// left to wait for.
    pub(crate) fn go_round(&mut self) -> Result<Ending, ShellError> {
        self.log.write_gathered_at_a_panic();
        loop {
            if let Some(ending) = self.ending
                && !self.succession.draining.are_waited_for(ending, &self.log)
            {
                return Ok(ending);
            }
            self.turn()?;
            succeeding!(self).turn_over();
        }
    }

    /// Wait until something happens, and deal with all of it. Each step takes what the one before it gives.
    fn turn(&mut self) -> Result<(), ShellError> {
        let heard = self.hear_everything()?;
        let stepped = self.take_due(heard);
        let minded = self.tend_strays(stepped);
        self.end_turn(minded);
        Ok(())
    }

    /// Whatever came before a deadline counts before it: the process may have been stopped, or the machine suspended, since the sources
    /// were last looked at.
    fn hear_everything(&mut self) -> Result<Heard, ShellError> {
        let deadlines = self.timers.next().into_iter();
        self.hear(deadlines.chain(self.desk.control.next_deadline()).min())?;
        let now = clock::now();
        if self.timers.next().is_some_and(|next| next <= now) {
            self.hear(Some(now))?;
            // A word that is held lets nothing by that came after it, until it is written down. Each is held once.
            while self.fleet.holds_words() {
                self.hear(Some(now))?;
            }
            // A timer that is taken is in no row any more.
            self.keep_what_was_done();
        }
        Ok(Heard { until: now })
    }

    /// Wait until the deadline for something to happen outside, and deal with it.
    fn hear(&mut self, deadline: Option<Instant>) -> Result<(), ShellError> {
        starting!(self).restore_flags();
        self.keep_what_was_done();
        self.fleet.consume_recorded();
        let ready = self.sources.wait(deadline, clock::now());
        let ready = ready.map_err(|errno| ShellError::new("epoll_wait", errno))?;
        self.log.gather();
        ready.into_iter().for_each(|ready| self.gather(ready));
        self.step_all();
        Ok(())
    }

    /// Step the core through every event before any of their effects is performed; performing may add events.
    pub(crate) fn step_all(&mut self) -> Stepped {
        while !self.events.is_empty() {
            // What is behind has these events in it, as those that come next, and not what the core makes of them.
            let rows = self.journal.is_behind().then(|| everything!(self).rows());
            let batch: Vec<Event> = std::mem::take(&mut self.events).into();
            let effects: Vec<Effect> = batch.iter().flat_map(|event| self.core.step(*event)).collect();
            self.journal.log_batch(rows, &batch, &effects);
            if self.ending.is_some() && batch.contains(&Event::Stop) {
                self.succession.draining.end_all(&mut tools!(self));
            }
            self.perform_all(effects);
        }
        starting!(self).restore_flags();
        Stepped(())
    }

    /// Perform effects in their order. What tickets are answered is put down in that order too, but goes out last: a client that
    /// has an answer finds everything done that it tells of, and systemd told of it.
    pub(crate) fn perform_all(&mut self, effects: Vec<Effect>) {
        self.records.note_roles(&self.core);
        for (nth, effect) in effects.into_iter().enumerate() {
            self.perform(effect);
            self.journal.mark_done(nth, effect);
        }
        starting!(self).send_answers();
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
    pub(crate) fn end_turn(&mut self, _: Minded) {
        self.fleet.end_turn();
        self.fleet.watch_lingering(&mut self.timers);
        watching!(self).watch();
        self.desk.update_interests(&mut self.sources, &self.log);
        self.narrator.notify_manager(&view!(self), &mut self.timers);
        self.log.stop_gathering();
        self.keep();
        // What followed of these words is written down by now.
        self.fleet.consume_recorded();
        if std::mem::take(&mut self.trim_heap) {
            sys::trim_heap();
        }
    }
}
