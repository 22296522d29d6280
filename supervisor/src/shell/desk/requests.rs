//! The clients of the control socket and what they ask for.

use nix::sys::epoll::EpollFlags;
use nix::unistd::Pid;
use segue_lifecycle::{self as lifecycle, Event, State, Worker};

use crate::clock;
use crate::config::Mode;
use crate::control::{Change, ClientId, Interest};
use crate::descent;
use crate::protocol::{self, Reply, Request, Until};
use crate::shell::Shell;
use crate::shell::fleet::{Ground, ground};
use crate::sources::{Ready, Source};

impl Shell {
    pub(crate) fn admit_clients(&mut self) {
        self.desk.control.accept(clock::now());
        if let Some(text) = self.desk.control.take_trouble() {
            self.log.error(&text);
        }
        self.update_interests();
    }

    pub(crate) fn serve_client(&mut self, client: ClientId, ready: Ready<Worker, ClientId>) {
        if ready.writable {
            self.desk.control.writable(client);
        }
        if ready.readable
            && let Some(request) = self.desk.control.readable(client, clock::now())
        {
            self.take_request(client, request);
        }
    }

    /// Make the poll set what the control room wants it to be.
    pub(crate) fn update_interests(&mut self) {
        for change in self.desk.control.changes(clock::now()) {
            match change {
                Change::Accepting(accepting) => {
                    let flags = if accepting {
                        EpollFlags::EPOLLIN
                    } else {
                        EpollFlags::empty()
                    };
                    self.sources
                        .watch(Source::Control, self.desk.control.as_fd(), flags);
                }
                Change::Opened(client, interest) => self.watch_client(client, interest),
                Change::Changed(client, interest) => {
                    if let Some(fd) = self.desk.control.client_fd(client) {
                        self.sources.watch(Source::Client(client), fd, flags(interest));
                    }
                }
                Change::Closed(client, fd) => self.sources.remove(Source::Client(client), fd),
            }
        }
    }

    fn watch_client(&mut self, client: ClientId, interest: Interest) {
        let Some(fd) = self.desk.control.client_fd(client) else {
            return;
        };
        match self.sources.add(Source::Client(client), fd) {
            Ok(()) => self.sources.watch(Source::Client(client), fd, flags(interest)),
            // Without a place in the poll set the client is never heard and runs into its deadline.
            Err(errno) => self
                .log
                .error(&format!("epoll: {}", crate::sys::errno_text(errno))),
        }
    }

    fn take_request(&mut self, client: ClientId, request: Request) {
        match request {
            Request::Status {} => {
                self.fleet.look_for_strays(&ground!(self));
                self.review_notes();
                let status = Reply::Status(Box::new(self.view().status(&self.narrator.history)));
                self.desk.control.reply(client, &status, clock::now());
            }
            Request::Reload { until } => self.take_reload(client, until),
            Request::Workers { change } => self.take_workers(client, change),
            Request::Upgrade {} => {
                self.log_request(client, "upgrade");
                self.ask_upgrade(Some(client));
            }
            Request::Stop {} => {
                self.log_request(client, "stop");
                match self.asker_is_below(client) {
                    Some(below) => self.reply_at_once(client, format!("stopping; {below}, and ends with it")),
                    None => self.desk.tickets.wait_for_stop(client),
                }
                // Two commands mean one stop, and both wait for it; only a second signal is impatience.
                if !self.stop_asked() {
                    self.events.push_back(Event::Stop);
                }
            }
        }
    }

    fn take_reload(&mut self, client: ClientId, until: Until) {
        self.log_request(client, "reload");
        let below = match until {
            Until::Accepted => return self.accept_reload(client, ""),
            Until::Takeover | Until::Settled | Until::Drained => self.asker_is_below(client),
        };
        if let Some(below) = below.as_ref().filter(|_| self.makes_room_first()) {
            return self.accept_reload(
                client,
                &format!("; {below}, which must end before the next one starts"),
            );
        }
        match (until, below) {
            (Until::Accepted | Until::Takeover, _) => {
                self.ask_reload(Some(client), lifecycle::Until::Takeover)
            }
            (Until::Settled, _) => self.ask_reload(Some(client), lifecycle::Until::Settled),
            (Until::Drained, None) => self.ask_reload(Some(client), lifecycle::Until::Drained),
            (Until::Drained, Some(below)) => {
                let note = format!("; that its own generation is gone is not waited for: {below}");
                let ticket = self
                    .desk
                    .tickets
                    .take_with_note(client, lifecycle::Until::Takeover, note);
                let until = lifecycle::Until::Takeover;
                self.events.push_back(Event::Reload(ticket, until));
            }
        }
    }

