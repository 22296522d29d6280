//! Asking systemd for a unit as it has loaded it, drop-ins and defaults included.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, execvp, pipe2, read as read_fd};

use super::span::Span;
use super::values::Values;
use crate::clock;
use crate::sys::{self, errno_text};

/// How long systemd may take to answer. It answers in milliseconds, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(5);

/// The exit status of a child that could not become systemctl, as a shell's.
const NOT_EXECUTED: i32 = 127;

/// The load state of a unit of which there is no file.
pub(super) const NOT_FOUND: &str = "not-found";

/// That of one of which somebody says that there is none.
pub(super) const MASKED: &str = "masked";

/// Where systemd has read a unit.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Shown {
    /// Its name, not an alias.
    pub(super) id: String,
    /// Its file and its drop-ins.
    pub(super) files: Vec<PathBuf>,
    /// Whether a file has changed since.
    pub(super) is_stale: bool,
}

/// The values of the unit with this name.
pub(super) fn ask(name: &str) -> Result<Values, String> {
    read(&show(
        name,
        c"LoadState,Type,NotifyAccess,TimeoutStartUSec,TimeoutStopUSec,StartLimitIntervalUSec,RuntimeDirectory,\
          RuntimeDirectoryPreserve,KillMode,KillSignal,SendSIGHUP,FileDescriptorStoreMax,Restart,OOMPolicy,PIDFile,\
          RemainAfterExit,ExecStart,ExecReload,ExecStop,ExecStopPost",
    )?)
}

/// The files of the unit with this name.
pub(super) fn sources(name: &str) -> Result<Shown, String> {
    let answer = show(name, c"LoadState,Id,FragmentPath,DropInPaths,NeedDaemonReload")?;
    let mut shown = Shown::default();
    let mut drop_ins = Vec::new();
    for (key, value) in loaded(&answer)? {
        match key {
            "Id" => value.clone_into(&mut shown.id),
            "FragmentPath" => shown.files.extend((!value.is_empty()).then(|| value.into())),
            "DropInPaths" => drop_ins.extend(value.split_whitespace().map(PathBuf::from)),
            "NeedDaemonReload" => shown.is_stale = value == "yes",
            _ => {}
        }
    }
    if shown.files.is_empty() {
        return Err("it has no file".to_owned());
    }
    shown.files.append(&mut drop_ins);
    Ok(shown)
}

/// Whether a unit runs, or is started by others than the one that is looked at: all but those which nobody has enabled.
pub(super) fn is_in_use(name: &str) -> Result<bool, String> {
    let answer = show(name, c"LoadState,ActiveState,UnitFileState")?;
    let (mut runs, mut is_disabled) = (false, false);
    for (key, value) in loaded(&answer)? {
        match key {
            "ActiveState" => runs = value == "active",
            "UnitFileState" => is_disabled = value == "disabled",
            _ => {}
        }
    }
    Ok(runs || !is_disabled)
}

/// The names of the units that start this one when something happens: sockets, timers, paths.
pub(super) fn triggers(name: &str) -> Result<Vec<String>, String> {
    let answer = show(name, c"LoadState,TriggeredBy")?;
    let names = loaded(&answer)?.filter(|(key, _)| *key == "TriggeredBy");
    Ok(names
        .flat_map(|(_, value)| value.split_whitespace().map(str::to_owned))
        .collect())
}

fn show(name: &str, properties: &CStr) -> Result<String, String> {
    let name = CString::new(name).map_err(|_| "contains a NUL byte".to_owned())?;
    let (systemctl, stdout) =
        start(&name, properties).map_err(|errno| format!("systemctl: {}", errno_text(errno)))?;
    let answer = listen(&stdout);
    // It has answered or never will.
    let _ = kill(systemctl, Signal::SIGKILL);
    match waitpid(systemctl, None) {
        Ok(WaitStatus::Exited(_, NOT_EXECUTED)) => Err("systemctl cannot be executed".to_owned()),
        _ => Ok(answer),
    }
}

fn start(name: &CString, properties: &CStr) -> Result<(Pid, OwnedFd), Errno> {
    let (stdout, child_end) = pipe2(OFlag::O_CLOEXEC)?;
    let pid = sys::fork(|child| {
        let words = [c"systemctl", c"show", c"-p", properties, c"--", name.as_c_str()];
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

/// Lines of `Key=value` of a unit that is loaded. Where something went wrong, systemctl has said on stderr what.
fn loaded(answer: &str) -> Result<impl Iterator<Item = (&str, &str)>, String> {
    let lines = || answer.lines().filter_map(|line| line.split_once('='));
    let state = lines().find(|(key, _)| *key == "LoadState");
    match state.map_or(
        "systemctl does not tell of it; where no systemd runs, name its file, as in ./app.service",
        |(_, state)| state,
    ) {
        "loaded" => Ok(lines()),
        state => Err(state.to_owned()),
    }
}

/// Lists come in one line, and commands in one line each.
pub(super) fn read(answer: &str) -> Result<Values, String> {
    let mut values = Values::unset();
    for (key, value) in loaded(answer)? {
        match key {
            "TimeoutStartUSec" => values.times.start = Span::parse(value)?,
            "TimeoutStopUSec" => values.times.stop = Span::parse(value)?,
            "StartLimitIntervalUSec" => values.times.start_limit = Span::parse(value)?,
            "RuntimeDirectory" => values.set_runtime(value),
            key => values.assign(key, value),
        }
    }
    Ok(values)
}
