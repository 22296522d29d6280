//! Who serves, and which of our releases that is: by its binary, or by what an interpreter was started in or with.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::asking::{Answer, Pids, Silence};
use super::ending::Serves;
use super::plan::{Incumbent, Version};
use super::store::Store;
use super::walk::{Visit, walk};
use crate::protocol::{Generation, Role, Status};

/// What was seen when the supervisor was asked.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Look {
    pub(super) answer: Answer,
    /// The release that serves, if it is one of ours.
    pub(super) release: Option<String>,
    /// What serves is an interpreter that was told to read files below ROOT/current.
    pub(super) is_through_current: bool,
}

impl Look {
    pub(super) fn of(answer: Answer, store: &Store) -> Self {
        let mut look = Self {
            answer,
            release: None,
            is_through_current: false,
        };
        if let Some(generation) = look.incumbent() {
            let by_binary = release_of_binary(generation, store);
            let pid = generation.workers.first().map(|worker| worker.pid);
            match (by_binary, pid.filter(|_| look.sees_processes())) {
                (Some(release), _) => look.release = Some(release),
                (None, Some(pid)) => {
                    look.release = release_of_directory(pid, store);
                    look.is_through_current = look.release.is_none() && reads_current(pid, store);
                }
                (None, None) => {}
            }
        }
        look
    }

    fn sees_processes(&self) -> bool {
        matches!(self.answer, Answer::Told(_, Pids::Ours))
    }

    pub(super) fn status(&self) -> Option<&Status> {
        match &self.answer {
            Answer::Told(status, _) => Some(status),
            Answer::Silence(..) => None,
        }
    }

    /// Whether a generation serves.
    pub(super) fn serves(&self) -> bool {
        self.status().is_some_and(Status::serves)
    }

    pub(super) fn silence(&self) -> Option<(Silence, &str)> {
        match &self.answer {
            Answer::Told(..) => None,
            Answer::Silence(why, text) => Some((*why, text)),
        }
    }

    pub(super) fn incumbent(&self) -> Option<&Generation> {
        let generations = &self.status()?.generations;
        generations
            .iter()
            .find(|generation| generation.role == Role::Incumbent)
    }

    pub(super) fn is_release(&self, release: &str) -> bool {
        self.release.as_deref() == Some(release)
    }

    /// What the incumbent runs, if `since` is when the one before the flip began to serve.
    pub(super) fn version(&self, release: &str, since: Option<&str>) -> Version {
        if self.is_release(release) {
            Version::Release
        } else if self.is_through_current && self.since() != since {
            Version::ThroughCurrent
        } else {
            Version::Other
        }
    }

    pub(super) fn since(&self) -> Option<&str> {
        self.incumbent().map(|generation| generation.since.as_str())
    }

    pub(super) fn as_incumbent(&self, version: Version) -> Incumbent {
        Incumbent {
            generation: self.incumbent().map(|generation| generation.generation),
            probation: self.incumbent().map(|generation| generation.probation),
            version,
        }
    }

    /// Who serves, as the last part of a line: `app: 20261125-173202-068d3693 serves since ... (generation 2)`.
    pub(super) fn who(&self, name: &str) -> String {
        let who = match (&self.answer, self.incumbent()) {
            (Answer::Silence(_, text), _) => format!("who serves is not known: {text}"),
            (Answer::Told(status, _), Some(generation)) if status.serves() => format!(
                "{} serves since {} (generation {})",
                self.release.as_deref().unwrap_or(&generation.binary.path),
                when(&generation.since),
                generation.generation
            ),
            (Answer::Told(status, _), Some(_) | None) => {
                format!("nobody serves at this moment ({})", status.state.word())
            }
        };
        format!("{name}: {who}")
    }

    /// The same for programs.
    pub(super) fn serves_for_programs(&self) -> Option<Serves> {
        let generation = self.incumbent().filter(|_| self.serves())?;
        Some(Serves {
            release: self.release.clone(),
            generation: generation.generation,
            since: generation.since.clone(),
        })
    }
}

/// A time as people read it: `2026-11-25 17:32:02 UTC`.
pub(super) fn when(rfc3339: &str) -> String {
    let (day, time) = rfc3339.split_once('T').unwrap_or((rfc3339, ""));
    let time = time.split(['.', 'Z']).next().unwrap_or_default();
    format!("{day} {time} UTC")
}

/// The binary lies in a release. Paths may differ (in a container), inodes do not.
fn release_of_binary(generation: &Generation, store: &Store) -> Option<String> {
    let path = &generation.binary.path;
    let (_, below) = path.rsplit_once("/releases/")?;
    let status = fs::metadata(store.releases_directory().join(below)).ok()?;
    (status.ino() == generation.binary.inode).then(|| below.split('/').next().unwrap_or_default().to_owned())
}

/// An interpreter was started in a release.
fn release_of_directory(pid: i32, store: &Store) -> Option<String> {
    let directory = fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
    let below = directory.strip_prefix(store.releases_directory()).ok()?;
    let first = below.components().next()?;
    Some(first.as_os_str().to_str()?.to_owned())
}

/// An argument of the process has ROOT/current/ in it.
fn reads_current(pid: i32, store: &Store) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let wanted = [store.current_path().as_os_str().as_bytes(), b"/"].concat();
    line.split(|byte| *byte == 0)
        .any(|argument| argument.windows(wanted.len()).any(|part| part == wanted))
}

/// Everything that a process executes or was started in, as device and inode. A deployer who is not root sees only their own
/// processes; those that segue supervises are known from its status, too.
#[derive(Debug, Default)]
pub(super) struct Busy {
    used: std::collections::HashSet<(u64, u64)>,
}

impl Busy {
    pub(super) fn look() -> Self {
        let mut busy = Self::default();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let is_process = entry
                .file_name()
                .as_bytes()
                .first()
                .is_some_and(u8::is_ascii_digit);
            for part in ["exe", "cwd"] {
                if is_process && let Ok(status) = fs::metadata(entry.path().join(part)) {
                    busy.used.insert((status.dev(), status.ino()));
                }
            }
        }
        busy
    }

    /// Whether a process runs something of this release, or is in it.
    pub(super) fn has(&self, release: &str, look: Option<&Look>, store: &Store) -> bool {
        let part = format!("/releases/{release}/");
        let status = look.and_then(Look::status);
        let named = status.is_some_and(|status| {
            let mut generations = status.generations.iter();
            generations.any(|generation| generation.binary.path.contains(&part))
        });
        named || self.has_below(&store.release(release))
    }

    fn has_below(&self, directory: &Path) -> bool {
        let is_used = |status: &fs::Metadata| self.used.contains(&(status.dev(), status.ino()));
        let mut found = directory.symlink_metadata().is_ok_and(|status| is_used(&status));
        let most = usize::try_from(nix::libc::PATH_MAX).unwrap_or(usize::MAX);
        let walked = walk(directory, &mut |at| {
            found |= is_used(at.status);
            // What the app has put deeper than a path can lead keeps no release.
            let is_beyond = at.path.as_os_str().len() >= most;
            Ok(if is_beyond { Visit::Past } else { Visit::Into })
        });
        // Something may run in what cannot be looked at.
        found || walked.is_err()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_as_people_read_it() {
        assert_eq!(when("2026-11-25T17:32:02.123Z"), "2026-11-25 17:32:02 UTC");
        assert_eq!(when(""), "  UTC");
    }
}
