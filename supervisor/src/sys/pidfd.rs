//! Handles of processes that no other process can inherit, unlike a pid.

use super::ExitStatus;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
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
    owned(result)
}

/// A duplicate of the fd that has this number in the process of `pidfd`, close-on-exec, pidfd_getfd(2), Linux 5.6.
///
/// # Errors
/// `EBADF` if the process has no such fd, `EPERM` if we might not trace it (ptrace(2)), `ESRCH` if it has ended.
pub(crate) fn fd_of(pidfd: BorrowedFd<'_>, number: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: pidfd_getfd takes three integers.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), number, 0) };
    owned(result)
}

fn owned(result: libc::c_long) -> Result<OwnedFd, Errno> {
    let number = Errno::result(result)?;
    let number = RawFd::try_from(number).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just made this fd; nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Whether the process of `pidfd`, which need not be our child, has ended.
pub(crate) fn is_dead_by_pidfd(pidfd: BorrowedFd<'_>) -> bool {
    // It becomes readable when its process has ended (pidfd_open(2)).
    let mut poll_set = [PollFd::new(pidfd, PollFlags::POLLIN)];
    poll(&mut poll_set, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

/// What the kernel says about the end of a process that is not our child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// How it ended.
    Status(ExitStatus),
    /// Nothing before its parent has reaped it, if ever.
    NotYet,
    /// Nothing: this kernel cannot tell.
    Never,
}

/// `struct pidfd_info` of linux/pidfd.h, in its first version, which every kernel takes.
#[repr(C)]
#[derive(Default)]
struct Info {
    mask: u64,
    cgroup: u64,
    /// pid, tgid, ppid, and eight ids of user and group.
    ids: [u32; 11],
    /// As wait(2) gives it.
    exit_code: i32,
}

/// `PIDFD_INFO_EXIT`: the exit code is asked for, or given. Linux 6.15.
const EXIT: u64 = 1 << 3;

/// `PIDFD_GET_INFO`, `_IOWR(0xFF, 11, struct pidfd_info)`. Linux 6.13.
const GET_INFO: u32 = (3 << 30) | ((size_of::<Info>() as u32) << 16) | (0xFF << 8) | 11;

/// How the process of `pidfd` ended, which need not be our child.
pub(crate) fn exit_status_by_pidfd(pidfd: BorrowedFd<'_>) -> Told {
    let mut info = Info {
        mask: EXIT,
        ..Info::default()
    };
    // SAFETY: `info` is alive, of the size that the request says, and any bytes are valid in it.
    let result = unsafe { libc::ioctl(pidfd.as_raw_fd(), GET_INFO as _, &raw mut info) };
    match Errno::result(result) {
        Ok(_) if info.mask & EXIT != 0 => Told::Status(ExitStatus::from_wait(info.exit_code)),
        Ok(_) => Told::NotYet,
        Err(_) => Told::Never,
    }
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
