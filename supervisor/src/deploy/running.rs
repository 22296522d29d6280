//! A command that a deploy runs: heard line by line, and ended at its deadline.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::Signal;
use nix::unistd::pipe2;

use super::interruption::Interruption;
use crate::clock;
use crate::job::{Ended, Group, Job};
use crate::sys::errno_text;

/// How long a command has to end after SIGTERM, before it is killed.
const LAST_TIME: Duration = Duration::from_secs(5);

/// How often it is looked whether it has ended, where the kernel cannot tell (pidfd_open(2) is missing or forbidden).
const LOOK: Duration = Duration::from_millis(50);

/// A longer line is told in pieces, in bytes.
const LINE_MAX: usize = 16 * 1024;

/// The longest answer for programs that is read, in bytes: that of the control protocol.
const ANSWER_MAX: usize = 8 * 1024 * 1024;

/// Where what it writes goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Streams {
    /// Both are words for people: those of a preflight.
    Together,
    /// Standard output is an answer for programs, and kept: what answers is segue or podman, perhaps through sudo(8), which asks at
    /// the terminal.
    Apart,
    /// The same of a command that asks nothing: a ^C at the terminal is not meant for it.
    Shielded,
}

impl Streams {
    fn group(self) -> Group {
        match self {
            // It may leave anything running.
            Self::Together | Self::Shielded => Group::Own,
            // It may be called through sudo(8).
            Self::Apart => Group::for_questions(),
        }
    }
}

/// A command that runs.
#[derive(Debug)]
pub(super) struct Running {
    job: Job,
    pidfd: Option<OwnedFd>,
    words: Piped,
    answer: Option<Piped>,
    deadline: Option<Instant>,
    /// When SIGTERM was sent.
    told: Option<Told>,
}

/// It was told to end.
#[derive(Debug, Clone, Copy)]
struct Told {
    kill_at: Instant,
    why: Why,
}

/// Why a command was told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Its time is up, or nobody waits for it any more.
    Time,
    /// It wants to ask at the terminal, and is in the background of that.
    Terminal,
}

/// How a command has ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Finish {
    /// By itself.
    Ended(Ended),
    /// At its deadline.
    TimedOut,
    /// By us, since a signal came.
    Interrupted,
    /// By us, since the kernel had stopped it for using the terminal.
    AsksAtTerminal,
}

/// What is said of a command that was stopped for using the terminal.
pub(super) const ASKS_AT_TERMINAL: &str = "stopped, for it asks at the terminal, where a command in the background is not heard \
     (sudo that wants a password?); deploy in the foreground, or have it ask nothing";

/// What a command said.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) finish: Finish,
    /// Its standard output, if the streams are apart.
    pub(super) answer: Vec<u8>,
    /// The last line for people.
    pub(super) last_words: String,
}

impl Running {
    /// Starts it, with standard input from /dev/null. It gets SIGTERM when we end.
    ///
    /// # Errors
    /// One line: `start make: no such file or directory`.
    pub(super) fn start(
        mut command: Command,
        streams: Streams,
        time: Option<Duration>,
    ) -> Result<Self, String> {
        let pipe = || Piped::open().map_err(|error| format!("make a pipe: {}", errno_text(error)));
        let (words, writer) = pipe()?;
        let answer = match streams {
            Streams::Together => {
                let copy = writer
                    .try_clone()
                    .map_err(|error| format!("make a pipe: {}", errno_text(error)))?;
                command.stdout(Stdio::from(copy));
                None
            }
            Streams::Apart | Streams::Shielded => {
                let (answer, writer) = pipe()?;
                command.stdout(Stdio::from(writer));
                Some(answer)
            }
        };
        command.stderr(Stdio::from(writer));
        let job = Job::start_in(streams.group(), &mut command)?;
        Ok(Self {
            pidfd: job.pidfd().ok(),
            job,
            words,
            answer,
            deadline: time.and_then(|time| clock::now().checked_add(time)),
            told: None,
        })
    }

