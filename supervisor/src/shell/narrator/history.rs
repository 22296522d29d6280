//! What happened so far, for `status` and for the line upwards.

use std::time::Instant;

use crate::protocol::{LastCrash, LastReload};
use crate::state::{Fields as _, Flaw, Row, Rows, by_json, fields};

/// What happened so far.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) last_reload: Option<LastReload>,
    pub(crate) restarts: u64,
    pub(crate) rollbacks: u64,
    /// Workers that the kernel has killed for memory, as far as its counters tell.
    pub(crate) oom_kills: u64,
    /// Why the last reload failed or was rolled back, until one succeeds.
    pub(crate) trouble: Option<String>,
    /// The last crash in words, for as long as it matters.
    pub(crate) crash: Option<String>,
    /// The same for `status`.
    pub(crate) last_crash: Option<LastCrash>,
    /// When the reload was asked for whose handoff is under way.
    pub(crate) asked: Option<Instant>,
}

impl History {
    pub(crate) const fn new() -> Self {
        Self {
            last_reload: None,
            restarts: 0,
            rollbacks: 0,
            oom_kills: 0,
            trouble: None,
            crash: None,
            last_crash: None,
            asked: None,
        }
    }
}

fields!(History {
    "restarts" restarts or 0;
    "rollbacks" rollbacks or 0;
    "oom-kills" oom_kills or 0;
    "trouble" trouble;
    "crash" crash;
    "asked" asked;
    "last-reload" last_reload;
    "last-crash" last_crash;
});

by_json!(LastReload, LastCrash);

impl History {
    /// Write the row `history`.
    pub(crate) fn save(&self, rows: &mut Rows) {
        self.save_fields(rows.begin(HISTORY));
    }

    pub(crate) fn restore(rows: &[Row<'_>]) -> Result<Self, Flaw> {
        let mut history = Self::new();
        history.restore_fields(Row::of_kind(rows, HISTORY)?)?;
        Ok(history)
    }
}

const HISTORY: &str = "history";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::protocol::{CauseCode, LastWords, Outcome, StderrKind, StderrPlace, rfc3339};

    fn text(history: &History) -> Vec<u8> {
        let mut rows = Rows::default();
        history.save(&mut rows);
        rows.finish()
    }

    fn words(reason: Option<&str>) -> LastWords {
        LastWords {
            last_lines: reason
                .map(|text| vec![text.to_owned(), "\"bye\"".to_owned()])
                .unwrap_or_default(),
            stderr: reason.map(|_| StderrPlace {
                path: Some("/var/log/app".to_owned()),
                identifier: Some("app.7".to_owned()),
                pid: Some(812),
                since: Some(rfc3339(clock::wall())),
                ..StderrPlace::new(StderrKind::SharedFile)
            }),
        }
    }

    #[test]
    fn what_happened_is_passed_on() {
        let reload = |outcome, reason: Option<&str>, generation| LastReload {
            outcome,
            cause: reason.map(|_| CauseCode::Probe),
            reason: reason.map(str::to_owned),
            duration_ms: 12,
            generation,
            at: rfc3339(clock::wall()),
            words: words(reason),
        };
        let reloads = [
            None,
            Some(reload(Outcome::Ok, None, Some(3))),
            Some(reload(
                Outcome::Failed,
                Some("exited with status 3\n= %"),
                Some(4),
            )),
            Some(reload(Outcome::RolledBack, Some(""), None)),
        ];
        for last_reload in reloads {
            let history = History {
                last_reload,
                restarts: 3,
                rollbacks: 1,
                oom_kills: 2,
                trouble: Some("reload failed".to_owned()),
                crash: None,
                last_crash: Some(LastCrash {
                    generation: 3,
                    worker: 1,
                    pid: Some(812),
                    reason: "killed by SIGKILL".to_owned(),
                    at: rfc3339(clock::wall()),
                    words: words(Some("x")),
                }),
                asked: Some(clock::now()),
            };
            let saved = text(&history);
            let restored = History::restore(&Row::all(&saved).unwrap()).unwrap();
            assert_eq!(restored.last_reload, history.last_reload);
            assert_eq!(restored.last_crash, history.last_crash);
            assert_eq!(restored.asked, history.asked);
            assert_eq!(text(&restored), saved);
        }
        let saved = text(&History::new());
        let restored = History::restore(&Row::all(&saved).unwrap()).unwrap();
        assert_eq!(text(&restored), saved);
    }
}
