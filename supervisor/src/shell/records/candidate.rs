//! A candidate, from the effect that asks for it to the event that tells of its record; and the end of a record and of a
//! generation.

use std::rc::Rc;
use std::time::Instant;

use segue_lifecycle::{Event, Lifecycle, Number, Plan, Record, Role};

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
    /// Make the birth record of a candidate.
    ///
    /// # Errors
    /// There is none: the event that tells so. As long as it waits there is no event, but that a generation which lingers is to
    /// make room.
    pub(crate) fn begin_candidate(
        &mut self,
        number: Number,
        shop: &mut Workshop<'_>,
    ) -> Result<Plan, Option<Event>> {
        match self.prepare(number, shop) {
            Preparation::Made(plan) => Ok(plan),
            Preparation::Waits => Err(self.room_wanted(shop.core)),
            Preparation::Refused(text) => Err(Some(self.refuse_candidate(number, text, shop.log))),
        }
    }

    /// Nothing is in the way of a record that was made: let systemd keep it, and its generation be known.
    ///
    /// # Errors
    /// As for [`Records::ensure_generation`].
    pub(crate) fn introduce_candidate(
        &mut self,
        number: Number,
        asked: Option<Instant>,
        core: &Lifecycle,
        place: &Place,
        manager: &mut Manager,
    ) -> Result<(), String> {
        let record = Record(number);
        if let Some(birth) = self.births.get(&record) {
            store_birth(manager, record, birth);
        }
        self.ensure_generation(number, record, asked, core, place, manager)
    }

    /// A generation that lingers makes room in memory.
    fn room_wanted(&self, core: &Lifecycle) -> Option<Event> {
        let mut generations = core.generations();
        let lingers = generations.any(|generation| generation.role == Role::Lingering);
        (lingers && self.memory.waits()).then_some(Event::RoomWanted)
    }

    /// The candidate is given up before it begins: why, and the event for the core.
    pub(crate) fn refuse_candidate(&mut self, number: Number, text: String, log: &Log) -> Event {
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
