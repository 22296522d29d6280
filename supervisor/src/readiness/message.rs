//! The text of a notify message, sd_notify(3), read as systemd 255 reads it (`service_notify_message`): lines
//! `KEY=value`, the first of several equal keys counts, unknown ones are skipped. Pure.

use crate::protocol::push_tame;
use std::time::Duration;

/// The longest message that is read; systemd's `NOTIFY_BUFFER_MAX` is this plus one.
pub(super) const LONGEST: usize = 4095;

/// The longest STATUS that is kept, in bytes, after escaping. It goes into log lines and a table.
const LONGEST_STATUS: usize = 512;

/// The highest errno of Linux, `MAX_ERRNO`.
const HIGHEST_ERRNO: i32 = 4095;

/// One thing that an app says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// `READY=1`: it serves.
    Ready,
    /// `STOPPING=1`: it drains.
    Stopping,
    /// `RELOADING=1`: it reads its configuration again, by itself.
    Reloading,
    /// `STATUS=`: for people; one line, control characters escaped, at most 512 bytes; empty clears it.
    Status(String),
    /// `ERRNO=`: why it fails, 1 to 4095.
    Errno(i32),
    /// `WATCHDOG=1`: it is alive.
    Watchdog,
    /// `WATCHDOG=trigger`: it asks to be treated as if the watchdog had run out.
    WatchdogTrigger,
    /// `EXTEND_TIMEOUT_USEC=`: the current wait should last at least this long from now.
    ExtendTimeout(Duration),
}

/// What a message says, in the order in which it should be acted upon: a reason before the state that it explains.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) words: Vec<Word>,
    /// A STATUS was there and left out.
    pub(super) status_was_not_text: bool,
}

/// Why a whole message says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    /// Empty, or with a NUL byte inside.
    NotText,
    /// A barrier stands alone and comes with exactly one fd.
    BadBarrier,
}

/// Reads one message that came with `fds` file descriptors.
pub(super) fn read(bytes: &[u8], fds: usize) -> Result<Message, Malformed> {
    // One NUL at the end is allowed, as systemd does: a C program's habit.
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    if bytes.is_empty() || bytes.contains(&0) {
        return Err(Malformed::NotText);
    }
    let lines = Lines(bytes);
    if lines.has(b"BARRIER=1") {
        // The fd is closed with the datagram; that is all that the sender waits for.
        let alone = bytes.strip_suffix(b"\n").unwrap_or(bytes) == b"BARRIER=1";
        return if alone && fds == 1 {
            Ok(Message::default())
        } else {
            Err(Malformed::BadBarrier)
        };
    }
    let status = lines.value(b"STATUS=").map(std::str::from_utf8);
    let words = [
        status.and_then(Result::ok).map(|text| Word::Status(tame(text))),
        lines.number(b"ERRNO=").and_then(errno),
        lines.number(b"EXTEND_TIMEOUT_USEC=").and_then(extension),
        watchdog(&lines),
        state(&lines),
    ];
    Ok(Message {
        words: words.into_iter().flatten().collect(),
        status_was_not_text: status.is_some_and(|text| text.is_err()),
    })
}

/// Whether it matters which fds come with a message.
pub(super) fn may_bring_fds(bytes: &[u8]) -> bool {
    let barrier = b"BARRIER=1";
    bytes.windows(barrier.len()).any(|piece| piece == barrier)
}

#[derive(Clone, Copy)]
struct Lines<'a>(&'a [u8]);

impl<'a> Lines<'a> {
    fn each(self) -> impl Iterator<Item = &'a [u8]> {
        self.0.split(|byte| *byte == b'\n')
    }

    fn has(self, line: &[u8]) -> bool {
        self.each().any(|other| other == line)
    }

    fn value(self, key: &[u8]) -> Option<&'a [u8]> {
        self.each().find_map(|line| line.strip_prefix(key))
    }

    /// Digits only: no sign, no blanks.
    fn number(self, key: &[u8]) -> Option<u64> {
        let text = std::str::from_utf8(self.value(key)?).ok()?;
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            text.parse().ok()
        } else {
            None
        }
    }
}

/// At most one per message: STOPPING wins over READY wins over RELOADING.
fn state(lines: &Lines<'_>) -> Option<Word> {
    if lines.has(b"STOPPING=1") {
        Some(Word::Stopping)
    } else if lines.has(b"READY=1") {
        Some(Word::Ready)
    } else if lines.has(b"RELOADING=1") {
        Some(Word::Reloading)
    } else {
        None
    }
}

fn watchdog(lines: &Lines<'_>) -> Option<Word> {
    match lines.value(b"WATCHDOG=")? {
        b"1" => Some(Word::Watchdog),
        b"trigger" => Some(Word::WatchdogTrigger),
        _ => None,
    }
}

fn errno(number: u64) -> Option<Word> {
    let number = i32::try_from(number).ok()?;
    (1..=HIGHEST_ERRNO)
        .contains(&number)
        .then_some(Word::Errno(number))
}

/// Zero and the greatest number mean nothing, as in systemd (`USEC_INFINITY`).
fn extension(microseconds: u64) -> Option<Word> {
    let meaningful = microseconds != 0 && microseconds != u64::MAX;
    meaningful.then(|| Word::ExtendTimeout(Duration::from_micros(microseconds)))
}

/// One line that a terminal or a log can show: control characters and those that reorder or break lines are escaped.
fn tame(text: &str) -> String {
    let mut tame = String::new();
    for letter in text.chars() {
        let before = tame.len();
        push_tame(&mut tame, letter);
        if tame.len() > LONGEST_STATUS - '…'.len_utf8() {
            tame.truncate(before);
            tame.push('…');
            break;
        }
    }
    tame
}
