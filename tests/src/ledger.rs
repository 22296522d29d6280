//! The account of every request: sent, and then exactly one of answered, declined or lost.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::http::{self, Response};

/// Why a request is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// `connect` met nobody (ECONNREFUSED, or ENOENT for a Unix path).
    Refused,
    /// `connect` failed otherwise, or did not end in time.
    NotConnected,
    /// Reset before a byte of the answer.
    ResetUnanswered,
    /// Closed before a byte of the answer.
    ClosedUnanswered,
    /// The deadline passed without a whole answer.
    TimedOut,
    /// The answer's head ended in the middle.
    CutHead,
    /// The answer's body ended before its stated end.
    CutBody,
    /// The answer is not HTTP.
    Malformed,
    /// A whole answer with a status other than the expected one.
    WrongStatus,
    /// A whole answer whose body is not the right one.
    WrongBody,
    /// An HTTP/2 stream ended in an error that leaves open whether it was executed.
    StreamFailed,
    /// The generator gave the request up; a defect of the test.
    Abandoned,
}

impl Reason {
    /// What a failed `connect` means.
    #[must_use]
    pub fn of_connect(error: &std::io::Error) -> Self {
        use std::io::ErrorKind::{ConnectionRefused, NotFound};
        if matches!(error.kind(), ConnectionRefused | NotFound) {
            Self::Refused
        } else {
            Self::NotConnected
        }
    }
}

/// One lost request.
#[derive(Clone, Debug)]
pub struct Loss {
    /// Why.
    pub reason: Reason,
    /// What the socket said.
    pub detail: String,
    /// The client's own TCP port, by which an app can tell whether it had accepted the connection.
    pub port: Option<u16>,
}

impl Loss {
    /// A loss with its explanation.
    pub fn new(reason: Reason, detail: impl fmt::Display) -> Self {
        Self {
            reason,
            detail: detail.to_string(),
            port: None,
        }
    }
}

/// The sums, taken at one instant.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Requests begun.
    pub sent: u64,
    /// Answered whole and right.
    pub answered: u64,
    /// Provably not executed and said so (behind a `Connection: close`, or above a GOAWAY's last stream). Not lost;
    /// the generator sends it again as a new request.
    pub declined: u64,
    /// Idle connections found closed before a request was written on them: no request was involved.
    pub closed_idle: u64,
    /// Every lost request: what it was, when after the start, why.
    pub lost: Vec<(String, Duration, Loss)>,
    /// Answers by the generation that gave them (empty header: "").
    pub by_generation: BTreeMap<String, u64>,
    /// Answers by the process that gave them.
    pub by_pid: BTreeMap<String, u64>,
    /// The longest time from sending to the end of the answer.
    pub longest: Duration,
}

impl Tally {
    /// Lost requests by reason.
    #[must_use]
    pub fn reasons(&self) -> BTreeMap<Reason, usize> {
        let mut map = BTreeMap::new();
        for (_, _, loss) in &self.lost {
            *map.entry(loss.reason).or_default() += 1;
        }
        map
    }

    /// Panics unless every request is accounted for and none is lost.
    #[track_caller]
    pub fn assert_nothing_lost(&self) {
        assert!(self.answered > 0, "the load sent nothing: {self}");
        assert_eq!(
            self.sent,
            self.answered + self.declined + self.lost.len() as u64,
            "unaccounted requests: {self}"
        );
        assert!(self.lost.is_empty(), "{self}");
    }

    /// Panics unless the detector fired: for negative controls.
    #[track_caller]
    pub fn assert_detector_fired(&self) {
        assert_eq!(
            self.sent,
            self.answered + self.declined + self.lost.len() as u64,
            "unaccounted requests: {self}"
        );
        assert!(
            !self.lost.is_empty(),
            "a lossy restart lost nothing, so this detector proves nothing: {self}"
        );
    }

    /// The figures in a few words: `1204 trials, 0 lost`.
    #[must_use]
    pub fn figures(&self) -> String {
        let declined = match self.declined {
            0 => String::new(),
            count => format!(" ({count} more declined and sent again)"),
        };
        format!(
            "{} trials, {} lost{declined}",
            self.sent - self.declined,
            self.lost.len()
        )
    }

