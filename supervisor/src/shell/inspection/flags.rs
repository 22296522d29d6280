//! Whose choice is an O_NONBLOCK that an app has set on a listener: the flag is one for all who hold the socket.
//!
//! An event loop that finds it cleared hangs in accept(2), so Segue clears none that a serving app has set. A program that blocks in
//! accept(2), on the contrary, fails if a candidate sets it. Only for the sake of such an incumbent is it cleared, and only until the
//! takeover.

use segue_lifecycle::Number;

use crate::listeners::{IoMode, Listener};
use crate::shell::fleet::{Fleet, Ground};
use crate::sight;

/// Undo the harm that processes did to what all holders of a listener share.
pub(crate) fn restore(ground: &Ground<'_>, fleet: &Fleet) {
    ground.records.restore_flags(ground.log);
    let raised = ground.records.current_listeners();
    for listener in raised.iter().filter(|listener| listener.is_raised_by_an_app()) {
        clear_or_keep(listener, ground, fleet);
    }
}

fn clear_or_keep(listener: &Listener, ground: &Ground<'_>, fleet: &Fleet) {
    let inode = listener.inode();
    let done = match whom_it_may_harm(inode, ground, fleet) {
        // What it chooses counts once it takes over.
        Some(incumbent) if !has_event_loop(incumbent, inode, ground, fleet) => listener.clear_flag(),
        Some(_) | None => listener.keep_flags(IoMode::NonBlocking),
    };
    if let Err(error) = done {
        ground.log.error(&error.to_string());
    }
}

/// The incumbent, if a younger generation may have set the flag. One that serves alone has set it itself, and one that does not
/// have the socket (the reload has added it, or bound it afresh) waits in accept(2) elsewhere.
fn whom_it_may_harm(inode: u64, ground: &Ground<'_>, fleet: &Fleet) -> Option<Number> {
    let incumbent = ground.core.incumbent()?.number;
    let is_younger = fleet.workers.keys().any(|worker| worker.generation > incumbent);
    let lent = ground.records.listeners_of(incumbent, ground.core);
    let has_it = lent.iter().any(|listener| listener.inode() == inode);
    (is_younger && has_it).then_some(incumbent)
}

/// Whether a process of a generation has the socket in an epoll set (or may have it in an io_uring).
fn has_event_loop(number: Number, inode: u64, ground: &Ground<'_>, fleet: &Fleet) -> bool {
    let is_loop = |pid: &nix::unistd::Pid| sight::has_event_loop(*pid, inode);
    let leaders = fleet.leaders_of(number, ground);
    leaders.iter().any(is_loop) || fleet.party_of(number, ground).iter().any(is_loop)
}
