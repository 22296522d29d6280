//! Directories that nobody else can put things into.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::PlaceError;
use crate::sys;

/// Bits that let others put files into a directory.
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// Nobody but its owner can remove a file from such a directory.
const STICKY: u32 = 0o1000;

/// What the mode of a directory of ours must become.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mode {
    /// Set when it is made; one that exists may be as it is.
    AtLeast(u32),
    /// Set whether it exists or not.
    Exactly(u32),
}

/// Makes a directory of ours, or takes the one that is there if it is ours: a real directory (no symlink,
/// which a stranger could have put into `/tmp`), of our user, not writable by others.
pub(super) fn own(path: &Path, mode: Mode) -> Result<File, PlaceError> {
    let failed = |error: io::Error| PlaceError::io(format!("directory {}", path.display()), &error);
    let bits = match mode {
        Mode::AtLeast(bits) | Mode::Exactly(bits) => bits,
    };
    let made = match DirBuilder::new().mode(bits).create(path) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
        Err(error) => return Err(failed(error)),
    };
    let directory = fs::OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_DIRECTORY | nix::libc::O_NOFOLLOW)
        .open(path)
        .map_err(|error| match error.raw_os_error() {
            // A symlink gives ENOTDIR with O_DIRECTORY and ELOOP without it (open(2)).
            Some(nix::libc::ENOTDIR | nix::libc::ELOOP) => unsafe_directory(path, "it is no directory"),
            _ => failed(error),
        })?;
    let found = directory.metadata().map_err(failed)?;
    let uid = nix::unistd::geteuid().as_raw();
    if found.uid() != uid {
        return Err(unsafe_directory(
            path,
            &format!("it belongs to uid {}, not to {uid}", found.uid()),
        ));
    }
    // What we have just made gets its mode below; umask can only have made it stricter.
    if !made && found.mode() & WRITABLE_BY_OTHERS != 0 {
        return Err(unsafe_directory(
            path,
            &format!("others can write to it (mode {:04o})", found.mode() & 0o7777),
        ));
    }
    if made || matches!(mode, Mode::Exactly(_)) {
        directory
            .set_permissions(Permissions::from_mode(bits))
            .map_err(failed)?;
    }
    Ok(directory)
}

/// Whether there is nothing to do for [`own`]: one look, as each start of a worker takes one.
pub(super) fn is_own(path: &Path, bits: u32) -> bool {
    let is_it = |found: fs::Metadata| {
        found.is_dir() && found.mode() & 0o7777 == bits && found.uid() == sys::own_uid().as_raw()
    };
    fs::symlink_metadata(path).is_ok_and(is_it)
}

/// Takes a directory that somebody named: it may be a symlink (systemd makes one with `DynamicUser=`) and
/// another user's, since the person who named it trusts it; but not one in which everybody can replace our files.
/// Made, with its parents, if it is missing.
pub(super) fn given(path: &Path, mode: u32) -> Result<(), PlaceError> {
    let failed = |error: io::Error| PlaceError::io(format!("directory {}", path.display()), &error);
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return DirBuilder::new()
                .recursive(true)
                .mode(mode)
                .create(path)
                .map_err(failed);
        }
        Err(error) => return Err(failed(error)),
    };
    if !found.is_dir() {
        return Err(unsafe_directory(path, "it is no directory"));
    }
    if found.mode() & 0o002 != 0 && found.mode() & STICKY == 0 {
        return Err(unsafe_directory(path, "everybody can write to it"));
    }
    Ok(())
}

fn unsafe_directory(path: &Path, why: &str) -> PlaceError {
    PlaceError::Unsafe {
        path: path.to_owned(),
        why: why.to_owned(),
    }
}
