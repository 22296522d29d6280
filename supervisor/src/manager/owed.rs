//! What the manager has not yet been told.

use std::time::Duration;

/// What we are doing, to the manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// A reload is under way that had been asked for by this time.
    Reloading(u64),
    /// The start or the reload is over.
    Ready,
    /// The end has begun.
    Stopping,
}

/// Words that wait for room, at most a handful.
#[derive(Debug, Default)]
pub(super) struct Owed {
    /// Oldest first; at most a reload, its end and the stop.
    states: Vec<State>,
    pub(super) status: Option<String>,
    pub(super) more_time: Option<Duration>,
    pub(super) alive: bool,
}

impl Owed {
    /// A reload with a later time stands for all before it: its READY=1 closes them, too.
    pub(super) fn enter(&mut self, state: State) {
        match state {
            State::Reloading(_) => self.states.clear(),
            State::Ready | State::Stopping => {}
        }
        if self.states.last() != Some(&state) {
            self.states.push(state);
        }
    }

    /// The next message. A state and the status that explains it go together.
    pub(super) fn next(&self) -> Option<String> {
        let status = self.status.as_ref().map(|text| format!("STATUS={text}"));
        match (self.states.first(), status) {
            (Some(State::Reloading(time)), _) => Some(format!("RELOADING=1\nMONOTONIC_USEC={time}")),
            (Some(State::Ready), Some(status)) => Some(format!("READY=1\n{status}")),
            (Some(State::Ready), None) => Some("READY=1".to_owned()),
            (Some(State::Stopping), _) => Some("STOPPING=1".to_owned()),
            (None, Some(status)) => Some(status),
            (None, None) => self.heartbeat(),
        }
    }

    fn heartbeat(&self) -> Option<String> {
        match (self.more_time, self.alive) {
            (Some(time), _) => Some(format!("EXTEND_TIMEOUT_USEC={}", time.as_micros())),
            (None, true) => Some("WATCHDOG=1".to_owned()),
            (None, false) => None,
        }
    }

    /// The message that [`Owed::next`] gave has gone.
    pub(super) fn sent(&mut self) {
        match self.states.first() {
            Some(State::Reloading(_) | State::Stopping) => {}
            Some(State::Ready) => self.status = None,
            None => {
                if self.status.take().is_none() && self.more_time.take().is_none() {
                    self.alive = false;
                }
            }
        }
        if !self.states.is_empty() {
            self.states.remove(0);
        }
    }
}
