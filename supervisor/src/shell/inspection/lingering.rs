//! Whether an old generation has clients left.

use segue_lifecycle::{Event, Number};

use crate::shell::narrator::view::View;
use crate::sight::{Connection, Sockets, connection, strange_connection};

impl View<'_> {
    /// Look for connections to the generation's listeners in its processes, and for clients in its slot. An accepted socket has no
    /// tie to the slot by which it came, so that it counts for whoever has it open. The generation counts as in use where that cannot
    /// be seen: it then lingers until its time is up.
    pub(crate) fn look_for_clients(&self, number: Number) -> Event {
        if self.has_clients_left(number) {
            Event::InUse(number)
        } else {
            Event::Unused(number)
        }
    }

    fn has_clients_left(&self, number: Number) -> bool {
        let lent = self.records.lent_to(number, self.core);
        if lent.is_empty() || lent.iter().any(|listener| listener.has_clients_waiting()) {
            return true;
        }
        let Some(own) = self.sockets_of([number]) else {
            return true;
        };
        let is_seen = |connection| connection != Connection::Absent;
        let mut own_connections = lent.iter().map(|one| connection(one.inode(), &own.inodes));
        if own_connections.any(is_seen) {
            return true;
        }
        if !own.has_ring {
            return false;
        }
        // Many an event loop has a ring and registers no socket with it. A connection that no other generation has may be there.
        let others = self.core.generations().map(|generation| generation.number);
        let Some(others) = self.sockets_of(others.filter(|other| *other != number)) else {
            return true;
        };
        let mut strange = lent
            .iter()
            .map(|one| strange_connection(one.inode(), &others.inodes));
        strange.any(is_seen)
    }

    /// The sockets that the processes of these generations have open; `None` if one may not be looked into.
    fn sockets_of(&self, numbers: impl IntoIterator<Item = Number>) -> Option<Sockets> {
        let mut sockets = Sockets::default();
        for number in numbers {
            for pid in self.fleet.party_of(number, &self.ground()) {
                sockets.add(pid).ok()?;
            }
        }
        Some(sockets)
    }
}
