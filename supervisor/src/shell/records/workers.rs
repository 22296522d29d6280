//! How many workers there are to be, and what a generation's settings say about them.

use std::collections::BTreeSet;
use std::rc::Rc;

use nix::sys::signal::Signal;
use segue_lifecycle::{Lifecycle, Number, Role};

use crate::config::{Config, MAX_WORKERS, Mode};
use crate::listeners;
use crate::protocol::Change;
use crate::shell::Given;
use crate::shell::records::Records;

impl Records {
    /// The settings of a generation; those of the start where it is not known.
    pub(crate) fn config_of<'a>(&'a self, number: Number, given: &'a Given) -> &'a Rc<Config> {
        let info = self.generations.get(&number);
        info.map_or(&given.config, |info| &info.config)
    }

    /// By what a worker of that generation is told to stop.
    pub(crate) fn stop_signal(&self, number: Number) -> Signal {
        let generation = self.generations.get(&number);
        generation.map_or(Signal::SIGTERM, |generation| generation.config.stop_signal)
    }

    /// Every socket that is lent to somebody who lives, by inode.
    pub(crate) fn lent(&self) -> BTreeSet<u64> {
        let lent = self.generations.values().flat_map(|info| &info.lent);
        lent.copied().collect()
    }

    /// Whether old processes end before new ones are started, as far as the settings in force tell.
    pub(crate) fn makes_room_first(&self) -> bool {
        let newest = self.births.values().next_back();
        newest.is_some_and(|birth| birth.config.mode == Mode::Queue || birth.config.rolling.is_some())
    }

    /// Another number of workers from now on, if there can be so many. Returns the number before and after.
    ///
    /// # Errors
    /// One line: why there cannot be so many.
    pub(crate) fn change_workers(
        &mut self,
        change: Change,
        core: &Lifecycle,
        given: &Given,
    ) -> Result<(u16, u16), String> {
        let newest = core.incumbent().or_else(|| core.generations().last());
        let before = self
            .workers_asked
            .or_else(|| newest.map(|generation| generation.plan.workers))
            .ok_or("workers: no generation runs yet; try again when one serves")?;
        let after = match change {
            Change::Set(count) => Some(count),
            Change::Add(count) => before.checked_add(count),
            Change::Remove(count) => before.checked_sub(count),
        };
        let after = after.filter(|after| (1..=MAX_WORKERS).contains(after));
        let after = after.ok_or_else(|| {
            format!("workers: {before} now, and the new number would not be from 1 to {MAX_WORKERS}")
        })?;
        let fewest = self.fewest_workers(core);
        if after < before && after < fewest {
            return Err(self.too_few(fewest, given));
        }
        self.workers_asked = Some(after);
        Ok((before, after))
    }

    /// The fewest workers that who serves, or is about to, can have without leaving a socket to nobody.
    fn fewest_workers(&self, core: &Lifecycle) -> u16 {
        let active = core
            .generations()
            .filter(|generation| generation.role != Role::Retired);
        let fewest = active.filter_map(|generation| {
            let listeners = &self.births.get(&generation.record)?.listeners;
            let began_with = self.generations.get(&generation.number)?.began_with?;
            Some(listeners::least_workers(listeners, began_with))
        });
        fewest.max().unwrap_or(1)
    }

    /// Why there cannot be fewer workers now, and how there can be.
    fn too_few(&self, fewest: u16, given: &Given) -> String {
        let invocation = &given.invocation;
        // A number that was asked for before wins over the file at every reload, and so does a flag.
        let file_counts = self.workers_asked.is_none()
            && invocation.settings.workers.is_none()
            && invocation.file().is_some();
        let way = if file_counts {
            "change `workers` in segue.toml and reload"
        } else {
            "stop segue and start it with that number"
        };
        format!("workers: fewer than {fewest} would leave a socket without a worker; to have fewer, {way}")
    }
}
