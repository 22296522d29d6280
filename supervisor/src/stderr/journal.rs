//! The last lines of a worker from the journal, by `journalctl`, in the process and with the rights of the user who asks: the supervisor
//! neither may read the journal nor could it wait for that.

use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant, UNIX_EPOCH};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::LastLines;
use crate::clock;
use crate::protocol::{StderrKind, StderrPlace, parse_rfc3339};

/// How much of its output is read, in bytes.
const MOST: usize = 64 * 1024;

/// How many entries it is asked for: more than are kept, since the one that tells the reason may be further up.
const ENTRIES: &str = "--lines=100";

/// How long after the first lines it is asked once more: journald writes what it has received a little later, and the last line
/// matters most.
const AGAIN: Duration = Duration::from_millis(60);

/// The pause between two attempts while there is nothing.
const PAUSE: Duration = Duration::from_millis(150);

/// The pause while a program that has closed its output ends.
const MOMENT: Duration = Duration::from_millis(1);

/// How often the journal is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// Until the lines of an app that has just died have arrived.
    UntilThere,
    /// Once: it died a while ago.
    Once,
}

/// The last lines of the worker whose place this is. `None`: its standard error is not the journal, there are none within this time, or we
/// may not read them.
pub(crate) fn from_journal(place: &StderrPlace, look: Look, within: Duration) -> Option<LastLines> {
    let (identifier, pid) = match place.kind {
        StderrKind::Journal => (place.identifier.as_ref()?, place.pid?),
        StderrKind::File
        | StderrKind::SharedFile
        | StderrKind::UnreadFile
        | StderrKind::Terminal
        | StderrKind::Null
        | StderrKind::Device
        | StderrKind::Pipe
        | StderrKind::Socket
        | StderrKind::Other => return None,
    };
    let since = parse_rfc3339(place.since.as_ref()?)?
        .duration_since(UNIX_EPOCH)
        .ok()?;
    let deadline = clock::now() + within;
    let mut command = Command::new("journalctl");
    command
        .args(["--quiet", "--no-pager", "--all", "--output=cat", ENTRIES])
        .arg(format!("--since=@{}", since.as_secs()))
        .arg(format!("--identifier={identifier}"))
        .arg(format!("_PID={pid}"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    loop {
        let found = look_once(&mut command, deadline)?;
        match (found.lines.is_empty(), look) {
            (true, Look::Once) => return None,
            (true, Look::UntilThere) => rest(PAUSE, deadline)?,
            (false, Look::Once) => return Some(found),
            (false, Look::UntilThere) => {
                let again = rest(AGAIN, deadline).and_then(|()| look_once(&mut command, deadline));
                return Some(again.unwrap_or(found));
            }
        }
    }
}

/// `None`: the time is over.
fn rest(pause: Duration, deadline: Instant) -> Option<()> {
    (clock::now() + pause < deadline).then(|| sleep(pause))
}

/// `None`: it cannot be run, may not read any journal, or does not end in time.
fn look_once(command: &mut Command, deadline: Instant) -> Option<LastLines> {
    let mut child = command.spawn().ok()?;
    let output = read_all(&mut child, deadline);
    // Where it may open no journal file it says nothing and fails. Nothing will come then, however long one waits.
    let refused = output.as_ref().is_some_and(String::is_empty) && has_failed(&mut child, deadline);
    // It has nothing more to say, or no time for it.
    let _ = child.kill();
    let _ = child.wait();
    let output = output.filter(|_| !refused)?;
    Some(LastLines::of(&output, |_| false))
}

/// Whether a child that has closed its output ends with an error, in time.
fn has_failed(child: &mut Child, deadline: Instant) -> bool {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return !status.success(),
            Ok(None) if rest(MOMENT, deadline).is_some() => {}
            Ok(None) | Err(_) => return false,
        }
    }
}

fn read_all(child: &mut Child, deadline: Instant) -> Option<String> {
    let mut stdout = child.stdout.take()?;
    let mut output = Vec::new();
    let mut piece = [0; 4096];
    while output.len() < MOST {
        let left = deadline.saturating_duration_since(clock::now());
        let mut poll_set = [PollFd::new(stdout.as_fd(), PollFlags::POLLIN)];
        let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut poll_set, left) {
            Ok(0) => return None,
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(_) => return None,
        }
        match stdout.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => output.extend_from_slice(&piece[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
    Some(String::from_utf8_lossy(&output).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(command: &mut Command) -> Option<Vec<String>> {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped());
        let found = look_once(command, clock::now() + Duration::from_secs(60));
        found.map(|found| found.lines)
    }

    #[test]
    fn a_journal_that_may_not_be_read_is_no_journal_without_lines() {
        assert_eq!(look(&mut Command::new("false")), None);
        assert_eq!(look(&mut Command::new("true")), Some(Vec::new()));
        let failed_late = look(Command::new("sh").args(["-c", "echo last words; exit 1"]));
        assert_eq!(failed_late, Some(vec!["last words".to_owned()]));
        assert_eq!(look(&mut Command::new("/nonexistent")), None);
    }
}
