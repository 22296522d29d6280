//! A loop that keeps the contract of [`Control`] with a real epoll set, for tests.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::{Change, ClientId, Control, Interest};
use crate::place::{StalePolicy, Surroundings, choose};
use crate::protocol::Request;
use crate::state::Custody;

/// The control socket's epoll data; clients count from 1.
const LISTENER: u64 = 0;

pub(crate) struct Server {
    pub(crate) control: Control,
    pub(crate) epoll: Epoll,
    /// Added to the real time, so that deadlines pass without waiting.
    pub(crate) ahead: Duration,
}

impl Server {
    /// An instance `name` with its control socket `NAME` in this directory.
    pub(crate) fn open(directory: &Path, name: &str) -> Self {
        let around = Surroundings::from_environment(|_| None, nix::unistd::geteuid().as_raw());
        let place = choose(name, Some(&directory.join(name)), &around).expect("a place");
        Self::new(Control::open(&place, None, StalePolicy::Removed).expect("control socket"))
    }

    /// The same, of a supervisor that never takes charge: dropped, it leaves everything as it is.
    pub(crate) fn open_bystander(directory: &Path, name: &str) -> Self {
        let around = Surroundings::from_environment(|_| None, nix::unistd::geteuid().as_raw());
        let place = choose(name, Some(&directory.join(name)), &around).expect("a place");
        let never = Custody::new();
        Self::new(Control::open(&place, None, StalePolicy::Adopted(&never)).expect("control socket"))
    }

    pub(crate) fn new(control: Control) -> Self {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("epoll");
        epoll
            .add(control.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))
            .expect("add");
        Self {
            control,
            epoll,
            ahead: Duration::ZERO,
        }
    }

    pub(crate) fn now(&self) -> Instant {
        Instant::now() + self.ahead
    }

    /// One turn of the loop: waits at most `patience`, and gives the requests that have come.
    pub(crate) fn turn(&mut self, patience: Duration) -> Vec<(ClientId, Request)> {
        self.perform_changes();
        let mut events = [EpollEvent::empty(); 64];
        let patience = EpollTimeout::try_from(patience).expect("a short time");
        let count = self.epoll.wait(&mut events, patience).unwrap_or(0);
        let now = self.now();
        let mut asked = Vec::new();
        for event in &events[..count] {
            if event.data() == LISTENER {
                self.control.accept(now);
                continue;
            }
            let id = ClientId::from_number(event.data());
            if event.events().contains(EpollFlags::EPOLLOUT) {
                self.control.writable(id);
            }
            if event.events() != EpollFlags::EPOLLOUT {
                asked.extend(self.control.readable(id, now).map(|request| (id, request)));
            }
        }
        if self
            .control
            .next_deadline()
            .is_some_and(|deadline| deadline <= now)
        {
            self.control.expire(now);
        }
        self.perform_changes();
        asked
    }

    /// Turns until `count` requests have come.
    pub(crate) fn requests(&mut self, count: usize) -> Vec<(ClientId, Request)> {
        let mut all = Vec::new();
        let end = Instant::now() + Duration::from_secs(20);
        while all.len() < count {
            assert!(
                Instant::now() < end,
                "only {} of {count} requests came",
                all.len()
            );
            all.extend(self.turn(Duration::from_millis(100)));
        }
        all
    }

    /// Turns until nothing is ready.
    pub(crate) fn turns(&mut self) -> Vec<(ClientId, Request)> {
        let mut all = Vec::new();
        loop {
            all.extend(self.turn(Duration::ZERO));
            if self
                .epoll
                .wait(&mut [EpollEvent::empty()], EpollTimeout::ZERO)
                .unwrap_or(0)
                == 0
            {
                return all;
            }
        }
    }

    pub(crate) fn perform_changes(&mut self) {
        let now = self.now();
        for change in self.control.changes(now) {
            match change {
                Change::Accepting(accepting) => {
                    let flags = if accepting {
                        EpollFlags::EPOLLIN
                    } else {
                        EpollFlags::empty()
                    };
                    let mut event = EpollEvent::new(flags, LISTENER);
                    self.epoll
                        .modify(self.control.as_fd(), &mut event)
                        .expect("modify");
                }
                Change::Opened(id, interest) => {
                    let fd = self.control.client_fd(id).expect("known");
                    self.epoll
                        .add(fd, EpollEvent::new(flags(interest), id.number()))
                        .expect("add");
                }
                Change::Changed(id, interest) => {
                    let fd = self.control.client_fd(id).expect("known");
                    self.epoll
                        .modify(fd, &mut EpollEvent::new(flags(interest), id.number()))
                        .expect("modify");
                }
                Change::Closed(_, fd) => self.epoll.delete(fd).expect("delete"),
            }
        }
    }
}

fn flags(interest: Interest) -> EpollFlags {
    let mut flags = EpollFlags::empty();
    flags.set(EpollFlags::EPOLLIN, interest.read);
    flags.set(EpollFlags::EPOLLOUT, interest.write);
    flags
}
