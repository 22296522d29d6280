//! What is written down while the loop goes round, so that another supervisor can go on at any moment.
//!
//! Before the events of a batch are stepped they are logged; after each signal that was sent, and after each fork (before
//! the child is told to go), a mark is logged; after the batch everything is written down. So the next supervisor
//! knows what was about to be done, and what of it must not be done twice.

use std::fmt::Write as _;

use nix::unistd::Pid;
use segue_lifecycle::{Effect, Event, Fact, Number, Worker};

use crate::shell::Child;
use crate::state::Flaw;

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// These events are stepped now.
    Batch(Vec<Event>),
    /// The effect with this number in the batch was a signal, and it was sent.
    Signalled(usize),
    /// A child was made.
    Forked(Forked),
}

/// What is known of a child from its first moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Forked {
    pub(crate) child: Child,
    pub(crate) pid: Pid,
    /// When it was started, in the kernel's own count, which together with the pid tells it from every other.
    pub(crate) began: u64,
}

/// As [`Line::Batch`] is read.
pub(crate) fn batch_in_words(events: &[Event]) -> String {
    let mut text = String::from("batch");
    for event in events {
        // Writing to a String does not fail.
        let _ = write!(text, " {event}");
    }
    text
}

impl Line {
    /// Read it back.
    ///
    /// # Errors
    /// One line: it is none of ours.
    pub(crate) fn read(line: &str) -> Result<Self, Flaw> {
        let flaw = || Flaw::new(format_args!("log line {line:?}"));
        let mut words = line.split(' ');
        let kind = words.next().unwrap_or_default();
        if kind == "batch" {
            let events: Result<_, _> = words.map(str::parse).collect();
            return events.map(Line::Batch).map_err(|_| flaw());
        }
        let mut word = || words.next().ok_or_else(flaw);
        match kind {
            "signalled" => Ok(Line::Signalled(word()?.parse().map_err(|_| flaw())?)),
            "forked" => Ok(Line::Forked(Forked {
                child: word()?.parse().map_err(|_| flaw())?,
                pid: Pid::from_raw(word()?.parse().map_err(|_| flaw())?),
                began: word()?.parse().map_err(|_| flaw())?,
            })),
            _ => Err(flaw()),
        }
    }
}

/// The log behind the snapshot of a supervisor that was killed: the batch that it was performing, and what it had done of it.
#[derive(Debug, Default)]
pub(crate) struct Logged {
    pub(crate) batch: Vec<Event>,
    pub(crate) done: Done,
}

impl Logged {
    /// Read the lines of a log.
    ///
    /// # Errors
    /// One of them is none of ours.
    pub(crate) fn read(lines: &[String]) -> Result<Self, Flaw> {
        let mut logged = Self::default();
        for line in lines {
            match Line::read(line)? {
                Line::Batch(events) => {
                    logged.batch = events;
                    // The numbers of its effects begin again. (There is more than one batch where no snapshot could be written.)
                    logged.done.signalled.clear();
                }
                line @ (Line::Signalled(_) | Line::Forked(_)) => logged.done.note(line),
            }
        }
        Ok(logged)
    }

    /// Every process that the dead supervisor had forked since its snapshot.
    pub(crate) fn forked(&self) -> &[Forked] {
        &self.done.forked
    }
}

/// What has been done already of the batch that a predecessor was performing when it died.
#[derive(Debug, Default)]
pub(crate) struct Done {
    signalled: Vec<usize>,
    forked: Vec<Forked>,
}

impl Done {
    fn note(&mut self, line: Line) {
        match line {
            Line::Signalled(nth) => self.signalled.push(nth),
            Line::Forked(forked) => self.forked.push(forked),
            Line::Batch(_) => {}
        }
    }

    /// The process that was made for this worker already.
    pub(crate) fn forked(&self, worker: Worker) -> Option<Forked> {
        let made = self.forked.iter();
        made.copied().find(|forked| forked.child == Child::Worker(worker))
    }

    /// The processes that were made for this generation already.
    pub(crate) fn forked_for(&self, number: Number) -> impl Iterator<Item = Forked> {
        let made = self.forked.iter().copied();
        made.filter(move |forked| match forked.child {
            Child::Worker(worker) => worker.generation == number,
            Child::Probe(..) | Child::Hook(_) | Child::Check => false,
        })
    }

    /// The runs of the probe that were begun, and the hooks.
    pub(crate) fn probes(&self) -> impl Iterator<Item = Forked> {
        let made = self.forked.iter().copied();
        made.filter(|forked| match forked.child {
            Child::Probe(..) | Child::Hook(_) => true,
            Child::Worker(_) | Child::Check => false,
        })
    }

    /// Whether this effect must not be performed again.
    pub(crate) fn covers(&self, nth: usize, effect: Effect) -> bool {
        happens_once(effect) && self.signalled.contains(&nth)
    }
}

/// Whether the next supervisor hears of an event by itself, if this one dies now: it sees what a process has become. READY=1 is no such
/// event: the queue in which it still lies ends with this process, unless systemd keeps its socket.
pub(crate) const fn is_told_again(event: &Event) -> bool {
    matches!(event, Event::Executed(_))
}

/// Whether an effect changes nothing outside, so that the next supervisor may begin it anew. A batch of such effects is not logged, if
/// its events are told again to whoever comes after us.
pub(crate) const fn only_looks(effect: &Effect) -> bool {
    matches!(
        effect,
        Effect::NoteReady(_)
            | Effect::Confirm(_)
            | Effect::ConfirmAnyway(_)
            | Effect::Arm(..)
            | Effect::Disarm(_)
            | Effect::Tell(Fact::WorkerReady(_))
    )
}

/// Whether an effect does harm if it is performed twice: some apps end at once at their second stop signal. A fork has a mark of its
/// own, and all the others come to the same.
pub(crate) const fn happens_once(effect: Effect) -> bool {
    effect.signal().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_ready_is_logged_before_anything_follows_from_it() {
        let worker = Worker {
            generation: 2,
            slot: 0,
            start: 0,
        };
        assert!(is_told_again(&Event::Executed(worker)));
        assert!(!is_told_again(&Event::Ready(worker)));
    }
}
