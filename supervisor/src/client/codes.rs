//! The answer to `segue reload --json` and `--flat`: what came of it, in codes.

use serde::Serialize;

use crate::protocol::{CauseCode, Probation, Serving, StderrPlace, Verdict, flat};

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

/// The end of a reload as a client has come to know it. The keys are those of the final reply, where there was one.
#[derive(Debug, Serialize)]
pub(super) struct Codes<'a> {
    outcome: &'static str,
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
    pub(super) fn without_reply(outcome: &'static str, message: &'a str) -> Self {
        Self {
            reason: Some(message),
            ..Self::bare(outcome, message)
        }
    }

    fn bare(outcome: &'static str, message: &'a str) -> Self {
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
            ..Self::bare("accepted", message)
        };
        match verdict {
            None => bare,
            Some(verdict) => Self {
                outcome: verdict.outcome.word(),
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
