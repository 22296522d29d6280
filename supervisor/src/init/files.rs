//! Files that segue writes once, and never over what somebody else has written.
//!
//! The first line says that segue wrote the file and has a digest of all that follows: a file that was changed since is another's.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::sys::errno_text;

/// How the first line begins; the digest follows.
const MARK: &str = "# Written by segue init; SHA-256 of the rest: ";

/// A file to write, with its first line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) text: String,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Written,
    Unchanged,
}

impl Outcome {
    pub(super) fn text(self, path: &Path) -> String {
        let what = match self {
            Self::Written => "wrote",
            Self::Unchanged => "unchanged:",
        };
        format!("{what} {}\n", path.display())
    }
}

/// What lies at the path.
enum Found {
    Nothing,
    /// The same text.
    Same,
    /// Another text that segue wrote, and nobody has changed.
    Ours,
}

impl File {
    pub(super) fn new(path: PathBuf, rest: String) -> Self {
        let text = format!("{MARK}{}\n{rest}", digest(&rest));
        Self { path, text }
    }

    /// Whether it may be written.
    ///
    /// # Errors
    /// One line: there is a file that segue did not write, or that was changed since.
    pub(super) fn look(&self) -> Result<(), String> {
        self.find().map(drop)
    }

    fn find(&self) -> Result<Found, String> {
        let there = match fs::read(&self.path) {
            Ok(there) => there,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(error) => return Err(self.failed(&error)),
        };
        if there == self.text.as_bytes() {
            return Ok(Found::Same);
        }
        if is_untouched(&there) {
            return Ok(Found::Ours);
        }
        Err(format!(
            "write {}: it is there, and not as segue init wrote it; move it away first",
            self.path.display()
        ))
    }

    /// Write it, whole or not at all: it is complete and on the disk before it has its name. Directories are made.
    ///
    /// # Errors
    /// As for [`File::look`], and those of the file system.
    pub(super) fn install(&self) -> Result<Outcome, String> {
        let found = self.find()?;
        if matches!(found, Found::Same) {
            return Ok(Outcome::Unchanged);
        }
        self.put(&found).map_err(|error| self.failed(&error))?;
        Ok(Outcome::Written)
    }

    fn put(&self, found: &Found) -> io::Result<()> {
        let directory = match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            Some(_) | None => Path::new("."),
        };
        fs::create_dir_all(directory)?;
        let mut beside = self.path.clone().into_os_string();
        beside.push(format!(".{}.new", std::process::id()));
        let beside = PathBuf::from(beside);
        let put = self.write_beside(&beside).and_then(|()| match found {
            // A link takes no name that is taken, by whoever was faster.
            Found::Nothing => fs::hard_link(&beside, &self.path),
            Found::Same | Found::Ours => fs::rename(&beside, &self.path),
        });
        let _ = fs::remove_file(&beside);
        put?;
        // So that its name outlives a power cut, too.
        fs::File::open(directory)?.sync_all()
    }

    fn write_beside(&self, beside: &Path) -> io::Result<()> {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(beside)?;
        file.write_all(self.text.as_bytes())?;
        file.sync_all()
    }

    fn failed(&self, error: &io::Error) -> String {
        format!("write {}: {}", self.path.display(), errno_text(error))
    }
}

fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn is_untouched(there: &[u8]) -> bool {
    let Ok(there) = std::str::from_utf8(there) else {
        return false;
    };
    let Some((first, rest)) = there.split_once('\n') else {
        return false;
    };
    first.strip_prefix(MARK) == Some(&digest(rest))
}
