//! A command that runs below one of ours: a build, a preflight, the supervisor of `segue dev`. It has a process group of its own,
//! unless it may have to ask somebody at the terminal.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Pid, getpgrp, tcgetpgrp};

use crate::sys;

/// A child. It is reaped here alone, so that its number stays its own until then.
#[derive(Debug)]
pub(crate) struct Job {
    child: Child,
    group: Group,
}

/// The process group of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// One of its own, all of which ends with it. In the background of a terminal nothing can be asked (SIGTTIN).
    Own,
    /// Ours: the terminal in whose foreground we are is the child's as well, and so are ^C and ^Z.
    Ours,
}

impl Group {
    /// For a command that may have to ask for a password, as sudo(8) does: ours, if we are in the foreground of a terminal.
    pub(crate) fn for_questions() -> Self {
        let foreground = File::open("/dev/tty")
            .ok()
            .and_then(|terminal| tcgetpgrp(terminal).ok());
        if foreground == Some(getpgrp()) {
            Self::Ours
        } else {
            Self::Own
        }
    }
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Exited(i32),
    BySignal(i32),
}

impl Job {
    /// Starts it in a process group of its own, with standard input from /dev/null: in the background of a terminal nothing can be
    /// read.
    ///
    /// # Errors
    /// One line: `start make: no such file or directory`.
    pub(crate) fn start(command: &mut Command) -> Result<Self, String> {
        Self::start_in(Group::Own, command)
    }

    /// The same in that process group.
    ///
    /// # Errors
    /// The same.
    pub(crate) fn start_in(group: Group, command: &mut Command) -> Result<Self, String> {
        command.stdin(Stdio::null());
        let prepared = match group {
            Group::Own => sys::start_on_its_own(command),
            Group::Ours => sys::start_in_our_group(command),
        };
        let child = prepared.spawn().map_err(|error| {
            let program = command.get_program().display();
            format!("start {program}: {}", sys::errno_text(&error))
        })?;
        Ok(Self { child, group })
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

    /// Asks all of its group, or itself alone if that is ours.
    pub(crate) fn signal_group(&self, signal: Signal) {
        match self.group {
            Group::Own => drop(killpg(self.pid(), signal)),
            Group::Ours => self.signal(signal),
        }
    }

    /// Whether the kernel has stopped it, since it wants to read from the terminal, or set it, and is in its background.
    pub(crate) fn is_stopped_at_terminal(&self) -> bool {
        let flags = WaitPidFlag::WSTOPPED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        matches!(
            waitid(Id::Pid(self.pid()), flags),
            Ok(WaitStatus::Stopped(_, Signal::SIGTTIN | Signal::SIGTTOU))
        )
    }

    /// How it has ended, if it has. What it has left of a group of its own is killed: nobody else would.
    pub(crate) fn ended(&mut self) -> Option<Ended> {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        match waitid(Id::Pid(self.pid()), flags) {
            Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) => return None,
            Ok(_) | Err(_) => {}
        }
        match self.group {
            // While the leader is not reaped no other group has this number.
            Group::Own => self.signal_group(Signal::SIGKILL),
            Group::Ours => {}
        }
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
