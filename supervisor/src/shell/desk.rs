//! Who asked for what: tickets and the clients that hold them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use segue_lifecycle::{Cause, Number, Outcome, Ticket, Until};

use super::Shell;
use super::report::cause_code;
use super::view::probation;
use crate::clock;
use crate::control::{ClientId, Control};
use crate::protocol::{self, CauseCode, Probation, Reply, Serving, Verdict};
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
pub(super) struct Desk {
    askers: BTreeMap<Ticket, Asker>,
    next: u64,
    /// When the oldest request was made that waits for the next handoff.
    oldest_queued: Option<Instant>,
    /// Clients that wait until everything has stopped.
    stops: Vec<ClientId>,
}

whole!(Asker { "client" client; "until" until; "asked" asked; "note" note or String::new(); });
fields!(Desk { "next" next; "oldest-queued" oldest_queued; });
by_text!(Until);
written_as!(Ticket as u64: |ticket| ticket.0, Ticket;);

impl Desk {
    pub(super) const fn new() -> Self {
        Self {
            askers: BTreeMap::new(),
            next: 0,
            oldest_queued: None,
            stops: Vec::new(),
        }
    }

    /// A new ticket.
    pub(super) fn take(&mut self, client: Option<ClientId>, until: Until) -> Ticket {
        self.take_for(client, until, String::new())
    }

