//! What a supervisor had just forked when it was killed.
//!
//! It has a copy of each of the dead one's descriptors until it executes or ends: the lock (flock(2): it lies on the open file
//! description) and the listening control socket are not free before. That takes milliseconds, unless the machine hangs.

use std::os::fd::AsFd as _;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::unistd::Pid;

use crate::clock;
use crate::sys;

/// How long it is waited for.
pub(super) const TIME: Duration = Duration::from_secs(5);

/// How often it is looked for. The kernel tells nobody that a lock has become free but those who sleep in flock(2), which knows no
/// deadline.
const PAUSE: Duration = Duration::from_millis(5);

/// One that may be there, and is waited for until [`TIME`] has passed.
#[derive(Debug)]
pub(crate) struct LockHolder {
    end: Instant,
}

impl LockHolder {
    /// It is waited for from now on.
    pub(crate) fn new() -> Self {
        Self {
            end: clock::now() + TIME,
        }
    }

    /// Waits a moment for it to execute or to end. `false`: it has had its time.
    pub(crate) fn wait(&self) -> bool {
        let is_awaited = clock::now() < self.end;
        if is_awaited {
            thread::sleep(PAUSE);
        }
        is_awaited
    }
}

/// Whether a process has ended, reaped or not. One that cannot be looked at may live.
pub(crate) fn is_gone(pid: i32) -> bool {
    match sys::open_pidfd(Pid::from_raw(pid)) {
        Ok(pidfd) => sys::is_dead_by_pidfd(pidfd.as_fd()),
        Err(errno) => errno == Errno::ESRCH,
    }
}
