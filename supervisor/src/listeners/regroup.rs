//! The steered listeners that a predecessor has left: each in its slot of its group again, and the group in the kernel's order.
//!
//! Sockets that nobody else had were closed when the predecessor was killed, and each time the last of the group takes the index of the
//! one that leaves. Those made anew come last, in the order in which they were made. The kernel closes the fds of a process that was
//! killed beginning with the highest: `close_files` puts them on a list from the lowest on, and `task_work_run` takes the newest first
//! since Linux 4.4. That is a guess, for what an app had that has died since was closed later: [`super::order`] finds out.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::Listener;
use super::group::{Certainty, Group, Slot};
use super::slots;
use super::socket::Socket;
use crate::state::{Flaw, Row};

/// So many places are believed to be in a group.
const MOST_PLACES: u64 = 512;

/// What became of the socket of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Kept,
    MadeAnew,
    Closed,
}

/// A slot, as the rows tell of it.
#[derive(Debug)]
struct Member {
    slot: u8,
    /// Where it stood in the kernel's order.
    index: u64,
    /// Where its fd stood among those of the predecessor, and its row among those of the sockets.
    fd: i32,
    row: usize,
    fate: Fate,
}

/// The listeners, each steered one in its slot. `rows` are those of the sockets, `closed` the listeners whose sockets nobody has, with
/// the addresses that they had.
///
/// # Errors
/// A row is not whole.
pub(super) fn in_groups(
    restored: Vec<(Listener, Row<'_>)>,
    closed: &[(String, Row<'_>)],
    rows: &[Row<'_>],
) -> Result<Vec<Rc<Listener>>, Flaw> {
    let mut members: BTreeMap<String, BTreeMap<u64, Member>> = BTreeMap::new();
    let mut add = |address: String, row: Row<'_>, fate: Fate| -> Result<(), Flaw> {
        if let Some(slot) = slot_of(row)? {
            let inode = row.number("socket")?;
            let member = Member::of_rows(slot, inode, row, rows, fate)?;
            members.entry(address).or_default().insert(inode, member);
        }
        Ok(())
    };
    for (listener, row) in &restored {
        let fate = match row.number("socket")? == listener.inode() {
            true => Fate::Kept,
            false => Fate::MadeAnew,
        };
        add(listener.address_text(), *row, fate)?;
    }
    for (address, row) in closed {
        add(address.clone(), *row, Fate::Closed)?;
    }
    let is_guessed = |members: &BTreeMap<u64, Member>| {
        let last = members.values().map(|member| member.index).max();
        let has_strangers = last.is_some_and(|last| last >= members.len() as u64);
        has_strangers || members.values().any(|member| member.fate != Fate::Kept)
    };
    let guessed: BTreeSet<String> = members
        .iter()
        .filter(|(_, members)| is_guessed(members))
        .map(|(address, _)| address.clone())
        .collect();
    let order = |(address, members): (String, BTreeMap<u64, Member>)| {
        let order = order(members.into_values().collect());
        (address, Group::in_guessed_order(order, Certainty::default()))
    };
    let groups: BTreeMap<String, Rc<Group>> = members.into_iter().map(order).collect();
    for (address, group) in groups.iter().filter(|(address, _)| guessed.contains(*address)) {
        group.certainty.guess(kept(address, &restored)?);
    }
    let mut listeners = Vec::new();
    for (mut listener, row) in restored {
        if let Some(number) = slot_of(row)? {
            let group = groups.get(&listener.address_text());
            listener.slot = group.map(|group| Slot::of(group, number, &listener.socket));
        }
        listeners.push(Rc::new(listener));
    }
    Ok(listeners)
}

/// The slots of this address whose sockets were kept: they stand before those that were made anew.
fn kept(address: &str, restored: &[(Listener, Row<'_>)]) -> Result<Vec<(u8, Rc<Socket>)>, Flaw> {
    let mut kept: BTreeMap<u64, (u8, Rc<Socket>)> = BTreeMap::new();
    for (listener, row) in restored {
        let inode = listener.inode();
        if let Some(slot) = slot_of(*row)?
            && row.number("socket")? == inode
            && listener.address_text() == address
        {
            kept.insert(inode, (slot, Rc::clone(&listener.socket)));
        }
    }
    Ok(kept.into_values().collect())
}

fn slot_of(row: Row<'_>) -> Result<Option<u8>, Flaw> {
    let slot = row.number_if_any("slot")?;
    let slot = slot.map(u8::try_from).transpose();
    slot.map_err(|_| Flaw::new("there is no such slot"))
}

impl Member {
    fn of_rows(slot: u8, inode: u64, row: Row<'_>, rows: &[Row<'_>], fate: Fate) -> Result<Self, Flaw> {
        let sockets = rows.iter().filter(|row| row.kind() == super::saved::SOCKET);
        let mut sockets = sockets.enumerate();
        let place = sockets.find(|(_, socket)| socket.number("inode") == Ok(inode));
        let (row_of_socket, socket) = place.ok_or_else(|| Flaw::new(format_args!("no socket {inode}")))?;
        Ok(Self {
            slot,
            index: row.number("index")?,
            fd: match socket.text_if_any("fd")? {
                Some(_) => socket.parsed("fd")?,
                None => i32::MAX,
            },
            row: row_of_socket,
            fate,
        })
    }
}

/// The slots of one group in the kernel's order. A place that none had is that of a socket which was none of the predecessor's.
fn order(mut members: Vec<Member>) -> Vec<Option<u8>> {
    members.sort_by_key(|member| member.index);
    let last = members.last().map_or(0, |member| member.index);
    let at = |place: u64| members.iter().find(|member| member.index == place);
    let saved = (0..=last.min(MOST_PLACES)).map(|place| at(place).map(|member| member.slot));
    let saved = saved.collect();
    members.sort_by_key(|member| Reverse(member.fd));
    let gone = members.iter().filter(|member| member.fate != Fate::Kept);
    let gone: Vec<u8> = gone.map(|member| member.slot).collect();
    members.sort_by_key(|member| member.row);
    let anew = members.iter().filter(|member| member.fate == Fate::MadeAnew);
    let anew: Vec<u8> = anew.map(|member| member.slot).collect();
    slots::order_after(saved, &gone, &anew)
}
