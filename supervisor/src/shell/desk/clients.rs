//! Clients come, are heard, and go.

use std::time::Instant;

use nix::sys::epoll::EpollFlags;
use segue_lifecycle::Worker;

use crate::clock;
use crate::control::{Change, ClientId, Interest};
use crate::log::Log;
use crate::protocol::Request;
use crate::shell::PollSet;
use crate::shell::desk::Desk;
use crate::sources::{Ready, Source};

impl Desk {
    /// Take the clients that wait.
    pub(crate) fn admit(&mut self, sources: &mut PollSet, log: &Log) {
        self.control.accept(clock::now());
        if let Some(text) = self.control.take_trouble() {
            log.error(&text);
        }
        self.update_interests(sources, log);
    }

    /// Send what a client can take, and read what it asks for, if that is whole by now.
    pub(crate) fn serve(&mut self, client: ClientId, ready: Ready<Worker, ClientId>) -> Option<Request> {
        if ready.writable {
            self.control.writable(client);
        }
        if !ready.readable {
            return None;
        }
        self.control.readable(client, clock::now())
    }

    /// Clients whose time is over are closed.
    pub(crate) fn expire(&mut self, now: Instant) {
        let next = self.control.next_deadline();
        if next.is_some_and(|deadline| deadline <= now) {
            self.control.expire(now);
        }
    }

    /// What was put down goes out.
    pub(crate) fn send_answers(&mut self) {
        for (client, reply) in std::mem::take(&mut self.answers) {
            self.control.reply(client, &reply, clock::now());
        }
    }

    /// Make the poll set what the control room wants it to be.
    pub(crate) fn update_interests(&mut self, sources: &mut PollSet, log: &Log) {
        for change in self.control.changes(clock::now()) {
            match change {
                Change::Accepting(accepting) => {
                    let flags = if accepting {
                        EpollFlags::EPOLLIN
                    } else {
                        EpollFlags::empty()
                    };
                    sources.watch(Source::Control, self.control.as_fd(), flags);
                }
                Change::Opened(client, interest) => self.watch_client(client, interest, sources, log),
                Change::Changed(client, interest) => {
                    if let Some(fd) = self.control.client_fd(client) {
                        sources.watch(Source::Client(client), fd, flags(interest));
                    }
                }
                Change::Closed(client, fd) => sources.remove(Source::Client(client), fd),
            }
        }
    }

    fn watch_client(&self, client: ClientId, interest: Interest, sources: &mut PollSet, log: &Log) {
        let Some(fd) = self.control.client_fd(client) else {
            return;
        };
        match sources.add(Source::Client(client), fd) {
            Ok(()) => sources.watch(Source::Client(client), fd, flags(interest)),
            // Without a place in the poll set the client is never heard and runs into its deadline.
            Err(errno) => log.error(&format!("epoll: {}", crate::sys::errno_text(errno))),
        }
    }
}

fn flags(interest: Interest) -> EpollFlags {
    let mut flags = EpollFlags::empty();
    flags.set(EpollFlags::EPOLLIN, interest.read);
    flags.set(EpollFlags::EPOLLOUT, interest.write);
    flags
}
