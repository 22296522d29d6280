//! A path is made ready for a socket: its directories are there, and nothing is in the way.

use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};

use crate::listeners::holder;
use crate::sys::errno_text;

/// Makes the missing parents of `path`, as `directory-mode` asks for. They stay when the socket goes, as under systemd.
///
/// # Errors
/// One clause.
pub(in crate::listeners) fn make_parents(path: &Path, mode: u32) -> Result<(), String> {
    let Some(parent) = path.parent() else {
        return Ok(());
    };
    if parent.exists() {
        return Ok(());
    }
    let failure = |error: io::Error| {
        format!(
            "cannot make the directory {}: {}",
            parent.display(),
            errno_text(&error)
        )
    };
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(parent)
        .map_err(failure)?;
    // The umask may have taken bits away from what was asked for in plain words.
    fs::set_permissions(parent, Permissions::from_mode(mode)).map_err(failure)
}

/// Removes a socket that nobody serves any more, so that the path is free.
///
/// # Errors
/// One clause: something lives there, or what is there is no socket.
pub(in crate::listeners) fn clear(path: &Path, socket_type: SockType) -> Result<(), String> {
    if is_there(path)? {
        if is_served(path, socket_type)? {
            return Err(match holder::of_path(path) {
                Some(holder) => format!("address already in use (by {holder})"),
                None => "address already in use (a process serves the socket at that path)".to_owned(),
            });
        }
        remove(path)?;
    }
    Ok(())
}

/// Removes a socket, so that the path is free, also one that somebody serves.
///
/// # Errors
/// One clause: what is there is no socket.
pub(in crate::listeners) fn make_way(path: &Path) -> Result<(), String> {
    if is_there(path)? {
        remove(path)?;
    }
    Ok(())
}

/// Whether a socket is there.
pub(super) fn is_there(path: &Path) -> Result<bool, String> {
    match fs::symlink_metadata(path) {
        Ok(there) if there.file_type().is_socket() => Ok(true),
        Ok(there) => Err(format!(
            "there is {} at that path, not a socket, and it stays",
            describe(&there)
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(errno_text(&error)),
    }
}

fn remove(path: &Path) -> Result<(), String> {
    fs::remove_file(path).map_err(|error| format!("cannot remove the old socket: {}", errno_text(&error)))
}

fn describe(there: &Metadata) -> &'static str {
    let kind = there.file_type();
    if kind.is_dir() {
        "a directory"
    } else if kind.is_symlink() {
        "a symbolic link"
    } else if kind.is_fifo() {
        "a fifo"
    } else if kind.is_file() {
        "a regular file"
    } else {
        "a device"
    }
}

/// Whether connecting is anything but refused. Non-blocking: a full backlog says EAGAIN, and that is somebody, too.
pub(super) fn is_served(path: &Path, socket_type: SockType) -> Result<bool, String> {
    let failure = |errno: Errno| {
        format!(
            "cannot tell whether the old socket is served: {}",
            errno_text(errno)
        )
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let asker = socket(AddressFamily::Unix, socket_type, flags, None).map_err(failure)?;
    let address = UnixAddr::new(path).map_err(failure)?;
    match connect(asker.as_raw_fd(), &address) {
        Ok(()) | Err(Errno::EAGAIN | Errno::EINPROGRESS | Errno::EPROTOTYPE) => Ok(true),
        Err(Errno::ECONNREFUSED | Errno::ENOENT) => Ok(false),
        Err(other) => Err(failure(other)),
    }
}
