//! The only clock of the supervisor, and the timers that run on it.
//!
//! Deadlines are monotonic (`CLOCK_MONOTONIC`), so that a step of the wall clock neither shortens nor stretches
//! a wait; the wall clock is read only to tell people when something happened.

use crate::state;
use nix::time::{ClockId, clock_gettime};
use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

/// What a clock says at one moment.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The time for which this thread has had a processor so far: other than with [`now`], a loaded machine does not add to it.
pub(crate) fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// The time of day, for logs and `status`.
pub(crate) fn wall() -> SystemTime {
    SystemTime::now()
}

/// The monotonic clock in microseconds, as systemd compares it with its own (sd_notify(3), `MONOTONIC_USEC=`).
pub(crate) fn monotonic_micros() -> u64 {
    u64::try_from(monotonic().as_micros()).unwrap_or(u64::MAX)
}

fn monotonic() -> Duration {
    // This clock is always there; a time of 0 would only be older than any signal.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}

/// One moment, as `Instant` has it and as the kernel counts it. `Instant` does not tell its number; it is of the same clock.
/// Taken once, so that within a process conversions are exact; between processes they are off by the time from one
/// reading to the next.
fn anchor() -> (Instant, Duration) {
    static ANCHOR: OnceLock<(Instant, Duration)> = OnceLock::new();
    *ANCHOR.get_or_init(|| (now(), monotonic()))
}

/// The moment as the nanoseconds of `CLOCK_MONOTONIC`, which mean the same to every process until the machine is started anew.
pub(crate) fn to_nanos(moment: Instant) -> u64 {
    let (instant, time) = anchor();
    let since_boot = match moment.checked_duration_since(instant) {
        Some(later) => time.saturating_add(later),
        None => time.saturating_sub(instant.saturating_duration_since(moment)),
    };
    u64::try_from(since_boot.as_nanos()).unwrap_or(u64::MAX)
}

/// The moment that [`to_nanos`] gave this number.
pub(crate) fn from_nanos(nanos: u64) -> Instant {
    let (instant, time) = anchor();
    let since_boot = Duration::from_nanos(nanos);
    let moment = match since_boot.checked_sub(time) {
        Some(later) => instant.checked_add(later),
        None => instant.checked_sub(time.saturating_sub(since_boot)),
    };
    // A number so large that no clock can tell the time comes from no clock.
    moment.unwrap_or(instant)
}

/// The time of day as nanoseconds since 1970.
pub(crate) fn wall_to_nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The time of day that [`wall_to_nanos`] gave this number.
pub(crate) fn wall_from_nanos(nanos: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos)
}

state::written_as! {
    Instant as u64: |moment| to_nanos(*moment), from_nanos;
    SystemTime as u64: |time| wall_to_nanos(*time), wall_from_nanos;
}

/// What came of an extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extended {
    /// All of it was granted.
    Whole,
    /// A ceiling was in the way.
    Cut,
}

/// Running timers, by key. Each runs at most once at a time.
#[derive(Debug)]
pub(crate) struct Timers<K> {
    running: BTreeMap<K, Running>,
}

/// A timer that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Running {
    /// When it was started.
    pub(crate) since: Instant,
    /// When it comes due; `None` for a wait without end.
    pub(crate) deadline: Option<Instant>,
}

impl<K: Copy + Ord> Timers<K> {
    /// No timer runs.
    pub(crate) const fn new() -> Self {
        Self {
            running: BTreeMap::new(),
        }
    }

    /// Start a timer. `None` is a wait without end, asked for by a setting that says `none`; it is kept, so that
    /// it can still be extended into a deadline never, and disarmed.
    pub(crate) fn arm(&mut self, key: K, wait: Option<Duration>, now: Instant) {
        let deadline = wait.and_then(|wait| now.checked_add(wait));
        self.resume(key, Running { since: now, deadline });
    }

    /// Forget a timer.
    pub(crate) fn disarm(&mut self, key: K) {
        self.running.remove(&key);
    }

    /// Move a deadline to `wait` from now if that is later than it is, but no further than `most` from when the timer was
    /// started (`None`: no ceiling). A wait without end stays one. Returns whether there was a ceiling in the way.
    pub(crate) fn extend(
        &mut self,
        key: K,
        wait: Duration,
        most: Option<Duration>,
        now: Instant,
    ) -> Extended {
        let Some(running) = self.running.get_mut(&key) else {
            return Extended::Whole;
        };
        let Some(deadline) = &mut running.deadline else {
            return Extended::Whole;
        };
        let ceiling = most.and_then(|most| running.since.checked_add(most));
        let wanted = now.checked_add(wait);
        let (granted, extended) = match (wanted, ceiling) {
            (Some(wanted), Some(ceiling)) if wanted > ceiling => (Some(ceiling), Extended::Cut),
            (None, Some(ceiling)) => (Some(ceiling), Extended::Cut),
            // Beyond what the clock can tell, and nobody minds.
            (wanted, _) => (wanted, Extended::Whole),
        };
        *deadline = granted.map_or(*deadline, |granted| granted.max(*deadline));
        extended
    }

