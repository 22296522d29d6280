//! What people ask for, by commands and by signals: each wish is answered at once, or becomes an event for the core, and is answered
//! when that has an outcome.

use std::collections::VecDeque;

use segue_lifecycle::{Event, Lifecycle, Outcome, State, Ticket};

use crate::clock::Timers;
use crate::control::ClientId;
use crate::descent;
use crate::log::Log;
use crate::protocol::{self, Change, Reply, Request};
use crate::shell::desk::Desk;
use crate::shell::desk::requests::Asking;
use crate::shell::fleet::{Fleet, Ground, ground};
use crate::shell::inspection::queues::Queues;
use crate::shell::narrator::history::History;
use crate::shell::narrator::view::{View, view};
use crate::shell::records::Records;
use crate::shell::{Alarm, Given};
use crate::signals::Wish;

/// What the loop lends for the hearing of a wish.
#[derive(Debug)]
pub(crate) struct Wishes<'a> {
    pub(crate) core: &'a Lifecycle,
    /// Events that the core has not yet seen.
    pub(crate) pending: &'a VecDeque<Event>,
    pub(crate) given: &'a Given,
    pub(crate) records: &'a mut Records,
    pub(crate) fleet: &'a mut Fleet,
    pub(crate) queues: &'a Queues,
    pub(crate) desk: &'a mut Desk,
    pub(crate) history: &'a History,
    pub(crate) log: &'a Log,
    pub(crate) timers: &'a Timers<Alarm>,
}

/// The same, where the whole shell is at hand.
macro_rules! wishes {
    ($shell:expr) => {
        Wishes {
            core: &$shell.core,
            pending: &$shell.events,
            given: &$shell.given,
            records: &mut $shell.records,
            fleet: &mut $shell.fleet,
            queues: &$shell.queues,
            desk: &mut $shell.desk,
            history: &$shell.narrator.history,
            log: &$shell.log,
            timers: &$shell.timers,
        }
    };
}

pub(crate) use wishes;

/// What a wish comes to.
#[derive(Debug)]
pub(crate) enum Asked {
    /// Nothing more is to be done.
    Nothing,
    /// The core is to decide.
    Event(Event),
    /// This process is to execute the next binary. A client waits for that; none does for a signal.
    Upgrade(Option<ClientId>),
}

/// Whether everything stops already, or will at the end of this turn.
pub(crate) fn is_stop_asked(core: &Lifecycle, pending: &VecDeque<Event>) -> bool {
    core.state() == State::Stopping || pending.contains(&Event::Stop)
}

impl Wishes<'_> {
    /// A client asks for something.
    pub(crate) fn take_request(&mut self, client: ClientId, request: Request) -> Asked {
        match request {
            Request::Status {} => self.show_status(client),
            Request::Events {} => {
                let now = view!(self).news_now();
                self.desk.reply(client, &Reply::Event(Box::new(now)));
                Asked::Nothing
            }
            Request::Reload { until } => self.take_reload(client, until),
            Request::Workers { change } => {
                let (changed, asked) = self.change_workers(change);
                let serving = view!(self).serving();
                self.desk.answer_workers(client, changed, serving, self.log);
                asked
            }
            Request::Upgrade {} => {
                self.desk.log_request(client, "upgrade", self.log);
                Asked::Upgrade(Some(client))
            }
            Request::Stop {} => self.take_stop(client),
        }
    }

    /// A ticket has its outcome. What is told of the incumbent's listeners is true when it is told.
    pub(crate) fn answer(&mut self, ticket: Ticket, outcome: Outcome) {
        if self.desk.tickets.has_asker(ticket) {
            self.withdraw_notes();
        }
        self.desk.answer(ticket, outcome, &view!(self));
    }

    fn withdraw_notes(&mut self) {
        let awaited = view!(self).awaited_by_now();
        self.records.withdraw_notes(&awaited, self.core);
    }

    fn show_status(&mut self, client: ClientId) -> Asked {
        self.fleet.look_for_strays(&ground!(self));
        self.withdraw_notes();
        let status = view!(self).status(self.history, self.timers);
        self.desk.reply(client, &Reply::Status(Box::new(status)));
        Asked::Nothing
    }

    fn take_reload(&mut self, client: ClientId, until: protocol::Until) -> Asked {
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
            serving: view!(self).serving(),
            log: self.log,
        };
        Asked::Event(self.desk.take_reload(until, asking))
    }

    fn take_stop(&mut self, client: ClientId) -> Asked {
        let below = self.asker_is_below(client);
        let serving = view!(self).serving();
        self.desk.take_stop(client, below, serving, self.log);
        // Two commands mean one stop, and both wait for it; only a second signal is impatience.
        if self.is_stop_asked() {
            Asked::Nothing
        } else {
            Asked::Event(Event::Stop)
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

    /// A signal asks for something.
    pub(crate) fn take_signal(&mut self, wish: Wish) -> Asked {
        match wish {
            Wish::Sweep | Wish::Nothing => Asked::Nothing,
            Wish::Stop(by) => {
                let again = if self.is_stop_asked() {
                    " again: all processes that are left are killed"
                } else {
                    ""
                };
                self.log.info(&format!("stop asked for by {by}{again}"));
                Asked::Event(Event::Stop)
            }
            Wish::TerminalGone => {
                self.log
                    .info("stop: the terminal has gone (SIGHUP from the kernel)");
                Asked::Event(Event::Stop)
            }
            Wish::Reload(by) => {
                self.log.info(&format!("reload asked for by {by}"));
                Asked::Event(self.desk.reload_for_nobody())
            }
            Wish::Ignored => {
                self.log.info("SIGHUP ignored, as it was when segue was started");
                Asked::Nothing
            }
            Wish::Upgrade(by) => {
                self.log.info(&format!("upgrade asked for by {by}"));
                Asked::Upgrade(None)
            }
            Wish::Workers(change, by) => {
                let (changed, asked) = self.change_workers(change);
                match changed {
                    Ok((before, after)) => {
                        let text = format!("workers: {before} before, {after} now, by {by}");
                        self.log.info(&text);
                    }
                    Err(text) => self.log.warning(&format!("{by} refused: {text}")),
                }
                asked
            }
            Wish::PassOn(by) => {
                if let Some(incumbent) = self.core.incumbent() {
                    self.fleet.pass_on_usr1(incumbent, &by.to_string(), self.log);
                }
                Asked::Nothing
            }
        }
    }

    fn is_stop_asked(&self) -> bool {
        is_stop_asked(self.core, self.pending)
    }

    /// Ask the core for another number of workers: the number before and after, or why not.
    fn change_workers(&mut self, change: Change) -> (Result<(u16, u16), String>, Asked) {
        if self.is_stop_asked() {
            let refused = "workers: the instance is stopping".to_owned();
            return (Err(refused), Asked::Nothing);
        }
        let changed = self.records.change_workers(change, self.core, self.given);
        let asked = match &changed {
            Ok((_, after)) => Asked::Event(Event::Workers(*after)),
            Err(_) => Asked::Nothing,
        };
        (changed, asked)
    }
}
