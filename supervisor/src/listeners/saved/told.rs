//! What rows tell of listeners, before any of them is made again.

use std::collections::BTreeMap;

use super::{LISTENER, SOCKET, SavedSocket, SocketIdentity};
use crate::state::{Flaw, Row, Whole as _};

/// The sockets that the rows tell of.
///
/// # Errors
/// A row is not whole.
pub(crate) fn identities(rows: &[Row<'_>]) -> Result<Vec<SocketIdentity>, Flaw> {
    let sockets = rows.iter().filter(|row| row.kind() == SOCKET);
    let identity = |row: &Row<'_>| {
        let SavedSocket { inode, cookie, .. } = SavedSocket::of_row(*row)?;
        Ok(SocketIdentity { inode, cookie })
    };
    sockets.map(identity).collect()
}

/// Whether one of the sockets was given to us.
pub(crate) fn any_inherited(rows: &[Row<'_>]) -> bool {
    rows.iter().any(row_is_inherited)
}

/// Whether this socket was given to us.
pub(crate) fn is_inherited(rows: &[Row<'_>], wanted: SocketIdentity) -> bool {
    rows.iter()
        .any(|row| row_is_inherited(row) && row.number("inode") == Ok(wanted.inode))
}

/// Whether this socket can be bound anew if nobody has it any more: it is ours, or stood beside slots of ours.
pub(crate) fn can_be_made_anew(rows: &[Row<'_>], wanted: SocketIdentity) -> bool {
    !is_inherited(rows, wanted) || slot_beside(rows, wanted.inode).is_some()
}

/// The row of a socket of ours that is a slot of the same address as this one.
pub(super) fn slot_beside<'a>(rows: &[Row<'a>], inode: u64) -> Option<Row<'a>> {
    let is_slot = |row: &&Row<'_>| row.kind() == LISTENER && row.number("slot").is_ok();
    let slots = || rows.iter().filter(is_slot);
    let given = slots().find(|row| row.number("socket") == Ok(inode))?;
    let bound = given.text("bound").ok()?;
    let of_the_same = slots().filter(|row| row.text("bound").as_ref() == Ok(&bound));
    let sockets: Vec<u64> = of_the_same.filter_map(|row| row.number("socket").ok()).collect();
    let is_ours = |row: &&Row<'_>| {
        let inode = row.number("inode");
        row.kind() == SOCKET
            && row.text("address").is_ok()
            && inode.is_ok_and(|inode| sockets.contains(&inode))
    };
    rows.iter().find(is_ours).copied()
}

/// Where a socket was bound, with the port that the kernel chose, if it was a slot.
pub(super) fn bound_to(rows: &[Row<'_>], inode: u64) -> Option<String> {
    let is_its = |row: &&Row<'_>| row.kind() == LISTENER && row.number("socket") == Ok(inode);
    rows.iter().find(is_its)?.text("bound").ok()
}

/// Whether a slot of a supervisor before us was bound there.
pub(super) fn was_bound_there(rows: &[Row<'_>], address: &str) -> bool {
    let is_there =
        |row: &Row<'_>| row.kind() == LISTENER && row.text("bound").is_ok_and(|text| text == address);
    rows.iter().any(is_there)
}

fn row_is_inherited(row: &Row<'_>) -> bool {
    row.kind() == SOCKET && row.text("inherited").is_ok()
}

/// What a socket is to people: the address at which it was made, or else the name of a listener that has it.
pub(crate) fn label_of(rows: &[Row<'_>], wanted: SocketIdentity) -> String {
    let of = |kind, key| {
        rows.iter()
            .find(move |row| row.kind() == kind && row.number(key) == Ok(wanted.inode))
    };
    let address = of(SOCKET, "inode").and_then(|row| row.text("address").ok());
    let name = || of(LISTENER, "socket").and_then(|row| row.text("name").ok());
    address.or_else(name).unwrap_or_default()
}

/// The inode of each listener, by its number.
///
/// # Errors
/// A row is not whole.
pub(crate) fn inodes(rows: &[Row<'_>]) -> Result<BTreeMap<u64, u64>, Flaw> {
    let listeners = rows.iter().filter(|row| row.kind() == LISTENER);
    let inode = |row: &Row<'_>| Ok((row.number("number")?, row.number("socket")?));
    listeners.map(inode).collect()
}
