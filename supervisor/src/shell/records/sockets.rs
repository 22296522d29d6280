//! The listeners of all records, and the flags that all holders of one share.

use std::collections::BTreeSet;
use std::rc::Rc;

use segue_lifecycle::{Lifecycle, Number};

use crate::listeners::{IoMode, Listener, shares};
use crate::log::Log;
use crate::shell::records::Records;

impl Records {
    /// Every listener that is open, each once; those of the newest record first, whose options are in force.
    pub(crate) fn current_listeners(&self) -> Vec<Rc<Listener>> {
        let mut seen = BTreeSet::new();
        let mut current: Vec<Rc<Listener>> = Vec::new();
        for listener in self.births.values().rev().flat_map(|birth| &birth.listeners) {
            // Not by inode: the same socket may have been given to us twice, and is handed on as it came.
            if seen.insert(listener.socket_key()) {
                current.push(Rc::clone(listener));
            }
        }
        current
    }

    /// Steering was switched on for listeners that older records share: they know all slots from now on, so that none is closed with
    /// the record that has brought them, and whatever is started from an older one shares the slot to which new clients go.
    pub(super) fn share_slots(&mut self, opened: &[Rc<Listener>]) {
        if !opened.iter().any(|one| one.is_steered()) {
            return;
        }
        for birth in self.births.values_mut() {
            let known = std::mem::take(&mut birth.listeners).into_iter();
            let over = |one: Rc<Listener>| one.over_slots(opened).unwrap_or_else(|| vec![one]);
            birth.listeners = known.flat_map(over).collect();
        }
    }

    /// Make the paths again that apps have taken away.
    pub(crate) fn put_back_paths(&self, log: &Log) {
        for listener in self.current_listeners() {
            if let Some(said) = listener.put_back_path() {
                log.warning(&said.to_string());
            }
        }
    }

    /// Undo what processes did to the flags that all holders of a listener share.
    pub(crate) fn restore_flags(&self, log: &Log) {
        self.put_back_paths(log);
        // Each socket once: two records may want different options of it, and the newest is in force.
        for listener in self.current_listeners() {
            if let Err(error) = listener.restore_flags() {
                log.error(&error.to_string());
            }
        }
    }

    /// What a candidate that was not yet ready has chosen for its slots is unknown to a successor: see
    /// [`crate::listeners::Listener::expect_choice_of`].
    pub(crate) fn expect_choices(&self, core: &Lifecycle) {
        let Some(incumbent) = core.incumbent().map(|incumbent| incumbent.number) else {
            return;
        };
        let serving = self.listeners_of(incumbent, core);
        let younger = core.generations().map(|generation| generation.number);
        for candidate in younger.filter(|number| *number > incumbent) {
            for listener in self.listeners_of(candidate, core) {
                serving.iter().for_each(|other| listener.expect_choice_of(other));
            }
        }
    }

    /// A worker is ready: what is set now is what its generation has chosen. That is put in force when the
    /// generation takes over, for until then another one accepts by its own choice.
    pub(crate) fn note_ready(&mut self, number: Number, core: &Lifecycle, log: &Log) {
        for listener in self.listeners_of(number, core) {
            match listener.chosen_flags() {
                // Whatever the app has made of it.
                _ if listener.asks_for_non_blocking() => {}
                // Nobody else has its slot.
                Ok(Some(chosen)) if listener.is_steered() => {
                    if let Err(error) = listener.keep_flags(chosen) {
                        log.error(&error.to_string());
                    }
                }
                Ok(Some(chosen)) => {
                    self.chosen_flags.insert((number, listener.inode()), chosen);
                }
                Ok(None) => {}
                Err(error) => log.error(&error.to_string()),
            }
        }
        if serves_alone(number, core) {
            self.keep_flags(number, core, log);
        }
        self.flags_due = true;
    }

    /// The first worker of a generation is about to be started.
    pub(crate) fn begin_lending(&self, number: Number, core: &Lifecycle, log: &Log) {
        self.lend_slots_anew(number, core, log);
        self.begin_flags(number, core, log);
    }

    /// A generation is about to be started: if nobody else serves, the options of its listeners count from now on.
    fn begin_flags(&self, number: Number, core: &Lifecycle, log: &Log) {
        if !serves_alone(number, core) {
            return;
        }
        for listener in self.listeners_of(number, core) {
            if listener.asks_for_non_blocking()
                && let Err(error) = listener.keep_flags(IoMode::NonBlocking)
            {
                log.error(&error.to_string());
            }
        }
    }

    /// What this generation has chosen is in force from now on. An O_NONBLOCK that was there before is set with all else that is put right
    /// then.
    fn keep_flags(&self, number: Number, core: &Lifecycle, log: &Log) {
        for listener in self.listeners_of(number, core) {
            let asked = listener.asks_for_non_blocking().then_some(IoMode::NonBlocking);
            let chosen = self.chosen_flags.get(&(number, listener.inode())).copied();
            if let Some(chosen) = asked.or(chosen)
                && !(chosen == IoMode::NonBlocking && listener.is_known_as_non_blocking())
                && let Err(error) = listener.keep_flags(chosen)
            {
                log.error(&error.to_string());
            }
        }
    }

