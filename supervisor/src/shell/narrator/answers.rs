//! What a reload came to, for those who asked.

use std::time::Duration;

use segue_lifecycle::{Number, Outcome};

use crate::protocol::{self, CauseCode, Probation, Reply, Serving, Verdict};
use crate::shell::narrator::reasons::no_way_back;
use crate::shell::narrator::report::cause_code;
use crate::shell::narrator::view::{View, probation};

impl View<'_> {
    pub(crate) fn outcome_reply(&self, outcome: Outcome, took: Duration) -> Reply {
        let serving = self.serving();
        let verdict = self.verdict(outcome);
        let reason = verdict.reason.clone().unwrap_or_default();
        match outcome {
            Outcome::TookOver(number) => self.done(number, "", took, verdict),
            Outcome::Settled(number) => self.done(number, "; it has passed probation", took, verdict),
            Outcome::Drained(number) => self.done(number, "; every older generation is gone", took, verdict),
            Outcome::Replaced(old, new) => {
                let more = format!(" (replaced by generation {new} before its probation ended)");
                self.done(old, &more, took, verdict)
            }
            Outcome::Failed(number, _) => {
                Reply::reload_failed(&format!("generation {number}: {reason}"), serving, verdict)
            }
            // One that was there before: it lingered.
            Outcome::RolledBack(failed, number, _) if number < failed => Reply::Failed {
                message: format!(
                    "reload rolled back: generation {failed}: {reason}; generation {number}, which lingered, serves again"
                ),
                serving,
                verdict: Some(verdict),
            },
            Outcome::RolledBack(failed, number, _) => Reply::Failed {
                message: format!(
                    "reload rolled back: generation {failed}: {reason}; generation {number} was started from the last good{}",
                    self.files_not_brought_back(number)
                ),
                serving,
                verdict: Some(verdict),
            },
            Outcome::NoWayBack(number, cause) => Reply::reload_failed(
                &format!("generation {number}: {reason}; {}", no_way_back(cause)),
                serving,
                verdict,
            ),
            Outcome::Stopping => Reply::reload_failed(&reason, serving, verdict),
        }
    }

    /// The answer to a reload whose generation has taken over.
    fn done(&self, number: Number, more: &str, took: Duration, verdict: Verdict) -> Reply {
        let more = [
            more,
            &self.no_way_to_files(number),
            &self.dead_listeners(),
            &self.old_directory(number),
        ]
        .concat();
        match self.serving() {
            Some(serving) if serving.generation == number => Reply::reload_ok(serving, took, &more, verdict),
            // It took over, and somebody else (or nobody) serves by now.
            serving => Reply::Done {
                message: format!("reload ok: generation {number} took over{more}"),
                serving,
                duration_ms: Some(u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
                verdict: Some(verdict),
            },
        }
    }

    /// The outcome in codes.
    fn verdict(&self, outcome: Outcome) -> Verdict {
        use protocol::Outcome as Code;
        let (code, number, cause) = match outcome {
            Outcome::TookOver(number)
            | Outcome::Settled(number)
            | Outcome::Drained(number)
            | Outcome::Replaced(number, _) => (Code::Ok, Some(number), None),
            Outcome::Failed(number, cause) | Outcome::NoWayBack(number, cause) => {
                (Code::Failed, Some(number), Some(cause))
            }
            Outcome::RolledBack(failed, _, cause) => (Code::RolledBack, Some(failed), Some(cause)),
            Outcome::Stopping => (Code::Failed, None, None),
        };
        let stopping = match outcome {
            Outcome::Stopping => Some((CauseCode::Stopping, "the instance is stopping".to_owned())),
            Outcome::TookOver(_)
            | Outcome::Settled(_)
            | Outcome::Drained(_)
            | Outcome::Replaced(..)
            | Outcome::Failed(..)
            | Outcome::RolledBack(..)
            | Outcome::NoWayBack(..) => None,
        };
        let words = cause.map(|cause| self.words_after(cause)).unwrap_or_default();
        let failure = cause.map(|cause| (cause_code(cause), self.reason(cause)));
        let (cause, reason) = failure.or(stopping).unzip();
        Verdict {
            outcome: code,
            probation: self.probation_after(outcome),
            generation: number,
            cause,
            reason,
            words,
        }
    }

    fn probation_after(&self, outcome: Outcome) -> Probation {
        match outcome {
            Outcome::TookOver(number) | Outcome::Drained(number) => self
                .core
                .generation(number)
                .map_or(Probation::NotPassed, probation),
            Outcome::Settled(_) => Probation::Passed,
            Outcome::Replaced(..) | Outcome::RolledBack(..) | Outcome::NoWayBack(..) => Probation::NotPassed,
            Outcome::Failed(..) | Outcome::Stopping => Probation::NotReached,
        }
    }

    /// What a reload that is well must not hide: a rollback starts an interpreter with what lies there now.
    fn no_way_to_files(&self, number: Number) -> String {
        let info = self.records.generations.get(&number);
        let files = info.and_then(|info| info.replaced.as_deref());
        files.map_or_else(String::new, |files| {
            format!(
                "; {files} was replaced in place, so that a rollback cannot bring the old one back (release directories can)"
            )
        })
    }

    /// The same of a rollback that was made.
    pub(crate) fn files_not_brought_back(&self, number: Number) -> String {
        let info = self.records.generations.get(&number);
        let files = info.and_then(|info| info.replaced.as_deref());
        files.map_or_else(String::new, |files| {
            format!(", but with {files} as it is now: it was replaced in place (release directories keep the old one)")
        })
    }

    /// `; listener web: CLAUSE` for each one that no client reaches: a reload that is ok must not hide it.
    fn dead_listeners(&self) -> String {
        let shown = self.listeners_shown().into_iter();
        let dead = shown.filter_map(|one| Some(format!("; listener {}: {}", one.name, one.trouble?)));
        dead.collect()
    }

    /// `; the app is started in DIRECTORY...` for the one reload that is told of it.
    fn old_directory(&self, number: Number) -> String {
        let told = self
            .records
            .told_of_directory
            .as_ref()
            .filter(|(to, _)| *to == number);
        told.map(|(_, text)| format!("; {text}")).unwrap_or_default()
    }

    /// Who serves at this moment, if anybody does.
    pub(crate) fn serving(&self) -> Option<Serving> {
        let incumbent = self.core.incumbent().filter(|generation| generation.serves())?;
        let pids = self.pids_of(incumbent);
        Some(Serving {
            generation: incumbent.number,
            pids,
        })
    }
}
