//! The supervisor's own lines on stderr: one line an event, never waiting for their reader.
//! The lines of one turn of the loop are written together.
//!
//! A log pipe whose reader sleeps must not stop the supervisor, so a line is written only if it fits without
//! waiting; lines that did not fit are counted, and the count is told with the next line that does.

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::fstat;
use serde_json::json;
use std::cell::Cell;
use std::fmt;
use std::io::IsTerminal as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock;
use crate::sys::{self, Sink};

/// The longest line, in bytes, and the most that is written at once. Up to PIPE_BUF (4096) a pipe that polls writable takes a write
/// whole (pipe(7)).
const LONGEST_LINE: usize = 4096;

/// How serious a line is, with the numbers of syslog(3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// Something failed, and people should look.
    Error,
    /// Something is not as it should be, but nothing was lost.
    Warning,
    /// What happened.
    Info,
}

impl Level {
    const fn priority(self) -> u8 {
        match self {
            Self::Error => 3,
            Self::Warning => 4,
            Self::Info => 6,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// `segue[NAME]: text`.
    Text,
    /// The same behind the time.
    TimedText,
    /// The same behind `<6>`: stderr is the journal, which takes the priority from there (sd-daemon(3)).
    Journal,
    /// One JSON object a line.
    Json,
}

/// Whether lines of text begin with the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Times {
    /// On a terminal and in a file. A reader of a pipe puts it before each line himself: a container engine, svlogd.
    WhereNobodyElse,
    Told,
    Untold,
}

impl Style {
    /// Text, with priorities and never a time if stderr is the journal: `JOURNAL_STREAM` then names its device and inode
    /// (systemd.exec(5)).
    pub(crate) fn for_text(journal_stream: Option<&str>, times: Times) -> Self {
        let named = journal_stream.and_then(|value| {
            let (device, inode) = value.split_once(':')?;
            Some((device.parse::<u64>().ok()?, inode.parse::<u64>().ok()?))
        });
        let stderr = std::io::stderr();
        let found = fstat(stderr.as_fd()).ok();
        if named.is_some() && named == found.map(|stat| (stat.st_dev, stat.st_ino)) {
            return Self::Journal;
        }
        let is_timed = match times {
            Times::Told => true,
            Times::Untold => false,
            Times::WhereNobodyElse => stderr.is_terminal() || Sink::of(stderr.as_fd()) == Sink::File,
        };
        if is_timed { Self::TimedText } else { Self::Text }
    }
}

/// Where lines go.
#[derive(Debug)]
pub(crate) struct Log {
    name: String,
    style: Style,
    /// Lines that were not written, and why the last of them was not.
    dropped: Cell<u64>,
    cause: Cell<Unwritten>,
    /// Whether stderr ends in the middle of a line of ours.
    torn: Cell<bool>,
    /// Stderr opened once more, if it is a terminal: the only way to write to one without waiting.
    terminal: Option<OwnedFd>,
    sink: Sink,
    /// Lines that are to be written. Shared with the panic hook alone.
    gathered: Arc<Mutex<String>>,
    /// Whether lines are gathered, until [`Log::stop_gathering`].
    gathers: Cell<bool>,
}

impl Log {
    /// Lines of the instance `name`, on stderr.
    pub(crate) fn new(name: &str, style: Style) -> Self {
        Self {
            name: name.to_owned(),
            style,
            dropped: Cell::new(0),
            cause: Cell::new(Unwritten::WouldWait),
            torn: Cell::new(false),
            terminal: sys::open_terminal_anew(std::io::stderr().as_fd()),
            sink: Sink::of(std::io::stderr().as_fd()),
            gathered: Arc::default(),
            gathers: Cell::new(false),
        }
    }

    /// Gather lines from now on.
    pub(crate) fn gather(&self) {
        self.gathers.set(true);
    }

    /// Write the lines that were gathered so far.
    pub(crate) fn write_gathered(&self) {
        self.write(&mut self.gathered());
    }

