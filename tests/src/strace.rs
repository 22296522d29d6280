//! strace(1) on a process that runs already.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::sys::signal::Signal;

use crate::needs;
use crate::process::Process;

/// Traces a process until it is detached.
pub struct Tracer {
    process: Process,
}

impl Tracer {
    /// Attaches with these arguments; returns when that has been done.
    ///
    /// # Panics
    /// When strace cannot be started or does not attach.
    #[must_use]
    #[track_caller]
    pub fn attach(pid: i32, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        let process = start(pid, arguments);
        process.wait_for_line(" attached");
        Self { process }
    }

    /// Detaches, unless the process has ended; returns when it goes on as before, and all that was seen is written.
    pub fn detach(self) {
        self.process.signal(Signal::SIGINT);
        let _ = self.process.wait_for_exit();
    }
}

fn start(pid: i32, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Process {
    let mut command = Command::new("strace");
    command.args(arguments).arg("-p").arg(pid.to_string());
    Process::start(command.stdin(Stdio::null()))
}

/// Whether this machine has strace and lets it trace a process that it has not started, and put words in the kernel's mouth.
///
/// # Errors
/// What strace says, or that it is missing.
pub fn available() -> Result<(), String> {
    needs::program("strace")?;
    let sleeper = Process::start(Command::new("sleep").arg("60").stdin(Stdio::null()));
    let tracer = start(sleeper.pid(), ["-o", "/dev/null", "-e", "inject=close:error=EIO"]);
    // It says either that it has attached or why not.
    let end = Instant::now() + crate::patience();
    while tracer.is_running() && tracer.mark() == 0 && Instant::now() < end {
        tracer.wait_for_news(0);
    }
    sleeper.signal(Signal::SIGKILL);
    let said = tracer.finish().stderr;
    if said.contains(" attached") {
        Ok(())
    } else {
        Err(format!("strace: {}", said.lines().next().unwrap_or_default()))
    }
}

/// How often each call was made, by its name.
pub type Counts = BTreeMap<String, usize>;

/// Adds the call that a line of strace's output tells of.
pub fn count(counts: &mut Counts, line: &str) {
    let Some((name, _)) = line.split_once('(') else {
        return;
    };
    // Signals and exits are told in other words.
    if !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    {
        *counts.entry(name.to_owned()).or_default() += 1;
    }
}

/// What strace has written so far.
#[must_use]
pub fn read(output: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(output).unwrap_or_default()).into_owned()
}
