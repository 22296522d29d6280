//! What the manager has not yet been told.

use std::time::Duration;

use sd_notify::NotifyState;

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
        let status = self.status.as_deref().map(NotifyState::Status);
        match (self.states.first(), status) {
            (Some(State::Reloading(time)), _) => Some(message(&[
                NotifyState::Reloading,
                NotifyState::MonotonicUsec(i128::from(*time)),
            ])),
            (Some(State::Ready), Some(status)) => Some(message(&[NotifyState::Ready, status])),
            (Some(State::Ready), None) => Some(message(&[NotifyState::Ready])),
            (Some(State::Stopping), _) => Some(message(&[NotifyState::Stopping])),
            (None, Some(status)) => Some(message(&[status])),
            (None, None) => self.heartbeat(),
        }
    }

    fn heartbeat(&self) -> Option<String> {
        match (self.more_time, self.alive) {
            (Some(time), _) => Some(extend_timeout(time)),
            (None, true) => Some(message(&[NotifyState::Watchdog])),
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

/// Words that go together, one a line, as sd_notify(3) wants them.
fn message(words: &[NotifyState<'_>]) -> String {
    let lines: Vec<String> = words.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// The crate's own number ends at 71 minutes; an app may wish for more.
fn extend_timeout(time: Duration) -> String {
    match u32::try_from(time.as_micros()) {
        Ok(micros) => message(&[NotifyState::ExtendTimeoutUsec(micros)]),
        Err(_) => format!("EXTEND_TIMEOUT_USEC={}", time.as_micros()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_of_any_length_is_told() {
        let said = [1, 3600, 7200].map(|seconds| extend_timeout(Duration::from_secs(seconds)));
        let wanted =
            ["1000000", "3600000000", "7200000000"].map(|micros| format!("EXTEND_TIMEOUT_USEC={micros}"));
        assert_eq!(said, wanted);
    }
}
