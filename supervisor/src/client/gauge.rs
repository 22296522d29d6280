//! How far a reload is, drawn as long as its outcome is waited for.

use std::path::Path;
use std::time::{Duration, Instant};

use super::Client;
use super::connection::{Connection, Lost};
use crate::clock;
use crate::protocol::{Reply, Seen};

/// How often a gauge is drawn, and how long the status for it is waited for. A reload that takes less shows none.
const GAUGE_TIME: Duration = Duration::from_millis(250);

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
        loop {
            let pause = clock::now() + GAUGE_TIME;
            let received = connection.receive(Some(deadline.map_or(pause, |deadline| deadline.min(pause))));
            let is_over = deadline.is_some_and(|deadline| clock::now() >= deadline);
            if is_over || !matches!(received, Err(Lost::TimedOut)) {
                gauge.clear();
                return received;
            }
            if let Some(seen) = look(connection.path()) {
                gauge.draw(seen);
            }
        }
    }
}

/// The status, if it is to be had at once.
fn look(control: &Path) -> Option<Seen> {
    let mut connection = Connection::open_now(control).ok()?;
    let status = connection.status(Some(clock::now() + GAUGE_TIME)).ok()?;
    Some(Seen {
        status,
        supervisor: connection.supervisor(),
    })
}
