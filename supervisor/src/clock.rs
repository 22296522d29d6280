//! The only clock of the supervisor, and the timers that run on it.
//!
//! Deadlines are monotonic (`CLOCK_MONOTONIC`), so that a step of the wall clock neither shortens nor stretches
//! a wait; the wall clock is read only to tell people when something happened.

use crate::order::in_order;
use nix::time::{ClockId, clock_gettime};
use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

/// What a clock says at one moment.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The time of day, for logs and `status`.
pub(crate) fn wall() -> SystemTime {
    SystemTime::now()
}

/// The monotonic clock in microseconds, as systemd compares it with its own (sd_notify(3), `MONOTONIC_USEC=`).
pub(crate) fn monotonic_micros() -> u64 {
    // This clock is always there; a time of 0 would only be older than any signal.
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Running timers, by key. Each runs at most once at a time.
#[derive(Debug)]
pub(crate) struct Timers<K> {
    deadlines: BTreeMap<K, Option<Instant>>,
}

impl<K: Copy + Ord> Timers<K> {
    /// No timer runs.
    pub(crate) const fn new() -> Self {
        Self {
            deadlines: BTreeMap::new(),
        }
    }

    /// Start a timer. `None` is a wait without end, asked for by a setting that says `none`; it is kept, so that
    /// it can still be extended into a deadline never, and disarmed.
    pub(crate) fn arm(&mut self, key: K, wait: Option<Duration>, now: Instant) {
        let deadline = wait.and_then(|wait| now.checked_add(wait));
        self.deadlines.insert(key, deadline);
    }

    /// Forget a timer.
    pub(crate) fn disarm(&mut self, key: K) {
        self.deadlines.remove(&key);
    }

    /// Move a deadline to `wait` from now if that is later than it is. A wait without end stays one.
    pub(crate) fn extend(&mut self, key: K, wait: Duration, now: Instant) {
        if let Some(Some(deadline)) = self.deadlines.get_mut(&key)
            && let Some(later) = now.checked_add(wait)
        {
            *deadline = later.max(*deadline);
        }
    }

    /// When a timer comes due.
    pub(crate) fn deadline(&self, key: K) -> Option<Instant> {
        self.deadlines.get(&key).copied().flatten()
    }

    /// When the earliest timer comes due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.deadlines.values().flatten().min().copied()
    }

    /// Take out every timer that has come due, earliest first.
    pub(crate) fn take_due(&mut self, now: Instant) -> Vec<K> {
        let due = self
            .deadlines
            .iter()
            .filter_map(|(key, deadline)| deadline.filter(|deadline| *deadline <= now).map(|at| (at, *key)));
        let due = in_order(due, |due| *due);
        for (_, key) in &due {
            self.deadlines.remove(key);
        }
        due.into_iter().map(|(_, key)| key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn due_timers_come_out_once_and_in_order_of_their_deadlines() {
        let start = now();
        let mut timers = Timers::new();
        timers.arm('b', Some(SECOND), start);
        timers.arm('a', Some(2 * SECOND), start);
        timers.arm('z', None, start);
        assert_eq!(timers.next(), Some(start + SECOND));
        assert_eq!(timers.take_due(start), []);
        assert_eq!(timers.take_due(start + 3 * SECOND), ['b', 'a']);
        assert_eq!(timers.take_due(start + 3 * SECOND), []);
        assert_eq!(timers.next(), None, "a wait without end never wakes anybody");
    }

    #[test]
    fn an_extension_never_shortens() {
        let start = now();
        let mut timers = Timers::new();
        timers.arm(1, Some(10 * SECOND), start);
        timers.extend(1, SECOND, start);
        assert_eq!(timers.deadline(1), Some(start + 10 * SECOND));
        timers.extend(1, 20 * SECOND, start);
        assert_eq!(timers.deadline(1), Some(start + 20 * SECOND));
        timers.disarm(1);
        timers.extend(1, SECOND, start);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn a_wait_beyond_what_the_clock_can_tell_is_without_end() {
        let mut timers = Timers::new();
        timers.arm((), Some(Duration::MAX), now());
        assert_eq!(timers.next(), None);
    }
}
