//! What a binary replies that is asked something: through a pipe, and by how it ends.

use std::fmt;
use std::os::fd::{BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::{pipe2, read, write};

use crate::protocol::one_line;
use crate::sys::ExitStatus;

/// How much is read, in bytes: a yes, or a reason of one line, and what a dynamic linker may have to say before it.
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

/// Says through the pipe why this child has executed nothing, and gives the status to exit with.
pub(super) fn say_not_executed(pipe: BorrowedFd<'_>, reason: &str) -> i32 {
    let _ = write(pipe, format!("{OURS}{reason}").as_bytes());
    NOT_EXECUTED
}

/// The reply of a process that has ended.
#[derive(Debug)]
pub(super) struct Reply {
    status: ExitStatus,
    said: String,
}

impl Reply {
    /// Reads what has come through the pipe; what is beyond [`LONGEST`] stays there.
    ///
    /// # Errors
    /// Those of read(2).
    pub(super) fn read(pipe: &OwnedFd, status: ExitStatus) -> Result<Self, Errno> {
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
        let said = String::from_utf8_lossy(&bytes[..length]).into_owned();
        Ok(Self { status, said })
    }

    /// Why nothing was executed, if it is that.
    pub(super) fn not_executed(&self) -> Option<&str> {
        match self.status {
            ExitStatus::Code(NOT_EXECUTED) => self.said.strip_prefix(OURS),
            ExitStatus::Code(_) | ExitStatus::Signal { .. } | ExitStatus::Unknown => None,
        }
    }

    /// Whether it exited with status 0.
    pub(super) fn is_success(&self) -> bool {
        self.status == ExitStatus::Code(0)
    }

    /// The rest of the first line that begins so. There may be others before it: the dynamic linker warns of a library that
    /// it is to load first and cannot find.
    pub(super) fn after(&self, beginning: &str) -> Option<&str> {
        self.said.lines().find_map(|line| line.strip_prefix(beginning))
    }

    /// What it said, for a line of ours.
    pub(super) fn words(&self) -> String {
        match one_line(self.said.trim_end(), LONGEST_REASON) {
            none if none.is_empty() => "nothing".to_owned(),
            words => format!("\"{words}\""),
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, it said {}", self.status, self.words())
    }
}
