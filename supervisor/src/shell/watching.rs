//! The listeners are watched from outside: the queues of the incumbent, the slots to which new clients do not go, the paths, and the
//! workers that start. Each is the business of a room; here is what the loop asks of all of them.

use std::collections::VecDeque;
use std::time::Instant;

use segue_lifecycle::{Event, Lifecycle};

use crate::clock::Timers;
use crate::log::Log;
use crate::shell::fleet::{Fleet, Ground, ground};
use crate::shell::inspection::paths::Paths;
use crate::shell::inspection::queues::{Around, Queues, around};
use crate::shell::narrator::view::{View, view};
use crate::shell::records::Records;
use crate::shell::steering::Steering;
use crate::shell::{Alarm, Given, PollSet};

/// What the loop lends for the watching.
#[derive(Debug)]
pub(crate) struct Watching<'a> {
    pub(crate) core: &'a Lifecycle,
    /// What comes of it, for the core.
    pub(crate) events: &'a mut VecDeque<Event>,
    pub(crate) timers: &'a mut Timers<Alarm>,
    pub(crate) sources: &'a mut PollSet,
    pub(crate) given: &'a Given,
    pub(crate) records: &'a mut Records,
    pub(crate) fleet: &'a Fleet,
    pub(crate) queues: &'a mut Queues,
    pub(crate) paths: &'a mut Paths,
    pub(crate) steering: &'a mut Steering,
    pub(crate) log: &'a Log,
}

/// The same, where the whole shell is at hand.
macro_rules! watching {
    ($shell:expr) => {
        Watching {
            core: &$shell.core,
            events: &mut $shell.events,
            timers: &mut $shell.timers,
            sources: &mut $shell.sources,
            given: &$shell.given,
            records: &mut $shell.records,
            fleet: &$shell.fleet,
            queues: &mut $shell.queues,
            paths: &mut $shell.paths,
            steering: &mut $shell.steering,
            log: &$shell.log,
        }
    };
}

pub(crate) use watching;

impl Watching<'_> {
    /// Watch what there is by now. To be called after each turn.
    pub(crate) fn watch(&mut self) {
        self.queues.watch(around!(self), self.sources);
        self.paths.watch(&ground!(self), self.sources);
        let relieved = self.steering.watch(&ground!(self), self.sources, self.timers);
        self.events.extend(relieved);
        view!(self).watch_starts(self.timers);
    }

    /// A path has changed.
    pub(crate) fn put_paths_back(&mut self) {
        self.paths.put_back(&ground!(self));
    }

    /// Clients wait in a queue of the incumbent.
    pub(crate) fn note_waiting(&mut self) {
        self.queues.note_waiting(around!(self));
    }

    /// Clients wait in a slot to which new ones do not go, or an app has shut one down.
    pub(crate) fn note_stranded(&mut self) {
        let stranded = self.steering.note_stranded(&ground!(self), self.timers);
        self.events.extend(stranded);
    }

    /// Look at the queues in which clients wait: does the incumbent accept?
    pub(crate) fn look_at_queues(&mut self, now: Instant) {
        for deaf in self.queues.look(around!(self), now) {
            let event = self.records.note_deaf(deaf.number, deaf.words);
            self.events.push_back(event);
        }
    }

    /// Look at the slots in which clients wait, and at a token that is on its way.
    pub(crate) fn look_at_slots(&mut self, now: Instant) {
        let relieved = self.steering.look(now, &ground!(self), self.timers);
        self.events.extend(relieved);
    }
}
