//! Reading a file without ever waiting for somebody.

use std::fs::{self, FileType, Metadata, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use nix::unistd::{getegid, geteuid};

use super::defaults::LARGEST_FILE;
use super::rest::{Rest, Stamp};
use super::settings::Reason;
use crate::sys::errno_text;

/// Why a file could not be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    /// There is nothing at the path.
    Missing,
    /// Anything else, as the cause alone: `permission denied`, `is a FIFO, not a regular file`.
    Refused(String),
}

impl Unread {
    /// The attempt and the cause, one line: `read app.env: no such file or directory`.
    pub(crate) fn text(&self, path: &Path) -> String {
        match self {
            Unread::Missing => format!("read {}: no such file or directory", path.display()),
            Unread::Refused(cause) => format!("read {}: {cause}", path.display()),
        }
    }
}

/// Reads a whole file of at most [`LARGEST_FILE`] bytes, and notes whether it has rested: what was read counts only then.
///
/// It is called inside the supervisor's loop at each reload, so it must not block: the file is opened with
/// `O_NONBLOCK` (open(2): a FIFO without a writer then opens at once) and must be a regular file. `O_NOCTTY`
/// keeps a terminal from becoming ours. The fd is close-on-exec and closed on return. A file on a dead network
/// file system can still block; nothing but a helper process could prevent that.
///
/// # Errors
///
/// [`Unread`].
pub(crate) fn regular_file(path: &Path, reason: Reason, rest: &mut Rest) -> Result<Vec<u8>, Unread> {
    let refused = |error: std::io::Error| {
        if error.kind() == std::io::ErrorKind::NotFound {
            Unread::Missing
        } else {
            Unread::Refused(errno_text(error))
        }
    };
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .map_err(refused)?;
    let before = file.metadata().map_err(refused)?;
    let kind = before.file_type();
    if !kind.is_file() {
        return Err(Unread::Refused(format!(
            "is {}, not a regular file",
            kind_text(kind)
        )));
    }
    if reason == Reason::Found {
        let link = fs::symlink_metadata(path).map_err(refused)?;
        for place in [&link, &before] {
            if let Some(why) = distrust(place) {
                return Err(Unread::Refused(format!(
                    "{why}; --config {} means it",
                    path.display()
                )));
            }
        }
    }
    let mut content = Vec::new();
    let limit = LARGEST_FILE as u64 + 1;
    (&file).take(limit).read_to_end(&mut content).map_err(refused)?;
    let after = file.metadata().map_err(refused)?;
    rest.note(path, Stamp::of(&before), Stamp::of(&after));
    if content.len() > LARGEST_FILE {
        return Err(Unread::Refused("is larger than 1 MiB".to_owned()));
    }
    Ok(content)
}

/// Why a file that nobody named may be a trap: in a directory such as /tmp anybody can put one. Our own group may write to it, as it
/// may to all that is made with umask 002.
fn distrust(file: &Metadata) -> Option<String> {
    let (owner, user) = (file.uid(), geteuid().as_raw());
    if owner != 0 && owner != user {
        return Some(format!("it belongs to uid {owner}, not to {user} or root"));
    }
    // The mode of a symlink says nothing.
    let mode = if file.is_symlink() { 0 } else { file.mode() };
    let by_group = mode & 0o020 != 0 && file.gid() != getegid().as_raw();
    (by_group || mode & 0o002 != 0).then(|| format!("others can write to it (mode {:04o})", mode & 0o7777))
}

fn kind_text(kind: FileType) -> &'static str {
    if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_char_device() || kind.is_block_device() {
        "a device"
    } else {
        "something else"
    }
}
