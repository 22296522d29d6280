//! What a binary says that is asked something, through a pipe; and what we say in its place when it could not be executed.

use std::os::fd::{BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::{pipe2, read};

use crate::protocol::one_line;
use crate::sys::ExitStatus;

/// How much is read, in bytes: a yes, or a reason of one line.
const LONGEST: usize = 4096;

/// How much of it is told, in characters.
const LONGEST_REASON: usize = 300;

/// The exit status of a child that could not exec, as a shell's.
const NOT_EXECUTED: i32 = 127;

/// Comes before our own words, for the dynamic linker ends with that status, too.
const OURS: &str = "not executed: ";

/// A pipe for it, both ends close-on-exec. Neither end ever waits: what does not fit into it is not written.
///
/// # Errors
/// Those of pipe2(2).
pub(super) fn pipe() -> Result<(OwnedFd, OwnedFd), Errno> {
    pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
}

/// What has come through the pipe, from its beginning; what is beyond [`LONGEST`] stays there.
///
/// # Errors
/// Those of read(2).
pub(super) fn so_far(pipe: &OwnedFd) -> Result<String, Errno> {
    let mut bytes = [0; LONGEST];
    let mut length = 0;
    loop {
        match read(pipe, &mut bytes[length..]) {
            // Full, at an end, or somebody else holds the other end still.
            Ok(0) | Err(Errno::EAGAIN) => break,
            Ok(count) => length += count,
            Err(errno) => return Err(errno),
        }
    }
    Ok(String::from_utf8_lossy(&bytes[..length]).into_owned())
}

/// It for a line of ours.
pub(super) fn quoted(said: &str) -> String {
    match one_line(said.trim_end(), LONGEST_REASON) {
        none if none.is_empty() => "nothing".to_owned(),
        words => format!("\"{words}\""),
    }
}

/// Says through the pipe why this child has executed nothing, and gives the status to exit with.
pub(super) fn instead(pipe: BorrowedFd<'_>, reason: &str) -> i32 {
    let _ = nix::unistd::write(pipe, format!("{OURS}{reason}").as_bytes());
    NOT_EXECUTED
}

/// The reason if these are our own words.
pub(super) fn is_ours(status: ExitStatus, said: &str) -> Option<String> {
    match status {
        ExitStatus::Code(NOT_EXECUTED) => said.strip_prefix(OURS).map(str::to_owned),
        ExitStatus::Code(_) | ExitStatus::Signal { .. } | ExitStatus::Unknown => None,
    }
}
