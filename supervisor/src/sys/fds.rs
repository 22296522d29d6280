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

/// Closes this process's copy of an fd, whoever owns it.
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

/// Marks every fd from `first` up as close-on-exec, whoever opened it (a library, or whoever started us).
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
    fn the_walk_marks_what_close_range_would() {
        let (read, _write) = nix::unistd::pipe().unwrap();
        mark_one_by_one(read.as_raw_fd()).unwrap();
        let flags = FdFlag::from_bits_retain(fcntl(&read, FcntlArg::F_GETFD).unwrap());
        assert!(flags.contains(FdFlag::FD_CLOEXEC));
    }
}