    /// Adds another tally to this one.
    pub fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.answered += other.answered;
        self.declined += other.declined;
        self.closed_idle += other.closed_idle;
        self.lost.extend(other.lost);
        for (key, count) in other.by_generation {
            *self.by_generation.entry(key).or_default() += count;
        }
        for (key, count) in other.by_pid {
            *self.by_pid.entry(key).or_default() += count;
        }
        self.longest = self.longest.max(other.longest);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "sent {}, answered {}, declined {}, closed idle {}, lost {}, longest {:?}, by generation {:?}",
            self.sent,
            self.answered,
            self.declined,
            self.closed_idle,
            self.lost.len(),
            self.longest,
            self.by_generation
        )?;
        for (reason, count) in self.reasons() {
            write!(f, "\n  {count} x {reason:?}, first:")?;
            for (label, at, loss) in self
                .lost
                .iter()
                .filter(|(_, _, loss)| loss.reason == reason)
                .take(3)
            {
                write!(f, "\n    {label} at {at:?}: {}", loss.detail)?;
            }
        }
        Ok(())
    }
}

/// A tally that many threads write to and a test waits on.
#[derive(Clone)]
pub struct Ledger(Arc<Book>);

struct Book {
    opened: Instant,
    tally: Mutex<Tally>,
    changed: Condvar,
}

impl Default for Ledger {
    fn default() -> Self {
        Self(Arc::new(Book {
            opened: Instant::now(),
            tally: Mutex::default(),
            changed: Condvar::new(),
        }))
    }
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, Tally> {
        self.0.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, change: impl FnOnce(&mut Tally)) {
        change(&mut self.lock());
        self.0.changed.notify_all();
    }

    /// Begins the account of one request.
    #[must_use]
    pub fn send(&self, label: impl Into<String>) -> Entry {
        self.update(|tally| tally.sent += 1);
        Entry {
            ledger: self.clone(),
            label: label.into(),
            since: Instant::now(),
            judged: false,
        }
    }

    /// Notes an idle connection that had been closed before a request was written on it.
    pub fn closed_idle(&self) {
        self.update(|tally| tally.closed_idle += 1);
    }

    /// The sums so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.lock().clone()
    }

    /// Waits until the sums satisfy a condition.
    ///
    /// # Panics
    /// When that has not happened within [`crate::patience`].
    #[track_caller]
    pub fn wait_until(&self, what: &str, condition: impl Fn(&Tally) -> bool) {
        let end = Instant::now() + crate::patience();
        let mut tally = self.lock();
        while !condition(&tally) {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the load did not get there: {what}: {tally}");
            tally = self
                .0
                .changed
                .wait_timeout(tally, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

/// One request that has been sent. Dropping it without a verdict counts it as lost, so that nothing can slip through.
pub struct Entry {
    ledger: Ledger,
    label: String,
    since: Instant,
    judged: bool,
}

impl Entry {
    /// The request was answered whole and right.
    pub fn answered(self, response: &Response) {
        self.answered_by(response.header(http::GENERATION), response.header(http::PID));
    }

    /// The same, for answers that are not an HTTP/1 [`Response`].
    pub fn answered_by(mut self, generation: &str, pid: &str) {
        self.judged = true;
        let took = self.since.elapsed();
        self.ledger.update(|tally| {
            tally.answered += 1;
            *tally.by_generation.entry(generation.to_owned()).or_default() += 1;
            *tally.by_pid.entry(pid.to_owned()).or_default() += 1;
            tally.longest = tally.longest.max(took);
        });
    }

    /// The request was provably not executed, and the server said so.
    pub fn declined(mut self) {
        self.judged = true;
        self.ledger.update(|tally| tally.declined += 1);
    }

    /// The request is lost.
    pub fn lost(mut self, loss: Loss) {
        self.judged = true;
        self.book_loss(loss);
    }

    /// The verdict on an answer that was checked.
    pub fn judge(self, checked: Result<&Response, Loss>) {
        match checked {
            Ok(response) => self.answered(response),
            Err(loss) => self.lost(loss),
        }
    }

    fn book_loss(&mut self, loss: Loss) {
        let at = self.since.duration_since(self.ledger.0.opened);
        let label = std::mem::take(&mut self.label);
        self.ledger.update(|tally| tally.lost.push((label, at, loss)));
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if !self.judged {
            self.book_loss(Loss::new(Reason::Abandoned, "the generator gave it up"));
        }
    }
}
