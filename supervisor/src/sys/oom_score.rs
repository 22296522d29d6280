//! Whom the kernel kills first when memory runs out: oom_score_adj, proc_pid_oom_score_adj(5), from -1000 (never) to 1000.
//! (No `unsafe`: it is here because `launch` and `shell` both need it.)

use super::{kernel_text, signal_by_pidfd};
use nix::unistd::Pid;
use std::collections::VecDeque;
use std::fs::{self, OpenOptions};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt as _;

/// The lowest value and the highest.
pub(crate) const LEAST_OOM_SCORE: i16 = -1000;
pub(crate) const MOST_OOM_SCORE: i16 = 1000;

/// How much more readily than before a draining process is killed. The kernel counts a process as larger by this many
/// thousandths of all memory: one that drains goes before one that serves unless that one uses 30 % of all memory more, and
/// then killing the small one would have helped nobody.
const DRAINING: i16 = 300;

/// How many processes of one worker are told, at most: more would hold the loop up at the takeover.
const MOST_PROCESSES: usize = 256;

/// As the kernel writes it: `-1000` and a newline.
const LONGEST_VALUE: usize = 8;

const OWN: &str = "/proc/self/oom_score_adj";

/// The value of this process.
pub(crate) fn own_oom_score() -> Option<i16> {
    kernel_text(OWN).ok()?.trim().parse().ok()
}

/// Gives this process the value. That of a child is its own.
///
/// # Errors
/// `EACCES` when it is lower than what this process may have, and those of a /proc that is not there.
pub(crate) fn set_own_oom_score(value: i16) -> std::io::Result<()> {
    if own_oom_score() == Some(value) {
        return Ok(());
    }
    fs::write(OWN, value.to_string())
}

/// Gives this process the lowest value that it may have, for all connections depend on it and it is small. Without
/// `CAP_SYS_RESOURCE` that is the lowest that somebody with it has ever set; the kernel does not tell which, so it is asked.
pub(crate) fn lower_own_oom_score() {
    let Some(born) = own_oom_score() else { return };
    // Whatever is above this is allowed; below `refused` nothing is.
    let (mut allowed, mut refused) = (born, LEAST_OOM_SCORE - 1);
    let mut wanted = LEAST_OOM_SCORE;
    while allowed - refused > 1 {
        match fs::write(OWN, wanted.to_string()) {
            Ok(()) => allowed = wanted,
            Err(_) => refused = wanted,
        }
        wanted = refused + (allowed - refused) / 2;
    }
}

/// Whether the number of a process is its own.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Numbered<'a> {
    /// It is our child, and we have not reaped it.
    ForCertain,
    /// As long as its pidfd says that it lives.
    WhileItLives(BorrowedFd<'a>),
}

/// A worker drains from now on: it, and what its first thread and theirs have forked, is killed rather than others. What does not let us
/// is left as it is: nothing depends on it.
pub(crate) fn raise_oom_score(pid: Pid, numbered: Numbered<'_>) {
    let mut next = VecDeque::from([pid.as_raw()]);
    let mut left = MOST_PROCESSES;
    let lives = || match numbered {
        Numbered::ForCertain => true,
        Numbered::WhileItLives(pidfd) => signal_by_pidfd(pidfd, None).is_ok(),
    };
    while let Some(pid) = next.pop_front().filter(|_| left > 0) {
        left -= 1;
        raise(pid, &lives);
        // proc_pid_task(5); threads besides the first are passed over, for there may be hundreds.
        let children = kernel_text(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        next.extend(
            children
                .split_ascii_whitespace()
                .filter_map(|pid| pid.parse::<i32>().ok()),
        );
    }
}

/// The file stays that of the process which had the number when it was opened.
fn raise(pid: i32, lives: &dyn Fn() -> bool) -> Option<()> {
    let path = format!("/proc/{pid}/oom_score_adj");
    let file = OpenOptions::new().read(true).write(true).open(path).ok()?;
    let mut text = [0; LONGEST_VALUE];
    let length = file.read_at(&mut text, 0).ok()?;
    let own: i16 = std::str::from_utf8(text.get(..length)?)
        .ok()?
        .trim()
        .parse()
        .ok()?;
    if lives() {
        file.write_all_at(draining(own).to_string().as_bytes(), 0).ok()?;
    }
    Some(())
}

fn draining(own: i16) -> i16 {
    own.saturating_add(DRAINING).min(MOST_OOM_SCORE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draining_is_higher_and_never_too_high() {
        assert_eq!(
            [-1000, 0, 699, 900, 1000].map(draining),
            [-700, 300, 999, 1000, 1000]
        );
    }
}