    /// The client does not wait.
    fn accept_reload(&mut self, client: ClientId, more: &str) {
        self.reply_at_once(client, format!("reload accepted{more}"));
        self.ask_reload(None, lifecycle::Until::Takeover);
    }

    fn reply_at_once(&mut self, client: ClientId, message: String) {
        let reply = Reply::Done {
            message,
            serving: self.view().serving(),
            duration_ms: None,
            verdict: None,
        };
        self.desk.control.reply(client, &reply, clock::now());
    }

    /// `pid 812, which asks, belongs to generation 1`, where a command was started by the app itself: if it waited for the end of that generation, it
    /// would wait for itself, until it is killed.
    fn asker_is_below(&self, client: ClientId) -> Option<String> {
        let pid = self.desk.control.peer(client)?.pid;
        let worker = descent::owner_of(Pid::from_raw(pid), &self.fleet.origins(&ground!(self)))?;
        Some(format!(
            "pid {pid}, which asks, belongs to generation {}",
            worker.generation
        ))
    }

    /// Whether old processes end before new ones are started, as far as the settings in force tell.
    fn makes_room_first(&self) -> bool {
        let newest = self.records.births.values().next_back();
        newest.is_some_and(|birth| birth.config.mode == Mode::Queue || birth.config.rolling.is_some())
    }

    /// Ask the core for a reload, for a client or for nobody who waits.
    pub(crate) fn ask_reload(&mut self, client: Option<ClientId>, until: lifecycle::Until) {
        let ticket = self.desk.tickets.take(client, until);
        self.events.push_back(Event::Reload(ticket, until));
    }

    fn take_workers(&mut self, client: ClientId, change: protocol::Change) {
        let reply = match self.change_workers(change) {
            Ok((before, after)) => {
                self.log_request(client, &format!("workers: {before} before, {after} now,"));
                Reply::Done {
                    message: format!("workers: {before} before, {after} now"),
                    serving: self.view().serving(),
                    duration_ms: None,
                    verdict: None,
                }
            }
            Err(message) => Reply::Refused { message },
        };
        self.desk.control.reply(client, &reply, clock::now());
    }

    /// Whether everything stops already, or will at the end of this turn.
    pub(crate) fn stop_asked(&self) -> bool {
        self.core.state() == State::Stopping || self.events.contains(&Event::Stop)
    }

    /// Ask the core for another number of workers.
    pub(crate) fn change_workers(&mut self, change: protocol::Change) -> Result<(u16, u16), String> {
        if self.stop_asked() {
            return Err("workers: the instance is stopping".to_owned());
        }
        let (before, after) = self.records.change_workers(change, &self.core, &self.given)?;
        self.events.push_back(Event::Workers(after));
        Ok((before, after))
    }

    /// `reload asked for by pid 812 (uid 0)`.
    fn log_request(&self, client: ClientId, what: &str) {
        let by = self
            .desk
            .control
            .peer(client)
            .map(|peer| format!(" by {peer}"))
            .unwrap_or_default();
        self.log.info(&format!("{what} asked for{by}"));
    }

    /// The end has come: tell those who wait for it.
    pub(crate) fn answer_stops(&mut self) {
        for client in self.desk.tickets.take_stops() {
            let reply = Reply::Done {
                message: "stopped".to_owned(),
                serving: None,
                duration_ms: None,
                verdict: None,
            };
            self.desk.control.reply(client, &reply, clock::now());
        }
    }
}

fn flags(interest: Interest) -> EpollFlags {
    let mut flags = EpollFlags::empty();
    flags.set(EpollFlags::EPOLLIN, interest.read);
    flags.set(EpollFlags::EPOLLOUT, interest.write);
    flags
}
