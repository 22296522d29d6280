//! Who has room, and for how long: the seats of clients, and the deadlines of those that hold none for good.

use std::time::{Duration, Instant};

use super::session::{Seat, Session};
use super::{ASK_TIME, ClientId, Control, TICKETS_MAX};
use crate::protocol::{Reply, Request};

/// How many clients may wait for the end of a stop. Separate, so that tickets never keep a stop out.
const STOPS_MAX: usize = 64;

/// How many clients may hear all that happens. They stay for days, and each may have a buffer; a machine has a handful of them.
pub(super) const FOLLOWERS_MAX: usize = 16;

/// How many clients without a ticket are held at a time. Each leaves within [`ASK_TIME`] or [`READ_TIME`].
pub(super) const RESERVE: usize = 64;

/// How long it may take while the reserve is full, so that clients which never ask do not keep a `status` or a
/// `stop` out for long: a hundred of them delay it by half a second.
pub(super) const CROWDED_ASK_TIME: Duration = Duration::from_millis(250);

impl Control {
    /// When [`Control::expire`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let shortened = self.shortened();
        self.clients
            .values()
            .filter_map(|session| deadline(session, shortened))
            .chain(self.paused_until)
            .min()
    }

    /// Refuses who has not asked in time, drops who does not read its answer, and ends a pause.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.paused_until = self.paused_until.filter(|until| *until > now);
        let shortened = self.shortened();
        let overdue =
            |session: &Session| deadline(session, shortened).is_some_and(|deadline| deadline <= now);
        let late: Vec<ClientId> = self
            .clients
            .iter()
            .filter(|(_, s)| overdue(s))
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            if self
                .clients
                .get(&id)
                .is_some_and(|session| session.seat() == Seat::Asking)
            {
                let message = match ASK_TIME.saturating_sub(shortened) {
                    ASK_TIME => format!("no request within {} s", ASK_TIME.as_secs()),
                    time => format!("no request within {} ms, and others wait", time.as_millis()),
                };
                self.reply(id, &Reply::Refused { message }, now);
            } else {
                self.close(id);
            }
        }
    }

    pub(super) fn has_room(&self, now: Instant) -> bool {
        self.paused_until.is_none_or(|until| until <= now) && !self.is_crowded()
    }

    /// Whether the reserve is full.
    fn is_crowded(&self) -> bool {
        self.count(Seat::Asking) + self.count(Seat::Served) + self.count(Seat::Leaving) >= RESERVE
    }

    /// By how much clients that have not asked yet have less time than usual.
    fn shortened(&self) -> Duration {
        if self.is_crowded() {
            ASK_TIME - CROWDED_ASK_TIME
        } else {
            Duration::ZERO
        }
    }

    pub(super) fn count(&self, seat: Seat) -> usize {
        self.clients
            .values()
            .filter(|session| session.seat() == seat)
            .count()
    }

    /// Where a client with this request waits; the refusal if there is no room.
    pub(super) fn seat(&self, request: Request) -> Result<Seat, String> {
        let (seat, max) = match request {
            Request::Reload { .. } | Request::Workers { .. } | Request::Upgrade {} => {
                (Seat::Ticket, TICKETS_MAX)
            }
            Request::Stop {} => (Seat::Stop, STOPS_MAX),
            Request::Events {} => (Seat::Events, FOLLOWERS_MAX),
            Request::Status {} => return Ok(Seat::Served),
        };
        if self.count(seat) < max {
            Ok(seat)
        } else {
            Err(format!("{max} clients wait already; try again later"))
        }
    }
}

/// When a client must have asked, or read its answer; `shortened` is what those lose who have not asked.
fn deadline(session: &Session, shortened: Duration) -> Option<Instant> {
    match session.seat() {
        Seat::Asking => session
            .deadline()
            .map(|deadline| deadline.checked_sub(shortened).unwrap_or(deadline)),
        Seat::Ticket | Seat::Stop | Seat::Events | Seat::Served | Seat::Leaving => session.deadline(),
    }
}
