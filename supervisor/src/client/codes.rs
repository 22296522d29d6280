//! The answer to `segue reload --json` and `--flat`: what came of it, in codes.

use serde::{Deserialize, Serialize};

use crate::protocol::{CauseCode, Outcome, Probation, Serving, StderrPlace, Verdict, flat};

/// How the answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// One sentence: on stdout if all is well, else on stderr.
    Words,
    /// One JSON object on stdout. The sentence goes to stderr.
    Json,
    /// The same as `KEY=VALUE` lines.
    Flat,
}

/// How a reload ended for a client: `outcome` in the codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ReloadOutcome {
    /// It came as far as was waited for.
    Ok,
    /// It failed.
    Failed,
    /// The candidate took over and was rolled back.
    RolledBack,
    /// It was taken down; nothing was waited for.
    Accepted,
    /// It was not tried.
    Refused,
    /// Several instances could be meant.
    Ambiguous,
    /// The command line says nothing that can be asked.
    Misused,
    /// No supervisor answers.
    NoSupervisor,
    /// There was no outcome in time.
    TimedOut,
    /// The supervisor went away before.
    Lost,
    /// Something else, or a word of a later version.
    #[serde(other)]
    Unknown,
}

impl From<Outcome> for ReloadOutcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Ok => Self::Ok,
            Outcome::Failed => Self::Failed,
            Outcome::RolledBack => Self::RolledBack,
        }
    }
}

/// The end of a reload as a client has come to know it. The keys are those of the final reply, where there was one.
#[derive(Debug, Serialize)]
pub(super) struct Codes<'a> {
    outcome: ReloadOutcome,
    probation: Option<Probation>,
    generation: Option<u64>,
    cause: Option<CauseCode>,
    reason: Option<&'a str>,
    last_lines: &'a [String],
    stderr: Option<&'a StderrPlace>,
    duration_ms: Option<u64>,
    serving: Option<&'a Serving>,
    message: &'a str,
}

impl<'a> Codes<'a> {
    /// No reply told the outcome: the word says why, and the sentence.
    pub(super) fn without_reply(outcome: ReloadOutcome, message: &'a str) -> Self {
        Self {
            reason: Some(message),
            ..Self::bare(outcome, message)
        }
    }

    fn bare(outcome: ReloadOutcome, message: &'a str) -> Self {
        Self {
            outcome,
            probation: None,
            generation: None,
            cause: None,
            reason: None,
            last_lines: &[],
            stderr: None,
            duration_ms: None,
            serving: None,
            message,
        }
    }

    /// The outcome that a reply told; one without a verdict has only been accepted.
    pub(super) fn told(
        verdict: Option<&'a Verdict>,
        serving: Option<&'a Serving>,
        duration_ms: Option<u64>,
        message: &'a str,
    ) -> Self {
        let bare = Self {
            duration_ms,
            serving,
            ..Self::bare(ReloadOutcome::Accepted, message)
        };
        match verdict {
            None => bare,
            Some(verdict) => Self {
                outcome: verdict.outcome.into(),
                probation: Some(verdict.probation),
                generation: verdict.generation,
                cause: verdict.cause,
                reason: verdict.reason.as_deref(),
                last_lines: &verdict.words.last_lines,
                stderr: verdict.words.stderr.as_ref(),
                ..bare
            },
        }
    }

    /// The text for stdout.
    pub(super) fn text(&self, form: Form) -> String {
        match form {
            Form::Words => String::new(),
            // Our own types have string keys, so that serialising them cannot fail.
            Form::Json => serde_json::to_string(self).unwrap_or_default() + "\n",
            Form::Flat => flat(self),
        }
    }
}
