//! strace(1) on a process that runs already.

use std::ffi::OsStr;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

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
        let mut command = Command::new("strace");
        command.args(arguments).arg("-p").arg(pid.to_string());
        let process = Process::start(command.stdin(Stdio::null()));
        process.wait_for_line(" attached");
        Self { process }
    }

    /// Detaches; returns when the process goes on as before, and all that was seen is written.
    pub fn detach(self) {
        self.process.signal(Signal::SIGINT);
        let _ = self.process.wait_for_exit();
    }
}
