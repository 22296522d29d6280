//! The file `.deploy`: a flip of `current` that has no outcome yet, so that the next run can resolve it.
//!
//! It is written before the flip and removed when it is known who serves. Its keys are those that deploy.sh has always written.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

/// A flip that is under way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Flip {
    /// `deploy` or `rollback`.
    pub(super) action: String,
    /// Where `current` led before; empty for nowhere.
    pub(super) from: OsString,
    /// Where it is to lead.
    pub(super) to: String,
    /// The pid of the supervisor.
    pub(super) supervisor: String,
    /// The generation that serves.
    pub(super) generation: String,
    /// Who makes it.
    pub(super) pid: String,
    /// When it was begun, for people.
    pub(super) at: String,
}

impl Flip {
    /// The text of the file.
    pub(super) fn text(&self) -> Vec<u8> {
        let rows: [(&str, &OsStr); 7] = [
            ("action", self.action.as_ref()),
            ("from", &self.from),
            ("to", self.to.as_ref()),
            ("supervisor", self.supervisor.as_ref()),
            ("generation", self.generation.as_ref()),
            ("pid", self.pid.as_ref()),
            ("at", self.at.as_ref()),
        ];
        let row = |(key, value): (&str, &OsStr)| [key.as_bytes(), b"=", value.as_bytes(), b"\n"].concat();
        rows.into_iter().flat_map(row).collect()
    }

    /// Whether it is from or to this release.
    pub(super) fn names(&self, release: &str) -> bool {
        let name = OsStr::new(release);
        [self.from.as_os_str(), self.to.as_ref()]
            .iter()
            .any(|link| Path::new(link).file_name() == Some(name))
    }

    /// What a text says; a key that is missing is empty.
    pub(super) fn of(text: &[u8]) -> Self {
        let mut flip = Self::default();
        for line in text.split(|byte| *byte == b'\n') {
            let Some(at) = line.iter().position(|byte| *byte == b'=') else {
                continue;
            };
            let (key, value) = (&line[..at], &line[at + 1..]);
            let words = || String::from_utf8_lossy(value).into_owned();
            match key {
                b"action" => flip.action = words(),
                b"from" => flip.from = OsString::from_vec(value.to_vec()),
                b"to" => flip.to = words(),
                b"supervisor" => flip.supervisor = words(),
                b"generation" => flip.generation = words(),
                b"pid" => flip.pid = words(),
                b"at" => flip.at = words(),
                _ => {}
            }
        }
        flip
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flip_reads_back() {
        let flip = Flip {
            action: "deploy".to_owned(),
            from: OsString::from_vec(b"releases/\xff=x".to_vec()),
            to: "releases/20261125-173202-068d3693".to_owned(),
            supervisor: "12".to_owned(),
            generation: "3".to_owned(),
            pid: "45".to_owned(),
            at: "2026-11-25 17:32:02 UTC".to_owned(),
        };
        assert_eq!(Flip::of(&flip.text()), flip);
        let text = flip.text();
        for length in 0..text.len() {
            let _ = Flip::of(&text[..length]);
        }
        assert_eq!(Flip::of(b"\n=\nx\n"), Flip::default());
    }
}
