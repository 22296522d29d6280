//! What a version that failed said at last, where the supervisor could not read it: from the journal, or else the place to look.

use std::time::{Duration, Instant};

use crate::clock;
use crate::protocol::Verdict;
use crate::stderr::{Look, from_journal};

/// How long the journal is waited for. The outcome is known by then, so that it is no loss if nothing comes.
const JOURNAL_TIME: Duration = Duration::from_secs(2);

/// Completes the codes of a failure, until the deadline of the command. Returns what there is to add to its message, from `; ` on.
pub(super) fn complete(verdict: &mut Verdict, deadline: Option<Instant>) -> String {
    let Some(place) = verdict.words.place_alone() else {
        return String::new();
    };
    let whose = verdict.generation.map_or_else(
        || "its stderr".to_owned(),
        |number| format!("the stderr of generation {number}"),
    );
    let left = deadline.map(|deadline| deadline.saturating_duration_since(clock::now()));
    let within = left.map_or(JOURNAL_TIME, |left| left.min(JOURNAL_TIME));
    let more = match from_journal(place, Look::UntilThere, within) {
        Some(last) => {
            let quoted = last.quoted(&whose);
            verdict.words.last_lines = last.lines;
            format!("; {quoted}")
        }
        None => format!("; {whose} is {place}"),
    };
    if let Some(reason) = &mut verdict.reason {
        reason.push_str(&more);
    }
    more
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{CauseCode, LastWords, Outcome, Probation, StderrKind, StderrPlace};

    fn completed(last_lines: &[&str], stderr: Option<StderrPlace>) -> (String, String) {
        let mut verdict = Verdict {
            outcome: Outcome::Failed,
            probation: Probation::NotReached,
            generation: Some(2),
            cause: Some(CauseCode::Exited),
            reason: Some("exited".to_owned()),
            words: LastWords {
                last_lines: last_lines.iter().map(|line| (*line).to_owned()).collect(),
                stderr,
            },
        };
        let more = complete(&mut verdict, None);
        (more, verdict.reason.unwrap())
    }

    #[test]
    fn the_place_is_told_where_nothing_else_is_known() {
        let place = |kind| Some(StderrPlace::new(kind));
        let told = |kind| completed(&[], place(kind)).0;
        assert_eq!(told(StderrKind::Pipe), "; the stderr of generation 2 is a pipe");
        assert_eq!(
            told(StderrKind::Null),
            "; the stderr of generation 2 is /dev/null"
        );
        assert_eq!(told(StderrKind::File), "", "it was read, and is empty");
        assert_eq!(completed(&["no database"], place(StderrKind::File)).0, "");
        assert_eq!(completed(&[], None), (String::new(), "exited".to_owned()));
        let (more, reason) = completed(
            &[],
            Some(StderrPlace {
                path: Some("/dev/pts/1".to_owned()),
                ..StderrPlace::new(StderrKind::Terminal)
            }),
        );
        assert_eq!(more, "; the stderr of generation 2 is the terminal /dev/pts/1");
        assert_eq!(reason, format!("exited{more}"));
    }

    /// No process of this machine has this identifier.
    #[test]
    fn a_journal_that_has_nothing_or_is_not_there_is_named() {
        let place = StderrPlace {
            identifier: Some("no-such-app.7".to_owned()),
            pid: Some(1),
            since: Some("2026-11-22T10:00:00.000Z".to_owned()),
            ..StderrPlace::new(StderrKind::Journal)
        };
        assert_eq!(
            completed(&[], Some(place)).0,
            "; the stderr of generation 2 is the journal (journalctl _PID=1 -t no-such-app.7)"
        );
    }
}
