//! Whether a listener is served, by what was seen of those who hold it.

use std::rc::Rc;

use crate::listeners::Listener;
use crate::sight::{Connection, Hold, Sight, connection};

/// Whether somebody waits on it; on a datagram socket nobody need wait, for messages do not queue up for a worker.
pub(super) fn is_served(listener: &Listener, sight: &Sight) -> bool {
    match sight.hold(listener.inode()) {
        Hold::Awaited => true,
        Hold::Held => !listener.kind().accepts_connections(),
        Hold::Absent => false,
    }
}

/// Whether somebody who holds it has accepted a client: one that takes them one after the other does not wait just now.
pub(super) fn is_at_work(listener: &Listener, sight: &Sight) -> bool {
    sight.hold(listener.inode()) == Hold::Held
        && connection(listener.inode(), sight.others()) == Connection::Seen
}

/// Those on which nobody is seen waiting.
pub(super) fn unserved<'a>(
    lent: &'a [Rc<Listener>],
    sight: &'a Sight,
) -> impl Iterator<Item = &'a Rc<Listener>> {
    lent.iter().filter(|listener| !is_served(listener, sight))
}
