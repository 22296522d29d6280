//! The effects that the core asks for, beside what the supervisor wrote down when it had performed them.
//!
//! A signal and a fork have a mark in the log. A timer, a birth record, a ticket and a word to itself have a row in the next snapshot, or
//! none any more. What people are told ([`Effect::Tell`]) and more time for a timer leave nothing behind.

use std::collections::BTreeSet;

use segue_lifecycle::{Effect, Event, Number, Worker};

/// What was logged behind one snapshot.
#[derive(Clone, Debug, Default)]
pub(super) struct Step {
    /// The events that were stepped.
    pub(super) batch: Vec<Event>,
    /// The numbers of the effects that were signals and were sent.
    signalled: BTreeSet<usize>,
    /// The children that were forked, by the names that the state gives them. One that was forked again by a successor, since it had not
    /// been told to go, is there once.
    forked: BTreeSet<String>,
}

impl Step {
    /// Reads the lines.
    ///
    /// # Errors
    /// The line that means nothing.
    pub(super) fn of(log: &[String]) -> Result<Self, String> {
        let mut step = Self::default();
        for line in log {
            let flaw = || format!("log line {line:?}");
            let mut words = line.split(' ');
            match words.next() {
                // A second batch can only come where the first could not be followed by a snapshot.
                Some("batch") if step.batch.is_empty() => {
                    let events: Result<_, _> = words.map(str::parse).collect();
                    step.batch = events.map_err(|_| flaw())?;
                }
                Some("signalled") => {
                    let nth = words.next().and_then(|word| word.parse().ok());
                    step.signalled.insert(nth.ok_or_else(flaw)?);
                }
                Some("forked") => {
                    step.forked.insert(words.next().ok_or_else(flaw)?.to_owned());
                }
                _ => return Err(flaw()),
            }
        }
        Ok(step)
    }
}

/// The values of a key in all rows of a kind.
fn values<'a>(rows: &'a str, kind: &str, key: &str) -> BTreeSet<&'a str> {
    let of_kind = rows.lines().filter_map(|row| {
        let mut words = row.split(' ');
        (words.next() == Some(kind)).then_some(words)
    });
    of_kind
        .filter_map(|mut words| words.find_map(|word| word.strip_prefix(key)?.strip_prefix('=')))
        .collect()
}

/// A row that must be there afterwards, or must not.
#[derive(Clone, Debug)]
struct Trace {
    kind: &'static str,
    key: &'static str,
    /// One of these.
    values: Vec<String>,
    stays: Stays,
}

/// Whether a row is to be found afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stays {
    There,
    Gone,
}

/// What the effects of a batch come to.
#[derive(Clone, Debug, Default)]
struct Asked {
    signals: BTreeSet<usize>,
    spawned: Vec<Worker>,
    probed: BTreeSet<Number>,
    /// The timers that run in the end: those that ran, less those that came due, with those that were armed and without those that were
    /// disarmed.
    timers: BTreeSet<String>,
    traces: Vec<Trace>,
}

impl Asked {
    fn of(older: &str, step: &Step, effects: &[Effect]) -> Self {
        let mut asked = Self {
            timers: owned(&values(older, "timer", "is")),
            ..Self::default()
        };
        for event in &step.batch {
            if let Event::Due(timer) = event {
                asked.timers.remove(&timer.to_string());
            }
        }
        (0..)
            .zip(effects)
            .for_each(|(nth, effect)| asked.note(nth, *effect));
        asked
    }

    fn note(&mut self, nth: usize, effect: Effect) {
        match effect {
            Effect::Signal(..) => {
                self.signals.insert(nth);
            }
            Effect::Spawn(worker, _) => self.spawned.push(worker),
            Effect::Probe(number) => {
                self.probed.insert(number);
            }
            Effect::Arm(timer, _) => {
                self.timers.insert(timer.to_string());
            }
            Effect::Disarm(timer) => {
                self.timers.remove(&timer.to_string());
            }
            Effect::Confirm(number) => {
                let seen = [Event::Confirmed, Event::Unawaited, Event::Unheld];
                let words = seen.map(|event| event(number).to_string());
                self.trace("event", "is", &words, Stays::There);
            }
            Effect::ConfirmAnyway(number) => {
                let seen = [Event::Confirmed, Event::Unheld];
                let words = seen.map(|event| event(number).to_string());
                self.trace("event", "is", &words, Stays::There);
            }
            Effect::Count(number) => {
                let seen = [Event::Unused, Event::InUse];
                let words = seen.map(|event| event(number).to_string());
                self.trace("event", "is", &words, Stays::There);
            }
            Effect::Answer(ticket, _) => self.trace("ticket", "number", &[ticket.0.to_string()], Stays::Gone),
            Effect::Forget(record) => self.trace("birth", "record", &[record.0.to_string()], Stays::Gone),
            // A record may wait for memory; the rest leaves nothing behind.
            Effect::Prepare(_)
            | Effect::Extend(..)
            | Effect::NoteReady(_)
            | Effect::TakeOver(_)
            | Effect::TakeBack(_)
            | Effect::RollBack(..)
            | Effect::Abandon(_)
            | Effect::Bury(_)
            | Effect::EndProbe(_)
            | Effect::Switch(_)
            | Effect::PlaceToken(_)
            | Effect::Tell(_)
            | Effect::Finish(_) => {}
        }
    }

    fn trace(&mut self, kind: &'static str, key: &'static str, values: &[String], stays: Stays) {
        self.traces.push(Trace {
            kind,
            key,
            values: values.to_vec(),
            stays,
        });
    }
}

