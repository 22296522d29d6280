//! Why the clients of a listener wait, seen from outside.

use nix::unistd::Pid;

use crate::listeners::Listener;
use crate::sight::{Connection, Sight, connection, is_any_unlisted, is_halted};
use crate::sys;

/// Why clients wait, as far as can be seen.
pub(super) enum Hearing {
    /// A process has a connection of that port: it is slow.
    Busy,
    /// A process was stopped, or is being debugged.
    Halted(Pid),
    /// Not all can be seen.
    Unclear(String),
    /// Nobody accepts.
    Deaf,
}

impl Hearing {
    /// Whether a process has a connection of that port.
    pub(super) const fn is_busy(&self) -> bool {
        match self {
            Hearing::Busy => true,
            Hearing::Halted(_) | Hearing::Unclear(_) | Hearing::Deaf => false,
        }
    }

    /// Look at the processes of the generation.
    pub(super) fn of(listener: &Listener, processes: &[Pid]) -> Self {
        let mut sight = Sight::of([listener.inode()]);
        processes.iter().for_each(|pid| sight.look_at(*pid));
        let connection = connection(listener.inode(), sight.others());
        if connection == Connection::Seen {
            return Hearing::Busy;
        }
        if let Some(halted) = processes.iter().find(|pid| is_halted(**pid)) {
            return Hearing::Halted(*halted);
        }
        match sight.blind() {
            Some((pid, why)) => Hearing::Unclear(format!("pid {pid} {why}")),
            None if connection == Connection::Unknown => {
                Hearing::Unclear("this machine has more sockets open than are looked through".to_owned())
            }
            None if is_any_unlisted(&not_ours(sight.others())) => {
                Hearing::Unclear("it may be at work for a client that has reset its connection".to_owned())
            }
            None => Hearing::Deaf,
        }
    }
}

/// Less what we have open as well: listeners, and where output goes, which may be of another network namespace.
fn not_ours(sockets: &[u64]) -> Vec<u64> {
    let own = sys::open_sockets(Pid::this().as_raw()).unwrap_or_default();
    let is_ours = |inode: &u64| own.iter().any(|(ours, _)| ours == inode);
    sockets.iter().copied().filter(|inode| !is_ours(inode)).collect()
}