    /// Runs it to its end, and gives each line for people to `hear`. A signal that comes ends it.
    ///
    /// # Errors
    /// One line: it cannot be started.
    pub(super) fn follow(
        command: Command,
        streams: Streams,
        time: Duration,
        interruption: &mut Interruption,
        hear: &mut dyn FnMut(&str),
    ) -> Result<Said, String> {
        let mut running = Self::start(command, streams, Some(time))?;
        let before = interruption.count();
        let mut last_words = String::new();
        let mut was_interrupted = false;
        loop {
            let ended = running.ended();
            for line in running.lines() {
                hear(&line);
                last_words = line;
            }
            if let Some(ended) = ended {
                let finish = if was_interrupted {
                    Finish::Interrupted
                } else {
                    match running.why_told() {
                        Some(Why::Terminal) => Finish::AsksAtTerminal,
                        Some(Why::Time) => Finish::TimedOut,
                        None => Finish::Ended(ended),
                    }
                };
                return Ok(Said {
                    finish,
                    answer: running.answer(),
                    last_words,
                });
            }
            interruption.caught();
            if interruption.count() > before && !was_interrupted {
                was_interrupted = true;
                running.end();
            }
            running.wait(interruption);
        }
    }

    /// What can be waited for: words, an answer, its end.
    pub(super) fn fds(&self) -> Vec<BorrowedFd<'_>> {
        let pipes = [Some(&self.words), self.answer.as_ref()];
        let open = pipes.into_iter().flatten().filter(|pipe| !pipe.is_at_end);
        open.map(|pipe| pipe.file.as_fd())
            .chain(self.pidfd.as_ref().map(|fd| fd.as_fd()))
            .collect()
    }

    /// How long it may be waited for at most.
    pub(super) fn patience(&self) -> Duration {
        let next = self.told.map(|told| told.kill_at).or(self.deadline);
        let left = next.map_or(Duration::MAX, |next| next.saturating_duration_since(clock::now()));
        let look = if self.pidfd.is_some() {
            Duration::from_secs(1)
        } else {
            LOOK
        };
        // Rounded up, so that the last millisecond is not spent turning round.
        left.min(look) + Duration::from_millis(1)
    }

    fn wait(&self, interruption: &Interruption) {
        interruption.wait(&self.fds(), self.patience());
    }

    /// Tells it to end, and its process group.
    pub(super) fn end(&mut self) {
        if self.told.is_none() {
            self.job.signal_group(Signal::SIGTERM);
            self.told = Some(Told {
                kill_at: clock::now() + LAST_TIME,
                why: Why::Time,
            });
        }
    }

    /// How it has ended, if it has. Its deadline is kept here.
    pub(super) fn ended(&mut self) -> Option<Ended> {
        let now = clock::now();
        match self.told {
            Some(told) if told.kill_at <= now => self.job.signal_group(Signal::SIGKILL),
            None if self.deadline.is_some_and(|deadline| deadline <= now) => self.end(),
            // One that is stopped heeds no SIGTERM.
            None if self.job.is_stopped_at_terminal() => {
                self.job.signal_group(Signal::SIGKILL);
                self.told = Some(Told {
                    kill_at: now,
                    why: Why::Terminal,
                });
            }
            Some(_) | None => {}
        }
        // Not even SIGKILL ends one that waits for a disk or a network file system: it is left to itself then.
        let is_stuck = self.told.is_some_and(|told| told.kill_at + LAST_TIME <= now);
        let ended = self
            .job
            .ended()
            .or(is_stuck.then_some(Ended::BySignal(Signal::SIGKILL as i32)));
        self.words.read();
        if let Some(answer) = &mut self.answer {
            answer.read();
        }
        if ended.is_some() {
            self.words.is_at_end = true;
        }
        ended
    }

    /// Why it was told to end, if it was.
    pub(super) fn why_told(&self) -> Option<Why> {
        self.told.map(|told| told.why)
    }

    /// The lines for people since the last call.
    pub(super) fn lines(&mut self) -> Vec<String> {
        self.words.lines()
    }

    /// What it has written for programs.
    pub(super) fn answer(&mut self) -> Vec<u8> {
        let answer = self
            .answer
            .as_mut()
            .map(|answer| std::mem::take(&mut answer.text));
        answer.unwrap_or_default()
    }
}

