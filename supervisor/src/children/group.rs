//! Process groups.

use super::Groups;
use crate::sys::{self, ProcessRow};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use std::os::fd::{AsFd, BorrowedFd};

/// Who is in a group beside its leader, as far as /proc shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Members {
    /// At least one lives.
    Living,
    /// All are zombies.
    Dead,
    /// There is none.
    None,
}

/// The members of the group that `leader` leads or led, without itself.
pub(super) fn members(leader: Pid, rows: &[ProcessRow]) -> Members {
    let others = rows.iter().filter(|row| row.group == leader && row.pid != leader);
    others.fold(Members::None, |seen, row| match (seen, row.zombie) {
        (Members::Living, _) | (_, false) => Members::Living,
        (Members::Dead | Members::None, true) => Members::Dead,
    })
}

/// What this kernel can do; asked of our own process group.
pub(super) fn named_by() -> Groups {
    // The leader of our group may be another process; then the answer is ESRCH, which an older kernel would not give either.
    match sys::open_pidfd(Pid::this()).and_then(|own| sys::signal_group_by_pidfd(own.as_fd(), None)) {
        Ok(()) | Err(Errno::ESRCH) => Groups::ByPidfd,
        Err(_) => Groups::ByNumber,
    }
}

/// Sends `signal` to the group, or with `None` asks whether there is one. By the leader's pidfd, which cannot mean
/// another group; by number on kernels before 6.9.
pub(crate) fn signal(leader: Pid, pidfd: BorrowedFd<'_>, signal: Option<Signal>) -> Result<(), Errno> {
    or_to_the_leader(signal_members(leader, pidfd, signal), || {
        sys::signal_by_pidfd(pidfd, signal)
    })
}

/// Whether there is a group that was led by a process that has been reaped: `ESRCH` if not. Zombies count.
pub(super) fn ask_without_leader(leader: Pid, pidfd: BorrowedFd<'_>) -> Result<(), Errno> {
    signal_members(leader, pidfd, None)
}

fn signal_members(leader: Pid, pidfd: BorrowedFd<'_>, signal: Option<Signal>) -> Result<(), Errno> {
    match sys::signal_group_by_pidfd(pidfd, signal) {
        Err(Errno::EINVAL) => killpg(leader, signal),
        sent => sent,
    }
}

/// As [`signal`], where the leader has not been reaped and pidfds cannot be used.
pub(super) fn signal_by_number(leader: Pid, signal: Signal) -> Result<(), Errno> {
    or_to_the_leader(killpg(leader, signal), || kill(leader, signal))
}

/// A leader that has only just been forked has not made its group yet, and is all of it. One that has been reaped is nobody: that
/// is `ESRCH` again.
fn or_to_the_leader(
    sent: Result<(), Errno>,
    to_the_leader: impl FnOnce() -> Result<(), Errno>,
) -> Result<(), Errno> {
    match sent {
        Err(Errno::ESRCH) => to_the_leader(),
        sent => sent,
    }
}
