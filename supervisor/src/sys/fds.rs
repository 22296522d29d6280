//! Putting fds at the numbers at which an app expects them, and keeping all others from it.

use super::InChild;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// A duplicate of `fd` with the lowest free number that is at least `lowest`, close-on-exec.
///
/// # Errors
/// `EMFILE` or `EINVAL` when `lowest` or the result would be above the limit of open files.
pub(crate) fn move_above(fd: BorrowedFd<'_>, lowest: RawFd) -> Result<OwnedFd, Errno> {
    let number = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(lowest))?;
    // SAFETY: the kernel has just made this fd; nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Makes `number` a duplicate of `fd` that exec keeps, closing whatever had that number.
///
/// Only in the child: in the parent `number` might be owned by someone.
///
/// # Errors
/// As dup2(2); `EBADF` above the limit of open files.
pub(crate) fn place_at(_: &InChild, fd: BorrowedFd<'_>, number: RawFd) -> Result<(), Errno> {
    if fd.as_raw_fd() == number {
        // dup2 onto itself would leave the close-on-exec flag in place.
        return keep_over_exec(fd);
    }
    // SAFETY: dup2 touches no memory. Replacing `number` under its owner is what this is for: in the child no
    // owner is ever used or dropped again, for the child ends in exec or `_exit`.
    let result = unsafe { libc::dup2(fd.as_raw_fd(), number) };
    Errno::result(result).map(drop)
}

/// Closes this process's copy of an fd, no matter which value owns it.
///
/// Only in the child: in the parent the owner would close the number a second time.
pub(crate) fn close_in_child(_: &InChild, fd: BorrowedFd<'_>) {
    // SAFETY: close takes an integer. In the child no owner is ever used or dropped again, for the child ends in exec or
    // `_exit`.
    let _ = unsafe { libc::close(fd.as_raw_fd()) };
}

/// Clears close-on-exec on `fd`.
///
/// # Errors
/// As fcntl(2).
pub(crate) fn keep_over_exec(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty())).map(drop)
}

/// Marks every fd from `first` up as close-on-exec, also one that a library or our parent opened.
///
/// close_range(2) does it in one call since Linux 5.11; before, /proc/self/fd is walked.
///
/// # Errors
/// Those of reading /proc/self/fd, where close_range cannot do it.
pub(crate) fn close_on_exec_from(_: &InChild, first: RawFd) -> Result<(), Errno> {
    let lowest = libc::c_uint::try_from(first).map_err(|_| Errno::EINVAL)?;
    // SAFETY: close_range takes three integers, and with this flag closes nothing yet.
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            lowest,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    match Errno::result(result) {
        Ok(_) => Ok(()),
        Err(_) => mark_one_by_one(first),
    }
}

/// Closes every fd from `first` up but for these, also those that we did not open. Before Linux 5.9 there is no close_range(2), and they stay open
/// until exec.
pub(crate) fn close_all_but(_: &InChild, first: RawFd, kept: &[BorrowedFd<'_>]) {
    let mut kept: Vec<RawFd> = kept.iter().map(AsRawFd::as_raw_fd).collect();
    kept.sort_unstable();
    let mut next = first;
    for number in kept {
        close_between(next, number - 1);
        next = next.max(number + 1);
    }
    close_between(next, RawFd::MAX);
}

fn close_between(first: RawFd, last: RawFd) {
    let (Ok(first), Ok(last)) = (libc::c_uint::try_from(first), libc::c_uint::try_from(last)) else {
        return;
    };
    if first <= last {
        // SAFETY: close_range takes three integers. In the child no owner is ever used or dropped again, for the child ends in exec
        // or `_exit`.
        let _ = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    }
}

fn mark_one_by_one(first: RawFd) -> Result<(), Errno> {
    let entries = std::fs::read_dir("/proc/self/fd").map_err(|error| errno_of(&error))?;
    let numbers: Vec<RawFd> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|number| *number >= first)
        .collect();
    for number in numbers {
        // SAFETY: the number was listed as open, or is the walk's own fd that has been closed since; the flag
        // of an fd is all that is touched, and EBADF is harmless.
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        match fcntl(fd.as_fd(), FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)) {
            Ok(_) | Err(Errno::EBADF) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_closed_but_those_that_are_kept() {
        let (first, second) = nix::unistd::pipe().unwrap();
        let (third, fourth) = nix::unistd::pipe().unwrap();
        let is_open = |fd: &std::os::fd::OwnedFd| fcntl(fd, FcntlArg::F_GETFD).is_ok();
        let pid = super::super::fork(|child| {
            close_all_but(child, libc::STDERR_FILENO + 1, &[third.as_fd(), second.as_fd()]);
            let open = [&first, &second, &third, &fourth].map(is_open);
            i32::from(open != [false, true, true, false])
        })
        .unwrap();
        let ended = nix::sys::wait::waitpid(pid, None).unwrap();
        assert_eq!(ended, nix::sys::wait::WaitStatus::Exited(pid, 0));
    }

    #[test]
    fn the_walk_marks_what_close_range_would() {
        let (read, _write) = nix::unistd::pipe().unwrap();
        mark_one_by_one(read.as_raw_fd()).unwrap();
        let flags = FdFlag::from_bits_retain(fcntl(&read, FcntlArg::F_GETFD).unwrap());
        assert!(flags.contains(FdFlag::FD_CLOEXEC));
    }
}
