//! The slots to which new clients are sent: one of each steered listener.

use std::rc::Rc;

use segue_lifecycle::{Lane, Number, Role};

use crate::listeners::Listener;
use crate::log::Log;
use crate::shell::fleet::Ground;

/// Where the kernel sends clients since before a succession: nothing that is told to it from now on must change that by the way.
pub(crate) fn note_pointed(ground: &Ground<'_>) {
    if let Some((number, lane)) = pointed(ground) {
        destinations(number, lane, ground).for_each(|slot| slot.note_clients_come_here());
    }
}

/// The generation to which new clients go, and its lane.
pub(super) fn pointed(ground: &Ground<'_>) -> Option<(Number, Lane)> {
    ground.core.switched_to().zip(ground.core.pointed())
}

/// The slots to which new clients are to come when they go to this generation: one of each steered listener. Where it does not listen they
/// go on coming to the generation that does; if none has taken over yet, nobody is to meet them before.
pub(super) fn destinations(
    number: Number,
    lane: Lane,
    ground: &Ground<'_>,
) -> impl Iterator<Item = Rc<Listener>> {
    let its = ground.records.inodes_of(number, ground.core);
    slots(ground).into_iter().filter(move |slot| {
        let at = match its.contains(&slot.inode()) {
            true => lane,
            false => lane_beside(number, slot, ground).unwrap_or(lane),
        };
        slot.slot() == Some(at)
    })
}

/// The lane of the newest other generation that listens there and is, or was, the incumbent.
fn lane_beside(number: Number, slot: &Listener, ground: &Ground<'_>) -> Option<Lane> {
    let others = ground.core.generations().filter(|one| one.number != number);
    let listens = others.filter(|one| match one.role {
        Role::Incumbent | Role::Lingering | Role::Retired => ground
            .records
            .inodes_of(one.number, ground.core)
            .contains(&slot.inode()),
        Role::Candidate | Role::Relief => false,
    });
    listens.last().map(|one| one.lane)
}

/// From now on new clients come to the slots of this generation.
///
/// # Errors
/// Why the kernel has refused, in one line.
pub(super) fn send_clients_to(number: Number, lane: Lane, ground: &Ground<'_>) -> Result<(), String> {
    for slot in destinations(number, lane, ground) {
        let sent = slot.send_clients_here();
        tell_doubt(&slot, ground.log);
        sent.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Say why the kernel's order of the slots of this listener is a guess, if it is one and that has not been said.
pub(super) fn tell_doubt(slot: &Listener, log: &Log) {
    if let Some(doubt) = slot.take_doubt() {
        log.warning(&doubt);
    }
}

/// Every slot of every steered listener, each once.
pub(super) fn slots(ground: &Ground<'_>) -> Vec<Rc<Listener>> {
    let mut current = ground.records.current_listeners();
    current.retain(|listener| listener.slot().is_some());
    current
}
