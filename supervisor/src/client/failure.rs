//! Why a command has no outcome, and how it ends then.

use std::io;
use std::time::{Duration, Instant};

use super::codes::ReloadOutcome;
use super::connection::{Connection, Lost};
use super::{Exit, MESSAGE_MAX};
use crate::clock;
use crate::protocol::{Request, elapsed, one_line};

/// Why a command has no outcome: how it ends, and what stderr is told (without the leading `segue: `).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) exit: Exit,
    pub(super) text: String,
    pub(super) told: Told,
    /// Lines to say below the text.
    pub(super) details: Vec<String>,
}

/// Whether stdout has been told already how it ended, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// By the codes of the supervisor's reply.
    Already,
    /// No: this is the outcome.
    NotYet(ReloadOutcome),
}

impl Failure {
    pub(super) fn new(exit: Exit, text: impl Into<String>) -> Self {
        let outcome = match exit {
            Exit::Done => ReloadOutcome::Ok,
            Exit::Failed => ReloadOutcome::Unknown,
            Exit::Usage => ReloadOutcome::Ambiguous,
            Exit::NoSupervisor => ReloadOutcome::NoSupervisor,
            Exit::TimedOut => ReloadOutcome::TimedOut,
        };
        Self {
            exit,
            text: text.into(),
            told: Told::NotYet(outcome),
            details: Vec::new(),
        }
    }

    /// The same with another outcome for programs.
    pub(super) fn told(self, told: Told) -> Self {
        Self { told, ..self }
    }
}

/// `status | head` has seen what it wanted; a full disk is a failure.
pub(super) fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(
            Exit::Failed,
            format!("write to stdout: {}", crate::sys::errno_text(error)),
        )),
        Ok(()) | Err(_) => Ok(()),
    }
}

pub(super) fn does_not_fit() -> Failure {
    Failure::new(
        Exit::Failed,
        "the supervisor's answer does not fit the question; is it another version? (the first line of its log names it)",
    )
}

pub(super) fn refused(message: &str) -> Failure {
    Failure::new(
        Exit::Failed,
        format!("refused: {}", one_line(message, MESSAGE_MAX)),
    )
    .told(Told::NotYet(ReloadOutcome::Refused))
}

/// A supervisor that did not answer counts as none, unless the user's own timeout was what ran out.
pub(super) fn in_time(
    failure: Failure,
    timeout: Option<Duration>,
    deadline: Option<Instant>,
    what: &str,
) -> Failure {
    match (timeout, deadline) {
        (Some(timeout), Some(deadline)) if failure.exit == Exit::NoSupervisor && clock::now() >= deadline => {
            Failure::new(
                Exit::TimedOut,
                format!(
                    "timed out after {}, before {what} ({})",
                    elapsed(timeout),
                    failure.text
                ),
            )
        }
        (Some(_) | None, Some(_) | None) => failure,
    }
}

pub(super) fn status_lost(lost: Lost, connection: &Connection) -> Failure {
    let path = connection.path().display();
    match lost {
        Lost::TimedOut => Failure::new(
            Exit::NoSupervisor,
            format!(
                "no supervisor answers at {path}: it accepts, but does not answer (is it stopped, or does it hang?); its app goes on without it"
            ),
        ),
        Lost::Gone => Failure::new(
            Exit::NoSupervisor,
            format!("no supervisor answers at {path}: it closed the connection without an answer; ask again"),
        ),
        Lost::Refused(message) => refused(&message),
        Lost::Garbled(message) => Failure::new(Exit::Failed, message),
    }
}

pub(super) fn outcome_lost(
    lost: Lost,
    request: Request,
    timeout: Option<Duration>,
    connection: &Connection,
) -> Failure {
    let what = match request {
        Request::Reload { .. } => "reload",
        Request::Stop {} => "stop",
        Request::Workers { .. } => "change of workers",
        Request::Upgrade {} => "upgrade",
        Request::Status {} | Request::Events {} => "status",
    };
    match lost {
        Lost::TimedOut => {
            let waited = elapsed(timeout.unwrap_or_default());
            Failure::new(
                Exit::TimedOut,
                format!("no outcome within {waited}; the {what} goes on, and segue status tells how it ends"),
            )
        }
        Lost::Gone => {
            let pid = connection
                .supervisor()
                .map_or_else(String::new, |pid| format!(" (pid {pid})"));
            Failure::new(
                Exit::Failed,
                format!(
                    "the supervisor{pid} went away before the {what} had an outcome; ask `segue status` who serves"
                ),
            )
            .told(Told::NotYet(ReloadOutcome::Lost))
        }
        Lost::Refused(message) => refused(&message),
        Lost::Garbled(message) => Failure::new(Exit::Failed, message),
    }
}
