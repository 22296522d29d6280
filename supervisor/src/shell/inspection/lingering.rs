//! Whether an old generation has clients left.

use std::collections::BTreeSet;

use segue_lifecycle::{Event, Number};

use crate::listeners::Listener;
use crate::shell::narrator::view::View;
use crate::sight::{Connection, Sockets, accepted_connections, connection};
use crate::sys;

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
        !lent.iter().all(|one| self.others_have_all(one, number))
    }

    /// Whether each connection to a listener is a file of another generation. Many an event loop has an io_uring and registers no
    /// socket with it; if this one did, a connection that nobody else has may be there. Only connections that are there before and
    /// after the others were looked at count: one that came or went meanwhile proves nothing.
    fn others_have_all(&self, listener: &Listener, number: Number) -> bool {
        let generations = self.core.generations().map(|generation| generation.number);
        let others = generations.filter(|other| *other != number);
        let Some(before) = accepted_connections(listener.inode()) else {
            return false;
        };
        let known = self.sockets_of(others);
        let Some((known, after)) = known.zip(accepted_connections(listener.inode())) else {
            return false;
        };
        let known: BTreeSet<u64> = known.inodes.into_iter().collect();
        let mut stayed = before.intersection(&after);
        stayed.all(|inode| known.contains(inode))
    }

    /// Whether /proc shows no main process of a generation that lives (`ProtectProc=` of our units hides those that a killed supervisor has
    /// started), and so nothing that it has open.
    fn is_hidden(&self, number: Number) -> bool {
        let workers = self.fleet.workers.iter();
        let own = workers.filter(|(worker, _)| worker.generation == number);
        let leaders = own.filter_map(|(_, info)| info.pid);
        let mut living = leaders.filter(|pid| self.fleet.children.lives(*pid));
        living.any(|pid| sys::process_row(pid.as_raw()).is_none())
    }

    /// The sockets that the processes of these generations have open; `None` if one is not shown, or may not be looked into.
    fn sockets_of(&self, numbers: impl IntoIterator<Item = Number>) -> Option<Sockets> {
        let mut sockets = Sockets::default();
        for number in numbers {
            if self.is_hidden(number) {
                return None;
            }
            for pid in self.fleet.party_of(number, &self.ground()) {
                sockets.add(pid).ok()?;
            }
        }
        Some(sockets)
    }
}
