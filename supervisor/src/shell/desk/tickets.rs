//! Who asked for what: tickets and the clients that hold them.

use std::collections::BTreeMap;
use std::time::Instant;

use segue_lifecycle::{Outcome, Ticket, Until};

use crate::clock;
use crate::control::{ClientId, Control};
use crate::protocol::{News, Reply};
use crate::shell::desk::Desk;
use crate::shell::narrator::view::View;
use crate::state::{
    Field as _, Fields as _, Flaw, Row, Rows, Whole as _, by_text, fields, whole, written_as,
};

/// One request for a reload that has not been answered.
#[derive(Debug)]
struct Asker {
    /// The client that waits; none for a signal, or for a client that did not want to.
    client: Option<ClientId>,
    until: Until,
    asked: Instant,
    /// What it is told besides the outcome, if that is a success.
    note: String,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Tickets {
    askers: BTreeMap<Ticket, Asker>,
    next: u64,
    /// When the oldest request was made that waits for the next handoff.
    oldest_queued: Option<Instant>,
    /// Clients that wait until everything has stopped.
    stops: Vec<ClientId>,
}

whole!(Asker { "client" client; "until" until; "asked" asked; "note" note or String::new(); });
fields!(Tickets { "next" next; "oldest-queued" oldest_queued; });
by_text!(Until);
written_as!(Ticket as u64: |ticket| ticket.0, Ticket;);

impl Tickets {
    pub(crate) const fn new() -> Self {
        Self {
            askers: BTreeMap::new(),
            next: 0,
            oldest_queued: None,
            stops: Vec::new(),
        }
    }

    /// A new ticket.
    pub(crate) fn take(&mut self, client: Option<ClientId>, until: Until) -> Ticket {
        self.take_for(client, until, String::new())
    }

    /// A new ticket for a client that is told something besides.
    pub(crate) fn take_with_note(&mut self, client: ClientId, until: Until, note: String) -> Ticket {
        self.take_for(Some(client), until, note)
    }

    fn take_for(&mut self, client: Option<ClientId>, until: Until, note: String) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        let asked = clock::now();
        let asker = Asker {
            client,
            until,
            asked,
            note,
        };
        self.askers.insert(ticket, asker);
        self.oldest_queued.get_or_insert(asked);
        ticket
    }

    /// The requests so far share the handoff that begins now. Returns when the first of them was made.
    pub(crate) fn handoff_began(&mut self) -> Option<Instant> {
        self.oldest_queued.take()
    }

    /// A client waits for the end.
    pub(crate) fn wait_for_stop(&mut self, client: ClientId) {
        self.stops.push(client);
    }

    pub(crate) fn take_stops(&mut self) -> Vec<ClientId> {
        std::mem::take(&mut self.stops)
    }

    /// Write who asked for what.
    pub(crate) fn save(&self, rows: &mut Rows) {
        self.save_fields(rows.begin("desk"));
        for (ticket, asker) in &self.askers {
            ticket.write("number", rows.begin("ticket"));
            asker.save_fields(rows);
        }
        for client in &self.stops {
            client.write("client", rows.begin("stop"));
        }
    }

