//! Looking at dead children and reaping them, two separate acts.

use super::InChild;
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use std::fmt;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExitStatus {
    /// It exited with this status.
    Code(i32),
    /// A signal killed it.
    Signal {
        /// The number; real-time signals have no name.
        number: i32,
        /// Whether it left a core dump.
        core_dumped: bool,
    },
    /// It was not our child, and the kernel does not tell.
    Unknown,
}

impl ExitStatus {
    /// Reads a status as wait(2) gives it.
    pub(super) fn from_wait(status: libc::c_int) -> ExitStatus {
        if libc::WIFEXITED(status) {
            ExitStatus::Code(libc::WEXITSTATUS(status))
        } else {
            ExitStatus::Signal {
                number: libc::WTERMSIG(status),
                core_dumped: libc::WCOREDUMP(status),
            }
        }
    }
}

impl ExitStatus {
    /// Whether it was SIGKILL.
    pub(crate) fn is_sigkill(self) -> bool {
        match self {
            ExitStatus::Signal { number, .. } => number == libc::SIGKILL,
            ExitStatus::Code(_) | ExitStatus::Unknown => false,
        }
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            ExitStatus::Code(code) => write!(f, "exited with status {code}"),
            ExitStatus::Unknown => f.write_str("unknown (adopted)"),
            ExitStatus::Signal { number, core_dumped } => {
                match Signal::try_from(number) {
                    Ok(signal) => write!(f, "killed by {signal}")?,
                    Err(_) => write!(f, "killed by signal {number}")?,
                }
                if core_dumped {
                    f.write_str(" (core dumped)")
                } else {
                    Ok(())
                }
            }
        }
    }
}

/// Which children are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// Any child.
    Any,
    /// This child.
    Process(Pid),
}

/// A child that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dead {
    /// Its pid, which stays its own until it is reaped.
    pub(crate) pid: Pid,
    /// How it ended.
    pub(crate) status: ExitStatus,
}

/// A dead child, if there is one, left as it is. Does not wait.
///
/// `nix::sys::wait` is not used because it fails on a child that a real-time signal killed.
///
/// # Errors
/// `ECHILD` if there is no such child.
pub(crate) fn peek(who: Who) -> Result<Option<Dead>, Errno> {
    wait(who, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT)
}

/// A dead child, if there is one; its pid is free from then on. Does not wait.
///
/// # Errors
/// `ECHILD` if there is no such child.
pub(crate) fn reap(who: Who) -> Result<Option<Dead>, Errno> {
    wait(who, libc::WEXITED | libc::WNOHANG)
}

/// Waits until a child has ended, and reaps it. Only in a child of the supervisor, which itself waits for nothing but in its loop.
///
/// # Errors
/// `ECHILD` if there is no such child.
pub(crate) fn wait_for(_: &InChild, pid: Pid) -> Result<ExitStatus, Errno> {
    let dead = wait(Who::Process(pid), libc::WEXITED)?;
    dead.map(|dead| dead.status).ok_or(Errno::ECHILD)
}

/// How often a call is asked again because a signal came in between: more often in a row is no accident, and the
/// loop must go round.
const INTERRUPTED_MOST: u32 = 16;

fn wait(who: Who, options: libc::c_int) -> Result<Option<Dead>, Errno> {
    let (kind, id) = match who {
        Who::Any => (libc::P_ALL, 0),
        Who::Process(pid) => (
            libc::P_PID,
            libc::id_t::try_from(pid.as_raw()).map_err(|_| Errno::ECHILD)?,
        ),
    };
    // SAFETY: siginfo_t is plain data, for which all zero is a valid value (and means: nobody).
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // waitid(2) lists EINTR; a caller that took it for an answer would think a living child dead, or never reap a dead one.
    let mut tries = 0;
    loop {
        tries += 1;
        // SAFETY: `info` is valid for writing, and waitid writes nothing else.
        match Errno::result(unsafe { libc::waitid(kind, id, &mut info, options) }) {
            Err(Errno::EINTR) if tries < INTERRUPTED_MOST => {}
            outcome => {
                outcome?;
                break;
            }
        }
    }
    // SAFETY: waitid has filled in the SIGCHLD part of the union, or has left it zero.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    if pid == 0 {
        return Ok(None);
    }
    let status = match info.si_code {
        libc::CLD_EXITED => ExitStatus::Code(status),
        code => ExitStatus::Signal {
            number: status,
            core_dumped: code == libc::CLD_DUMPED,
        },
    };
    Ok(Some(Dead {
        pid: Pid::from_raw(pid),
        status,
    }))
}
