//! The last word before exec, and it is the supervisor's: a child that is ready to become the app waits until it has been
//! put down somewhere. Whatever kills the supervisor between the fork and that moment leaves no process behind of which
//! the next supervisor knows nothing.

use crate::sys::{self, InChild};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::{pipe2, read, write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The word. Its value means nothing.
const GO: &[u8] = b"!";

/// Leave for a child to execute, to be given once it has been recorded. Dropped without being given, or lost with the
/// supervisor, it tells the child to exit in silence.
#[derive(Debug)]
#[must_use = "the child waits for it"]
pub(crate) struct GoAhead(OwnedFd);

/// Whether a child may execute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// It was recorded.
    Given,
    /// There is no supervisor any more that could have recorded it.
    Never,
}

impl GoAhead {
    /// A new pipe and the child's end of it. Both are close-on-exec.
    pub(super) fn open() -> Result<(GoAhead, OwnedFd), Errno> {
        let (child_end, fd) = pipe2(OFlag::O_CLOEXEC)?;
        Ok((GoAhead(fd), child_end))
    }

    /// Lets the child execute.
    ///
    /// # Errors
    /// The pipe does not take the word; then the child exits in silence.
    pub(crate) fn begin(self) -> Result<(), Errno> {
        // The pipe is empty, so this does not wait.
        match write(&self.0, GO) {
            // A child that has died meanwhile needs no leave.
            Ok(_) | Err(Errno::EPIPE) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// In the child: closes its copy, which would keep the end from coming.
    pub(super) fn close_copy(&self, child: &InChild) {
        sys::close_in_child(child, self.0.as_fd());
    }
}

/// In the child: waits for the leave. A sibling that was forked meanwhile may hold a copy of the other end; it waits as
/// well, or executes and closes it.
pub(super) fn wait_for_leave(_: &InChild, child_end: BorrowedFd<'_>) -> Leave {
    let mut word = [0; GO.len()];
    loop {
        match read(child_end, &mut word) {
            Err(Errno::EINTR) => {}
            Ok(length) if length > 0 => return Leave::Given,
            Ok(_) | Err(_) => return Leave::Never,
        }
    }
}
