//! SIGHUP, SIGINT and SIGTERM: noted whenever they come, and heeded where the steps that belong together are done.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::ending::{Ending, Step};
use crate::sys;

/// What interrupts a deploy. Children that are started get none of them blocked.
const TAKEN: [Signal; 3] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM];

/// The signals that have come.
#[derive(Debug)]
pub(super) struct Interruption {
    /// `None` where nobody interrupts.
    fd: Option<SignalFd>,
    first: Option<Signal>,
    count: u32,
    /// Whether it was said that one has come.
    is_told: bool,
}

impl Interruption {
    /// From now on they are noted. One that was ignored when we were started, as under nohup(1), stays so.
    pub(super) fn open() -> Result<Self, Errno> {
        let heard = TAKEN
            .into_iter()
            .filter(|signal| !sys::ignores_signal(*signal).unwrap_or(false));
        let mask: SigSet = heard.collect();
        mask.thread_block()?;
        let fd = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self {
            fd: Some(fd),
            ..Self::of_nobody()
        })
    }

    /// None will come.
    pub(super) fn of_nobody() -> Self {
        Self {
            fd: None,
            first: None,
            count: 0,
            is_told: false,
        }
    }

    /// The first one that has come.
    pub(super) fn caught(&mut self) -> Option<Signal> {
        while let Some(info) = self.fd.as_ref().and_then(|fd| fd.read_signal().ok().flatten()) {
            let number = i32::try_from(info.ssi_signo).unwrap_or_default();
            self.first = self.first.or(Signal::try_from(number).ok());
            self.count += 1;
        }
        self.first
    }

    /// How many have come.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Whether it is still to be said that one has come: once.
    pub(super) fn is_to_be_told(&mut self) -> bool {
        !std::mem::replace(&mut self.is_told, true)
    }

    /// Ends the deploy if one has come: nothing has been changed yet.
    pub(super) fn heed(&mut self) -> Step<()> {
        match self.caught() {
            Some(signal) => Err(Ending::interrupted(signal, "nothing was changed")),
            None => Ok(()),
        }
    }

    /// Waits until something can be read from one of these, another signal comes, or the time has passed.
    pub(super) fn wait(&self, fds: &[BorrowedFd<'_>], time: Duration) {
        let own = self.fd.iter().map(|fd| fd.as_fd());
        let all = fds.iter().copied().chain(own);
        let mut all: Vec<PollFd<'_>> = all.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        let time = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
        // Whoever waits looks again.
        let _ = poll(&mut all, time);
    }
}
