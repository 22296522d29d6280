//! Directories of generations, which belong to the app's user and go with the generation.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::PlaceError;

/// Before the number of the generation.
pub(super) const PREFIX: &str = "runtime.";

/// So many entries are removed at most, for the loop waits meanwhile: some tens of milliseconds. It is meant for sockets and pid files.
const MOST_ENTRIES: usize = 10_000;

/// Whether an entry of a notify directory has such a name.
pub(super) fn is_one(name: &OsStr) -> bool {
    let number = name.as_bytes().strip_prefix(PREFIX.as_bytes());
    number.is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit))
}

/// Remove the directory with all that is in it. Symbolic links are removed and not followed.
pub(super) fn remove(path: &Path) -> Result<(), PlaceError> {
    let attempt = || format!("remove {}", path.display());
    let crowded = |error: &io::Error| PlaceError::io(attempt(), error);
    match count(path) {
        Ok(entries) if entries > MOST_ENTRIES => {
            let many = io::Error::other(format!("more than {MOST_ENTRIES} entries; it is left"));
            Err(crowded(&many))
        }
        Ok(_) => fs::remove_dir_all(path)
            .or_else(ignore_missing)
            .map_err(|error| crowded(&error)),
        Err(error) => ignore_missing(error).map_err(|error| crowded(&error)),
    }
}

fn ignore_missing(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound {
        Ok(())
    } else {
        Err(error)
    }
}

/// How many entries there are below it, up to one more than are removed.
fn count(path: &Path) -> io::Result<usize> {
    let mut entries = 0;
    let mut left: Vec<PathBuf> = vec![path.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            entries += 1;
            if entries > MOST_ENTRIES {
                return Ok(entries);
            }
            if entry.file_type()?.is_dir() {
                left.push(entry.path());
            }
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_with_all_that_is_in_it_and_what_a_link_leads_to_stays() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("kept"), "").unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("runtime.7");
        fs::create_dir_all(path.join("below")).unwrap();
        fs::write(path.join("below/pid"), "1").unwrap();
        std::os::unix::fs::symlink(outside.path(), path.join("link")).unwrap();
        remove(&path).unwrap();
        assert!(!path.exists() && outside.path().join("kept").exists());
        remove(&path).unwrap();
        assert!(is_one(OsStr::new("runtime.7")));
        assert!(!is_one(OsStr::new("runtime.")) && !is_one(OsStr::new("runtime.x")));
    }
}
