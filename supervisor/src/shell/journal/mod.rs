//! What is written down, so that another supervisor can go on at any moment: the state, the log of batches, the marks behind it, the
//! fds in systemd's store, the pid file.
//!
//! It knows what is written, and not why.

pub(crate) mod fixed;
pub(crate) mod log;
pub(crate) mod store;

use std::rc::Rc;

use nix::unistd::Pid;
use segue_lifecycle::{Effect, Event};

use crate::keeper::Keeper;
use crate::listeners::{self, Listener};
use crate::log::Log;
use crate::pid_file::PidFile;
use crate::shell::Child;
use crate::shell::journal::fixed::Fixed;
use crate::state::{Fds, Rows};

/// The files that outlive this process.
#[derive(Debug)]
pub(crate) struct Journal {
    pub(crate) keeper: Keeper,
    /// Removed with the loop.
    pub(crate) pid_file: Option<PidFile>,
    /// What a predecessor left open and nobody has asked for yet.
    pub(crate) spare_fds: Fds,
    /// The listeners that were closed since a stop was asked for, as rows.
    pub(crate) closed: Vec<Vec<u8>>,
    pub(crate) fixed: Fixed,
}

impl Journal {
    /// Nothing is written yet.
    pub(crate) fn new(keeper: Keeper, pid_file: Option<PidFile>, spare_fds: Fds) -> Self {
        Self {
            keeper,
            pid_file,
            spare_fds,
            closed: Vec::new(),
            fixed: Fixed::default(),
        }
    }

    /// These events are about to be stepped. If that is behind, the state before them is written down with them.
    /// If the next supervisor would miss nothing, since it hears of the events by itself and begins the effects anew, they are logged together
    /// with what is written next.
    pub(crate) fn log_batch(&mut self, rows: Option<Vec<u8>>, events: &[Event], effects: &[Effect]) {
        let line = log::batch_in_words(events);
        let may_wait = events.iter().all(log::is_told_again) && effects.iter().all(log::only_looks);
        match rows {
            Some(rows) => self.keeper.keep_and_log(rows, &line),
            None if may_wait => self.keeper.log_later(&line),
            None => self.keeper.log(&line),
        }
    }

    /// This effect of the batch was performed. What must not happen twice is marked.
    pub(crate) fn mark_done(&mut self, nth: usize, effect: Effect) {
        if log::happens_once(effect) {
            self.keeper.log(&format!("signalled {nth}"));
        }
    }

    /// A child was made, and waits to be told to go.
    pub(crate) fn mark_forked(&mut self, child: Child, pid: Pid, began: Option<u64>) {
        // Where /proc does not tell when it began nobody can prove later that it is the same process.
        let began = began.unwrap_or(0);
        self.keeper.log(&format!("forked {child} {pid} {began}"));
    }

    /// Whether something was done since everything was written down. A log is of one batch alone, and nobody waits with a log behind
    /// the state; but a turn mostly has one batch, and is written down once, at its end.
    pub(crate) fn is_behind(&self) -> bool {
        self.keeper.is_behind()
    }

    /// Write down everything, as far as it has changed.
    pub(crate) fn write(&mut self, rows: Vec<u8>, log: &Log) {
        self.keeper.keep(rows);
        if let Some(trouble) = self.keeper.take_trouble() {
            log.warning(&trouble);
        }
    }

    /// These listeners were closed while everything stops.
    pub(crate) fn note_closed(&mut self, listeners: &[Rc<Listener>]) {
        let mut saving = listeners::Saving::default();
        for listener in listeners.iter().filter(|listener| !listener.is_inherited()) {
            saving.number(listener);
        }
        let mut rows = Rows::default();
        saving.save(&mut rows);
        self.closed.push(rows.finish());
    }
}
