//! What people and systemd are told: the log, `status`, the answers' words, the line upwards.
//!
//! It changes nothing but its own notes: everything else it reads through a [`View`].

pub(crate) mod answers;
pub(crate) mod history;
pub(crate) mod last_words;
pub(crate) mod news;
pub(crate) mod occasions;
pub(crate) mod reasons;
pub(crate) mod report;
pub(crate) mod upward;
pub(crate) mod view;

use crate::manager::Manager;

use history::History;
use upward::Upward;

/// Who is above us, and what was told.
#[derive(Debug)]
pub(crate) struct Narrator {
    pub(crate) history: History,
    /// systemd above us, if it is there.
    pub(crate) manager: Manager,
    pub(crate) upward: Upward,
    /// What those hear who wait for more than a takeover.
    pub(crate) progress: Option<String>,
}

impl Narrator {
    /// Nothing has been told yet.
    pub(crate) const fn new(manager: Manager) -> Self {
        Self {
            history: History::new(),
            manager,
            upward: Upward::new(),
            progress: None,
        }
    }
}
