//! The last word before exec, and it is the supervisor's: a child that is ready to become the app waits until it has been
//! put down somewhere. Whatever kills the supervisor between the fork and that moment leaves no process behind of which
//! the next supervisor knows nothing.
//!
//! The word goes along the socket on which the child reports, in the other direction.

use crate::sys::InChild;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, Shutdown, send, shutdown};
use nix::unistd::read;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::rc::Rc;

/// The word. Its value means nothing.
const GO: &[u8] = b"!";

/// Leave for a child to execute, to be given once it has been recorded. Dropped without being given, or lost with the
/// supervisor, it tells the child to exit in silence.
#[derive(Debug)]
#[must_use = "the child waits for it"]
pub(crate) struct GoAhead {
    fd: Rc<OwnedFd>,
    is_given: bool,
}

/// Whether a child may execute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// It was recorded.
    Given,
    /// There is no supervisor any more that could have recorded it.
    Never,
}

impl GoAhead {
    /// The leave that goes out on this socket.
    pub(super) fn on(fd: Rc<OwnedFd>) -> Self {
        Self { fd, is_given: false }
    }

    /// Lets the child execute.
    ///
    /// # Errors
    /// The socket does not take the word; then the child exits in silence.
    pub(crate) fn begin(mut self) -> Result<(), Errno> {
        // Nothing else goes this way, so that there is room.
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        match send(self.fd.as_raw_fd(), GO, flags) {
            // A child that has died meanwhile needs no leave.
            Ok(_) | Err(Errno::EPIPE | Errno::ECONNRESET) => {
                self.is_given = true;
                Ok(())
            }
            Err(errno) => Err(errno),
        }
    }
}

impl Drop for GoAhead {
    fn drop(&mut self) {
        if !self.is_given {
            // The report may still be read from this socket. It can only fail where nobody is at the other end.
            let _ = shutdown(self.fd.as_raw_fd(), Shutdown::Write);
        }
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
