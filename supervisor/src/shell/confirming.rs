//! A candidate is looked at while it starts, and for the last time before it takes over: the looks in their order.
//!
//! Each look is the business of a room (its token in `tokens.rs`, its listeners in `inspection/`). What a look finds is noted, and the
//! loop gets the event that follows from all of them.

use std::collections::VecDeque;

use segue_lifecycle::{Event, Lifecycle, Number, Timer, Worker};

use crate::clock::Timers;
use crate::log::Log;
use crate::shell::fleet::{Fleet, Ground, ground};
use crate::shell::inspection::look::{Patience, Seen, Verdict};
use crate::shell::inspection::queues::Queues;
use crate::shell::narrator::view::{View, view};
use crate::shell::records::Records;
use crate::shell::steering::Steering;
use crate::shell::tokens::Acceptance;
use crate::shell::{Alarm, Given};
use crate::sight::Awaited;

/// What the loop lends for the looks.
#[derive(Debug)]
pub(crate) struct Confirming<'a> {
    pub(crate) core: &'a Lifecycle,
    /// What comes of it, for the core.
    pub(crate) events: &'a mut VecDeque<Event>,
    pub(crate) given: &'a Given,
    pub(crate) records: &'a mut Records,
    pub(crate) fleet: &'a mut Fleet,
    pub(crate) queues: &'a Queues,
    pub(crate) steering: &'a mut Steering,
    pub(crate) log: &'a Log,
}

/// The same, where the whole shell is at hand.
macro_rules! confirming {
    ($shell:expr) => {
        Confirming {
            core: &$shell.core,
            events: &mut $shell.events,
            given: &$shell.given,
            records: &mut $shell.records,
            fleet: &mut $shell.fleet,
            queues: &$shell.queues,
            steering: &mut $shell.steering,
            log: &$shell.log,
        }
    };
}

pub(crate) use confirming;

/// What the first look has shown, and the second one is to show.
#[derive(Debug)]
pub(crate) struct Begun {
    accepted: Acceptance,
    /// Its listeners, and who is seen waiting on them while it is watched.
    pub(crate) awaited: Awaited,
}

impl Confirming<'_> {
    /// Look whether a candidate has accepted its token.
    pub(crate) fn look_at_token(&mut self, number: Number) -> Acceptance {
        let seen = self.steering.tokens.look(number, self.core);
        if let Acceptance::Seen(accepted) = &seen {
            self.records.note_accepted(number, accepted.clone());
            self.events.push_back(Event::TokenAccepted(number));
        }
        seen
    }

    /// Look at the workers of candidates that start: do they accept?
    pub(crate) fn look_at_starts(&mut self, timers: &mut Timers<Alarm>) {
        if let Some(number) = self.core.handoff().candidate() {
            self.look_at_token(number);
        }
        self.events.extend(view!(self).look_at_starts(timers));
    }

    /// Look at workers whose word may be lost, and again after a while at those who are not ready by then.
    pub(crate) fn look_at_unheard(&mut self, timers: &mut Timers<Alarm>) {
        let seen = view!(self).look_at_unheard(self.events);
        let ready = self.fleet.note_unheard(seen, timers, self.log);
        self.events.extend(ready);
    }

    /// A deadline of the core has passed. What a candidate has not accepted by then is put down before its processes are told to end.
    pub(crate) fn note_due(&mut self, timer: Timer) {
        let accepts = self.accepts_by(timer);
        if let Some((number, words)) = view!(self).unaccepted_by(timer).filter(|_| !accepts) {
            self.records.note_unaccepted(number, words);
        }
        let due = view!(self).due(timer, self.events);
        self.events.push_back(due);
    }

    /// Look at who is to accept by this deadline, for the last look may have been a while ago. Whether it does, which the core hears.
    fn accepts_by(&mut self, deadline: Timer) -> bool {
        let (Timer::Start(Worker {
            generation: number, ..
        })
        | Timer::Await(number)) = deadline
        else {
            return false;
        };
        let has_token = matches!(self.look_at_token(number), Acceptance::Seen(_));
        if let Timer::Start(worker) = deadline
            && self.core.is_to_be_seen(worker)
            && view!(self).waits_on_all(worker)
        {
            self.events.push_back(Event::Accepts(worker));
            return true;
        }
        has_token
    }

    /// The first look, at its token alone. Where its takeover waits for that, nothing else is of interest until it is accepted, and has
    /// been looked at: then there is nothing more to see now.
    pub(crate) fn begin(&mut self, number: Number) -> Option<Begun> {
        let seen = self.look_at_token(number);
        if seen == Acceptance::NotYet && self.core.awaits_acceptance() == Some(number) {
            self.events.push_back(Event::Unawaited(number));
            return None;
        }
        let lent = self.records.lent_to(number, self.core);
        Some(Begun {
            accepted: seen,
            awaited: Awaited::of(lent.iter().map(|listener| listener.inode())),
        })
    }

    /// The other looks, at one that lives: what all of them come to.
    pub(crate) fn finish(&mut self, number: Number, begun: Begun, patience: Patience) -> Event {
        let mut seen = begun.accepted;
        if seen == Acceptance::NotYet {
            seen = self.look_at_token(number);
        }
        let mut look = view!(self).look_at_listeners(number, patience, &begun.awaited);
        if seen == Acceptance::NotYet && look.verdict != Verdict::Unheld {
            look = view!(self).look_beside(number, look);
        }
        match look.seen {
            Seen::Leaders => {}
            // Those below a monitor are written down, so that the next supervisor knows them after a kill -9.
            Seen::Party => self.fleet.look_for_strays(&ground!(self)),
        }
        if let Some(findings) = look.findings {
            self.records.note_findings(number, findings);
        }
        match (look.verdict, patience) {
            (Verdict::Unawaited, Patience::Left) => Event::Unawaited(number),
            (Verdict::Serves, Patience::Left | Patience::Over) | (Verdict::Unawaited, Patience::Over) => {
                Event::Confirmed(number)
            }
            (Verdict::Unheld, Patience::Left | Patience::Over) => Event::Unheld(number),
        }
    }

    /// New clients go to this generation. If the kernel refuses, the core hears of it.
    pub(crate) fn switch(&mut self, number: Number) {
        if let Err(text) = self.steering.switch(number, &ground!(self)) {
            let refused = self.records.note_not_switched(number, text, self.log);
            self.events.push_back(refused);
        }
    }
}
