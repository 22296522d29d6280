//! Whether the files that were read have come to rest, or somebody may still be writing them.
//!
//! A file that is written in place is for a while only half of what it is going to be, and half an env file starts an app that
//! is well and wrong. So what was read counts only if the file had rested: if it was last written [`REST`] ago, by its mtime, or
//! was seen to stay the same for as long (its mtime may lie in the future: a clock was set back, or a file server has another).
//! And it must be the same file, of the same size and times, before and after it was read.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::error::ConfigError;
use crate::clock;

/// How long a file must not have been written to. A program that writes a file in pieces leaves milliseconds between them (a shell
/// script, say, that runs a command for each line); ten times that is still nothing that anybody notices at a reload.
const REST: Duration = Duration::from_millis(200);

/// How long a file is waited for. One that has been written to for longer is a log, or its writer hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// What is known of the files of one reload, over all its attempts to read them.
#[derive(Debug, Default)]
pub(crate) struct Rest {
    seen: Vec<Seen>,
    unrested: Option<Unrested>,
}

/// A file that had not rested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unrested {
    path: PathBuf,
    /// How long it takes until it has rested, if nobody writes to it any more.
    pub(crate) wait: Duration,
}

/// A file as it was when it was first seen so.
#[derive(Debug)]
struct Seen {
    path: PathBuf,
    stamp: Stamp,
    since: Instant,
}

/// Which file it is, how long, and when it was changed: what a write cannot leave as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// The stamp of an open file.
    pub(super) fn of(file: &Metadata) -> Self {
        Self {
            file: (file.dev(), file.ino()),
            size: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }

    /// How long ago it was written to; `None` if that lies in the future.
    fn age(&self, wall: SystemTime) -> Option<Duration> {
        let (seconds, nanos) = self.modified;
        // Before 1970 is long ago.
        let modified = u64::try_from(seconds).map_or(Duration::ZERO, Duration::from_secs)
            + Duration::from_nanos(u64::try_from(nanos).unwrap_or(0));
        let now = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        now.checked_sub(modified)
    }
}

impl Rest {
    /// Begin to read all files once more.
    pub(super) fn begin(&mut self) {
        self.unrested = None;
    }

    /// Note a file that was read, as it was before and after.
    pub(super) fn note(&mut self, path: &Path, before: Stamp, after: Stamp) {
        self.note_at(path, before, after, clock::now(), clock::wall());
    }

    fn note_at(&mut self, path: &Path, before: Stamp, after: Stamp, now: Instant, wall: SystemTime) {
        let age = after.age(wall);
        let known = self.seen.iter().position(|seen| seen.path == path);
        if before == after && age.is_some_and(|age| age >= REST) {
            return;
        }
        let since = match known {
            Some(known) if self.seen[known].stamp == before => self.seen[known].since,
            Some(_) | None => now,
        };
        if let Some(known) = known {
            self.seen.swap_remove(known);
        }
        let (since, wait) = if before == after {
            let wait = REST.saturating_sub(now.saturating_duration_since(since));
            (since, age.map_or(wait, |age| wait.min(REST.saturating_sub(age))))
        } else {
            (now, REST)
        };
        self.seen.push(Seen {
            path: path.to_owned(),
            stamp: after,
            since,
        });
        let longest = self
            .unrested
            .as_ref()
            .map_or(Duration::ZERO, |longest| longest.wait);
        if wait > longest {
            self.unrested = Some(Unrested {
                path: path.to_owned(),
                wait,
            });
        }
    }

    /// The file that has to be waited for longest. What was read counts only if there is none.
    pub(crate) fn unrested(&self) -> Option<&Unrested> {
        self.unrested.as_ref()
    }
}

impl Unrested {
    /// Why a reload waits: `app.env is being written`.
    pub(crate) fn text(&self) -> String {
        format!("{} is being written", self.path.display())
    }

    /// Why it is refused in the end.
    pub(crate) fn refusal(&self) -> String {
        format!(
            "read {}: it is being written, for {} now (write beside it, then rename)",
            self.path.display(),
            super::duration::text(PATIENCE)
        )
    }
}

/// Reads files until they have rested, and waits for that: only for what runs outside of the loop.
///
/// # Errors
///
/// They have not come to rest within [`PATIENCE`].
pub(super) fn patiently<T>(mut attempt: impl FnMut(&mut Rest) -> T) -> Result<T, ConfigError> {
    let until = clock::now() + PATIENCE;
    let mut rest = Rest::default();
    loop {
        let outcome = attempt(&mut rest);
        let Some(unrested) = rest.unrested() else {
            return Ok(outcome);
        };
        if clock::now() >= until {
            return Err(ConfigError::plain(unrested.refusal()));
        }
        thread::sleep(unrested.wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const NOON: Duration = Duration::from_secs(1_800_000_000);

    fn stamp(modified: Duration) -> Stamp {
        let modified = (
            i64::try_from(modified.as_secs()).unwrap(),
            i64::from(modified.subsec_nanos()),
        );
        Stamp {
            file: (1, 2),
            size: 3,
            modified,
            changed: modified,
        }
    }

    /// Reads a file once, so long after noon.
    fn read(
        rest: &mut Rest,
        start: Instant,
        after_noon: Duration,
        before: Stamp,
        after: Stamp,
    ) -> Option<Duration> {
        rest.begin();
        let wall = SystemTime::UNIX_EPOCH + NOON + after_noon;
        rest.note_at(Path::new("app.env"), before, after, start + after_noon, wall);
        rest.unrested().map(|unrested| unrested.wait)
    }

    #[test]
    fn what_has_rested_costs_nothing() {
        let (mut rest, start) = (Rest::default(), clock::now());
        for modified in [Duration::ZERO, NOON - REST] {
            let file = stamp(modified);
            assert_eq!(read(&mut rest, start, Duration::ZERO, file, file), None);
        }
    }

    #[test]
    fn what_is_young_is_waited_for_until_it_has_rested() {
        let (mut rest, start) = (Rest::default(), clock::now());
        let young = stamp(NOON - 150 * MS);
        assert_eq!(
            read(&mut rest, start, Duration::ZERO, young, young),
            Some(50 * MS)
        );
        let again = stamp(NOON + 40 * MS);
        assert_eq!(read(&mut rest, start, 50 * MS, again, again), Some(190 * MS));
        assert_eq!(read(&mut rest, start, 240 * MS, again, again), None);
    }

    #[test]
    fn what_changes_while_it_is_read_has_not_rested_whatever_its_times_say() {
        let (mut rest, start) = (Rest::default(), clock::now());
        let old = stamp(Duration::ZERO);
        let longer = Stamp { size: 4, ..old };
        assert_eq!(read(&mut rest, start, Duration::ZERO, old, longer), Some(REST));
        assert_eq!(read(&mut rest, start, REST, longer, longer), None);
    }

    #[test]
    fn a_time_in_the_future_is_not_waited_for() {
        let (mut rest, start) = (Rest::default(), clock::now());
        let ahead = stamp(NOON + Duration::from_secs(86_400));
        assert_eq!(read(&mut rest, start, Duration::ZERO, ahead, ahead), Some(REST));
        assert_eq!(read(&mut rest, start, 120 * MS, ahead, ahead), Some(80 * MS));
        assert_eq!(read(&mut rest, start, REST, ahead, ahead), None);
        // One that is written to meanwhile is.
        let written = Stamp { size: 4, ..ahead };
        assert_eq!(read(&mut rest, start, REST, written, written), Some(REST));
    }
}
