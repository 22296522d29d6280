//! The processes that we have started: workers, runs of the probe, what workers have started themselves.
//!
//! It forks, signals and reaps, and knows what each process said last. It knows no client, no ticket, and nobody above us.

pub(crate) mod out_of_memory;
pub(crate) mod probe;
pub(crate) mod strays;
pub(crate) mod telling;
pub(crate) mod worker;

use std::collections::BTreeMap;

use segue_lifecycle::Worker;

use crate::children::Children;
use crate::memory::{Kills, Roots};
use crate::shell::Child;
use crate::shell::run::waits::Pauses;

use probe::Probes;
use strays::Strays;
use worker::WorkerInfo;

/// Every process of ours, alive or being buried.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) children: Children<Child>,
    pub(crate) workers: BTreeMap<Worker, WorkerInfo>,
    /// Workers that are gone; what is known of them is kept until the turn ends, for the messages about them.
    pub(crate) gone: Vec<Worker>,
    pub(crate) probes: Probes,
    /// What workers have started outside their groups.
    pub(crate) strays: Strays,
    /// Whom the kernel has killed for memory.
    pub(crate) kills: Kills,
    pub(crate) linger: Pauses,
    /// Workers that were told to stop in this turn.
    pub(crate) told_this_turn: Vec<Worker>,
}

impl Fleet {
    /// Nothing runs yet.
    pub(crate) fn new() -> Self {
        Self {
            children: Children::new(),
            workers: BTreeMap::new(),
            gone: Vec::new(),
            probes: Probes::new(),
            strays: Strays::default(),
            kills: Kills::new(Roots::real()),
            linger: Pauses::new(),
            told_this_turn: Vec::new(),
        }
    }
}
