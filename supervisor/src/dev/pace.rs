//! When to look, and when a round begins: after rest, at the latest after a while, and not faster and faster for an app that writes
//! where it is watched. Without a clock of its own.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::look::Changed;

/// How long after the first word of a change it is looked at: words come in bursts.
const GATHER: Duration = Duration::from_millis(20);

/// How many times longer than a look takes none follows it. Files that do not count may be written to all the time.
const BREATH: u32 = 9;

/// How often it is looked without a word, where the kernel cannot watch all directories.
const POLL: Duration = Duration::from_secs(2);

/// A change in the same places as before that comes within this time after a round was perhaps made by it: an app that writes
/// where it is watched does so at its start, and soon again.
const ECHO: Duration = Duration::from_secs(5);

/// So many rounds in a row that may be echoes begin at once: somebody who saves, sees, and saves again.
const FREE: u32 = 3;

/// The pause before the first one that does not; it doubles with each.
const BRAKE: Duration = Duration::from_secs(1);

/// The longest pause: so long somebody who saves all the time waits at most.
const LONGEST_BRAKE: Duration = Duration::from_secs(10);

/// What was changed and is not yet built or reloaded.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Changes {
    first: Instant,
    last: Instant,
    what: Changed,
}

/// The last round.
#[derive(Clone, Copy, Debug)]
enum LastRound {
    None,
    UnderWay,
    Ended(Instant),
}

/// What is known of the time.
#[derive(Debug)]
pub(super) struct Pace {
    rest: Duration,
    rest_limit: Duration,
    /// Something may have changed: when to look.
    look_at: Option<Instant>,
    /// No look before this.
    breath_until: Option<Instant>,
    /// When it was looked last.
    looked: Option<Instant>,
    changes: Option<Changes>,
    /// Where files had changed before the last round.
    places: BTreeSet<PathBuf>,
    last_round: LastRound,
    /// How many rounds in a row were perhaps brought about by the one before.
    echoes: u32,
}

impl Pace {
    pub(super) const fn new(rest: Duration, rest_limit: Duration) -> Self {
        Self {
            rest,
            rest_limit,
            look_at: None,
            breath_until: None,
            looked: None,
            changes: None,
            places: BTreeSet::new(),
            last_round: LastRound::None,
            echoes: 0,
        }
    }

    /// Something may have changed.
    pub(super) fn note_word(&mut self, now: Instant) {
        let soon = now + GATHER;
        let at = self.breath_until.map_or(soon, |breath| breath.max(soon));
        self.look_at.get_or_insert(at);
    }

    /// Not everything is told: look without a word.
    pub(super) fn look_again_later(&mut self, now: Instant) {
        self.look_at.get_or_insert(now + POLL);
    }

    /// It was looked from `began` to `now`, and these files had changed.
    pub(super) fn note_look(&mut self, began: Instant, now: Instant, what: Changed) {
        self.look_at = None;
        self.looked = Some(began);
        self.breath_until = Some(now + (now - began) * BREATH);
        if what.files.is_empty() {
            return;
        }
        match &mut self.changes {
            Some(changes) => {
                changes.last = now;
                changes.what.extend(what);
            }
            None => {
                self.changes = Some(Changes {
                    first: now,
                    last: now,
                    what,
                });
            }
        }
    }

    /// When to look next; `None` if nothing has happened. While a round is under way no other one is waited for.
    pub(super) fn next_look(&self, idle: bool) -> Option<Instant> {
        let begins = if idle { self.begins_at() } else { None };
        self.look_at.into_iter().chain(begins).min()
    }

    /// Which files have changed, if a round begins: after a look that has found nothing new, or when rest was waited for long enough.
    pub(super) fn begin(&mut self) -> Option<BTreeSet<PathBuf>> {
        if self.looked? < self.begins_at()? {
            return None;
        }
        self.echoes = self.next_echoes();
        let what = self.changes.take()?.what;
        self.places = what.places;
        self.last_round = LastRound::UnderWay;
        Some(what.files)
    }

    /// How long the brake makes the next round wait, if it does.
    pub(super) fn braked(&self) -> Option<Duration> {
        let pause = pause(self.next_echoes());
        (self.changes.is_some() && !pause.is_zero()).then_some(pause)
    }

    /// Which files have changed since the last round began.
    pub(super) fn waiting(&self) -> Option<&BTreeSet<PathBuf>> {
        self.changes.as_ref().map(|changes| &changes.what.files)
    }

    /// The round is over, however it ended.
    pub(super) fn end_round(&mut self, now: Instant) {
        self.last_round = LastRound::Ended(now);
    }

