//! What a client is told at once, and what becomes of its request for a reload.

use nix::unistd::Pid;
use segue_lifecycle::{self as lifecycle, Event};

use crate::clock;
use crate::control::ClientId;
use crate::log::Log;
use crate::protocol::{Reply, Serving, Until};
use crate::shell::desk::Desk;

/// What is to be known about who asks for a reload.
#[derive(Debug)]
pub(crate) struct Asking<'a> {
    pub(crate) client: ClientId,
    /// `pid 812, which asks, belongs to generation 1`, where a command was started by the app itself: if it waited for the end of
    /// that generation, it would wait for itself, until it is killed.
    pub(crate) below: Option<String>,
    /// Whether old processes end before new ones are started, as far as the settings in force tell.
    pub(crate) makes_room_first: bool,
    pub(crate) serving: Option<Serving>,
    pub(crate) log: &'a Log,
}

impl Desk {
    /// A reload is asked for: the event for the core. A client that does not wait is answered at once.
    pub(crate) fn take_reload(&mut self, until: Until, asking: Asking<'_>) -> Event {
        let Asking {
            client,
            below,
            makes_room_first,
            serving,
            log,
        } = asking;
        self.log_request(client, "reload", log);
        match (until, below) {
            (Until::Accepted, _) => self.accept_reload(client, "", serving),
            (Until::Takeover | Until::Settled | Until::Drained, Some(below)) if makes_room_first => {
                let more = format!("; {below}, which must end before the next one starts");
                self.accept_reload(client, &more, serving)
            }
            (Until::Takeover, _) => self.ask_reload(Some(client), lifecycle::Until::Takeover),
            (Until::Settled, _) => self.ask_reload(Some(client), lifecycle::Until::Settled),
            (Until::Drained, None) => self.ask_reload(Some(client), lifecycle::Until::Drained),
            (Until::Drained, Some(below)) => {
                let note = format!("; that its own generation is gone is not waited for: {below}");
                let until = lifecycle::Until::Takeover;
                let ticket = self.tickets.take_with_note(client, until, note);
                Event::Reload(ticket, until)
            }
        }
    }

    /// The client does not wait.
    fn accept_reload(&mut self, client: ClientId, more: &str, serving: Option<Serving>) -> Event {
        self.done(client, format!("reload accepted{more}"), serving);
        self.reload_for_nobody()
    }

    /// A reload that no client waits for, as an event for the core.
    pub(crate) fn reload_for_nobody(&mut self) -> Event {
        self.ask_reload(None, lifecycle::Until::Takeover)
    }

    fn ask_reload(&mut self, client: Option<ClientId>, until: lifecycle::Until) -> Event {
        let ticket = self.tickets.take(client, until);
        Event::Reload(ticket, until)
    }

    /// A stop is asked for. A client that ends with the app does not wait for it.
    pub(crate) fn take_stop(
        &mut self,
        client: ClientId,
        below: Option<String>,
        serving: Option<Serving>,
        log: &Log,
    ) {
        self.log_request(client, "stop", log);
        match below {
            Some(below) => self.done(client, format!("stopping; {below}, and ends with it"), serving),
            None => self.tickets.wait_for_stop(client),
        }
    }

    /// The number of workers was to be changed.
    pub(crate) fn answer_workers(
        &mut self,
        client: ClientId,
        changed: Result<(u16, u16), String>,
        serving: Option<Serving>,
        log: &Log,
    ) {
        match changed {
            Ok((before, after)) => {
                self.log_request(client, &format!("workers: {before} before, {after} now,"), log);
                self.done(client, format!("workers: {before} before, {after} now"), serving);
            }
            Err(message) => self.reply(client, &Reply::Refused { message }),
        }
    }

    /// The upgrade that was asked for has failed, and this process goes on.
    pub(crate) fn upgrade_failed(&mut self, client: ClientId, message: String, serving: Option<Serving>) {
        let failed = Reply::Failed {
            message,
            serving,
            verdict: None,
        };
        self.reply(client, &failed);
    }

    /// The end has come: tell those who wait for it.
    pub(crate) fn answer_stops(&mut self) {
        for client in self.tickets.take_stops() {
            self.done(client, "stopped".to_owned(), None);
        }
    }

    /// It is done.
    pub(crate) fn done(&mut self, client: ClientId, message: String, serving: Option<Serving>) {
        let reply = Reply::Done {
            message,
            serving,
            duration_ms: None,
            verdict: None,
        };
        self.reply(client, &reply);
    }

    pub(crate) fn reply(&mut self, client: ClientId, reply: &Reply) {
        self.control.reply(client, reply, clock::now());
    }

    /// The process of a client, as long as it is known.
    pub(crate) fn pid_of(&self, client: ClientId) -> Option<Pid> {
        Some(Pid::from_raw(self.control.peer(client)?.pid))
    }

    /// `reload asked for by pid 812 (uid 0)`.
    pub(crate) fn log_request(&self, client: ClientId, what: &str, log: &Log) {
        let peer = self.control.peer(client);
        let by = peer.map(|peer| format!(" by {peer}")).unwrap_or_default();
        log.info(&format!("{what} asked for{by}"));
    }
}