    /// What was bound and chosen for this generation counts from now on.
    pub(crate) fn take_over(&mut self, number: Number, core: &Lifecycle, log: &Log) {
        self.share_mended(number, core);
        self.forget_own_files(number, core);
        self.keep_flags(number, core, log);
        self.flags_due = true;
    }

    /// A generation that lingered serves again: what it chose counts. Files that were replaced since it took over stay noted.
    pub(crate) fn take_back(&mut self, number: Number, core: &Lifecycle, log: &Log) {
        self.keep_flags(number, core, log);
        self.flags_due = true;
    }

    /// What was bound afresh for this generation, which has taken over, takes the place of the dead socket in every record:
    /// what is started from an older one after a rollback must be reached as well.
    fn share_mended(&mut self, number: Number, core: &Lifecycle) {
        let fresh = self.listeners_of(number, core);
        let known = self.births.values_mut().flat_map(|birth| &mut birth.listeners);
        for listener in known.filter(|listener| listener.is_dead()) {
            if let Some(mended) = fresh.iter().find_map(|fresh| listener.mended_by(fresh)) {
                *listener = mended;
            }
        }
    }

    /// The listeners that the workers of a generation were lent so far, each once.
    pub(crate) fn lent_to(&self, number: Number, core: &Lifecycle) -> Vec<Rc<Listener>> {
        let Some(generation) = core.generation(number) else {
            return Vec::new();
        };
        let Some(birth) = self.births.get(&generation.record) else {
            return Vec::new();
        };
        let info = self.generations.get(&number);
        let began_with = info.and_then(|info| info.began_with);
        let workers = began_with.unwrap_or(generation.plan.workers);
        let slots = generation.processes.iter().map(|process| process.worker.slot);
        let lent: BTreeSet<u64> = slots
            .flat_map(|slot| shares(&birth.listeners, generation.lane, slot, workers))
            .map(Listener::inode)
            .collect();
        let mut seen = BTreeSet::new();
        let listeners = birth.listeners.iter();
        listeners
            .filter(|listener| lent.contains(&listener.inode()) && seen.insert(listener.inode()))
            .cloned()
            .collect()
    }

    /// As long as nobody has the slots of this generation, their O_NONBLOCK is as the options say. Where an older generation has
    /// them they stay as they are: its event loop would hang in accept.
    fn lend_slots_anew(&self, number: Number, core: &Lifecycle, log: &Log) {
        if !core.is_alone_in_lane(number) {
            return;
        }
        for listener in self.listeners_of(number, core) {
            if let Err(error) = listener.lend_anew() {
                log.error(&error.to_string());
            }
        }
    }

    /// The sockets of all listeners of a generation's record, by inode: of those that are steered, each slot.
    pub(crate) fn inodes_of(&self, number: Number, core: &Lifecycle) -> BTreeSet<u64> {
        let generation = core.generation(number);
        let birth = generation.and_then(|generation| self.births.get(&generation.record));
        let listeners = birth.into_iter().flat_map(|birth| &birth.listeners);
        listeners.map(|listener| listener.inode()).collect()
    }

    /// The listeners of a generation's record; of those that are steered, its own slots.
    pub(crate) fn listeners_of(&self, number: Number, core: &Lifecycle) -> Vec<Rc<Listener>> {
        let Some(generation) = core.generation(number) else {
            return Vec::new();
        };
        let birth = self.births.get(&generation.record);
        let mut listeners = birth.map(|birth| birth.listeners.clone()).unwrap_or_default();
        listeners.retain(|listener| listener.slot().is_none_or(|slot| slot == generation.lane));
        listeners
    }
}

/// Whether no other generation serves by what it has chosen.
fn serves_alone(number: Number, core: &Lifecycle) -> bool {
    core.incumbent()
        .is_none_or(|incumbent| incumbent.number == number)
}

/// Tell which listeners are new.
pub(crate) fn announce(opened: &[Rc<Listener>], current: &[Rc<Listener>], log: &Log) {
    let known: BTreeSet<u64> = current.iter().map(|old| old.inode()).collect();
    let is_new = |new: &&Rc<Listener>| !known.contains(&new.inode());
    let mut told = None;
    for listener in opened.iter().filter(is_new) {
        // Of several sockets on one address the first stands for all.
        let slots = listener.is_steered().then(|| usize::from(listener.slots()));
        let several = listener.sockets().or(slots).map(|count| (listener.name(), count));
        if several.is_some() && std::mem::replace(&mut told, several) == several {
            continue;
        }
        let note = listener
            .scope_note()
            .map(|note| format!(" ({note})"))
            .unwrap_or_default();
        let sockets = several
            .map(|(_, count)| match slots {
                Some(_) => format!(", steered over {count} slots"),
                None => format!(", {count} sockets"),
            })
            .unwrap_or_default();
        log.info(&format!(
            "listening on {}{note} as {}{sockets}",
            listener.address_text(),
            listener.name()
        ));
    }
    let lonely = !opened.is_empty() && opened.iter().all(|listener| listener.is_loopback());
    if current.is_empty() && std::process::id() == 1 && lonely {
        log.warning(
            "every listener is on this machine only, and this is PID 1: nobody outside the container can connect \
             (use `--listen :8080` to listen on every address)",
        );
    }
}
