//! What clients and signals ask for, as events for the core.

use segue_lifecycle::{Event, State, Until};

use crate::control::ClientId;
use crate::descent;
use crate::protocol::{self, Change, Reply, Request};
use crate::shell::Shell;
use crate::shell::desk::requests::Asking;
use crate::shell::fleet::{Ground, ground};
use crate::signals::Wish;

impl Shell {
    /// A client asks for something.
    pub(crate) fn take_request(&mut self, client: ClientId, request: Request) {
        match request {
            Request::Status {} => {
                self.fleet.look_for_strays(&ground!(self));
                self.review_notes();
                let status = self.view().status(&self.narrator.history);
                self.desk.reply(client, &Reply::Status(Box::new(status)));
            }
            Request::Reload { until } => {
                let below = match until {
                    protocol::Until::Accepted => None,
                    protocol::Until::Takeover | protocol::Until::Settled | protocol::Until::Drained => {
                        self.asker_is_below(client)
                    }
                };
                let asking = Asking {
                    client,
                    below,
                    makes_room_first: self.records.makes_room_first(),
                    serving: self.view().serving(),
                    log: &self.log,
                };
                let event = self.desk.take_reload(until, asking);
                self.events.push_back(event);
            }
            Request::Workers { change } => {
                let changed = self.change_workers(change);
                let serving = self.view().serving();
                self.desk.answer_workers(client, changed, serving, &self.log);
            }
            Request::Upgrade {} => {
                self.desk.log_request(client, "upgrade", &self.log);
                self.ask_upgrade(Some(client));
            }
            Request::Stop {} => {
                let below = self.asker_is_below(client);
                let serving = self.view().serving();
                self.desk.take_stop(client, below, serving, &self.log);
                // Two commands mean one stop, and both wait for it; only a second signal is impatience.
                if !self.stop_asked() {
                    self.events.push_back(Event::Stop);
                }
            }
        }
    }

    /// `pid 812, which asks, belongs to generation 1`.
    fn asker_is_below(&self, client: ClientId) -> Option<String> {
        let pid = self.desk.pid_of(client)?;
        let worker = descent::owner_of(pid, &self.fleet.origins(&ground!(self)))?;
        Some(format!(
            "pid {pid}, which asks, belongs to generation {}",
            worker.generation
        ))
    }

    /// Take every signal that is pending. Deaths are looked at once, however many signals told of them.
    pub(crate) fn read_signals(&mut self) {
        let mut deaths = false;
        while let Some(wish) = self.signals.next() {
            if matches!(wish, Wish::Sweep) {
                deaths = true;
            } else {
                self.take_wish(wish);
            }
        }
        if deaths {
            self.sweep();
        }
    }

    fn take_wish(&mut self, wish: Wish) {
        match wish {
            Wish::Sweep | Wish::Nothing => {}
            Wish::Stop(by) => {
                let again = if self.stop_asked() {
                    " again: all processes that are left are killed"
                } else {
                    ""
                };
                self.log.info(&format!("stop asked for by {by}{again}"));
                self.events.push_back(Event::Stop);
            }
            Wish::TerminalGone => {
                self.log
                    .info("stop: the terminal has gone (SIGHUP from the kernel)");
                self.events.push_back(Event::Stop);
            }
            Wish::Reload(by) => {
                self.log.info(&format!("reload asked for by {by}"));
                self.ask_reload();
            }
            Wish::Ignored => self.log.info("SIGHUP ignored, as it was when segue was started"),
            Wish::Upgrade(by) => {
                self.log.info(&format!("upgrade asked for by {by}"));
                self.ask_upgrade(None);
            }
            Wish::Workers(change, by) => match self.change_workers(change) {
                Ok((before, after)) => {
                    let text = format!("workers: {before} before, {after} now, by {by}");
                    self.log.info(&text);
                }
                Err(text) => self.log.warning(&format!("{by} refused: {text}")),
            },
            Wish::PassOn(by) => {
                if let Some(incumbent) = self.core.incumbent() {
                    self.fleet.pass_on_usr1(incumbent, &by.to_string(), &self.log);
                }
            }
        }
    }

    /// Ask the core for a reload, for nobody who waits.
    pub(crate) fn ask_reload(&mut self) {
        let event = self.desk.ask_reload(None, Until::Takeover);
        self.events.push_back(event);
    }

    /// Whether everything stops already, or will at the end of this turn.
    pub(crate) fn stop_asked(&self) -> bool {
        self.core.state() == State::Stopping || self.events.contains(&Event::Stop)
    }

    /// Ask the core for another number of workers.
    fn change_workers(&mut self, change: Change) -> Result<(u16, u16), String> {
        if self.stop_asked() {
            return Err("workers: the instance is stopping".to_owned());
        }
        let (core, given) = (&self.core, &self.given);
        let (before, after) = self.records.change_workers(change, core, given)?;
        self.events.push_back(Event::Workers(after));
        Ok((before, after))
    }
}
