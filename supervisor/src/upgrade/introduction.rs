//! Whether a binary is a segue at all, asked before it is given anything.
//!
//! What is none may do anything when it is executed: begin to run as a daemon, for one, which would have the listeners and the
//! supervisor's lock open for as long as it lives. So the first question is `--version`, which every segue answers, and a program that is
//! asked has no fd but the first three and no variable by which it could speak to systemd in our name.

use std::convert::Infallible;
use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::exec::execute;
use super::reply::{self, Reply};
use crate::launch::{self, Binary};
use crate::sys::{self, InChild, errno_text};

/// What the answer begins with; the version follows.
const INTRODUCTION: &str = "segue ";

/// Executes the binary with `--version` in a child of this process, which is a child of the supervisor itself, and waits for it.
/// The supervisor bounds that time: it kills the process group of both. `own_name` is the word before the arguments. Every fd of
/// this process but the first three must be close-on-exec.
///
/// # Errors
/// One line: it cannot be executed, or it is no segue.
pub(super) fn introduce(
    asker: &InChild,
    binary: &Binary,
    own_name: &[CString],
    environment: &[CString],
) -> Result<(), String> {
    let failed = |attempt: &str, errno: Errno| format!("{attempt}: {}", errno_text(errno));
    let (answer, end) = reply::pipe().map_err(|errno| failed("pipe", errno))?;
    let argv = [own_name, &[c"--version".to_owned()]].concat();
    let environment: Vec<CString> = environment
        .iter()
        .filter(|entry| !is_for_us(entry))
        .cloned()
        .collect();
    let this = Pid::this();
    let asked = sys::fork(|child| {
        let Err(reason) = say_version(child, this, binary, end.as_fd(), &argv, &environment);
        reply::say_not_executed(end.as_fd(), &reason)
    });
    let asked = asked.map_err(launch::fork_failed)?;
    let status = sys::wait_for(asker, asked).map_err(|errno| failed("wait", errno))?;
    let reply = Reply::read(&answer, status).map_err(|errno| failed("read", errno))?;
    let path = binary.path().display();
    match (reply.not_executed(), reply.after(INTRODUCTION)) {
        (Some(reason), _) => Err(reason.to_owned()),
        (None, Some(_)) if reply.is_success() => Ok(()),
        (None, _) if reply.is_success() => Err(format!(
            "{path} is no segue: asked for its version, it said {}",
            reply.words()
        )),
        (None, _) => Err(format!("{path} does not tell its version: {reply}")),
    }
}

/// Whether a variable was meant for the supervisor alone.
fn is_for_us(entry: &CString) -> bool {
    let key = entry.as_bytes().split(|byte| *byte == b'=').next();
    key.is_some_and(|key| launch::is_for_the_supervisor(OsStr::from_bytes(key)))
}

fn say_version(
    child: &InChild,
    asker: Pid,
    binary: &Binary,
    end: BorrowedFd<'_>,
    argv: &[CString],
    environment: &[CString],
) -> Result<Infallible, String> {
    let prepared = || {
        sys::end_with(child, asker, Signal::SIGKILL)?;
        // Reasons of others than segue, such as a missing library, come to standard error.
        sys::place_at(child, end, libc::STDOUT_FILENO)?;
        sys::place_at(child, end, libc::STDERR_FILENO)
    };
    prepared().map_err(|errno| format!("exec {}: {}", binary.path().display(), errno_text(errno)))?;
    execute(binary, argv, environment)
}
