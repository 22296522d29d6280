//! The last words of what failed, where only the journal has them.

use std::time::Duration;

use crate::protocol::{LastWords, Status, StderrPlace};
use crate::stderr::{LastLines, Look, from_journal};

/// How long journalctl may take. The rest of the status is there.
const TIME: Duration = Duration::from_secs(1);

/// What has been read, so that `--watch` does not ask for it every second.
#[derive(Debug, Default)]
pub(super) struct Journal(Vec<(StderrPlace, LastLines)>);

impl Journal {
    /// Fills in the lines that the supervisor could not read.
    pub(super) fn fill(&mut self, status: &mut Status) {
        let reload = status
            .last_reload
            .as_mut()
            .map(|last| (&mut last.words, last.reason.as_mut()));
        let crash = status
            .last_crash
            .as_mut()
            .map(|last| (&mut last.words, Some(&mut last.reason)));
        for (words, reason) in reload.into_iter().chain(crash) {
            let Some(last) = self.read(words) else { continue };
            if let Some(reason) = reason {
                reason.push_str(&format!("; {}", last.quoted("its stderr")));
            }
            words.last_lines = last.lines;
        }
    }

    fn read(&mut self, words: &LastWords) -> Option<LastLines> {
        let place = words.place_alone()?;
        if let Some((_, known)) = self.0.iter().find(|(known, _)| known == place) {
            return Some(known.clone());
        }
        let last = from_journal(place, Look::Once, TIME)?;
        self.0.push((place.clone(), last.clone()));
        Some(last)
    }
}