    /// A new ticket for a client that is told something besides.
    pub(super) fn take_with_note(&mut self, client: ClientId, until: Until, note: String) -> Ticket {
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
    pub(super) fn handoff_began(&mut self) -> Option<Instant> {
        self.oldest_queued.take()
    }

    /// A client waits for the end.
    pub(super) fn wait_for_stop(&mut self, client: ClientId) {
        self.stops.push(client);
    }

    pub(super) fn take_stops(&mut self) -> Vec<ClientId> {
        std::mem::take(&mut self.stops)
    }

    /// Write who asked for what.
    pub(super) fn save(&self, rows: &mut Rows) {
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
    pub(super) fn restore(rows: &[Row<'_>], control: &Control) -> Result<Self, Flaw> {
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

    /// The clients that wait for more than a takeover.
    fn patient(&self) -> Vec<ClientId> {
        let patient = self.askers.values().filter(|asker| match asker.until {
            Until::Takeover => false,
            Until::Settled | Until::Drained => true,
        });
        patient.filter_map(|asker| asker.client).collect()
    }
}

/// Why a generation that failed on probation is not rolled back.
pub(super) const fn no_way_back(cause: Cause) -> &'static str {
    match cause {
        Cause::Deaf(_) => "no version has passed probation yet, so it is left alone",
        Cause::NotPrepared
        | Cause::NotSpawned(_)
        | Cause::Exited(_)
        | Cause::NotReady(_)
        | Cause::Stuck(_)
        | Cause::Probe
        | Cause::Unheld(_) => "no version has passed probation yet, so it is started again",
    }
}

impl Shell {
    /// Put down the answer to a ticket.
    pub(super) fn answer(&mut self, ticket: Ticket, outcome: Outcome) {
        let Some(asker) = self.desk.askers.remove(&ticket) else {
            return;
        };
        let Some(client) = asker.client else { return };
        self.review_notes();
        let took = clock::now().saturating_duration_since(asker.asked);
        let mut reply = self.outcome_reply(outcome, took);
        if let Reply::Done { message, .. } = &mut reply {
            message.push_str(&asker.note);
        }
        self.answers.push((client, reply));
    }

    fn outcome_reply(&self, outcome: Outcome, took: Duration) -> Reply {
        let serving = self.serving();
        let verdict = self.verdict(outcome);
        let reason = verdict.reason.clone().unwrap_or_default();
        match outcome {
            Outcome::TookOver(number) => self.done(number, "", took, verdict),
            Outcome::Settled(number) => self.done(number, "; it has passed probation", took, verdict),
            Outcome::Drained(number) => self.done(number, "; every older generation is gone", took, verdict),
            Outcome::Replaced(old, new) => {
                let more = format!(" (replaced by generation {new} before its probation ended)");
                self.done(old, &more, took, verdict)
            }
            Outcome::Failed(number, _) => {
                Reply::reload_failed(&format!("generation {number}: {reason}"), serving, verdict)
            }
            Outcome::RolledBack(failed, number, _) => Reply::Failed {
                message: format!(
                    "reload rolled back: generation {failed}: {reason}; generation {number} was started from the last good{}",
                    self.files_not_brought_back(number)
                ),
                serving,
                verdict: Some(verdict),
            },
            Outcome::NoWayBack(number, cause) => Reply::reload_failed(
                &format!("generation {number}: {reason}; {}", no_way_back(cause)),
                serving,
                verdict,
            ),
            Outcome::Stopping => Reply::reload_failed(&reason, serving, verdict),
        }
    }

    /// The answer to a reload whose generation has taken over.
    fn done(&self, number: Number, more: &str, took: Duration, verdict: Verdict) -> Reply {
        let more = [
            more,
            &self.no_way_to_files(number),
            &self.dead_listeners(),
            &self.old_directory(number),
        ]
        .concat();
        match self.serving() {
            Some(serving) if serving.generation == number => Reply::reload_ok(serving, took, &more, verdict),
            // It took over, and somebody else (or nobody) serves by now.
            serving => Reply::Done {
                message: format!("reload ok: generation {number} took over{more}"),
                serving,
                duration_ms: Some(u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
                verdict: Some(verdict),
            },
        }
    }

    /// The outcome in codes.
    fn verdict(&self, outcome: Outcome) -> Verdict {
        use protocol::Outcome as Code;
        let (code, number, cause) = match outcome {
            Outcome::TookOver(number)
            | Outcome::Settled(number)
            | Outcome::Drained(number)
            | Outcome::Replaced(number, _) => (Code::Ok, Some(number), None),
            Outcome::Failed(number, cause) | Outcome::NoWayBack(number, cause) => {
                (Code::Failed, Some(number), Some(cause))
            }
            Outcome::RolledBack(failed, _, cause) => (Code::RolledBack, Some(failed), Some(cause)),
            Outcome::Stopping => (Code::Failed, None, None),
        };
        let stopping = match outcome {
            Outcome::Stopping => Some((CauseCode::Stopping, "the instance is stopping".to_owned())),
            Outcome::TookOver(_)
            | Outcome::Settled(_)
            | Outcome::Drained(_)
            | Outcome::Replaced(..)
            | Outcome::Failed(..)
            | Outcome::RolledBack(..)
            | Outcome::NoWayBack(..) => None,
        };
        let words = cause.map(|cause| self.words_after(cause)).unwrap_or_default();
        let failure = cause.map(|cause| (cause_code(cause), self.reason(cause)));
        let (cause, reason) = failure.or(stopping).unzip();
        Verdict {
            outcome: code,
            probation: self.probation_after(outcome),
            generation: number,
            cause,
            reason,
            words,
        }
    }

    fn probation_after(&self, outcome: Outcome) -> Probation {
        match outcome {
            Outcome::TookOver(number) | Outcome::Drained(number) => self
                .core
                .generation(number)
                .map_or(Probation::NotPassed, probation),
            Outcome::Settled(_) => Probation::Passed,
            Outcome::Replaced(..) | Outcome::RolledBack(..) | Outcome::NoWayBack(..) => Probation::NotPassed,
            Outcome::Failed(..) | Outcome::Stopping => Probation::NotReached,
        }
    }

    /// What a reload that is well must not hide: a rollback starts an interpreter with what lies there now.
    fn no_way_to_files(&self, number: Number) -> String {
        let info = self.generations.get(&number);
        let files = info.and_then(|info| info.replaced.as_deref());
        files.map_or_else(String::new, |files| {
            format!(
                "; {files} was replaced in place, so that a rollback cannot bring the old one back (release directories can)"
            )
        })
    }

    /// The same of a rollback that was made.
    pub(super) fn files_not_brought_back(&self, number: Number) -> String {
        let info = self.generations.get(&number);
        let files = info.and_then(|info| info.replaced.as_deref());
        files.map_or_else(String::new, |files| {
            format!(", but with {files} as it is now: it was replaced in place (release directories keep the old one)")
        })
    }

    /// `; listener web: CLAUSE` for each one that no client reaches: a reload that is ok must not hide it.
    fn dead_listeners(&self) -> String {
        let shown = self.listeners_shown().into_iter();
        let dead = shown.filter_map(|one| Some(format!("; listener {}: {}", one.name, one.trouble?)));
        dead.collect()
    }

    /// `; the app is started in DIRECTORY...` for the one reload that is told of it.
    fn old_directory(&self, number: Number) -> String {
        let told = self.told_of_directory.as_ref().filter(|(to, _)| *to == number);
        told.map(|(_, text)| format!("; {text}")).unwrap_or_default()
    }

    /// Who serves at this moment, if anybody does.
    pub(super) fn serving(&self) -> Option<Serving> {
        let incumbent = self.core.incumbent().filter(|generation| generation.serves())?;
        let pids = self.pids_of(incumbent);
        Some(Serving {
            generation: incumbent.number,
            pids,
        })
    }

    /// Tell those who wait for more than the takeover how far it has come.
    pub(super) fn tell_progress(&mut self, message: &str) {
        for client in self.desk.patient() {
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

    fn text(desk: &Desk) -> Vec<u8> {
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

        let mut desk = Desk::new();
        assert_eq!(desk.take(Some(waits), Until::Settled), Ticket(0));
        let noted = desk.take_with_note(waits, Until::Takeover, "; and more".to_owned());
        assert_eq!(noted, Ticket(1));
        desk.handoff_began();
        assert_eq!(desk.take(Some(gone), Until::Drained), Ticket(2));
        desk.wait_for_stop(stops);
        desk.wait_for_stop(gone);

        let saved = text(&desk);
        let rows = Row::all(&saved).unwrap();
        let mut restored = Desk::restore(&rows, &server.control).unwrap();
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
        let saved = text(&Desk::new());
        let restored = Desk::restore(&Row::all(&saved).unwrap(), &server.control).unwrap();
        assert_eq!(text(&restored), saved);
        assert!(Desk::restore(&[], &server.control).is_err());
    }
}
