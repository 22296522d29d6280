//! Files to keep a state in.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::FILES;
use crate::sys::errno_text;

/// The longest state that is read: a thousand listeners and workers make some hundred kilobytes. Whatever is longer was
/// not written by us.
const LONGEST: u64 = 64 * 1024 * 1024;

/// Opens or makes both, or none of them: then they lie in memory, and the second value says why.
pub(super) fn open(paths: &[PathBuf; FILES]) -> Result<([File; FILES], Option<String>), String> {
    match (at(&paths[0]), at(&paths[1])) {
        (Ok(first), Ok(second)) => Ok(([first, second], None)),
        (Err(why), _) | (_, Err(why)) => {
            let complaint = format!(
                "state {why}: it is kept in memory, where only systemd's file descriptor store keeps it if segue is killed"
            );
            Ok(([in_memory()?, in_memory()?], Some(complaint)))
        }
    }
}

/// The state tells everything about the app, its environment too: nobody else may read it.
///
/// # Errors
/// The path and what is wrong with it.
fn at(path: &Path) -> Result<File, String> {
    let because = |why: String| format!("{}: {why}", path.display());
    let failed = |error: io::Error| because(errno_text(error));
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
        .map_err(failed)?;
    match not_ours(&file.metadata().map_err(failed)?) {
        None => Ok(file),
        Some(why) => Err(because(format!("{why} (remove it)"))),
    }
}

/// Why it is not a file of ours that nobody else may read or write.
fn not_ours(found: &Metadata) -> Option<String> {
    let uid = nix::unistd::geteuid().as_raw();
    if !found.is_file() {
        Some("it is no regular file".to_owned())
    } else if found.uid() != uid {
        Some(format!("it belongs to uid {}, not to {uid}", found.uid()))
    } else if found.mode() & 0o077 != 0 {
        let mode = found.mode() & 0o7777;
        Some(format!("others can read or write it (mode {mode:04o})"))
    } else {
        None
    }
}

fn in_memory() -> Result<File, String> {
    let made = memfd_create(c"segue-state", MFdFlags::MFD_CLOEXEC);
    made.map(File::from)
        .map_err(|errno| format!("state: memfd: {}", errno_text(errno)))
}

/// What is in the file, if it is ours.
pub(super) fn read(path: &Path) -> Option<Vec<u8>> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
        .ok()?;
    if not_ours(&file.metadata().ok()?).is_some() {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(LONGEST).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Removes the path if it still leads to this file.
pub(super) fn remove(path: &Path, file: &File) {
    let same = match (fs::symlink_metadata(path), file.metadata()) {
        (Ok(named), Ok(open)) => (named.dev(), named.ino()) == (open.dev(), open.ino()),
        (Ok(_) | Err(_), Ok(_) | Err(_)) => false,
    };
    if same {
        let _ = fs::remove_file(path);
    }
}
