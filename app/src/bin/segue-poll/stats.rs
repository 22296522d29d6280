//! What the answers were, in numbers.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::client::Outcome;

/// Most versions that are told apart; a page that shows the time would otherwise fill the memory.
const MAX_VERSIONS: usize = 100;

/// Most servers whose last answers are kept.
const MAX_SERVERS: usize = 1000;

/// What became of one request. Versions go by their place in the order of first answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// This version answered as the request before was answered, or first of all.
    Same(usize),
    /// This version answered, and otherwise than the request before was answered.
    Changed(usize),
    /// No answer came.
    Failed,
}

/// Everything the summary says.
#[derive(Debug)]
pub(crate) struct Stats {
    pub(crate) requests: u64,
    pub(crate) down: u64,
    pub(crate) longest_gap: Duration,
    /// How often each version answered, in the order of their first answers.
    versions: BTreeMap<String, (usize, u64)>,
    last_up: Instant,
    /// What each server has answered last; without a header that names them, they count as one.
    last_bodies: BTreeMap<Option<String>, String>,
    times: Histogram,
}

impl Stats {
    pub(crate) fn new() -> Stats {
        Stats {
            requests: 0,
            down: 0,
            longest_gap: Duration::ZERO,
            versions: BTreeMap::new(),
            last_up: Instant::now(),
            last_bodies: BTreeMap::new(),
            times: Histogram::new(),
        }
    }

    /// Enter what became of a request.
    pub(crate) fn enter(&mut self, outcome: &Outcome, took: Duration) -> Entry {
        self.requests += 1;
        let Ok(answer) = outcome else {
            self.down += 1;
            return Entry::Failed;
        };
        self.gap();
        self.times.enter(took);
        // Each of several servers counts its own generations.
        let version = match (&answer.generation, &answer.server) {
            (Some(generation), None) => format!("generation {generation}"),
            _ => answer.body.clone(),
        };
        let place = self.count(version);
        let last = self.last_bodies.get(&answer.server);
        let changed = last.is_some_and(|last| *last != answer.body);
        if changed || (last.is_none() && self.last_bodies.len() < MAX_SERVERS) {
            self.last_bodies
                .insert(answer.server.clone(), answer.body.clone());
        }
        match changed {
            true => Entry::Changed(place),
            false => Entry::Same(place),
        }
    }

    /// Count an answer of this version. Returns its place in the order of first answers; versions above the limit share
    /// the last one.
    fn count(&mut self, version: String) -> usize {
        let next = self.versions.len();
        if next >= MAX_VERSIONS && !self.versions.contains_key(&version) {
            return MAX_VERSIONS;
        }
        let (place, count) = self.versions.entry(version).or_insert((next, 0));
        *count += 1;
        *place
    }

    /// No more answers will come: the time since the last one counts as a gap too if the last question failed.
    pub(crate) fn end(&mut self) {
        if self.down > 0 {
            self.gap();
        }
    }

    fn gap(&mut self) {
        let now = Instant::now();
        self.longest_gap = self.longest_gap.max(now - self.last_up);
        self.last_up = now;
    }

    pub(crate) fn all_up(&self) -> bool {
        self.requests > 0 && self.down == 0
    }

    /// Which versions answered and how often, in the order in which they appeared.
    pub(crate) fn versions(&self) -> Vec<(&str, u64)> {
        let mut versions: Vec<_> = self.versions.iter().collect();
        versions.sort_by_key(|(_, (place, _))| *place);
        versions
            .into_iter()
            .map(|(name, (_, count))| (name.as_str(), *count))
            .collect()
    }

    /// The time within which this part (0 to 1) of the answers came.
    pub(crate) fn within(&self, part: f64) -> Duration {
        self.times.within(part)
    }
}

/// Times in buckets that are 1/64 of their value wide, from a microsecond up.
#[derive(Debug)]
struct Histogram {
    buckets: Vec<u64>,
    entered: u64,
}

/// Buckets for each doubling.
const STEPS: u64 = 64;

impl Histogram {
    fn new() -> Histogram {
        Histogram {
            buckets: vec![0; 64 * STEPS as usize],
            entered: 0,
        }
    }

    fn enter(&mut self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.buckets[bucket(micros)] += 1;
        self.entered += 1;
    }

    fn within(&self, part: f64) -> Duration {
        let wanted = (self.entered as f64 * part).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (place, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Duration::from_micros(upper(place as u64));
            }
        }
        Duration::ZERO
    }
}

fn bucket(micros: u64) -> usize {
    let shift = micros.max(STEPS).ilog2() - STEPS.ilog2();
    (u64::from(shift) * STEPS + (micros >> shift)) as usize
}

/// The largest time of a bucket, in microseconds.
fn upper(bucket: u64) -> u64 {
    let shift = (bucket / STEPS).saturating_sub(1);
    let value = bucket - shift * STEPS;
    ((value + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_its_times() {
        for micros in (0..5000).chain((5000..50_000_000).step_by(7919)) {
            let top = upper(bucket(micros) as u64);
            assert!(top >= micros && top <= micros + micros / 60 + 1, "{micros} {top}");
        }
    }

    #[test]
    fn percentiles() {
        let mut histogram = Histogram::new();
        (1..=1000).for_each(|ms| histogram.enter(Duration::from_millis(ms)));
        assert!((495..=515).contains(&histogram.within(0.5).as_millis()));
        assert!((985..=1010).contains(&histogram.within(0.99).as_millis()));
    }
}
