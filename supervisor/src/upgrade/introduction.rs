//! Whether a binary is a segue at all, asked before it is given anything.
//!
//! What is none may do anything when it is executed: begin to run as a daemon, for one, which would have the listeners and the
//! supervisor's lock open for as long as it lives. So the first question is `--version`, which every segue answers, and whoever is
//! asked has no fd but the first three.

use std::convert::Infallible;
use std::ffi::CString;
use std::os::fd::{AsFd as _, BorrowedFd};

use nix::errno::Errno;

use super::check::execute;
use super::said;
use crate::launch::Binary;
use crate::sys::{self, ExitStatus, InChild, errno_text};

/// What the answer begins with; the version follows.
const INTRODUCTION: &str = "segue ";

/// Executes the binary with `--version` in a child of this process, which is a child of the supervisor itself, and waits for it.
/// The supervisor bounds that time: it kills the process group of both. `own_name` is the word before the arguments. Every fd of
/// this process but the first three must be close-on-exec.
///
/// # Errors
/// One line: it cannot be executed, or it is no segue.
pub(super) fn introduce(
    child: &InChild,
    binary: &Binary,
    own_name: &[CString],
    environment: &[CString],
) -> Result<(), String> {
    let path = binary.path().display();
    let failed = |errno: Errno| format!("exec {path}: {}", errno_text(errno));
    let (answer, end) = said::pipe().map_err(failed)?;
    let argv = [own_name, &[c"--version".to_owned()]].concat();
    let forked = sys::fork(|child| {
        let Err(reason) = say_version(child, binary, end.as_fd(), &argv, environment);
        said::instead(end.as_fd(), &reason)
    });
    let status = forked.and_then(|pid| sys::wait_for(child, pid)).map_err(failed)?;
    let said = said::so_far(&answer).map_err(failed)?;
    if let Some(reason) = said::is_ours(status, &said) {
        Err(reason)
    } else if status == ExitStatus::Code(0) && said.starts_with(INTRODUCTION) {
        Ok(())
    } else {
        Err(format!(
            "{path} is no segue: asked for its version it {status} and said {}",
            said::quoted(&said)
        ))
    }
}

fn say_version(
    child: &InChild,
    binary: &Binary,
    end: BorrowedFd<'_>,
    argv: &[CString],
    environment: &[CString],
) -> Result<Infallible, String> {
    let prepared = || {
        sys::end_with_parent(child)?;
        // Reasons of others than segue, such as a missing library, come to standard error.
        sys::place_at(child, end, libc::STDOUT_FILENO)?;
        sys::place_at(child, end, libc::STDERR_FILENO)
    };
    prepared().map_err(|errno| format!("exec {}: {}", binary.path().display(), errno_text(errno)))?;
    execute(binary, argv, environment)
}
