//! A candidate, from the effect that asks for it to the event that tells of its record; and the end of a record and of a
//! generation.

use std::rc::Rc;
use std::time::Instant;

use segue_lifecycle::{Event, Lifecycle, Number, Record, Role};

use crate::clock::Timers;
use crate::listeners::Listener;
use crate::log::Log;
use crate::manager::Manager;
use crate::place::Place;
use crate::shell::Alarm;
use crate::shell::records::births::Preparation;
use crate::shell::records::stored::{store_birth, store_listener, unstore_birth, unstore_listener};
use crate::shell::records::{Records, Workshop};

impl Records {
    /// Make the birth record of a candidate, and let its generation be known. As long as it waits there is no event, but that a
    /// generation which lingers is to make room.
    pub(crate) fn begin_candidate(
        &mut self,
        number: Number,
        asked: Option<Instant>,
        shop: &mut Workshop<'_>,
    ) -> Option<Event> {
        let plan = match self.prepare(number, shop) {
            Preparation::Made(plan) => plan,
            Preparation::Waits => return self.room_wanted(shop.core),
            Preparation::Refused(text) => return Some(self.refuse_candidate(number, text, shop.log)),
        };
        let record = Record(number);
        if let Some(birth) = self.births.get(&record) {
            store_birth(shop.manager, record, birth);
        }
        let (core, place) = (shop.core, &shop.given.place);
        let known = self.ensure_generation(number, record, asked, core, place, shop.manager);
        Some(match known {
            Ok(()) => Event::Prepared(number, plan),
            Err(text) => {
                self.forget(record, shop.manager);
                self.refuse_candidate(number, text, shop.log)
            }
        })
    }

    /// A generation that lingers makes room in memory.
    fn room_wanted(&self, core: &Lifecycle) -> Option<Event> {
        let mut generations = core.generations();
        let lingers = generations.any(|generation| generation.role == Role::Lingering);
        (lingers && self.memory.waits()).then_some(Event::RoomWanted)
    }

    fn refuse_candidate(&mut self, number: Number, text: String, log: &Log) -> Event {
        self.refuse(text, log);
        Event::PrepareFailed(number)
    }

    /// Make sure that a generation started from this record is known, with its private probe listener.
    ///
    /// # Errors
    /// One line: the record is gone or lost, or the listener cannot be opened.
    pub(crate) fn ensure_generation(
        &mut self,
        number: Number,
        record: Record,
        asked: Option<Instant>,
        core: &Lifecycle,
        place: &Place,
        manager: &mut Manager,
    ) -> Result<(), String> {
        if self.generations.contains_key(&number) {
            return Ok(());
        }
        let probe = self.open_probe(number, record, place)?;
        self.insert_generation(number, record, probe.clone(), asked, core)?;
        if let Some(probe) = probe {
            store_listener(manager, &probe);
        }
        Ok(())
    }

    /// Nothing is started from this record any more: its files and, unless another record names them, its listeners are closed.
    /// Returns the listeners that it had.
    pub(crate) fn forget(&mut self, record: Record, manager: &mut Manager) -> Vec<Rc<Listener>> {
        let Some(birth) = self.births.remove(&record) else {
            return Vec::new();
        };
        let current = self.current_listeners();
        unstore_birth(manager, record, &birth.listeners, &current);
        birth.listeners
    }

    /// Nothing is left of a generation: what only it needed is closed.
    pub(crate) fn bury(&mut self, number: Number, timers: &mut Timers<Alarm>, manager: &mut Manager) {
        if let Some(probe) = self.remove_generation(number, timers) {
            unstore_listener(manager, &probe);
        }
    }
}
