//! Asking systemd for a unit as it has loaded it, drop-ins and defaults included.

use std::ffi::CString;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, execvp, pipe2, read as read_fd};

use super::Values;
use super::span::Span;
use crate::clock;
use crate::sys::{self, errno_text};

/// How long systemd may take to answer. It answers in milliseconds, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(5);

/// The exit status of a child that could not become systemctl, as a shell's.
const NOT_EXECUTED: i32 = 127;

/// The values of the unit with this name.
pub(super) fn ask(name: &str) -> Result<Values, String> {
    let name = CString::new(name).map_err(|_| "contains a NUL byte".to_owned())?;
    let (systemctl, stdout) = start(&name).map_err(|errno| format!("systemctl: {}", errno_text(errno)))?;
    let answer = listen(&stdout);
    // It has answered or never will.
    let _ = kill(systemctl, Signal::SIGKILL);
    match waitpid(systemctl, None) {
        Ok(WaitStatus::Exited(_, NOT_EXECUTED)) => Err("systemctl cannot be executed".to_owned()),
        _ => read(&answer),
    }
}

fn start(name: &CString) -> Result<(Pid, OwnedFd), Errno> {
    const SHOWN: &std::ffi::CStr =
        c"LoadState,Type,NotifyAccess,TimeoutStartUSec,TimeoutStopUSec,StartLimitIntervalUSec";
    let (stdout, child_end) = pipe2(OFlag::O_CLOEXEC)?;
    let pid = sys::fork(|child| {
        let words = [c"systemctl", c"show", c"-p", SHOWN, c"--", name.as_c_str()];
        // Both return only if they fail.
        let _ = sys::place_at(child, child_end.as_fd(), libc::STDOUT_FILENO)
            .and_then(|()| execvp(words[0], &words));
        NOT_EXECUTED
    })?;
    Ok((pid, stdout))
}

/// All that comes in time.
fn listen(stdout: &OwnedFd) -> String {
    let end = clock::now() + PATIENCE;
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let left = end.saturating_duration_since(clock::now());
        let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        match poll(&mut [PollFd::new(stdout.as_fd(), PollFlags::POLLIN)], left) {
            Ok(0) | Err(_) => break,
            Ok(_) => match read_fd(stdout, &mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(length) => answer.extend_from_slice(&buffer[..length]),
            },
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// Lines of `Key=value`. Where something went wrong, systemctl has said on stderr what.
pub(super) fn read(answer: &str) -> Result<Values, String> {
    let mut values = Values::unset();
    let mut state = "systemctl show does not tell";
    for (key, value) in answer.lines().filter_map(|line| line.split_once('=')) {
        match key {
            "LoadState" => state = value,
            "Type" => value.clone_into(&mut values.kind),
            "NotifyAccess" => value.clone_into(&mut values.access),
            "TimeoutStartUSec" => values.start = Span::parse(value)?,
            "TimeoutStopUSec" => values.stop = Span::parse(value)?,
            "StartLimitIntervalUSec" => values.start_limit = Span::parse(value)?,
            _ => {}
        }
    }
    match state {
        "loaded" => Ok(values),
        state => Err(state.to_owned()),
    }
}
