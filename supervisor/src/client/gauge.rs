//! How far a reload is, drawn as long as its outcome is waited for.

use std::path::Path;
use std::time::{Duration, Instant};

use super::Client;
use super::connection::{Connection, Lost};
use crate::clock;
use crate::protocol::{Reply, Seen};

/// How often a gauge is drawn at most, and how long the status for it is waited for. A reload that takes less shows none.
const GAUGE_TIME: Duration = Duration::from_millis(250);

/// How many times as long as a look took no other follows: on a machine with many processes and connections it reads all of them,
/// and that machine serves.
const REST: u32 = 10;

/// Where it is drawn how far a reload is, as long as its outcome is waited for.
pub(crate) trait Gauge {
    /// Draws it in the place of what was drawn before.
    fn draw(&mut self, seen: Seen);

    /// Takes it away, for something else is to be said.
    fn clear(&mut self);
}

impl Client<'_> {
    /// Waits for the next reply, and lets the gauge show meanwhile how far it is.
    pub(super) fn next(
        &mut self,
        connection: &mut Connection,
        deadline: Option<Instant>,
    ) -> Result<Reply, Lost> {
        let Some(gauge) = &mut self.gauge else {
            return connection.receive(deadline);
        };
        let mut pause = GAUGE_TIME;
        loop {
            let began = clock::now();
            let next_look = began + pause;
            let until = deadline.map_or(next_look, |deadline| deadline.min(next_look));
            let received = connection.receive(Some(until));
            if deadline == Some(until) || !matches!(received, Err(Lost::TimedOut)) {
                gauge.clear();
                return received;
            }
            let began = clock::now();
            // The reply comes before the gauge.
            if deadline.is_some_and(|deadline| deadline < began + GAUGE_TIME) {
                pause = GAUGE_TIME;
                continue;
            }
            if let Some(seen) = look(connection.path(), began + GAUGE_TIME) {
                gauge.draw(seen);
            }
            pause = GAUGE_TIME.max((clock::now() - began) * REST);
        }
    }
}

/// The status, if it is to be had at once.
fn look(control: &Path, deadline: Instant) -> Option<Seen> {
    let mut connection = Connection::open_now(control).ok()?;
    let status = connection.status(Some(deadline)).ok()?;
    Some(Seen {
        status,
        supervisor: connection.supervisor(),
    })
}
