//! The service manager above us: systemd, or another process that listens at the `NOTIFY_SOCKET` that we were given (sd_notify(3)).
//!
//! Nothing here waits: what does not fit into the manager's queue is owed, and sent when there is room. What is owed
//! stays small, for a newer word takes the place of the older ones that it makes superfluous; the last state that was
//! told always arrives.

mod outlet;
mod owed;
mod store;
mod watchdog;

use std::ffi::{OsStr, OsString};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use nix::errno::Errno;

use crate::sys::errno_text;
use outlet::Outlet;
use owed::{Owed, State};
use store::Store;

/// The longest status, in bytes. systemd drops messages of 4096 bytes, and shows the status on one line of a terminal.
const LONGEST_STATUS: usize = 1024;

/// What the manager is told.
#[derive(Debug)]
pub(crate) struct Manager {
    /// None if nobody gave us a socket.
    outlet: Option<Outlet>,
    owed: Owed,
    store: Store,
    /// The state that it was told last, if any.
    state: Option<State>,
    /// The status that it was told last.
    status: String,
    /// How often it wants to hear that we are alive, at least.
    watchdog: Option<Duration>,
    delivery: Delivery,
}

/// How the last attempt to send went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delivery {
    Complete,
    /// Its queue is full: it is worth trying again soon.
    Full,
    /// It cannot be reached; what is owed goes with the next word, if it ever comes back.
    Failed(Errno),
}

impl Manager {
    /// By the environment that we were started with. The second value is what is wrong with it, a line each.
    pub(crate) fn from_environment(environment: &[(OsString, OsString)]) -> (Self, Vec<String>) {
        let value = |key: &str| {
            let found = environment.iter().find(|(name, _)| name == key);
            found.map(|(_, value)| value.as_os_str())
        };
        let mut complaints = Vec::new();
        let outlet = value("NOTIFY_SOCKET").and_then(|address| kept(Outlet::open(address), &mut complaints));
        let asked = watchdog::asked(value("WATCHDOG_USEC"), value("WATCHDOG_PID"), std::process::id());
        let watchdog = kept(asked, &mut complaints).flatten();
        let manager = Self {
            watchdog: watchdog.filter(|_| outlet.is_some()),
            outlet,
            owed: Owed::default(),
            store: Store::default(),
            state: None,
            status: String::new(),
            delivery: Delivery::Complete,
        };
        (manager, complaints)
    }

    /// Whether anybody listens.
    pub(crate) fn listens(&self) -> bool {
        self.outlet.is_some()
    }

    /// How often to call [`Manager::alive`], if it was asked for: at half the time after which the manager despairs, as
    /// sd_watchdog_enabled(3) advises.
    pub(crate) fn beat(&self) -> Option<Duration> {
        self.watchdog.map(watchdog::beat)
    }

    /// Whether it waits for us with a deadline: for the start, for the end of a reload, or for the end.
    pub(crate) fn waits(&self) -> bool {
        match self.state {
            Some(State::Ready) => false,
            Some(State::Reloading(_) | State::Stopping) | None => true,
        }
    }

    /// A reload has begun. The time (CLOCK_MONOTONIC, in microseconds) is one at which it had been asked for:
    /// `Type=notify-reload` hears only of reloads that began after its signal.
    pub(crate) fn reloading(&mut self, monotonic_micros: u64) {
        self.enter(State::Reloading(monotonic_micros));
    }

    /// The first start, or a reload, is over. There is no word for a reload that failed: the status tells it.
    pub(crate) fn ready(&mut self, status: &str) {
        self.set_status(status);
        self.enter(State::Ready);
    }

    /// A stop was asked for.
    pub(crate) fn stopping(&mut self) {
        self.enter(State::Stopping);
    }

    /// What `systemctl status` shows. It is sent only if it has changed.
    pub(crate) fn status(&mut self, text: &str) {
        if self.set_status(text) {
            self.flush();
        }
    }

    /// The wait that the manager is in should last at least this long from now. Sent with the next [`Manager::flush`].
    pub(crate) fn more_time(&mut self, time: Duration) {
        let time = self.owed.more_time.map_or(time, |owed| owed.max(time));
        self.owed.more_time = Some(time);
    }

    /// The loop goes round.
    pub(crate) fn alive(&mut self) {
        self.owed.alive = true;
        self.flush();
    }

    /// Keep a duplicate of this fd for the next process, under this name, if there is a store.
    pub(crate) fn store(&mut self, name: &str, fd: BorrowedFd<'_>) {
        if let Some(outlet) = &self.outlet {
            self.store.keep(outlet, name, fd);
        }
    }

    /// What was kept under this name is not needed any more. Told with the next [`Manager::flush`].
    pub(crate) fn unstore(&mut self, name: &str) {
        if self.outlet.is_some() {
            self.store.drop(name);
        }
    }

    /// Send what is owed, as far as that takes no waiting.
    pub(crate) fn flush(&mut self) {
        let Some(outlet) = &self.outlet else {
            self.owed = Owed::default();
            return;
        };
        self.delivery = match self.store.flush(outlet) {
            Ok(()) => Delivery::Complete,
            Err(Errno::EAGAIN | Errno::ENOBUFS) => Delivery::Full,
            Err(errno) => Delivery::Failed(errno),
        };
        while let Some(message) = self.owed.next() {
            match outlet.send(message.as_bytes()) {
                Ok(()) => self.owed.sent(),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN | Errno::ENOBUFS) => {
                    self.delivery = Delivery::Full;
                    return;
                }
                Err(errno) => {
                    self.delivery = Delivery::Failed(errno);
                    return;
                }
            }
        }
    }

    /// Whether something waits for room in the manager's queue.
    pub(crate) fn is_full(&self) -> bool {
        self.delivery == Delivery::Full
    }

    /// Why it cannot be reached, if that is so.
    pub(crate) fn failure(&self) -> Option<String> {
        match self.delivery {
            Delivery::Complete | Delivery::Full => None,
            Delivery::Failed(errno) => Some(format!("notify {}: {}", self.address(), errno_text(errno))),
        }
    }

    fn address(&self) -> String {
        let outlet = self.outlet.as_ref();
        outlet
            .map(|outlet| outlet.address().to_owned())
            .unwrap_or_default()
    }

    fn enter(&mut self, state: State) {
        self.state = Some(state);
        self.owed.enter(state);
        self.flush();
    }

    /// Control characters (a newline would start another field) become spaces.
    fn set_status(&mut self, text: &str) -> bool {
        let tame = text.chars().map(|c| if c.is_control() { ' ' } else { c });
        let mut text: String = tame.collect();
        text.truncate(text.floor_char_boundary(LONGEST_STATUS));
        let changed = self.status != text;
        if changed {
            self.status.clone_from(&text);
            self.owed.status = Some(text);
        }
        changed
    }
}

/// The value, or what is wrong with it.
fn kept<T>(outcome: Result<T, String>, complaints: &mut Vec<String>) -> Option<T> {
    outcome.map_err(|complaint| complaints.push(complaint)).ok()
}

/// A value as people see it in a message.
fn shown(key: &str, value: &OsStr) -> String {
    format!("{key}={:?}", value.display().to_string())
}

#[cfg(test)]
mod tests;
