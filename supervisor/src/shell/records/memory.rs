//! Two generations in memory: whether a candidate fits.

use std::time::{Duration, Instant};

use segue_lifecycle::{Number, Role};

use crate::clock;
use crate::config::{Config, Mode};
use crate::memory::{Room, Roots, compare};
use crate::shell::Alarm;
use crate::shell::records::{Records, Workshop};

/// How often free memory is looked at while a start waits for it: the kernel tells nobody when there is some.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What the loop knows of memory.
#[derive(Debug)]
pub(crate) struct Memory {
    roots: Roots,
    /// The candidate whose start waits, and until when.
    waiting: Option<(Number, Option<Instant>)>,
}

/// Whether a candidate may be started now.
pub(crate) enum Start {
    Now,
    Later,
    Refused(String),
}

impl Memory {
    pub(crate) fn new() -> Self {
        Self {
            roots: Roots::real(),
            waiting: None,
        }
    }

    /// Whose start waits.
    pub(crate) fn candidate(&self) -> Option<Number> {
        self.waiting.map(|(candidate, _)| candidate)
    }

    /// Nobody waits any longer.
    pub(crate) const fn give_up(&mut self) {
        self.waiting = None;
    }

    /// Whether a start waits.
    pub(crate) const fn waits(&self) -> bool {
        self.waiting.is_some()
    }
}

impl Records {
    /// Compare free memory with what these settings ask for. One in queue mode does not ask, for nothing else of the app runs
    /// then; nor does one while nobody serves (the first start, or a reload that is to mend a crash): it can only get better.
    pub(crate) fn may_start(&mut self, number: Number, config: &Config, shop: &mut Workshop<'_>) -> Start {
        let waiting = self.memory.waiting.take().filter(|(of, _)| *of == number);
        let Some(asked) = config
            .min_free_memory
            .filter(|_| config.mode == Mode::Overlap && shop.core.somebody_serves())
        else {
            return Start::Now;
        };
        let lack = match compare(&self.memory.roots, asked) {
            Room::Enough(unseen) => {
                if let Some(unseen) = unseen {
                    let text = format!("--min-free-memory: only the limits of cgroups count: {unseen}");
                    shop.log.warning(&text);
                }
                return Start::Now;
            }
            Room::Unknown(unseen) => return Start::Refused(format!("--min-free-memory: {unseen}")),
            Room::Lacking(lack) => lack,
        };
        let now = clock::now();
        let until = waiting.map_or_else(
            || config.start_timeout.map(|limit| now + limit),
            |(_, until)| until,
        );
        // Each of them ends, and leaves what it has.
        let ends = |role| matches!(role, Role::Lingering | Role::Retired | Role::Relief);
        let drains = shop.core.generations().any(|generation| ends(generation.role));
        if !drains || until.is_some_and(|until| until <= now) {
            return Start::Refused(lack.to_string());
        }
        if waiting.is_none() {
            let text =
                format!("reload waits: {lack}; it goes on when old generations that drain have left enough");
            shop.log.warning(&text);
        }
        self.memory.waiting = Some((number, until));
        shop.timers.arm(Alarm::Memory, Some(LOOK_AGAIN), now);
        Start::Later
    }
}
