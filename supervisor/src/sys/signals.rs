//! Signals around fork and exec: an app starts with none blocked and none ignored, whatever we were started with.

use super::InChild;
use nix::errno::Errno;
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::siginfo;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// The highest signal number of Linux on x86-64 and aarch64.
const HIGHEST: libc::c_int = 64;

/// The size of the kernel's signal mask in bytes, which rt_sigaction(2) insists on.
const MASK_BYTES: libc::size_t = 8;

/// At least as large as `struct sigaction` of the kernel (32 bytes on x86-64 and aarch64).
type KernelAction = [u64; 8];

/// So many signals are read in one call. A signal that is pending is not queued twice (signal(7)), so that this is more than all that
/// a supervisor takes, each sent to its process and to its thread.
const SIGNALS_A_READ: usize = 20;

/// The signals that are pending on a signalfd that does not wait, signalfd(2). What does not fit into one read stays pending.
pub(crate) fn read_signals(signalfd: BorrowedFd<'_>) -> Vec<siginfo> {
    let mut pending: Vec<siginfo> = Vec::with_capacity(SIGNALS_A_READ);
    let room = SIGNALS_A_READ * size_of::<siginfo>();
    // SAFETY: the vector has room for as many bytes, and the kernel writes nothing but whole structures of this type.
    let length = unsafe { libc::read(signalfd.as_raw_fd(), pending.as_mut_ptr().cast(), room) };
    let whole = usize::try_from(length).unwrap_or(0) / size_of::<siginfo>();
    // SAFETY: the kernel has written so many of them, of integers alone.
    unsafe { pending.set_len(whole) };
    pending
}

/// Runs `action` with every signal blocked and restores the mask after it. Around a fork it keeps a handler
/// of the parent from running in the child and a signal from being lost between fork and exec.
pub(crate) fn with_signals_blocked<T>(action: impl FnOnce() -> T) -> T {
    let mut before = SigSet::empty();
    // Not pthread_sigmask, whose failures nix does not tell: what it had not filled in would be restored.
    let blocked = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before));
    let result = action();
    if blocked.is_ok() {
        // It cannot fail: the mask came from the kernel.
        let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None);
    }
    result
}

/// Gives every signal its default disposition, ignored ones included (nohup ignores SIGHUP, Rust ignores SIGPIPE),
/// and those two that the C library keeps for itself and refuses to `sigaction`.
pub(crate) fn default_dispositions(_: &InChild) {
    for number in 1..=HIGHEST {
        if !matches!(number, libc::SIGKILL | libc::SIGSTOP) {
            set_default(number);
        }
    }
}

/// Ignores SIGXFSZ from now on, so that a write beyond the file size limit (`ulimit -f`, setrlimit(2)) fails with `EFBIG`, as it fails
/// on a full disk, and does not end the process. Children get it back, [`default_dispositions`].
pub(crate) fn ignore_file_size_limit() {
    // SAFETY: no handler is installed, and nobody relies on the default, which is to dump a core.
    let _ = unsafe { nix::sys::signal::signal(Signal::SIGXFSZ, SigHandler::SigIgn) };
}

/// Gives SIGCHLD its default disposition, which still tells a signalfd.
pub(super) fn stop_ignoring_children() {
    set_default(libc::SIGCHLD);
}

fn set_default(number: libc::c_int) {
    let default: KernelAction = [0; 8];
    // SAFETY: the pointer is to readable memory that is larger than what the kernel reads; all zero means SIG_DFL
    // without flags. No handler is lost that anything relies on: the child is about to exec, and the supervisor
    // has none (it reads a signalfd).
    let _ = unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            number,
            default.as_ptr(),
            std::ptr::null_mut::<KernelAction>(),
            MASK_BYTES,
        )
    };
}

/// Blocks no signal any more. In the child it comes last before exec: what is pending by then acts by default.
///
/// # Errors
/// None in practice, sigprocmask(2).
pub(crate) fn unblock_all(_: &InChild) -> Result<(), Errno> {
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
}