    /// From now on a panic writes them first: in a release it ends the process at once, and they tell what led to it.
    pub(crate) fn write_gathered_at_a_panic(&self) {
        let (gathered, sink, us) = (Arc::clone(&self.gathered), self.sink, std::process::id());
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            // A child that was forked has a copy of them. And they may be locked: the panic came in the middle of a line then.
            if us == std::process::id()
                && let Ok(mut lines) = gathered.try_lock()
            {
                let lines = std::mem::take(&mut *lines);
                let _ = put(std::io::stderr().as_fd(), sink, &lines);
            }
            print(panic);
        }));
    }

    fn gathered(&self) -> MutexGuard<'_, String> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Write the lines that were gathered, and the next ones at once.
    pub(crate) fn stop_gathering(&self) {
        self.gathers.set(false);
        self.write_gathered();
    }

    /// What happened.
    pub(crate) fn info(&self, text: &str) {
        self.line(Level::Info, text);
    }

    /// What is not as it should be.
    pub(crate) fn warning(&self, text: &str) {
        self.line(Level::Warning, text);
    }

    /// What failed.
    pub(crate) fn error(&self, text: &str) {
        self.line(Level::Error, text);
    }

    /// Whether a line of a file that others write to is one of ours.
    pub(crate) fn is_ours(&self, line: &str) -> bool {
        match self.style {
            // Lines that were written before the last start may look otherwise.
            Style::Text | Style::TimedText | Style::Journal => {
                let timed = line.split_once(' ');
                let timed = timed.filter(|(time, _)| crate::protocol::parse_rfc3339(time).is_some());
                let text = timed.map_or(line, |(_, text)| text);
                text.starts_with(&format!("segue[{}]: ", self.name))
            }
            Style::Json => serde_json::from_str::<serde_json::Value>(line).is_ok_and(|value| {
                let keys = value.as_object().map_or(0, serde_json::Map::len);
                let has = |key: &str| value.get(key).is_some_and(serde_json::Value::is_string);
                keys == 4 && has("time") && has("level") && has("message") && value["name"] == self.name
            }),
        }
    }

    fn line(&self, level: Level, text: &str) {
        let line = self.render(level, text);
        let mut gathered = self.gathered();
        if gathered.len() + line.len() > LONGEST_LINE {
            self.write(&mut gathered);
        }
        gathered.push_str(&line);
        if !self.gathers.get() {
            self.write(&mut gathered);
        }
    }

    /// Write these lines, or count those that cannot be written.
    fn write(&self, lines: &mut String) {
        let lines = std::mem::take(lines);
        let count = |text: &str| text.matches('\n').count() as u64;
        if lines.is_empty() {
            return;
        }
        let dropped = self.dropped.get();
        if dropped > 0 {
            let apology = match dropped {
                1 => format!("1 line was not written: {}", self.cause.get()),
                _ => format!("{dropped} lines were not written: {}", self.cause.get()),
            };
            let mut apology = self.render(Level::Warning, &apology);
            if self.torn.get() {
                apology.insert(0, '\n');
            }
            if self.put(&apology).is_err() {
                self.dropped.set(dropped + count(&lines));
                return;
            }
            self.dropped.set(0);
        }
        if let Err(Failure { cause, written }) = self.put(&lines) {
            let whole = lines.get(..written).map_or(0, count);
            self.dropped.set(self.dropped.get() + count(&lines) - whole);
            self.cause.set(cause);
        }
    }

    fn put(&self, lines: &str) -> Result<(), Failure> {
        let stderr = std::io::stderr();
        let stderr = self.terminal.as_ref().map_or(stderr.as_fd(), AsFd::as_fd);
        let outcome = put(stderr, self.sink, lines);
        let written = outcome.map_or_else(|failure| failure.written, |()| lines.len());
        if let Some(last) = written.checked_sub(1) {
            self.torn.set(lines.as_bytes().get(last) != Some(&b'\n'));
        }
        outcome
    }

    fn render(&self, level: Level, text: &str) -> String {
        let text = one_line(text);
        let line = match self.style {
            Style::Text => format!("segue[{}]: {text}", self.name),
            Style::TimedText => {
                let time = crate::protocol::rfc3339(clock::wall());
                format!("{time} segue[{}]: {text}", self.name)
            }
            Style::Journal => format!("<{}>segue[{}]: {text}", level.priority(), self.name),
            Style::Json => {
                let time = crate::protocol::rfc3339(clock::wall());
                json!({"time": time, "level": level.word(), "name": self.name, "message": text}).to_string()
            }
        };
        let mut line = line;
        if line.len() >= LONGEST_LINE {
            line.truncate(line.floor_char_boundary(LONGEST_LINE - 1));
        }
        line.push('\n');
        line
    }
}

/// A line stays one line, and cannot steer a terminal, whatever an app put into its words.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if crate::protocol::is_unsafe(c) { ' ' } else { c })
        .collect()
}

/// Why a line was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unwritten {
    /// The reader has to read first.
    WouldWait,
    /// Only a part of it was: the disk is full, or the file as large as it may be (`ulimit -f`).
    NoRoom,
    /// The kernel refused it.
    Refused(Errno),
}

impl fmt::Display for Unwritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WouldWait => f.write_str("the reader of stderr did not keep up"),
            Self::NoRoom => f.write_str("stderr: no room"),
            Self::Refused(errno) => write!(f, "stderr: {}", sys::errno_text(*errno)),
        }
    }
}

/// Why not all was written, and how many bytes were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Failure {
    cause: Unwritten,
    written: usize,
}

impl Failure {
    const fn of(cause: Unwritten) -> Self {
        Self { cause, written: 0 }
    }
}