/// Compare what the core says with what was written.
///
/// # Errors
/// The first difference.
pub(super) fn compare(older: &str, step: &Step, effects: &[Effect], newer: &str) -> Result<(), String> {
    let asked = Asked::of(older, step, effects);
    same(
        "signals, by the numbers of their effects",
        &asked.signals,
        &step.signalled,
    )?;
    workers(step, &asked, newer)?;
    probes(step, &asked)?;
    // Another supervisor does not find all timers again that its predecessor wrote down, and arms those anew that it misses.
    if values(older, "segue-state", "pid") == values(newer, "segue-state", "pid") {
        same("timers", &asked.timers, &owned(&values(newer, "timer", "is")))?;
    }
    asked.traces.iter().try_for_each(|trace| trace.find(newer))
}

/// Each worker that was to be spawned was forked, and no other; or the failure is the next event.
fn workers(step: &Step, asked: &Asked, newer: &str) -> Result<(), String> {
    let forked = step
        .forked
        .iter()
        .filter(|name| name.parse::<Worker>().is_ok())
        .cloned()
        .collect::<BTreeSet<_>>();
    let failures = values(newer, "event", "is");
    let failed = |worker: &Worker| failures.contains(Event::SpawnFailed(*worker).to_string().as_str());
    let spawned = asked.spawned.iter().filter(|worker| !failed(worker));
    let spawned: BTreeSet<String> = spawned.map(ToString::to_string).collect();
    same("workers forked", &spawned, &forked)
}

/// A probe is run where one was asked for. A run that could not be forked is a failure of the probe and is told elsewhere.
fn probes(step: &Step, asked: &Asked) -> Result<(), String> {
    let runs = step.forked.iter().filter_map(|name| name.strip_prefix("probe-"));
    let stray = runs
        .filter_map(|run| run.split('.').next()?.parse().ok())
        .find(|number| !asked.probed.contains(number));
    stray.map_or(Ok(()), |number: Number| {
        Err(format!(
            "generation {number} was probed, and the core did not ask for it"
        ))
    })
}

impl Trace {
    fn find(&self, newer: &str) -> Result<(), String> {
        let there = values(newer, self.kind, self.key);
        let found = self.values.iter().any(|value| there.contains(value.as_str()));
        match (self.stays, found) {
            (Stays::There, true) | (Stays::Gone, false) => Ok(()),
            (Stays::There, false) | (Stays::Gone, true) => Err(format!("not performed: {self:?}")),
        }
    }
}

fn owned(words: &BTreeSet<&str>) -> BTreeSet<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn same<T: Ord + std::fmt::Debug>(what: &str, asked: &BTreeSet<T>, done: &BTreeSet<T>) -> Result<(), String> {
    if asked == done {
        Ok(())
    } else {
        Err(format!("{what}: the core asks for {asked:?}, done was {done:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use segue_lifecycle::{Outcome, Record, Signal, Ticket, Timer, Wait};

    const OLDER: &str = "segue-state version=1 pid=7\ntimer is=soak:2 at=5\nticket number=3 until=takeover\n";
    const NEWER: &str = "segue-state version=1 pid=7\ntimer is=drain:1.0.0 at=9\nevent is=confirmed:2\n";
    const OLD: Worker = Worker {
        generation: 1,
        slot: 0,
        start: 0,
    };

    fn log(lines: &[&str]) -> Step {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        Step::of(&lines).unwrap_or_default()
    }

    fn effects() -> Vec<Effect> {
        vec![
            Effect::Arm(Timer::Drain(OLD), Wait::Drain),
            Effect::Signal(OLD, Signal::Stop),
            Effect::Confirm(2),
            Effect::Answer(Ticket(3), Outcome::TookOver(2)),
            Effect::Spawn(OLD, Record(1)),
        ]
    }

    const LOG: [&str; 3] = ["batch due:soak:2", "signalled 1", "forked 1.0.0 77 1234"];

    #[test]
    fn what_was_asked_for_and_done_is_well() {
        assert_eq!(compare(OLDER, &log(&LOG), &effects(), NEWER), Ok(()));
    }

    /// Each way in which it could not have been done is seen.
    #[test]
    fn whatever_was_not_done_is_told() {
        let differ = |log: &Step, effects: &[Effect], newer: &str| {
            let outcome = compare(OLDER, log, effects, newer);
            assert!(outcome.is_err(), "{log:?} {effects:?} {newer}");
        };
        for left_out in 1..LOG.len() {
            let mut lines = LOG.to_vec();
            lines.remove(left_out);
            differ(&log(&lines), &effects(), NEWER);
        }
        for extra in ["signalled 2", "forked 1.1.0 78 1234", "forked probe-2.0 79 1234"] {
            let lines: Vec<&str> = LOG.into_iter().chain([extra]).collect();
            differ(&log(&lines), &effects(), NEWER);
        }
        for (row, instead) in [
            ("timer is=drain:1.0.0 at=9\n", ""),
            ("timer is=drain:1.0.0", "timer is=soak:2"),
            ("event is=confirmed:2\n", ""),
            ("event is=confirmed:2", "ticket number=3"),
        ] {
            differ(&log(&LOG), &effects(), &NEWER.replace(row, instead));
        }
        for left_out in 0..effects().len() {
            let mut fewer = effects();
            fewer.remove(left_out);
            // What was done leaves a mark; a word to itself and a ticket that is gone can have other reasons.
            if matches!(left_out, 0 | 1 | 4) {
                differ(&log(&LOG), &fewer, NEWER);
            }
        }
    }

    #[test]
    fn a_spawn_that_failed_is_the_next_event() {
        let lines: Vec<&str> = LOG
            .into_iter()
            .filter(|line| !line.starts_with("forked"))
            .collect();
        let newer = format!("{NEWER}event is={}\n", Event::SpawnFailed(OLD));
        assert_eq!(compare(OLDER, &log(&lines), &effects(), &newer), Ok(()));
    }
}
