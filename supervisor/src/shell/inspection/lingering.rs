//! Whether an old generation has clients left.

use segue_lifecycle::{Event, Number};

use crate::shell::narrator::view::View;
use crate::sight::{Connection, Sight, connection};

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
        let mut sight = Sight::of([]);
        let party = self.fleet.party_of(number, &self.ground());
        party.into_iter().for_each(|pid| sight.look_at(pid));
        let has_none = |listener: u64| connection(listener, sight.others()) == Connection::Absent;
        sight.blind().is_some() || !lent.iter().all(|listener| has_none(listener.inode()))
    }
}
