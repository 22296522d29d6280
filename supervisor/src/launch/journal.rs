//! The journal: each generation writes to it under a name of its own.
//!
//! systemd names the stream to the journal that a service got as stderr (or stdout) in `JOURNAL_STREAM`, as
//! `device:inode`, so that a program can tell whether its stderr still is that stream (systemd.exec(5)). Where ours is, each
//! worker gets a stream of its own in its place, opened as sd_journal_stream_fd(3) does, whose lines carry the identifier
//! `NAME.GENERATION`: `journalctl -u UNIT -t app.7` shows one generation alone. Where it is not, the variable would be a lie.

use std::ffi::OsStr;
use std::io::{stderr, stdout};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, MsgFlags, Shutdown, SockFlag, SockType, UnixAddr, connect, send, shutdown, socket,
};
use nix::sys::stat::fstat;

use crate::sys::{self, InChild};

/// The variable, which names device and inode.
pub(super) const VARIABLE: &str = "JOURNAL_STREAM";

/// Where journald takes streams.
const SOCKET: &str = "/run/systemd/journal/stdout";

/// The priority of lines that do not say their own by `<3>` in front: informational, as systemd gives to both streams of a
/// service (`SyslogLevel=` in systemd.exec(5)).
const PRIORITY: u8 = 6;

/// The pauses between attempts while journald has a queue of others who connect; some 30 ms in all, in the child alone. Then
/// the stream that was inherited is kept, which lacks nothing but the name.
const BUSY_WAITS: [Duration; 5] = [
    Duration::from_millis(1),
    Duration::from_millis(2),
    Duration::from_millis(4),
    Duration::from_millis(8),
    Duration::from_millis(16),
];

/// Two empty lines, which journald does not keep, begin each stream. journald finds out whose a line is by asking /proc when
/// it reads it, and keeps the answer for the lines of the same process that follow. So it is made to ask while the process lives
/// for sure: a version that says why it cannot start and ends would otherwise often be read too late, and its last words would be
/// of no unit. (Only root's streams may name the unit themselves.) The second is there to be read: by then journald is done
/// with the first.
const EMPTY_LINES: usize = 2;

/// The pauses in which journald is given time to read one: it does so in a fraction of a millisecond, if it is not busy.
/// Some 20 ms in all, in the child alone; then the app starts all the same.
const READ_WAITS: [Duration; 9] = [
    Duration::from_micros(50),
    Duration::from_micros(50),
    Duration::from_micros(100),
    Duration::from_micros(200),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_millis(2),
    Duration::from_millis(6),
    Duration::from_millis(10),
];

/// Device and inode of a stream.
type Id = (u64, u64);

/// Which of our own stdout and stderr are the stream to the journal that we were given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct JournalStreams {
    stdout: bool,
    stderr: bool,
}

impl JournalStreams {
    /// By the value of `JOURNAL_STREAM`. `None` if neither is.
    pub(crate) fn of_this_process(value: Option<&OsStr>) -> Option<Self> {
        Self::decide(value, id(stdout().as_fd()), id(stderr().as_fd()))
    }

    fn decide(value: Option<&OsStr>, stdout: Option<Id>, stderr: Option<Id>) -> Option<Self> {
        let (device, inode) = value?.to_str()?.split_once(':')?;
        let named: Id = (device.parse().ok()?, inode.parse().ok()?);
        let streams = Self {
            stdout: stdout == Some(named),
            stderr: stderr == Some(named),
        };
        (streams.stdout || streams.stderr).then_some(streams)
    }

    /// Whether stderr is among them.
    pub(super) fn has_stderr(self) -> bool {
        self.stderr
    }

    /// In the child: put a stream of its own in the place of each that is the journal. Returns the value of
    /// `JOURNAL_STREAM` for it; `None` if there is no journald to connect to, and everything is as it was.
    pub(super) fn rename(self, child: &InChild, identifier: &str) -> Option<String> {
        let stream = open(identifier).ok()?;
        let (device, inode) = id(stream.as_fd())?;
        for (number, wanted) in [
            (libc::STDOUT_FILENO, self.stdout),
            (libc::STDERR_FILENO, self.stderr),
        ] {
            if wanted {
                place(child, stream.as_fd(), number)?;
            }
        }
        Some(format!("{device}:{inode}"))
    }
}

fn place(child: &InChild, stream: BorrowedFd<'_>, number: RawFd) -> Option<()> {
    sys::place_at(child, stream, number).ok()
}

fn id(fd: BorrowedFd<'_>) -> Option<Id> {
    fstat(fd).map(|stat| (stat.st_dev, stat.st_ino)).ok()
}

/// A stream to the journal. It never waits longer than [`BUSY_WAITS`]; once it is open it waits like the inherited one.
fn open(identifier: &str) -> Result<OwnedFd, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let stream = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    let journald = UnixAddr::new(SOCKET)?;
    let mut waits = BUSY_WAITS.iter();
    while let Err(errno) = connect(stream.as_raw_fd(), &journald) {
        // A full queue is EAGAIN: connecting to a Unix socket is never under way (connect(2)).
        match (errno, waits.next()) {
            (Errno::EAGAIN, Some(wait)) => std::thread::sleep(*wait),
            _ => return Err(errno),
        }
    }
    shutdown(stream.as_raw_fd(), Shutdown::Read)?;
    write(stream.as_fd(), &header(identifier))?;
    for _ in 0..EMPTY_LINES {
        write(stream.as_fd(), "\n")?;
        wait_until_read(stream.as_fd());
    }
    fcntl(&stream, FcntlArg::F_SETFL(OFlag::empty()))?;
    Ok(stream)
}

fn write(stream: BorrowedFd<'_>, text: &str) -> Result<(), Errno> {
    let sent = send(stream.as_raw_fd(), text.as_bytes(), MsgFlags::MSG_NOSIGNAL)?;
    if sent == text.len() {
        Ok(())
    } else {
        Err(Errno::EIO)
    }
}

fn wait_until_read(stream: BorrowedFd<'_>) {
    let mut waits = READ_WAITS.iter();
    while sys::is_read(stream) == Some(false)
        && let Some(wait) = waits.next()
    {
        std::thread::sleep(*wait);
    }
}

/// What journald reads first: identifier, unit (it knows that by our cgroup), priority, whether lines may say their own
/// priority, and whether to forward to syslog, kmsg and console.
fn header(identifier: &str) -> String {
    format!("{identifier}\n\n{PRIORITY}\n1\n0\n0\n0\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_that_of_sd_journal_stream_fd() {
        assert_eq!(header("app.7"), "app.7\n\n6\n1\n0\n0\n0\n");
    }

    #[test]
    fn only_what_is_the_named_stream_is_replaced() {
        let decide =
            |value: &str, stdout, stderr| JournalStreams::decide(Some(OsStr::new(value)), stdout, stderr);
        let both = |stdout, stderr| Some(JournalStreams { stdout, stderr });
        let (journal, other) = (Some((8, 15)), Some((8, 16)));
        assert_eq!(decide("8:15", journal, journal), both(true, true));
        assert_eq!(decide("8:15", other, journal), both(false, true));
        assert_eq!(decide("8:15", journal, other), both(true, false));
        assert_eq!(decide("8:15", other, other), None);
        assert_eq!(decide("8:15", None, None), None);
        for bad in ["", "8", "8:", ":15", "8:15:1", "x:y"] {
            assert_eq!(decide(bad, journal, journal), None, "{bad}");
        }
        assert_eq!(JournalStreams::decide(None, journal, journal), None);
    }
}