    fn begins_at(&self) -> Option<Instant> {
        let changes = self.changes.as_ref()?;
        let rested = (changes.last + self.rest).min(changes.first + self.rest_limit);
        Some(match self.last_round {
            LastRound::Ended(ended) => rested.max(ended + pause(self.next_echoes())),
            LastRound::None | LastRound::UnderWay => rested,
        })
    }

    /// The number of the round that the changes ask for, among those that may be echoes.
    fn next_echoes(&self) -> u32 {
        let Some(changes) = &self.changes else {
            return 0;
        };
        let soon = match self.last_round {
            LastRound::None => false,
            LastRound::UnderWay => true,
            LastRound::Ended(ended) => changes.first < ended + ECHO,
        };
        if soon && changes.what.places.is_subset(&self.places) {
            self.echoes + 1
        } else {
            0
        }
    }
}

fn pause(echoes: u32) -> Duration {
    let Some(doublings) = echoes.checked_sub(FREE + 1) else {
        return Duration::ZERO;
    };
    let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
    BRAKE.saturating_mul(factor).min(LONGEST_BRAKE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: Duration = Duration::from_millis(250);
    const LIMIT: Duration = Duration::from_secs(5);

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn file(name: &str) -> Changed {
        let files = BTreeSet::from([name.into()]);
        Changed {
            places: files.clone(),
            files,
        }
    }

    /// A word, and a look that takes no time.
    fn change(pace: &mut Pace, at: Instant, name: &str) {
        pace.note_word(at);
        let look = pace.next_look(true).unwrap();
        pace.note_look(look, look, file(name));
    }

    /// Looks when it is time, finds nothing, and gives the time of the round.
    fn round(pace: &mut Pace) -> Instant {
        loop {
            let at = pace.next_look(true).unwrap();
            pace.note_look(at, at, Changed::default());
            if pace.begin().is_some() {
                return at;
            }
        }
    }

    #[test]
    fn nothing_is_waited_for_when_nothing_happens() {
        let mut pace = Pace::new(REST, LIMIT);
        assert_eq!(pace.next_look(true), None);
        let now = Instant::now();
        pace.note_word(now);
        pace.note_look(now, now, Changed::default());
        assert_eq!(pace.next_look(true), None, "what has changed did not count");
    }

    #[test]
    fn a_round_begins_after_rest_and_each_change_begins_that_anew() {
        let start = Instant::now();
        let mut pace = Pace::new(REST, LIMIT);
        change(&mut pace, start, "app.log");
        change(&mut pace, start + ms(200), "app.log");
        assert_eq!(round(&mut pace), start + ms(200) + GATHER + REST);
        assert_eq!(pace.next_look(true), None);
    }

    #[test]
    fn where_files_change_all_the_time_it_begins_at_the_limit() {
        let start = Instant::now();
        let mut pace = Pace::new(REST, LIMIT);
        let mut at = start;
        while pace.begin().is_none() {
            change(&mut pace, at, "app.log");
            at += ms(50);
            assert!(at < start + 2 * LIMIT);
        }
        assert!(at >= start + LIMIT && at < start + LIMIT + ms(200));
    }

    #[test]
    fn an_app_that_writes_at_each_start_is_braked_and_somebody_who_saves_now_and_then_is_not() {
        let mut at = Instant::now();
        let begin = at;
        let mut pace = Pace::new(REST, LIMIT);
        change(&mut pace, at, "app.log");
        let mut rounds = 0;
        while at < begin + Duration::from_mins(1) {
            at = round(&mut pace) + ms(10);
            rounds += 1;
            pace.end_round(at);
            change(&mut pace, at, "app.log");
        }
        assert!((8..=16).contains(&rounds), "{rounds} in a minute");
        assert_eq!(pace.braked(), Some(LONGEST_BRAKE));
        change(&mut pace, at, "main.rs");
        assert_eq!(pace.braked(), None, "what else has changed is not waited with");
        at = round(&mut pace);
        pace.end_round(at);
        at += ECHO;
        change(&mut pace, at, "main.rs");
        assert_eq!((pace.braked(), round(&mut pace)), (None, at + GATHER + REST));
    }

    #[test]
    fn looks_take_a_tenth_of_the_time_at_most() {
        let start = Instant::now();
        let mut pace = Pace::new(REST, LIMIT);
        pace.note_look(start, start + ms(100), Changed::default());
        pace.note_word(start + ms(101));
        assert_eq!(pace.next_look(true), Some(start + ms(1000)));
    }

    #[test]
    fn while_a_round_is_under_way_changes_are_gathered() {
        let start = Instant::now();
        let mut pace = Pace::new(REST, LIMIT);
        change(&mut pace, start, "app.log");
        assert_eq!(pace.next_look(false), None);
        assert!(pace.next_look(true).is_some());
    }
}
