//! What the child tells the supervisor before exec: a close-on-exec pipe that ends in silence when exec succeeds.
//!
//! The child writes lines: `uid NUMBER` when it knows who the app will be, `stderr WHAT` when that is open, `failed TEXT` when it
//! cannot go on.

use crate::stderr::Stderr;
use crate::sys::errno_text;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::{pipe2, read, write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The longest line. Less than `PIPE_BUF`, so that one write is one piece, and that the pipe always has room.
const LONGEST_LINE: usize = 2048;

/// What has become of a launch so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// The child is still preparing; wait until the pipe is readable again.
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

/// The supervisor's end of the pipe. Non-blocking; close it (drop it) after the final word.
#[derive(Debug)]
pub(crate) struct ReportPipe {
    pub(super) fd: OwnedFd,
    pub(super) received: Vec<u8>,
}

impl ReportPipe {
    /// A new pipe and the child's end of it. Both are close-on-exec.
    pub(super) fn open() -> Result<(ReportPipe, OwnedFd), Errno> {
        // The child does not wait either, and need not: the pipe has room for all that it says.
        let (fd, child_end) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        Ok((
            ReportPipe {
                fd,
                received: Vec::new(),
            },
            child_end,
        ))
    }

    /// To be watched for its end.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Reads what has come, without waiting.
    pub(crate) fn read(&mut self) -> Report {
        let mut piece = [0; LONGEST_LINE];
        loop {
            match read(&self.fd, &mut piece) {
                Ok(0) => return self.conclude(),
                Ok(length) => self.received.extend_from_slice(&piece[..length]),
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
        // The pipe has room. If the supervisor has gone, there is nobody to tell.
        let _ = write(self.0, line.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    /// What is known when the end has come. A process that another test forks at this moment has the other end, too, until it
    /// executes.
    fn concluded(pipe: &mut ReportPipe) -> Report {
        let begin = Instant::now();
        loop {
            let report = pipe.read();
            if report != Report::Pending || begin.elapsed() > Duration::from_secs(20) {
                return report;
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn silence_and_then_the_end_mean_that_exec_happened() {
        let (mut pipe, end) = ReportPipe::open().unwrap();
        assert_eq!(pipe.read(), Report::Pending);
        Reporter(end.as_fd()).uid(1000);
        assert_eq!(pipe.read(), Report::Pending);
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
        let (mut pipe, end) = ReportPipe::open().unwrap();
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
        let (mut pipe, end) = ReportPipe::open().unwrap();
        drop(end);
        assert!(matches!(concluded(&mut pipe), Report::Failed { .. }));
    }
}
