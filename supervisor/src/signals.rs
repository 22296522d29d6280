//! The signals that the supervisor takes, all through one signalfd.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd, siginfo};

use crate::protocol::Change;
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

    /// What the signals that are pending ask for, in the order in which the kernel gives them. One read takes them all.
    pub(crate) fn take(&self) -> Vec<Wish> {
        let pending = sys::read_signals(self.as_fd());
        pending.iter().map(|info| self.read(info)).collect()
    }

    fn read(&self, info: &siginfo) -> Wish {
        let number = i32::try_from(info.ssi_signo).ok();
        let signal = number.and_then(|number| Signal::try_from(number).ok());
        signal.map_or(Wish::Nothing, |signal| self.wish(signal, info))
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the kernel's signals; the signalfd brings those of TAKEN alone"
    )]
    fn wish(&self, signal: Signal, info: &siginfo) -> Wish {
        let by = Sender {
            signal,
            name: sender(info),
        };
        match signal {
            Signal::SIGCHLD => Wish::Sweep,
            Signal::SIGHUP => self.hangup(info, by),
            Signal::SIGTERM | Signal::SIGINT => Wish::Stop(by),
            Signal::SIGUSR1 => Wish::PassOn(by),
            Signal::SIGUSR2 => Wish::Upgrade(by),
            Signal::SIGTTIN => Wish::Workers(Change::Add(1), by),
            Signal::SIGTTOU => Wish::Workers(Change::Remove(1), by),
            // The terminal was resized; blocked with the others lest it should interrupt anything.
            _ => Wish::Nothing,
        }
    }

    /// A hangup that somebody sent is a request for a reload; one from the kernel means that the terminal has gone.
    fn hangup(&self, info: &siginfo, by: Sender) -> Wish {
        match (self.hangup, info.ssi_code) {
            (Hangup::Ignored, _) => Wish::Ignored,
            (Hangup::Heard, libc::SI_KERNEL) => Wish::TerminalGone,
            (Hangup::Heard, _) => Wish::Reload(by),
        }
    }
}

/// What a signal asks for.
#[derive(Debug)]
pub(crate) enum Wish {
    /// A child has ended.
    Sweep,
    Stop(Sender),
    /// The terminal has gone, and with it who was served here.
    TerminalGone,
    Reload(Sender),
    /// SIGHUP, where that is ignored.
    Ignored,
    Upgrade(Sender),
    Workers(Change, Sender),
    /// For the app, if it catches it.
    PassOn(Sender),
    Nothing,
}

/// Which signal, and from whom: `SIGTERM from pid 812 (uid 0)`.
#[derive(Debug)]
pub(crate) struct Sender {
    signal: Signal,
    name: String,
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {}", self.signal, self.name)
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
