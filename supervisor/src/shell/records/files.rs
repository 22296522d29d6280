//! A candidate's settings, read once nobody writes the files any more that they come from.

use std::time::Instant;

use segue_lifecycle::Number;

use crate::clock;
use crate::config::{self, Config, PATIENCE, Rest};
use crate::shell::Alarm;
use crate::shell::records::{Records, Workshop};

/// A candidate that waits for files to come to rest.
#[derive(Debug)]
pub(crate) struct Resting {
    candidate: Number,
    rest: Rest,
    /// When it has waited for long enough.
    until: Instant,
    /// Whether it has waited before: people are told of the second wait only, for the first is over before they read of it.
    again: bool,
}

impl Resting {
    fn new(candidate: Number, now: Instant) -> Self {
        Self {
            candidate,
            rest: Rest::default(),
            until: now + PATIENCE,
            again: false,
        }
    }
}

impl Records {
    /// Read the settings of a candidate. `None`: files are being written, and it is prepared again when they may have rested.
    pub(crate) fn read_settings(
        &mut self,
        candidate: Number,
        shop: &mut Workshop<'_>,
    ) -> Option<Result<Config, String>> {
        let now = clock::now();
        let before = self.resting.take().filter(|before| before.candidate == candidate);
        let mut resting = before.unwrap_or_else(|| Resting::new(candidate, now));
        let begin = shop.given;
        let config = config::resolve_again(&begin.invocation, &begin.config, &mut resting.rest);
        let Some(unrested) = resting.rest.unrested() else {
            return Some(config.map_err(|error| error.to_string()));
        };
        if now >= resting.until {
            return Some(Err(unrested.refusal()));
        }
        if std::mem::replace(&mut resting.again, true) {
            let text = format!("generation {candidate} waits: {}", unrested.text());
            shop.log.info(&text);
        }
        let left = resting.until.saturating_duration_since(now);
        shop.timers.arm(Alarm::Files, Some(unrested.wait.min(left)), now);
        self.resting = Some(resting);
        None
    }

    /// The candidate that waits, for files or for memory.
    pub(crate) fn waiting_candidate(&self) -> Option<Number> {
        let resting = self.resting.as_ref().map(|resting| resting.candidate);
        resting.or_else(|| self.memory.candidate())
    }

    /// Whether a preparation waits, and is going on by itself.
    pub(crate) const fn waits_to_prepare(&self) -> bool {
        self.resting.is_some() || self.memory.waits()
    }
}
