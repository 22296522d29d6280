//! A candidate, from the effect that asks for it to the event that tells of its record; and the record's end.

use segue_lifecycle::{Event, FIRST, Number, Progress, Record, State};

use crate::shell::Shell;
use crate::shell::journal::store;
use crate::shell::records::Workshop;
use crate::shell::records::births::Preparation;

impl Shell {
    /// A handoff begins: those who have asked so far share it.
    pub(crate) fn begin_handoff(&mut self, number: Number) {
        if number != FIRST {
            self.narrator.history.asked = self.desk.tickets.handoff_began();
        }
        self.prepare(number);
    }

    /// Make the birth record of a candidate, and let its generation be known.
    pub(crate) fn prepare(&mut self, number: Number) {
        let mut shop = Workshop {
            core: &self.core,
            given: &self.given,
            log: &self.log,
            timers: &mut self.timers,
            sources: &mut self.sources,
        };
        let plan = match self.records.prepare(number, &mut shop) {
            Preparation::Made(plan) => plan,
            Preparation::Waits => return,
            Preparation::Refused(text) => return self.refuse(number, text),
        };
        // It may have been made outside of a batch: at the start, or after a wait for memory or for files.
        self.journal.keeper.note_change();
        let record = Record(number);
        if let Some(birth) = self.records.births.get(&record) {
            store::store_birth(&mut self.narrator.manager, record, birth);
        }
        match self.ensure_generation(number, record) {
            Ok(()) => self.events.push_back(Event::Prepared(number, plan)),
            Err(text) => {
                self.forget(record);
                self.refuse(number, text);
            }
        }
    }

    fn refuse(&mut self, number: Number, text: String) {
        self.records.refuse(text, &self.log);
        self.events.push_back(Event::PrepareFailed(number));
    }

    /// What a candidate waited for may be there by now.
    pub(crate) fn prepare_again(&mut self, number: Option<Number>) {
        let Some(number) = number else { return };
        if self.core.handoff().is_at(number, Progress::Preparing) {
            self.prepare(number);
        } else {
            // A stop came in between. Every preparation is answered all the same.
            self.records.give_up_waiting();
            self.events.push_back(Event::PrepareFailed(number));
        }
    }

    /// Make sure that a generation started from this record is known.
    pub(crate) fn ensure_generation(&mut self, number: Number, record: Record) -> Result<(), String> {
        let asked = self.narrator.history.asked;
        let place = &self.given.place;
        let probe = self
            .records
            .ensure_generation(number, record, asked, &self.core, place)?;
        if let Some(probe) = probe {
            store::store_listener(&mut self.narrator.manager, &probe);
        }
        Ok(())
    }

    /// Nothing is started from this record any more: its files and, unless another record names them, its listeners are closed.
    pub(crate) fn forget(&mut self, record: Record) {
        if let Some(birth) = self.records.births.remove(&record) {
            let current = self.records.current_listeners();
            store::unstore_birth(&mut self.narrator.manager, record, &birth.listeners, &current);
            // While it stops, the supervisor closes its listeners and the app has them still: what they are is kept for a
            // supervisor that takes them back from it, if this one is killed before all of it has ended.
            if self.core.state() == State::Stopping {
                self.journal.note_closed(&birth.listeners);
            }
        }
        // Options that this record alone wanted are taken back.
        self.restore_flags();
    }
}
