//! Asking systemd for a unit as it has loaded it, drop-ins and defaults included.

use std::io::Read as _;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd as _;

use super::Values;
use super::span::Span;
use crate::sys::errno_text;

/// How long systemd may take to answer. It answers in milliseconds, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(5);

/// The values of the unit with this name.
pub(super) fn ask(name: &str) -> Result<Values, String> {
    let mut systemctl = Command::new("systemctl")
        .args([
            "show",
            "-p",
            "LoadState,Type,NotifyAccess,TimeoutStartUSec,TimeoutStopUSec,StartLimitIntervalUSec",
        ])
        .args(["--", name])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("systemctl: {}", errno_text(error)))?;
    let answer = systemctl.stdout.take().map(listen);
    end(&mut systemctl);
    read(&answer.unwrap_or_default())
}

/// All that comes in time.
fn listen(mut stdout: ChildStdout) -> String {
    let end = Instant::now() + PATIENCE;
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        match poll(&mut [PollFd::new(stdout.as_fd(), PollFlags::POLLIN)], left) {
            Ok(0) | Err(_) => break,
            Ok(_) => match stdout.read(&mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(length) => answer.extend_from_slice(&buffer[..length]),
            },
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// It has answered or never will.
fn end(systemctl: &mut Child) {
    let _ = systemctl.kill();
    let _ = systemctl.wait();
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
