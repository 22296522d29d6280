//! What the child tells the supervisor before exec: a close-on-exec socket that ends in silence when exec succeeds.
//!
//! The child writes lines: `uid NUMBER` when it knows who the app will be, `stderr WHAT` when that is open, `failed TEXT` when it
//! cannot go on.

use super::go_ahead::GoAhead;
use crate::stderr::Stderr;
use crate::sys::{self, InChild, errno_text};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
use nix::unistd::read;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::rc::Rc;

/// The longest line. All that a child says is a small part of what the socket has room for.
const LONGEST_LINE: usize = 2048;

/// What has become of a launch so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// The child is still preparing; wait for its end.
    Pending,
    /// The app runs (or the child was killed before it could; its exit says so).
    Executed {
        /// The real uid of the app; its notify messages carry it.
        uid: u32,
        /// What its standard error is, unless a version of segue started it that did not look.
        stderr: Option<Stderr>,
    },
    /// The child could not start the app and exits; one line says why: `exec ./app: permission denied`.
    Failed {
        /// Attempt, then cause.
        text: String,
    },
}

/// The supervisor's end of the socket. Close it (drop it) after the final word.
#[derive(Debug)]
pub(crate) struct ReportSocket {
    pub(super) fd: Rc<OwnedFd>,
    pub(super) received: Vec<u8>,
}

/// Whether the child's end is known to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The poll set says so: whatever was said lies there.
    Seen,
    /// It may be open.
    Unknown,
}

impl ReportSocket {
    /// A new pair, and the child's end of it. Both are close-on-exec; neither side waits to read or to write, but the child for the
    /// leave to go on.
    pub(super) fn open() -> Result<(Self, OwnedFd), Errno> {
        let (fd, child_end) = socketpair(
            AddressFamily::Unix,
            SockType::Stream,
            None,
            SockFlag::SOCK_CLOEXEC,
        )?;
        let fd = Rc::new(fd);
        let received = Vec::new();
        Ok((Self { fd, received }, child_end))
    }

    /// What the child waits for goes the other way.
    pub(super) fn go_ahead(&self) -> GoAhead {
        GoAhead::on(Rc::clone(&self.fd))
    }

    /// In the child: closes its copy, which would keep the end from coming.
    pub(super) fn close_copy(&self, child: &InChild) {
        sys::close_in_child(child, self.fd.as_fd());
    }

    /// To be watched for its end.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Reads what has come, without waiting.
    pub(crate) fn read(&mut self, end: End) -> Report {
        let mut piece = [0; LONGEST_LINE];
        loop {
            match self.take(&mut piece) {
                // A child that failed before it was told to go on has left our word unread.
                Ok(0) | Err(Errno::ECONNRESET) => return self.conclude(),
                Ok(length) => {
                    self.received.extend_from_slice(&piece[..length]);
                    if end == End::Seen && length < piece.len() {
                        return self.conclude();
                    }
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Report::Pending,
                Err(errno) => {
                    return Report::Failed {
                        text: format!("launch: {}", errno_text(errno)),
                    };
                }
            }
        }
    }

    /// What the supervisor that an upgrade replaces has opened may be a pipe, which does not wait either.
    fn take(&self, piece: &mut [u8]) -> Result<usize, Errno> {
        match recv(self.fd.as_raw_fd(), piece, MsgFlags::MSG_DONTWAIT) {
            Err(Errno::ENOTSOCK) => read(&self.fd, piece),
            taken => taken,
        }
    }

    fn conclude(&self) -> Report {
        let text = String::from_utf8_lossy(&self.received);
        let word = |key| text.lines().find_map(move |line| line.strip_prefix(key));
        match (word("failed "), word("uid ").and_then(|uid| uid.parse().ok())) {
            (Some(text), _) => Report::Failed {
                text: text.to_owned(),
            },
            (None, Some(uid)) => Report::Executed {
                uid,
                stderr: word("stderr ").and_then(|text| text.parse().ok()),
            },
            (None, None) => Report::Failed {
                text: "launch: the child ended before it could exec".to_owned(),
            },
        }
    }
}

/// The child's end.
pub(super) struct Reporter<'a>(pub(super) BorrowedFd<'a>);

impl Reporter<'_> {
    /// Tells the uid that the app will have.
    pub(super) fn uid(&self, uid: u32) {
        self.line(&format!("uid {uid}"));
    }

    /// Tells where the app's last words will be.
    pub(super) fn stderr(&self, stderr: &Stderr) {
        self.line(&format!("stderr {stderr}"));
    }

    /// Tells why the app cannot be started.
    pub(super) fn failed(&self, text: &str) {
        self.line(&format!("failed {text}"));
    }

    fn line(&self, text: &str) {
        let one_line = text
            .chars()
            .map(|letter| if letter.is_control() { '?' } else { letter });
        let mut line: String = one_line.collect();
        while line.len() >= LONGEST_LINE {
            line.pop();
        }
        line.push('\n');
        // There is room. If the supervisor has gone, there is nobody to tell.
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let _ = send(self.0.as_raw_fd(), line.as_bytes(), flags);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::OFlag;
    use nix::unistd::{pipe2, write};
    use std::time::{Duration, Instant};

    /// What is known when the end has come. A process that another test forks at this moment has the other end, too, until it
    /// executes.
    fn concluded(pipe: &mut ReportSocket) -> Report {
        let begin = Instant::now();
        loop {
            let report = pipe.read(End::Unknown);
            if report != Report::Pending || begin.elapsed() > Duration::from_secs(20) {
                return report;
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn silence_and_then_the_end_mean_that_exec_happened() {
        let (mut pipe, end) = ReportSocket::open().unwrap();
        assert_eq!(pipe.read(End::Unknown), Report::Pending);
        Reporter(end.as_fd()).uid(1000);
        assert_eq!(pipe.read(End::Unknown), Report::Pending);
        drop(end);
        assert_eq!(
            concluded(&mut pipe),
            Report::Executed {
                uid: 1000,
                stderr: None
            }
        );
    }

    #[test]
    fn a_pipe_of_an_older_version_is_read_as_well() {
        let (fd, end) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).unwrap();
        let mut pipe = ReportSocket {
            fd: Rc::new(fd),
            received: Vec::new(),
        };
        write(&end, b"uid 1000\n").unwrap();
        assert_eq!(pipe.read(End::Unknown), Report::Pending);
        drop(end);
        assert_eq!(
            concluded(&mut pipe),
            Report::Executed {
                uid: 1000,
                stderr: None
            }
        );
    }

    #[test]
    fn a_failure_is_one_line_however_long_and_whatever_is_in_it() {
        let (mut pipe, end) = ReportSocket::open().unwrap();
        Reporter(end.as_fd()).uid(1000);
        Reporter(end.as_fd()).failed(&format!("exec ./a\nb: {}", "ü".repeat(5000)));
        drop(end);
        let Report::Failed { text } = concluded(&mut pipe) else {
            panic!("it failed")
        };
        assert!(text.starts_with("exec ./a?b: üü") && text.len() < LONGEST_LINE);
    }

    #[test]
    fn a_child_that_says_nothing_has_failed() {
        let (mut pipe, end) = ReportSocket::open().unwrap();
        drop(end);
        assert!(matches!(concluded(&mut pipe), Report::Failed { .. }));
    }
}
