//! Handles of processes that no other process can inherit, unlike a pid.

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// `PIDFD_SIGNAL_PROCESS_GROUP` of linux/pidfd.h: the signal goes to the process group that the process leads.
const TO_THE_GROUP: libc::c_uint = 1 << 2;

/// A pidfd of `pid`, close-on-exec, pidfd_open(2), Linux 5.3. Free of races for an own child that nobody else reaps.
///
/// # Errors
/// `ESRCH` if there is no such process, `EMFILE`, `ENFILE`.
pub(crate) fn open_pidfd(pid: Pid) -> Result<OwnedFd, Errno> {
    // SAFETY: pidfd_open takes two integers.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    let number = Errno::result(result)?;
    let number = RawFd::try_from(number).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just made this fd; nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Sends `signal` to the process of `pidfd`, or with `None` only asks whether that is possible. Never hits
/// another process that has got the same number.
///
/// # Errors
/// `ESRCH` once the process is reaped, `EPERM`.
pub(crate) fn signal_by_pidfd(pidfd: BorrowedFd<'_>, signal: Option<Signal>) -> Result<(), Errno> {
    send(pidfd, signal, 0)
}

/// Sends `signal` to every process of the group that the process of `pidfd` leads or led, or with `None` only
/// asks whether the group has members (zombies count). Right even when the leader has been reaped.
///
/// # Errors
/// `EINVAL` before Linux 6.9, which cannot do this; `ESRCH` when the group is empty; `EPERM`.
pub(crate) fn signal_group_by_pidfd(pidfd: BorrowedFd<'_>, signal: Option<Signal>) -> Result<(), Errno> {
    send(pidfd, signal, TO_THE_GROUP)
}

fn send(pidfd: BorrowedFd<'_>, signal: Option<Signal>, flags: libc::c_uint) -> Result<(), Errno> {
    let number = signal.map_or(0, |signal| signal as libc::c_int);
    let no_info: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: a null info is allowed (the kernel fills it in as for kill); all else are integers.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            number,
            no_info,
            flags,
        )
    };
    Errno::result(result).map(drop)
}