    /// Whether a timer runs, with a deadline or without.
    pub(crate) fn runs(&self, key: K) -> bool {
        self.running.contains_key(&key)
    }

    /// When a timer comes due.
    pub(crate) fn deadline(&self, key: K) -> Option<Instant> {
        self.running.get(&key).and_then(|running| running.deadline)
    }

    /// When a timer that runs was started.
    pub(crate) fn since(&self, key: K) -> Option<Instant> {
        self.running.get(&key).map(|running| running.since)
    }

    /// How long a timer was to run when it was started, and what was added to it since.
    pub(crate) fn length(&self, key: K) -> Option<Duration> {
        let running = self.running.get(&key)?;
        Some(running.deadline?.saturating_duration_since(running.since))
    }

    /// Every timer that runs.
    pub(crate) fn all(&self) -> impl Iterator<Item = (K, Running)> {
        self.running.iter().map(|(key, running)| (*key, *running))
    }

    /// Go on with a timer that was started before, maybe by another process.
    pub(crate) fn resume(&mut self, key: K, running: Running) {
        self.running.insert(key, running);
    }

    /// When the earliest timer comes due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.running.values().filter_map(|running| running.deadline).min()
    }

    /// Take out every timer that has come due, earliest first.
    pub(crate) fn take_due(&mut self, now: Instant) -> Vec<K> {
        let due = self.running.iter().filter_map(|(key, running)| {
            let deadline = running.deadline.filter(|deadline| *deadline <= now);
            deadline.map(|at| (at, *key))
        });
        let mut due: Vec<_> = due.collect();
        due.sort_unstable();
        for (_, key) in &due {
            self.running.remove(key);
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
        assert_eq!(timers.extend(1, SECOND, None, start), Extended::Whole);
        assert_eq!(timers.deadline(1), Some(start + 10 * SECOND));
        assert_eq!(timers.extend(1, 20 * SECOND, None, start), Extended::Whole);
        assert_eq!(timers.deadline(1), Some(start + 20 * SECOND));
        timers.disarm(1);
        assert_eq!(timers.extend(1, SECOND, None, start), Extended::Whole);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn extensions_end_at_the_same_ceiling_for_all_who_count_them() {
        let start = now();
        let most = Some(60 * SECOND);
        let mut timers = Timers::new();
        timers.arm(1, Some(10 * SECOND), start);
        let mut at = start;
        while timers.take_due(at).is_empty() {
            assert!(at < start + 60 * SECOND, "it is over by now");
            timers.extend(1, 15 * SECOND, most, at);
            at += 5 * SECOND;
        }
        assert_eq!(at, start + 60 * SECOND);

        timers.arm(2, Some(10 * SECOND), start);
        assert_eq!(timers.extend(2, Duration::MAX, most, start), Extended::Cut);
        assert_eq!(timers.deadline(2), Some(start + 60 * SECOND));
        timers.arm(3, Some(90 * SECOND), start);
        assert_eq!(timers.extend(3, 100 * SECOND, most, start), Extended::Cut);
        assert_eq!(
            timers.deadline(3),
            Some(start + 90 * SECOND),
            "a ceiling never shortens"
        );
    }

    #[test]
    fn moments_become_numbers_and_come_back() {
        let start = now();
        for moment in [
            start,
            start - Duration::from_secs(3),
            start + Duration::from_secs(86_400),
        ] {
            assert_eq!(from_nanos(to_nanos(moment)), moment);
        }
        assert_eq!(to_nanos(start + SECOND) - to_nanos(start), 1_000_000_000);
        // The same clock as everybody else's: no more than this test takes lies between.
        let apart = monotonic_micros().abs_diff(to_nanos(now()) / 1_000);
        assert!(apart < 60_000_000, "{apart} us apart");
        // No number makes it fail.
        from_nanos(0);
        from_nanos(u64::MAX);
    }

    #[test]
    fn times_of_day_become_numbers_and_come_back() {
        let time = wall();
        assert_eq!(wall_from_nanos(wall_to_nanos(time)), time);
        assert_eq!(wall_to_nanos(SystemTime::UNIX_EPOCH - SECOND), 0);
        wall_from_nanos(u64::MAX);
    }

    #[test]
    fn a_wait_beyond_what_the_clock_can_tell_is_without_end() {
        let mut timers = Timers::new();
        timers.arm((), Some(Duration::MAX), now());
        assert_eq!(timers.next(), None);
    }
}
