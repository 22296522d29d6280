//! A command that runs below one of ours, in a process group of its own: a build, a preflight, the supervisor of `segue dev`.

use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use crate::sys;

/// A child in a process group of its own. It is reaped here alone, so that its number stays its own until then.
#[derive(Debug)]
pub(crate) struct Job {
    child: Child,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Exited(i32),
    BySignal(i32),
}

impl Job {
    /// Starts it, with standard input from /dev/null: in the background of a terminal nothing can be read.
    ///
    /// # Errors
    /// One line: `start make: no such file or directory`.
    pub(crate) fn start(command: &mut Command) -> Result<Self, String> {
        let started = sys::start_on_its_own(command.stdin(Stdio::null())).spawn();
        let child = started.map_err(|error| {
            let program = command.get_program().display();
            format!("start {program}: {}", sys::errno_text(&error))
        })?;
        Ok(Self { child })
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Becomes readable when its main process has ended.
    pub(crate) fn pidfd(&self) -> Result<OwnedFd, Errno> {
        sys::open_pidfd(self.pid())
    }

    /// Asks its main process.
    pub(crate) fn signal(&self, signal: Signal) {
        // It is not reaped: the number is its own, and a zombie takes any signal.
        let _ = kill(self.pid(), signal);
    }

    /// Asks all of its group.
    pub(crate) fn signal_group(&self, signal: Signal) {
        let _ = killpg(self.pid(), signal);
    }

    /// How it has ended, if it has. What it has left of its group is killed: nobody else would.
    pub(crate) fn ended(&mut self) -> Option<Ended> {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        match waitid(Id::Pid(self.pid()), flags) {
            Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) => return None,
            Ok(_) | Err(_) => {}
        }
        // While the leader is not reaped no other group has this number.
        self.signal_group(Signal::SIGKILL);
        match self.child.wait() {
            Ok(status) => Some(Ended::of(status)),
            Err(_) => Some(Ended::Exited(0)),
        }
    }
}

impl Ended {
    fn of(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Exited(code),
            (None, signal) => Self::BySignal(signal.unwrap_or_default()),
        }
    }

    /// `exit status 101`, `killed by SIGSEGV`.
    pub(crate) fn text(self) -> String {
        match self {
            Self::Exited(code) => format!("exit status {code}"),
            Self::BySignal(number) => Signal::try_from(number).map_or_else(
                |_| format!("killed by signal {number}"),
                |signal| format!("killed by {signal}"),
            ),
        }
    }
}
