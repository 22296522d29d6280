//! The signals that the supervisor takes, all through one signalfd.

use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd, siginfo};
use segue_lifecycle::{Event, Until};

use crate::protocol::Change;
use crate::shell::{Child, Shell};
use crate::sys;

/// What is taken. Everything else keeps its disposition.
const TAKEN: [Signal; 9] = [
    Signal::SIGCHLD,
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
    Signal::SIGWINCH,
];

/// Whether SIGHUP means anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hangup {
    Heard,
    /// It was ignored when we were started, as under nohup(1).
    Ignored,
}

/// The signalfd.
#[derive(Debug)]
pub(crate) struct Signals {
    fd: SignalFd,
    hangup: Hangup,
}

impl Signals {
    /// Block the signals and open the signalfd (close-on-exec, non-blocking).
    pub(crate) fn open() -> Result<Self, Errno> {
        let ignored = sys::ignores_signal(Signal::SIGHUP).unwrap_or(false);
        let mask: SigSet = TAKEN.into_iter().collect();
        mask.thread_block()?;
        let fd = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self {
            fd,
            hangup: if ignored { Hangup::Ignored } else { Hangup::Heard },
        })
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn next(&self) -> Option<siginfo> {
        self.fd.read_signal().ok().flatten()
    }
}

impl Shell {
    /// Take every signal that is pending. Deaths are looked at once, however many signals told of them.
    pub(crate) fn read_signals(&mut self) {
        let mut deaths = false;
        while let Some(info) = self.signals.next() {
            let signal = i32::try_from(info.ssi_signo)
                .ok()
                .and_then(|number| Signal::try_from(number).ok());
            match signal {
                Some(Signal::SIGCHLD) => deaths = true,
                Some(signal) => self.take_signal(signal, &info),
                None => {}
            }
        }
        if deaths {
            self.sweep();
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the kernel's signals; the signalfd brings those of TAKEN alone"
    )]
    fn take_signal(&mut self, signal: Signal, info: &siginfo) {
        let sender = sender(info);
        match signal {
            Signal::SIGHUP => self.hang_up(info, &sender),
            Signal::SIGTERM | Signal::SIGINT => {
                let again = if self.stop_asked() {
                    " again: all processes that are left are killed"
                } else {
                    ""
                };
                self.log
                    .info(&format!("stop asked for by {signal} from {sender}{again}"));
                self.events.push_back(Event::Stop);
            }
            Signal::SIGUSR1 => self.pass_on_usr1(&sender),
            Signal::SIGUSR2 => {
                self.log
                    .info(&format!("upgrade asked for by SIGUSR2 from {sender}"));
                self.ask_upgrade(None);
            }
            Signal::SIGTTIN => self.step_workers(Change::Add(1), signal, &sender),
            Signal::SIGTTOU => self.step_workers(Change::Remove(1), signal, &sender),
            // The terminal was resized; blocked with the others lest it should interrupt anything.
            _ => {}
        }
    }

    /// A hangup that somebody sent is a request for a reload; one from the kernel means that the terminal has gone.
    fn hang_up(&mut self, info: &siginfo, sender: &str) {
        match (self.signals.hangup, info.ssi_code) {
            (Hangup::Ignored, _) => self.log.info("SIGHUP ignored, as it was when segue was started"),
            (Hangup::Heard, libc::SI_KERNEL) => {
                self.log
                    .info("stop: the terminal has gone (SIGHUP from the kernel)");
                self.events.push_back(Event::Stop);
            }
            (Hangup::Heard, _) => {
                self.log
                    .info(&format!("reload asked for by SIGHUP from {sender}"));
                self.ask_reload(None, Until::Takeover);
            }
        }
    }

    /// SIGUSR1 kills a process that does not catch it, so only those get it that do.
    fn pass_on_usr1(&mut self, sender: &str) {
        let Some(incumbent) = self.core.incumbent() else {
            return;
        };
        let workers: Vec<_> = incumbent.processes.iter().map(|process| process.worker).collect();
        for worker in workers {
            let Some(pid) = self.fleet.children.pid(Child::Worker(worker)) else {
                continue;
            };
            let catches = sys::catches_signal(pid, Signal::SIGUSR1).unwrap_or(false);
            let text = if !catches {
                format!(
                    "SIGUSR1 from {sender} not passed on: {} does not catch it",
                    self.fleet.name_worker(worker)
                )
            } else {
                match self.fleet.children.signal(Child::Worker(worker), Signal::SIGUSR1) {
                    Ok(()) => format!(
                        "SIGUSR1 from {sender} passed on to {}",
                        self.fleet.name_worker(worker)
                    ),
                    Err(errno) => format!("SIGUSR1 from {sender} not passed on: {}", sys::errno_text(errno)),
                }
            };
            self.log.info(&text);
        }
    }

    fn step_workers(&mut self, change: Change, signal: Signal, sender: &str) {
        match self.change_workers(change) {
            Ok((before, after)) => {
                self.log.info(&format!(
                    "workers: {before} before, {after} now, by {signal} from {sender}"
                ));
            }
            Err(text) => self
                .log
                .warning(&format!("{signal} from {sender} refused: {text}")),
        }
    }
}

/// Who sent a signal, as far as the kernel tells: a sender outside our pid namespace has no number in it.
fn sender(info: &siginfo) -> String {
    match (info.ssi_code, info.ssi_pid) {
        (libc::SI_KERNEL, _) => "the terminal".to_owned(),
        (_, 0) => format!("outside this pid namespace (uid {})", info.ssi_uid),
        (_, pid) => format!("pid {pid} (uid {})", info.ssi_uid),
    }
}
