//! Birth records, the generations that were started from them, and the sockets that both need.
//!
//! A reload makes a record afresh, all of it or nothing (`births.rs`), once the files rest (`files.rs`) and there is memory
//! (`memory.rs`). This room knows no pid, no client and no ticket.

pub(crate) mod births;
mod candidate;
pub(crate) mod files;
pub(crate) mod findings;
pub(crate) mod generation;
pub(crate) mod memory;
mod probe_way;
mod saved;
pub(crate) mod sockets;
pub(crate) mod stored;
pub(crate) mod workers;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use segue_lifecycle::{Lifecycle, Number, Record};

use crate::clock::{self, Timers};
use crate::listeners::{Inherited, IoMode, Listener};
use crate::log::Log;
use crate::shell::{Alarm, Given};

use births::Birth;
use generation::GenerationInfo;

/// What the loop lends for the making of a record.
#[derive(Debug)]
pub(crate) struct Workshop<'a> {
    pub(crate) core: &'a Lifecycle,
    pub(crate) given: &'a Given,
    pub(crate) log: &'a Log,
    pub(crate) timers: &'a mut Timers<Alarm>,
}

/// What something may be started from, and what was.
#[derive(Debug)]
pub(crate) struct Records {
    /// The sockets that we were given ourselves.
    pub(crate) inherited: Inherited,
    pub(crate) births: BTreeMap<Record, Birth>,
    pub(crate) generations: BTreeMap<Number, GenerationInfo>,
    /// By generation and socket: what the generation has made of the flags that all holders share.
    pub(crate) chosen_flags: BTreeMap<(Number, u64), IoMode>,
    /// The number of workers that was asked for last, if anybody has asked.
    pub(crate) workers_asked: Option<u16>,
    /// Why the last birth record could not be made.
    pub(crate) refusal: Option<String>,
    /// Why the kernel has refused to send clients elsewhere, the last time that it did.
    pub(crate) not_switched: Option<String>,
    /// A candidate that waits for files to come to rest.
    pub(crate) resting: Option<files::Resting>,
    pub(crate) memory: memory::Memory,
    /// What was told of the directory that the app is started in, and in the answer to which reload.
    pub(crate) told_of_directory: Option<(Number, String)>,
    /// What was told of the way of the probe.
    told_of_probe_way: Option<String>,
    /// Listeners of an earlier supervisor, until the first birth record has taken what it wants of them.
    pub(crate) left_listeners: Vec<Rc<Listener>>,
    /// Something has happened with which processes may have changed what all holders of a listener share. Once for all of it, that is
    /// put right.
    pub(crate) flags_due: bool,
}

impl Records {
    /// No record has been made yet.
    pub(crate) fn new(inherited: Inherited, left_listeners: Vec<Rc<Listener>>) -> Self {
        Self {
            inherited,
            births: BTreeMap::new(),
            generations: BTreeMap::new(),
            chosen_flags: BTreeMap::new(),
            workers_asked: None,
            refusal: None,
            not_switched: None,
            resting: None,
            memory: memory::Memory::new(),
            told_of_directory: None,
            told_of_probe_way: None,
            left_listeners,
            flags_due: false,
        }
    }

    /// Nothing is left of a generation. Returns its private listener, if it had one.
    fn remove_generation(&mut self, number: Number, timers: &mut Timers<Alarm>) -> Option<Rc<Listener>> {
        self.chosen_flags
            .retain(|(generation, _), _| *generation != number);
        if self.memory.waits() {
            timers.arm(Alarm::Memory, Some(Duration::ZERO), clock::now());
        }
        self.generations.remove(&number)?.probe
    }

    /// A candidate that waited is not prepared any more.
    pub(crate) fn give_up_waiting(&mut self) {
        self.resting = None;
        self.memory.give_up();
    }

    /// Since when each generation has the role that it has now.
    pub(crate) fn note_roles(&mut self, core: &Lifecycle) {
        for generation in core.generations() {
            if let Some(info) = self.generations.get_mut(&generation.number)
                && info.role != generation.role
            {
                info.role = generation.role;
                info.since = clock::wall();
            }
        }
    }
}