/// The end of a pipe from which is read without waiting. Somebody may keep the other end when the command has ended.
#[derive(Debug)]
struct Piped {
    file: File,
    text: Vec<u8>,
    is_at_end: bool,
}

impl Piped {
    fn open() -> io::Result<(Self, OwnedFd)> {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
        fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let piped = Self {
            file: File::from(reader),
            text: Vec::new(),
            is_at_end: false,
        };
        Ok((piped, writer))
    }

    /// Takes in what is there. What goes beyond [`ANSWER_MAX`] is dropped.
    fn read(&mut self) {
        let mut piece = [0; 16 * 1024];
        // As much as one turn may take: a command that writes without end is not heard without end.
        for _ in 0..64 {
            match (&self.file).read(&mut piece) {
                Ok(0) => {
                    self.is_at_end = true;
                    return;
                }
                Ok(length) if self.text.len() < ANSWER_MAX => self.text.extend_from_slice(&piece[..length]),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.is_at_end = true;
                    return;
                }
            }
        }
    }

    /// The lines that are whole; at the end of the pipe the last one need not be. Empty ones are left out.
    fn lines(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut rest = &self.text[..];
        while let Some(at) = rest.iter().take(LINE_MAX).position(|byte| *byte == b'\n') {
            lines.push(&rest[..at]);
            rest = &rest[at + 1..];
        }
        while rest.len() >= LINE_MAX || self.is_at_end && !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.len().min(LINE_MAX));
            lines.push(piece);
            rest = after;
        }
        let told = lines
            .into_iter()
            .filter(|line| !line.is_empty())
            .map(|line| String::from_utf8_lossy(line).into_owned())
            .collect();
        self.text = rest.to_vec();
        told
    }
}

impl AsFd for Piped {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    fn follow(script: &str, streams: Streams, time: Duration) -> (Said, Vec<String>) {
        let mut heard = Vec::new();
        let mut hear = |line: &str| heard.push(line.to_owned());
        let said = Running::follow(
            shell(script),
            streams,
            time,
            &mut Interruption::of_nobody(),
            &mut hear,
        )
        .unwrap();
        (said, heard)
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn lines_are_heard_and_the_last_need_not_end() {
        let (said, heard) = follow(
            "echo one; echo; echo two >&2; printf three; exit 7",
            Streams::Together,
            LONG,
        );
        assert_eq!(heard, ["one", "two", "three"]);
        assert_eq!(
            (said.finish, said.last_words.as_str()),
            (Finish::Ended(Ended::Exited(7)), "three")
        );
        let (said, heard) = follow("echo '{}'; echo two >&2", Streams::Apart, LONG);
        assert_eq!(
            (said.answer.as_slice(), heard),
            (&b"{}\n"[..], vec!["two".to_owned()])
        );
    }

    #[test]
    fn what_outlives_the_command_in_its_group_does_not_hold_us_up() {
        let (said, _) = follow("sleep 1000 & echo begun", Streams::Together, LONG);
        assert_eq!(said.finish, Finish::Ended(Ended::Exited(0)));
        assert_eq!(said.last_words, "begun");
    }

    #[test]
    fn a_deadline_ends_all_of_it() {
        let (said, _) = follow("sleep 1000 | cat", Streams::Together, Duration::from_millis(20));
        assert_eq!(said.finish, Finish::TimedOut);
    }

    #[test]
    fn a_line_without_end_is_told_in_pieces() {
        let (said, heard) = follow("head -c 40000 /dev/zero | tr '\\0' x", Streams::Together, LONG);
        assert_eq!(said.finish, Finish::Ended(Ended::Exited(0)));
        assert_eq!(heard.iter().map(String::len).sum::<usize>(), 40_000);
        assert!(heard.iter().all(|line| line.len() <= LINE_MAX));
    }
}
