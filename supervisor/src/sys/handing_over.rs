//! What a process hands to the binary that it executes in its own place: fds by their numbers, and its environment as it was.

use std::ffi::{CStr, CString, OsString};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::InChild;

/// `MFD_NOEXEC_SEAL` of memfd_create(2), Linux 6.3: nobody executes the file. Where the sysctl `vm.memfd_noexec` is 2, files
/// without it cannot be made.
const NOEXEC_SEAL: MFdFlags = MFdFlags::from_bits_retain(8);

unsafe extern "C" {
    /// environ(7).
    static environ: *const *const libc::c_char;
}

/// The whole environment, byte for byte and in its order, malformed entries included.
pub(crate) fn environment() -> Vec<CString> {
    let mut entries = Vec::new();
    // SAFETY: `environ` is null or leads to pointers to strings, of which the last is null (environ(7)). The program has one
    // thread, so that nobody changes it meanwhile.
    unsafe {
        let mut next = environ;
        while !next.is_null() && !(*next).is_null() {
            entries.push(CStr::from_ptr(*next).to_owned());
            next = next.add(1);
        }
    }
    entries
}

/// Takes a variable out of the environment; the others stay as they are.
pub(crate) fn take_variable(name: &str) -> Option<OsString> {
    let value = std::env::var_os(name)?;
    // SAFETY: the program has one thread, so that nobody reads the environment meanwhile.
    unsafe { std::env::remove_var(name) };
    Some(value)
}

/// Takes over an fd that was left open for this process under a number, and marks it close-on-exec.
///
/// To be called once for a number, and for none that anybody else in this process has.
///
/// # Errors
/// `EBADF` if there is no such fd, or if it is one of the first three, which are everybody's.
pub(crate) fn take_fd(number: RawFd) -> Result<OwnedFd, Errno> {
    if number <= libc::STDERR_FILENO {
        return Err(Errno::EBADF);
    }
    // SAFETY: only its flag is touched, and EBADF is an answer.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    close_on_exec(borrowed)?;
    // SAFETY: it is open, and by the contract above nobody else in this process has it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// A duplicate, close-on-exec, of an fd that was left open for this process under a number. The number stays as it is.
///
/// # Errors
/// `EBADF` as for [`take_fd`]; `EMFILE` if there is no room for another.
pub(crate) fn duplicate_fd(number: RawFd) -> Result<OwnedFd, Errno> {
    if number <= libc::STDERR_FILENO {
        return Err(Errno::EBADF);
    }
    // SAFETY: it is only duplicated, and EBADF is an answer.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    super::move_above(borrowed, libc::STDERR_FILENO + 1)
}

/// Closes an fd that was left open for this process under a number and of which [`duplicate_fd`] has given a duplicate.
///
/// To be called once for a number.
pub(crate) fn close_left(number: RawFd) {
    // SAFETY: it is open, for it was duplicated, and by the contract above nobody else in this process has it.
    drop(unsafe { OwnedFd::from_raw_fd(number) });
}

/// Sets close-on-exec on `fd`.
///
/// # Errors
/// As fcntl(2).
pub(crate) fn close_on_exec(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    fcntl(fd.as_fd(), FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map(drop)
}

/// A file in memory that can be sealed, close-on-exec.
///
/// # Errors
/// As memfd_create(2).
pub(crate) fn memory_file(name: &CStr) -> Result<File, Errno> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    match memfd_create(name, flags | NOEXEC_SEAL) {
        Err(Errno::EINVAL) => memfd_create(name, flags),
        outcome => outcome,
    }
    .map(File::from)
}

/// Has the kernel send this child a signal when its parent ends (`PR_SET_PDEATHSIG` of prctl(2)).
///
/// # Errors
/// `ESRCH` if the parent is dead already: then nobody would send it.
pub(crate) fn end_with(_: &InChild, parent: Pid, signal: Signal) -> Result<(), Errno> {
    nix::sys::prctl::set_pdeathsig(signal)?;
    if Pid::parent() == parent {
        Ok(())
    } else {
        Err(Errno::ESRCH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd as _;

    #[test]
    fn the_environment_is_that_of_the_process() {
        let whole = environment();
        for (key, value) in std::env::vars_os() {
            use std::os::unix::ffi::OsStringExt as _;
            let entry = [key.into_vec(), b"=".to_vec(), value.into_vec()].concat();
            assert!(whole.iter().any(|known| known.to_bytes() == entry));
        }
    }

    #[test]
    fn only_open_fds_above_the_first_three_can_be_taken() {
        assert_eq!(take_fd(2).unwrap_err(), Errno::EBADF);
        assert_eq!(take_fd(-1).unwrap_err(), Errno::EBADF);
        assert_eq!(take_fd(RawFd::MAX).unwrap_err(), Errno::EBADF);
        let (read, _write) = nix::unistd::pipe().unwrap();
        let number = read.as_raw_fd();
        std::mem::forget(read);
        let taken = take_fd(number).unwrap();
        let flags = FdFlag::from_bits_retain(fcntl(&taken, FcntlArg::F_GETFD).unwrap());
        assert!(flags.contains(FdFlag::FD_CLOEXEC));
    }
}
