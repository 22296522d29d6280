//! Making a child.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::{ForkResult, Pid};

/// The exit status of a child that panicked before it could exec. Any other non-zero status would do: the
/// parent hears of the failure through the report pipe.
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
            let unwound = ExitOnDrop;
            let status = child(&InChild(()));
            std::mem::forget(unwound);
            exit_now(status)
        }
    }
}

/// Has a command start in a process group of its own, with no signal blocked or ignored, and get SIGTERM when we end, however we end.
/// It fails to start if we have ended by then.
pub(crate) fn start_on_its_own(command: &mut Command) -> &mut Command {
    start_in_our_group(command).process_group(0)
}

/// The same in our process group, so that the terminal which is ours is the command's as well.
pub(crate) fn start_in_our_group(command: &mut Command) -> &mut Command {
    let parent = Pid::this();
    let prepare = move || {
        let child = InChild(());
        super::default_dispositions(&child);
        super::unblock_all(&child)?;
        super::end_with(&child, parent, Signal::SIGTERM)?;
        Ok(())
    };
    // SAFETY: only system calls are made, and the process that forks has a single thread.
    unsafe { command.pre_exec(prepare) }
}

/// Ends the child if `child` unwinds.
struct ExitOnDrop;

impl Drop for ExitOnDrop {
    fn drop(&mut self) {
        exit_now(PANICKED)
    }
}

fn exit_now(status: i32) -> ! {
    // SAFETY: `_exit` takes any value, touches no memory of ours and does not return.
    unsafe { libc::_exit(status) }
}
