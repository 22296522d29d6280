//! Making a child.

use std::panic::{AssertUnwindSafe, catch_unwind};

use nix::errno::Errno;
use nix::unistd::{ForkResult, Pid};

/// The exit status of a child that panicked before it could exec, where a panic unwinds (in a release it aborts). Any other non-zero
/// status would do: the parent hears of the failure through the report pipe.
const PANICKED: i32 = 127;

/// Proof of being in the forked child, between fork and exec, where fd numbers and signal dispositions
/// belong to nobody else. Only [`fork`] makes one, and it cannot leave the child.
pub(crate) struct InChild(());

/// Forks. `child` runs in the new process and its result becomes that process's exit status; it never
/// returns into the caller's code, not even by a panic. Gives the child's pid to the parent.
///
/// The child is a copy of the supervisor, every fd included: those that must not reach the app are close-on-exec.
///
/// `child` may allocate and use locks because the supervisor has one thread, so none can be held by another at
/// that instant. (The test harness has more: glibc makes its allocator usable after fork, and the code of
/// `launch` takes no other lock.)
///
/// # Errors
/// `EAGAIN` (too many processes) and `ENOMEM`, fork(2).
pub(crate) fn fork(child: impl FnOnce(&InChild) -> i32) -> Result<Pid, Errno> {
    // SAFETY: the supervisor has a single thread, so the child may do whatever the parent could. It ends in
    // `_exit`, on every path, and thus runs no destructor, exit handler or test harness code of the parent.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            // A guard that exits in its `drop` would not do: where the compiler sees that nothing ever unwinds past it, nobody
            // catches, and a panic that nobody catches is not begun, but ends in an abort.
            let caught = catch_unwind(AssertUnwindSafe(|| child(&InChild(()))));
            exit_now(caught.unwrap_or(PANICKED))
        }
    }
}

fn exit_now(status: i32) -> ! {
    // SAFETY: `_exit` takes any value, touches no memory of ours and does not return.
    unsafe { libc::_exit(status) }
}