/// Write lines if that takes no waiting. A reader that has gone away is no reason to keep them.
fn put(stderr: BorrowedFd<'_>, sink: Sink, lines: &str) -> Result<(), Failure> {
    if sink != Sink::File {
        let mut poll_set = [PollFd::new(stderr, PollFlags::POLLOUT)];
        match poll(&mut poll_set, PollTimeout::ZERO) {
            Ok(0) => return Err(Failure::of(Unwritten::WouldWait)),
            Ok(_) => {}
            Err(errno) => return Err(Failure::of(Unwritten::Refused(errno))),
        }
    }
    match sys::write_without_waiting(stderr, sink, lines.as_bytes()) {
        Ok(count) if count == lines.len() => Ok(()),
        Ok(written) => Err(Failure {
            // A stream takes as much as its reader has left room for.
            cause: match sink {
                Sink::File => Unwritten::NoRoom,
                Sink::Socket | Sink::Pipe | Sink::Other => Unwritten::WouldWait,
            },
            written,
        }),
        Err(Errno::EAGAIN) => Err(Failure::of(Unwritten::WouldWait)),
        Err(errno) => Err(Failure::of(Unwritten::Refused(errno))),
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.write_gathered();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::alone::{alone, alone_to_its_end};

    #[test]
    fn a_line_stays_one_line_whatever_the_text() {
        let log = Log::new("app", Style::Text);
        assert_eq!(log.render(Level::Info, "a\nb\x1b[2J"), "segue[app]: a b [2J\n");
        let long = log.render(Level::Info, &"ü".repeat(LONGEST_LINE));
        assert!(long.len() <= LONGEST_LINE && long.ends_with('\n'));
    }

    #[test]
    fn the_journal_gets_priorities_and_programs_get_json() {
        assert_eq!(
            Log::new("app", Style::Journal).render(Level::Error, "x"),
            "<3>segue[app]: x\n"
        );
        let json = Log::new("app", Style::Json).render(Level::Warning, "say \"hi\"");
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(
            (&value["level"], &value["message"]),
            (&"warning".into(), &"say \"hi\"".into())
        );
        assert!(value["time"].is_string());
    }

    #[test]
    fn a_line_may_begin_with_the_time() {
        let line = Log::new("app", Style::TimedText).render(Level::Info, "x");
        let (time, text) = line.split_once(' ').unwrap();
        assert!(crate::protocol::parse_rfc3339(time).is_some(), "{line}");
        assert_eq!(text, "segue[app]: x\n");
    }

    #[test]
    fn our_own_lines_are_known_among_others() {
        for style in [Style::Text, Style::TimedText, Style::Json] {
            let log = Log::new("app", style);
            assert!(log.is_ours(log.render(Level::Info, "generation 2 = \"x\"").trim_end()));
            let other = Log::new("other", style).render(Level::Info, "generation 2");
            for line in [
                other.trim_end(),
                "",
                "segue: exec: x",
                "{}",
                "{\"name\":\"app\",\"message\":\"x\"}",
            ] {
                assert!(!log.is_ours(line), "{line}");
            }
        }
    }

    #[test]
    fn a_stream_that_takes_a_part_waits_for_its_reader() {
        let (_reader, stream) = std::os::unix::net::UnixStream::pair().unwrap();
        // Far less than the lines.
        nix::sys::socket::setsockopt(&stream, nix::sys::socket::sockopt::SndBuf, &10_000).unwrap();
        let lines = "x\n".repeat(50_000);
        let failure = put(stream.as_fd(), Sink::Socket, &lines).unwrap_err();
        assert!((1..lines.len()).contains(&failure.written), "{failure:?}");
        assert_eq!(failure.cause, Unwritten::WouldWait);
    }

    #[test]
    fn a_panic_writes_first_what_was_gathered() {
        // The hook is the whole process's. As in a release nothing is dropped.
        let said = alone_to_its_end("log::tests::a_panic_writes_first_what_was_gathered", || {
            let log = Box::leak(Box::new(Log::new("app", Style::Text)));
            log.write_gathered_at_a_panic();
            log.gather();
            log.info("what led to it");
            panic!("the supervisor errs");
        });
        let Some(said) = said else { return };
        let line = said.find("segue[app]: what led to it\n");
        let panic = said.find("the supervisor errs");
        assert!(line.is_some() && line < panic, "{said}");
    }

    #[test]
    fn a_reader_that_sleeps_stops_nobody() {
        // A process that another test forks just then would have the reading end as well.
        alone("log::tests::a_reader_that_sleeps_stops_nobody", || {
            let (read, write_end) = nix::unistd::pipe().unwrap();
            let line = format!("{}\n", "x".repeat(1000));
            let mut written = 0;
            while put(write_end.as_fd(), Sink::Pipe, &line).is_ok() {
                written += 1;
                assert!(written < 100_000, "the pipe never filled");
            }
            drop(read);
            assert_eq!(
                put(write_end.as_fd(), Sink::Pipe, &line),
                Err(Failure::of(Unwritten::Refused(Errno::EPIPE))),
                "a reader that has gone away is no reason to wait"
            );
        });
    }
}
