//! What a hook writes: a pipe, of which the end is kept. A hook may open it anew by name (`echo ... >/dev/stderr`).

use std::io::{ErrorKind, PipeReader, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::{Mode, fchmod};

use crate::protocol::one_line;
use crate::sys::errno_text;

/// A hook can write so much. Then the pipe is closed: one that writes without end is not to keep the loop busy.
const MOST_OUTPUT: u64 = 1024 * 1024;

/// So much of its end is kept, in bytes,
const KEPT: usize = 8 * 1024;

/// ... and so many lines of that are told.
const MOST_LINES: usize = 20;

/// A longer line is cut.
const LONGEST_LINE: usize = 400;

/// So much is read in one turn, in bytes: what a pipe holds.
const MOST_A_TURN: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Output {
    /// The reading end, close-on-exec, until it is over.
    pipe: Option<PipeReader>,
    kept: Vec<u8>,
    written: u64,
}

/// Whether more may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Nothing more is there now.
    Empty,
    /// More is there.
    Waiting,
    /// Nothing more will be read: no writer is left, or it was too much.
    Over,
}

impl Output {
    /// A pipe, and its writing end, which is close-on-exec.
    ///
    /// # Errors
    /// One line: as pipe(2).
    pub(super) fn open() -> Result<(Self, OwnedFd), String> {
        let (pipe, writer) = std::io::pipe().map_err(|error| format!("output: {}", errno_text(&error)))?;
        fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
            .map_err(|errno| format!("output: {}", errno_text(errno)))?;
        // The app's user may be another one, and opens it by /dev/stderr. Where this fails it is the same one.
        let everybody = Mode::S_IRUSR | Mode::S_IWUSR | Mode::S_IWGRP | Mode::S_IWOTH;
        let _ = fchmod(&writer, everybody);
        let output = Self {
            pipe: Some(pipe),
            kept: Vec::new(),
            written: 0,
        };
        Ok((output, writer.into()))
    }

    /// What is to be watched, until it is over.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(PipeReader::as_fd)
    }

    /// Whoever still writes is told so (EPIPE, SIGPIPE).
    pub(super) fn close(&mut self) {
        self.pipe = None;
    }

    /// Take what is there, a pipe full of it at most.
    pub(super) fn read(&mut self) -> Rest {
        let mut bytes = [0; KEPT];
        let mut taken = 0;
        let Some(mut pipe) = self.pipe.as_ref() else {
            return Rest::Over;
        };
        while taken < MOST_A_TURN {
            let count = match pipe.read(&mut bytes) {
                Ok(0) => return Rest::Over,
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Rest::Empty,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return Rest::Over,
            };
            taken += count;
            self.written += count as u64;
            self.kept.extend_from_slice(&bytes[..count]);
            let surplus = self.kept.len().saturating_sub(KEPT);
            self.kept.drain(..surplus);
            if self.written >= MOST_OUTPUT {
                return Rest::Over;
            }
        }
        Rest::Waiting
    }

    /// The last lines that were written, each cut and made harmless.
    pub(super) fn last_lines(&self) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.kept);
        let mut lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        if self.written > self.kept.len() as u64 && lines.len() > 1 {
            // Its begin was not kept.
            lines.remove(0);
        }
        let first = lines.len().saturating_sub(MOST_LINES);
        lines[first..]
            .iter()
            .map(|line| one_line(line, LONGEST_LINE))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{File, OpenOptions};
    use std::io::Write as _;
    use std::os::fd::AsRawFd as _;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn it_is_opened_by_name_by_whoever_has_it_and_its_last_lines_are_kept() {
        let (mut output, writer) = Output::open().unwrap();
        let name = format!("/proc/self/fd/{}", writer.as_raw_fd());
        for text in ["first\n\n", "second\n"] {
            let mut options = OpenOptions::new();
            let mut named = options
                .write(true)
                .create(true)
                .truncate(true)
                .open(&name)
                .unwrap();
            named.write_all(text.as_bytes()).unwrap();
        }
        let writer = File::from(writer);
        assert_eq!(writer.metadata().unwrap().permissions().mode() & 0o777, 0o622);
        assert_eq!(output.read(), Rest::Empty);
        assert_eq!(output.last_lines(), ["first", "second"]);
        drop(writer);
        assert_eq!(output.read(), Rest::Over);
    }

    #[test]
    fn of_much_the_end_is_kept_and_of_too_much_nothing_more_is_read() {
        let (mut output, writer) = Output::open().unwrap();
        let mut writer = File::from(writer);
        let mut rest = Rest::Empty;
        for number in 0..40 {
            let text = format!("{number:0>32767}\n");
            writer.write_all(text.as_bytes()).unwrap();
            rest = output.read();
            assert!(output.kept.len() <= KEPT);
            if rest == Rest::Over {
                break;
            }
        }
        assert_eq!((rest, output.written), (Rest::Over, MOST_OUTPUT));
        assert_eq!(output.last_lines().len(), 1);
    }
}
