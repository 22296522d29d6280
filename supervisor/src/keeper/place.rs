//! Files to keep a state in.

use std::fs::{self, File, OpenOptions};
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
        (Err(error), _) | (_, Err(error)) => {
            let path = paths[0].display();
            let complaint = format!(
                "state {path}: {}: it is kept in memory, where only systemd's file descriptor store keeps it if segue is killed",
                errno_text(error)
            );
            Ok(([in_memory()?, in_memory()?], Some(complaint)))
        }
    }
}

/// The state tells everything about the app, its environment too: nobody else may read it.
fn at(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    if is_ours(&file)? {
        Ok(file)
    } else {
        Err(io::ErrorKind::PermissionDenied.into())
    }
}

/// Whether it is a file of ours that nobody else may write.
fn is_ours(file: &File) -> io::Result<bool> {
    let found = file.metadata()?;
    let private = found.mode() & 0o077 == 0;
    Ok(found.is_file() && private && found.uid() == nix::unistd::geteuid().as_raw())
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
    if !is_ours(&file).ok()? {
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
