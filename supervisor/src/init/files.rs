//! Files that segue writes once, and never over what somebody else has written.
//!
//! The first line says that segue wrote the file and has a digest of all that follows: a file that was changed since is another's.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
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
    readers: Readers,
}

/// Who may read a file that is written, and enter the directories that are made for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Readers {
    /// Whom the umask of the caller allows.
    ByUmask,
    /// Everybody, whatever the umask: a unit with `User=` reads it as that user.
    All,
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
        let readers = Readers::ByUmask;
        Self { path, text, readers }
    }

    /// One that everybody can read, as all that lies beside it in `/etc`.
    pub(super) fn of_system(path: PathBuf, rest: String) -> Self {
        let readers = Readers::All;
        Self {
            readers,
            ..Self::new(path, rest)
        }
    }

    /// Whether it would lie below this directory, symlinks followed.
    ///
    /// # Errors
    /// One line: it would not, or a directory cannot be looked at.
    pub(super) fn look_below(&self, root: &Path) -> Result<(), String> {
        let parent = directory_of(&self.path);
        let is_there = |path: &&Path| fs::symlink_metadata(path).is_ok();
        let there = parent.ancestors().find(is_there).unwrap_or(root);
        let real = |path: &Path| fs::canonicalize(path).map_err(|error| self.failed(&error));
        let (there, root) = (real(there)?, real(root)?);
        if there.starts_with(&root) {
            return Ok(());
        }
        Err(format!(
            "write {}: by a symlink it would lie in {}, outside of {}",
            self.path.display(),
            there.display(),
            root.display()
        ))
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
        let directory = directory_of(&self.path);
        self.make(directory)?;
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

    /// Make a directory and those above it that are missing. What is there keeps its mode.
    fn make(&self, directory: &Path) -> io::Result<()> {
        let missing: Vec<&Path> = directory
            .ancestors()
            .take_while(|path| !path.as_os_str().is_empty() && !path.is_dir())
            .collect();
        for path in missing.into_iter().rev() {
            match fs::create_dir(path) {
                Ok(()) => self.open_up(|| fs::set_permissions(path, fs::Permissions::from_mode(0o755)))?,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn open_up(&self, set: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        match self.readers {
            Readers::ByUmask => Ok(()),
            Readers::All => set(),
        }
    }

    fn write_beside(&self, beside: &Path) -> io::Result<()> {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(beside)?;
        // Before it has its name: nobody finds one that cannot be read.
        self.open_up(|| file.set_permissions(fs::Permissions::from_mode(0o644)))?;
        file.write_all(self.text.as_bytes())?;
        file.sync_all()
    }

    fn failed(&self, error: &io::Error) -> String {
        format!("write {}: {}", self.path.display(), errno_text(error))
    }
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
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
