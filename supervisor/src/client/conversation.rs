//! A status, and a reload that is heard piece by piece, for a command that has more to do meanwhile and says in its own words
//! what came of it (`segue deploy`).

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::codes::ReloadOutcome;
use super::connection::Connection;
use super::{
    Client, Exit, Failure, MESSAGE_MAX, Target, Told, does_not_fit, find, in_time, last_words, outcome_lost,
    refused,
};
use crate::clock;
use crate::place::Surroundings;
use crate::protocol::{
    CauseCode, Outcome, Probation, Reply, Request, Seen, Serving, Until, Verdict, one_line,
};

/// Why there is no status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Absence {
    /// The exit code that a command would have.
    pub(crate) exit: Exit,
    /// One line, without the leading `segue: `.
    pub(crate) text: String,
}

/// Fetches the status of an instance, in the time that `segue status` has for it.
///
/// # Errors
/// No supervisor answers, or several do.
pub(crate) fn look(target: &Target) -> Result<Seen, Absence> {
    let fetched = Client::of_this_process().fetch(target, None);
    fetched
        .map(|(seen, _)| seen)
        .map_err(|Failure { exit, text, .. }| Absence { exit, text })
}

/// What came of a reload: the codes of `segue reload --json`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Came {
    /// How it ended.
    pub(crate) outcome: ReloadOutcome,
    /// How far the probation of the new generation has come.
    pub(crate) probation: Option<Probation>,
    /// The generation that it was to bring.
    pub(crate) generation: Option<u64>,
    /// What kind of failure it was.
    pub(crate) cause: Option<String>,
    /// The failure in one line.
    pub(crate) reason: Option<String>,
    /// What the version that failed said at last.
    #[serde(default)]
    pub(crate) last_lines: Vec<String>,
    /// One line for people.
    pub(crate) message: String,
}

impl Came {
    /// No reply told the outcome.
    pub(crate) fn bare(outcome: ReloadOutcome, message: String) -> Self {
        Self {
            outcome,
            probation: None,
            generation: None,
            cause: None,
            reason: None,
            last_lines: Vec::new(),
            message,
        }
    }

    fn told(verdict: Option<Verdict>, message: String) -> Self {
        let Some(verdict) = verdict else {
            return Self::bare(ReloadOutcome::Accepted, message);
        };
        Self {
            outcome: verdict.outcome.into(),
            probation: Some(verdict.probation),
            generation: verdict.generation,
            cause: verdict.cause.map(CauseCode::word),
            reason: verdict.reason,
            last_lines: verdict.words.last_lines,
            message,
        }
    }
}

impl From<Failure> for Came {
    fn from(failure: Failure) -> Self {
        let outcome = match failure.told {
            Told::NotYet(outcome) => outcome,
            Told::Already => ReloadOutcome::Unknown,
        };
        Self::bare(outcome, failure.text)
    }
}

/// What was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Nothing yet.
    Nothing,
    /// A line for people, and the outcome is still to come.
    Line(String),
    /// The outcome.
    Came(Box<Came>),
}

/// A reload that was asked for. Dropping it ends the waiting and not the reload.
#[derive(Debug)]
pub(crate) struct Conversation {
    connection: Connection,
    request: Request,
    timeout: Option<Duration>,
    deadline: Option<Instant>,
}

impl Conversation {
    /// Asks for a reload, whose outcome is waited for at most for `timeout`.
    ///
    /// # Errors
    /// Nobody could be asked.
    pub(crate) fn begin(target: &Target, until: Until, timeout: Option<Duration>) -> Result<Self, Came> {
        let deadline = timeout.and_then(|timeout| clock::now().checked_add(timeout));
        let around = Surroundings::of_this_process();
        let mut connection = find::connect(target, &around, deadline)
            .map_err(|failure| in_time(failure, timeout, deadline, "anything was asked"))?;
        let request = Request::Reload { until };
        connection.send(request);
        Ok(Self {
            connection,
            request,
            timeout,
            deadline,
        })
    }

    /// Becomes readable when there is something to hear.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }

    /// When the waiting ends.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// What has come by now.
    pub(crate) fn listen(&mut self) -> Heard {
        let lost = match self.connection.reply_so_far() {
            Ok(Some(reply)) => return self.heard(reply),
            Ok(None) if self.deadline.is_none_or(|deadline| clock::now() < deadline) => {
                return Heard::Nothing;
            }
            Ok(None) => super::connection::Lost::TimedOut,
            Err(lost) => lost,
        };
        let failure = outcome_lost(lost, self.request, self.timeout, &self.connection);
        Heard::Came(Box::new(failure.into()))
    }

    fn heard(&self, reply: Reply) -> Heard {
        let came = match reply {
            Reply::Progress { message } => return Heard::Line(one_line(&message, MESSAGE_MAX)),
            Reply::Done { message, verdict, .. } => Came::told(verdict, one_line(&message, MESSAGE_MAX)),
            Reply::Failed {
                message,
                serving,
                mut verdict,
            } => {
                let message = with_last_words(&message, serving.as_ref(), &mut verdict, self.deadline);
                Came::told(verdict, message)
            }
            Reply::Refused { message } => refused(&message).into(),
            Reply::Status(_) | Reply::Event(_) => does_not_fit().into(),
        };
        Heard::Came(Box::new(came))
    }
}

/// The failure in one line: why, and who serves. The codes get what the version said at last, where only a client can read it.
pub(super) fn with_last_words(
    message: &str,
    serving: Option<&Serving>,
    verdict: &mut Option<Verdict>,
    deadline: Option<Instant>,
) -> String {
    let complete = |verdict| last_words::complete(verdict, deadline);
    let more = verdict.as_mut().map(complete).unwrap_or_default();
    let message = one_line(&format!("{message}{more}"), MESSAGE_MAX);
    let who = serving.map_or_else(|| nobody(verdict.as_ref()).to_owned(), Serving::to_string);
    format!("{message}; {who}")
}

/// That nobody serves; after a takeover that failed somebody is on the way.
fn nobody(verdict: Option<&Verdict>) -> &'static str {
    let codes = verdict.map(|verdict| (verdict.outcome, verdict.probation));
    match codes {
        Some((Outcome::RolledBack, _)) => "nobody serves until the last good is ready",
        Some((Outcome::Failed, Probation::NotPassed)) => "nobody serves until it is ready",
        Some((Outcome::Ok | Outcome::Failed, _)) | None => "nobody serves",
    }
}