    /// Read who asked for what. Clients that are not connected any more wait for nothing: after `kill -9` none is, and their
    /// numbers will be those of others.
    pub(crate) fn restore(rows: &[Row<'_>], control: &Control) -> Result<Self, Flaw> {
        let is_connected = |client: &ClientId| control.client_fd(*client).is_some();
        let mut desk = Self::new();
        desk.restore_fields(Row::of_kind(rows, "desk")?)?;
        for row in rows.iter().copied() {
            match row.kind() {
                "ticket" => {
                    let mut asker = Asker::of_row(row)?;
                    asker.client = asker.client.filter(is_connected);
                    desk.askers.insert(Ticket::read("number", row)?, asker);
                }
                "stop" => desk
                    .stops
                    .extend(Some(ClientId::read("client", row)?).filter(is_connected)),
                _ => {}
            }
        }
        Ok(desk)
    }

    /// Whether a client waits for the answer to this ticket.
    pub(crate) fn has_asker(&self, ticket: Ticket) -> bool {
        self.askers
            .get(&ticket)
            .is_some_and(|asker| asker.client.is_some())
    }

    /// The clients that wait for more than a takeover.
    fn patient(&self) -> Vec<ClientId> {
        let patient = self.askers.values().filter(|asker| match asker.until {
            Until::Takeover => false,
            Until::Settled | Until::Drained => true,
        });
        patient.filter_map(|asker| asker.client).collect()
    }
}

impl Desk {
    /// Put down the answer to a ticket.
    pub(crate) fn answer(&mut self, ticket: Ticket, outcome: Outcome, view: &View<'_>) {
        let Some(asker) = self.tickets.askers.remove(&ticket) else {
            return;
        };
        let Some(client) = asker.client else { return };
        let took = clock::now().saturating_duration_since(asker.asked);
        let mut reply = view.outcome_reply(outcome, took);
        if let Reply::Done { message, .. } = &mut reply {
            message.push_str(&asker.note);
        }
        self.answers.push((client, reply));
    }

    /// Tell those who hear all that happens.
    pub(crate) fn publish(&mut self, news: impl FnOnce() -> News) {
        if self.control.has_followers() {
            let event = Reply::Event(Box::new(news()));
            self.control.publish(&event, clock::now());
        }
    }

    /// Tell those who wait for more than the takeover how far it has come.
    pub(crate) fn tell_progress(&mut self, message: &str) {
        for client in self.tickets.patient() {
            let reply = Reply::Progress {
                message: message.to_owned(),
            };
            self.control.reply(client, &reply, clock::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::harness::Server;

    fn text(desk: &Tickets) -> Vec<u8> {
        let mut rows = Rows::default();
        desk.save(&mut rows);
        rows.finish()
    }

    #[test]
    fn the_tickets_are_passed_on_with_those_who_still_wait() {
        let directory = tempfile::tempdir().unwrap();
        let mut server = Server::open(directory.path(), "app");
        let path = server.control.place().control().to_owned();
        let _clients = [(); 2].map(|()| std::os::unix::net::UnixStream::connect(&path).unwrap());
        server.turns();
        let [waits, stops, gone] = [1, 2, 99].map(ClientId::from_number);

        let mut desk = Tickets::new();
        assert_eq!(desk.take(Some(waits), Until::Settled), Ticket(0));
        let noted = desk.take_with_note(waits, Until::Takeover, "; and more".to_owned());
        assert_eq!(noted, Ticket(1));
        desk.handoff_began();
        assert_eq!(desk.take(Some(gone), Until::Drained), Ticket(2));
        desk.wait_for_stop(stops);
        desk.wait_for_stop(gone);

        let saved = text(&desk);
        let rows = Row::all(&saved).unwrap();
        let mut restored = Tickets::restore(&rows, &server.control).unwrap();
        assert_eq!(restored.patient(), [waits]);
        assert_eq!(restored.askers.get(&Ticket(2)).unwrap().client, None);
        assert_eq!(restored.askers.get(&Ticket(1)).unwrap().note, "; and more");
        assert_eq!(restored.take_stops(), [stops]);
        // Those who are gone aside, it is the same.
        desk.stops.clear();
        desk.askers.get_mut(&Ticket(2)).unwrap().client = None;
        assert_eq!(text(&restored), text(&desk));
        assert_eq!(restored.take(None, Until::Takeover), Ticket(3));
    }

    #[test]
    fn an_empty_desk_is_passed_on() {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::open(directory.path(), "app");
        let saved = text(&Tickets::new());
        let restored = Tickets::restore(&Row::all(&saved).unwrap(), &server.control).unwrap();
        assert_eq!(text(&restored), saved);
        assert!(Tickets::restore(&[], &server.control).is_err());
    }
}
