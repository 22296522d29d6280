//! Every request of a run as one mark, in bounded memory, for the picture.

use std::time::Duration;

use tokio::time::Instant;

use crate::stats::Entry;

/// Most answers that are kept as marks of their own. Two thousand fill a picture; more only make the file large.
const MAX_ANSWERS: usize = 2000;

/// Most failures that are kept. They matter more than answers, so none is left out before this many.
const MAX_FAILURES: usize = 2000;

/// Most changes that are kept; a page that shows the time changes with each request.
const MAX_CHANGES: usize = 100;

/// Most servers that get a line of their own; the answers of more are drawn on no line.
const MAX_SERVERS: usize = 32;

/// One request: when it was asked, and how long the answer or the failure took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Time since the start of the run.
    pub(crate) at: Duration,
    pub(crate) took: Duration,
}

/// An answer, with the place of its version in the order of first answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(crate) mark: Mark,
    pub(crate) version: usize,
    /// The place of its server in `Timeline::servers`, if a header names it.
    pub(crate) server: Option<usize>,
}

/// The marks of a run. Answers are thinned evenly once there are too many; failures and changes are not.
#[derive(Debug)]
pub(crate) struct Timeline {
    begun: Instant,
    answers: Vec<Answered>,
    /// One of this many answers is kept.
    step: u64,
    seen: u64,
    failures: Vec<Mark>,
    changes: Vec<Duration>,
    servers: Vec<String>,
}

impl Timeline {
    pub(crate) fn new() -> Timeline {
        Timeline {
            begun: Instant::now(),
            answers: Vec::new(),
            step: 1,
            seen: 0,
            failures: Vec::new(),
            changes: Vec::new(),
            servers: Vec::new(),
        }
    }

    /// Enter one request, asked at this instant and answered (by this server, if that is known) or failed now.
    pub(crate) fn enter(&mut self, entry: Entry, asked: Instant, server: Option<&str>) {
        let server = server.and_then(|name| self.server(name));
        let mark = Mark {
            at: asked.saturating_duration_since(self.begun),
            took: asked.elapsed(),
        };
        match entry {
            Entry::Failed => self.failed(mark),
            Entry::Same(version) => self.answered(mark, version, server),
            Entry::Changed(version) => {
                if self.changes.len() < MAX_CHANGES {
                    self.changes.push(mark.at + mark.took);
                }
                self.answered(mark, version, server);
            }
        }
    }

    /// The place of a server, in the order of first answers.
    fn server(&mut self, name: &str) -> Option<usize> {
        let known = self.servers.iter().position(|known| known == name);
        if known.is_none() && self.servers.len() < MAX_SERVERS {
            self.servers.push(name.to_owned());
            return Some(self.servers.len() - 1);
        }
        known
    }

    fn failed(&mut self, mark: Mark) {
        if self.failures.len() < MAX_FAILURES {
            self.failures.push(mark);
        }
    }

    fn answered(&mut self, mark: Mark, version: usize, server: Option<usize>) {
        self.seen += 1;
        if (self.seen - 1) % self.step != 0 {
            return;
        }
        self.answers.push(Answered {
            mark,
            version,
            server,
        });
        if self.answers.len() == MAX_ANSWERS {
            self.thin();
        }
    }

    /// Drop every second answer, and keep one of twice as many from now on.
    fn thin(&mut self) {
        let mut place = 0;
        self.answers.retain(|_| {
            place += 1;
            place % 2 == 1
        });
        self.step *= 2;
    }

    pub(crate) fn answers(&self) -> &[Answered] {
        &self.answers
    }

    pub(crate) fn failures(&self) -> &[Mark] {
        &self.failures
    }

    /// The names of the servers, in the order of first answers.
    pub(crate) fn servers(&self) -> &[String] {
        &self.servers
    }

    /// When each changed answer came.
    pub(crate) fn changes(&self) -> &[Duration] {
        &self.changes
    }

    /// One of this many answers has a mark.
    pub(crate) fn step(&self) -> u64 {
        self.step
    }

    pub(crate) fn length(&self) -> Duration {
        self.begun.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_the_answers_evenly_and_every_failure() {
        let mut timeline = Timeline::new();
        for place in 0..5 * MAX_ANSWERS {
            timeline.enter(Entry::Same(place), Instant::now(), None);
            if place % 100 == 0 {
                timeline.enter(Entry::Failed, Instant::now(), None);
            }
        }
        assert_eq!(timeline.step(), 8);
        assert_eq!(timeline.failures().len(), 100);
        let kept: Vec<_> = timeline
            .answers()
            .iter()
            .map(|answered| answered.version)
            .collect();
        assert!(kept.windows(2).all(|pair| pair[1] - pair[0] == 8), "{kept:?}");
    }
}
