//! Steered listeners (`steer`, `slots=N`): each generation is lent a socket of its own, and the kernel sends every new client to one
//! of them.
//!
//! The sockets of one address are a group, in the kernel's order; the place that a generation has among them is its slot. All of
//! them are made at once and none is closed while the address is listened on: closing one changes the order of the others, and
//! clients that wait in it are lost.

use std::os::fd::BorrowedFd;
use std::rc::Rc;

use nix::errno::Errno;

use super::bind::{self, Wanted};
use super::group::{Group, Slot};
use super::local::SocketKind;
use super::resolve::Lookup;
use super::socket::{IoMode, Socket};
use super::switch::SharedSlot;
use super::{ListenError, Listener};
use crate::address::{Key, SocketOptions};
use crate::sys::steering::{self, Arrivals};
use crate::sys::{errno_text, sock};

/// Sockets of a steered listener unless `slots` says otherwise: one for the incumbent, one for a candidate, and two for older
/// generations that still drain.
pub(super) const DEFAULT_SLOTS: u32 = 4;

impl Listener {
    /// Which slot of its address this socket is; `None` if all generations share it.
    pub(crate) fn slot(&self) -> Option<u8> {
        self.slot.as_ref().map(|slot| slot.number)
    }

    /// Whether each generation is lent another slot of its address. If not, all share the one to which new clients go.
    pub(crate) fn is_steered(&self) -> bool {
        self.slot.is_some() && is_asked(&self.options)
    }

    /// How many slots its address has, if each generation has one of its own; 0 if all generations share one socket.
    pub(crate) fn slots(&self) -> u8 {
        if !self.is_steered() {
            return 0;
        }
        let slots = self.slot.as_ref().map(|slot| slot.group.length());
        slots.and_then(|slots| u8::try_from(slots).ok()).unwrap_or(0)
    }

    /// Its place in the kernel's order.
    pub(super) fn slot_index(&self) -> Option<u32> {
        self.slot.as_ref()?.index()
    }

    /// Whether clients wait in the queue of this TCP socket.
    pub(crate) fn has_clients_waiting(&self) -> bool {
        sock::tcp_queue(self.socket.as_fd()).is_some_and(|length| length > 0)
    }

    /// A slot is lent to another generation: O_NONBLOCK is as the option says, or else as it came to us, whatever the one before has
    /// chosen.
    ///
    /// # Errors
    /// One line if the kernel refuses.
    pub(crate) fn lend_anew(&self) -> Result<(), ListenError> {
        if !self.is_steered() {
            return Ok(());
        }
        let as_it_came = self.is_inherited() && self.options.flag(Key::NonBlocking).is_none();
        self.socket.want_io_mode(match as_it_came {
            true => self.socket.born_io_mode(),
            false => IoMode::wanted_by(&self.options),
        });
        let cleared = self.socket.clear_flag();
        let set = cleared.and_then(|()| self.socket.restore_io_mode());
        set.map_err(|cause| self.alarm(&cause))
    }

    /// From now on every new client of its address comes to this socket.
    ///
    /// # Errors
    /// One line: the kernel refuses. Then nothing has changed.
    pub(crate) fn send_clients_here(&self) -> Result<(), ListenError> {
        let Some(slot) = &self.slot else { return Ok(()) };
        slot.group.settle_order();
        let sent = slot.group.send_to(slot.number, self.socket.as_fd());
        sent.map_err(|cause| self.cannot_send(slot.number, &cause))
    }

    /// They come to this socket already: that stays so, though the kernel's order of the slots may have changed.
    ///
    /// # Errors
    /// As [`Listener::send_clients_here`].
    pub(crate) fn send_clients_here_still(&self) -> Result<(), ListenError> {
        let Some(slot) = &self.slot else { return Ok(()) };
        slot.group.look_at_order();
        let sent = slot.group.send_to(slot.number, self.socket.as_fd());
        sent.map_err(|cause| self.cannot_send(slot.number, &cause))
    }

    fn cannot_send(&self, slot: u8, cause: &str) -> ListenError {
        self.alarm(&format!("cannot send clients to slot {slot}: {cause}"))
    }

    /// New clients come to this socket already, as the kernel was told by a supervisor before us: it is not told otherwise when a door
    /// is opened, or when a slot was shut down.
    pub(crate) fn note_clients_come_here(&self) {
        if let Some(slot) = &self.slot {
            slot.group.note_pointed(slot.number);
        }
    }

    /// This listener, which all generations share, in the place of each socket of its address, if one of them is its own: so those that
    /// were made beside it are never closed, and clients in them are not forgotten. `None` if none of them is its own.
    pub(crate) fn over_slots(&self, slots: &[Rc<Self>]) -> Option<Vec<Rc<Self>>> {
        let own = slots.iter().find(|slot| slot.inode() == self.inode())?;
        if self.slot.is_some() || own.slot.is_none() {
            return None;
        }
        let beside = slots.iter().filter(|slot| slot.is_beside(own));
        let over = |slot: &Rc<Self>| {
            Rc::new(Self {
                name: self.name.clone(),
                options: self.options.clone(),
                owner: self.owner,
                socket: Rc::clone(&slot.socket),
                slot: slot.slot.clone(),
            })
        };
        Some(beside.map(over).collect())
    }

    pub(super) fn in_slot(self: Rc<Self>, group: &Rc<Group>, number: u8) -> Rc<Self> {
        Rc::new(Self {
            name: self.name.clone(),
            options: self.options.clone(),
            owner: self.owner,
            socket: Rc::clone(&self.socket),
            slot: Some(Slot::of(group, number, &self.socket)),
        })
    }
}

/// Whether the options ask for a steered listener.
pub(super) fn is_asked(options: &SocketOptions) -> bool {
    options.flag(Key::Steer) == Some(true)
}

/// How many slots they ask for.
pub(super) fn asked(options: &SocketOptions) -> u8 {
    let asked = options.number(Key::Slots).unwrap_or(DEFAULT_SLOTS);
    u8::try_from(asked).unwrap_or(u8::MAX)
}

/// Begin a group with a socket that is bound and does not listen yet: clients come to this one, also when others join
/// later. Where the kernel cannot do that the socket stays as it was, which [`complete`] tells.
pub(super) fn found(fd: BorrowedFd<'_>) {
    if steering::shares_address(fd) {
        return;
    }
    let founded = steering::share_address(fd).and_then(|()| steering::send_to_index(fd, 0));
    if founded.is_err() {
        // It could be set a moment ago.
        let _ = steering::keep_address(fd);
    }
}

/// The listeners of an address with as many slots as are asked for: those that are there, in the kernel's order, and new ones. If that
/// cannot be, all generations share the first, and a warning says why.
pub(super) fn complete(
    there: Vec<Rc<Listener>>,
    wanted: &Wanted<'_>,
    shared: SharedSlot,
    warnings: &mut Vec<String>,
) -> Vec<Rc<Listener>> {
    let Some(first) = there.first().cloned() else {
        return there;
    };
    match fill(&there, wanted, shared) {
        Ok(slots) => {
            warnings.extend(too_many(&slots, wanted));
            slots
        }
        Err(cause) => {
            let text = match first.slots() {
                0 => format!("cannot be steered, so all generations share one socket: {cause}"),
                slots => format!("has {slots} slots, and can get no more: {cause}"),
            };
            warnings.push(first.alarm(&text).to_string());
            without_gaps(there)
        }
    }
}

/// The slots of an address at which nobody listened, given the socket that was bound there: it is the one to which clients go, like those
/// of the version that serves at its other addresses.
pub(super) fn of_new(
    first: Rc<Listener>,
    wanted: &Wanted<'_>,
    pointed: u8,
    warnings: &mut Vec<String>,
) -> Vec<Rc<Listener>> {
    let slots = complete(vec![first], wanted, SharedSlot::Is(pointed), warnings);
    if let Some(first) = slots.first()
        && pointed >= asked(&wanted.spec.options)
        && first.is_steered()
    {
        let text = format!(
            "has {} slots, for the version that serves has the last of them",
            slots.len()
        );
        warnings.push(first.alarm(&text).to_string());
    }
    slots
}

/// Told once: fewer slots are asked for than there are.
fn too_many(slots: &[Rc<Listener>], wanted: &Wanted<'_>) -> Option<String> {
    let first = slots.first()?;
    let (asked, there) = (usize::from(asked(&wanted.spec.options)), slots.len());
    // Of one that was given nothing is applied.
    let before = slots.iter().find(|slot| !slot.is_inherited())?.socket.applied().0;
    let is_news = before.number(Key::Slots) != wanted.spec.options.number(Key::Slots);
    let text = format!("keeps its {there} slots: none is closed while segue listens there");
    (first.is_steered() && asked < there && is_news).then(|| first.alarm(&text).to_string())
}

/// Slots that a predecessor has left are numbered from 0 on: the worker that has one of them ends, and no generation of ours knows it.
fn without_gaps(there: Vec<Rc<Listener>>) -> Vec<Rc<Listener>> {
    let Some(group) = there
        .first()
        .and_then(|first| first.slot.as_ref())
        .map(|slot| Rc::clone(&slot.group))
    else {
        return there;
    };
    let order = group.order();
    let number_of = |slot: u8| there.iter().zip(0u8..).find(|(one, _)| one.slot() == Some(slot));
    let number_of = |slot: u8| Some(number_of(slot)?.1);
    let certainty = group.certainty.renumbered(number_of);
    let order = order.into_iter().filter_map(|place| match place {
        Some(slot) => number_of(slot).map(Some),
        None => Some(None),
    });
    let group = Group::in_guessed_order(order.collect(), certainty);
    (0u8..)
        .zip(there)
        .map(|(number, one)| one.in_slot(&group, number))
        .collect()
}

fn fill(
    there: &[Rc<Listener>],
    wanted: &Wanted<'_>,
    shared: SharedSlot,
) -> Result<Vec<Rc<Listener>>, String> {
    let Some(first) = there.first() else {
        return Ok(Vec::new());
    };
    let own = match shared {
        SharedSlot::Is(slot) if there.len() == 1 => slot,
        SharedSlot::Is(_) | SharedSlot::Several if first.slot.is_some() => 0,
        SharedSlot::Is(_) | SharedSlot::Several => return Err("it has no slot that is sure".to_owned()),
    };
    // A version has the same slot of all addresses.
    let count = asked(&wanted.spec.options).max(own.saturating_add(1));
    let next = u8::from(own == 0);
    let (group, second) = match &first.slot {
        Some(slot) => (Rc::clone(&slot.group), None),
        None => match steering::send_to_index(first.socket.as_fd(), 0) {
            Ok(()) => (Group::in_order(vec![own]), None),
            // It was bound without sharing its address, and has no group yet.
            Err(Errno::EINVAL) if count > 1 => {
                let second = join_late(&first.socket, wanted)?;
                (Group::in_order(vec![own, next]), Some(second))
            }
            Err(errno) => return Err(errno_text(errno)),
        },
    };
    let made_by_us = |socket: Socket, number: u8| {
        let socket = Rc::new(socket);
        Rc::new(Listener {
            name: first.name.clone(),
            options: wanted.spec.options.clone(),
            owner: wanted.owner,
            slot: Some(Slot::of(&group, number, &socket)),
            socket,
        })
    };
    let mut slots: Vec<Rc<Listener>> = there
        .iter()
        .cloned()
        .map(|one| match one.slot() {
            Some(_) => one,
            None => one.in_slot(&group, own),
        })
        .collect();
    slots.extend(second.map(|second| made_by_us(second, next)));
    // Their order counts once all of them are there: if one cannot be made, those before it are closed again.
    let mut made = Vec::new();
    for number in 0..count {
        if slots.iter().any(|known| known.slot() == Some(number)) {
            continue;
        }
        let bound = bind::beside(wanted, &first.socket).map_err(|error| error.to_string())?;
        made.push(number);
        slots.push(made_by_us(bound.socket, number));
    }
    if !made.is_empty() {
        group.append(made);
        group.notice_strangers_that_came();
    }
    slots.sort_by_key(|one| one.slot());
    Ok(slots)
}

/// The first socket beside one that listens already and is to share its address from now on. The kernel makes them a group when this one
/// begins to listen, and spreads clients over both until it is told where they go: what arrives for the new one meanwhile is dropped,
/// so that such a client comes a second later to where all go.
fn join_late(first: &Socket, wanted: &Wanted<'_>) -> Result<Socket, String> {
    let fd = first.as_fd();
    steering::share_address(fd).map_err(errno_text)?;
    let joined = bind::beside_in_silence(wanted, first)
        .map_err(|error| error.to_string())
        .and_then(|second| {
            steering::send_to_index(fd, 0).map_err(errno_text)?;
            steering::set_arrivals(second.socket.as_fd(), Arrivals::Taken).map_err(errno_text)?;
            Ok(second.socket)
        });
    if joined.is_err() {
        // It could be set a moment ago.
        let _ = steering::keep_address(fd);
    }
    joined
}

/// Slots that the process above us has made: the same address several times (`ListenStream=` on several lines with `ReusePort=yes`,
/// systemd.socket(5)). They stand in the order in which they were given.
pub(super) fn of_inherited(
    held: Vec<Rc<Listener>>,
    lookup: Lookup,
    warnings: &mut Vec<String>,
) -> Vec<Rc<Listener>> {
    if held.iter().any(|one| one.slot.is_some()) {
        return held;
    }
    let joined = match lookup {
        Lookup::AtStart => join(&held),
        // The incumbent has all of them.
        Lookup::Refused => Err("it was not asked for when segue was started".to_owned()),
    };
    match joined {
        Ok(group) => (0u8..)
            .zip(held)
            .map(|(number, one)| one.in_slot(&group, number))
            .collect(),
        Err(cause) => {
            if let Some(first) = held.first() {
                let text = format!("cannot be steered, so all generations share it: {cause}");
                warnings.push(first.alarm(&text).to_string());
            }
            held
        }
    }
}

fn join(held: &[Rc<Listener>]) -> Result<Rc<Group>, String> {
    let Some((first, others)) = held.split_first() else {
        return Err("it is not there".to_owned());
    };
    let local = first.socket.local();
    if local.kind != SocketKind::Tcp || others.iter().any(|other| other.socket.local() != local) {
        return Err("the sockets that stand in are of several addresses".to_owned());
    }
    let count = u8::try_from(held.len()).map_err(|_| "they are too many".to_owned())?;
    // The kernel says EINVAL if they do not share their address.
    for one in held {
        steering::send_to_index(one.socket.as_fd(), 0).map_err(errno_text)?;
    }
    Ok(Group::in_order((0..count).collect()))
}

/// The order of a group whose supervisor was killed, if those that nobody else had were closed in this order: each time the last took the
/// index of the one that left (`reuseport_detach_sock` of the kernel). Those made anew came last.
pub(super) fn order_after(saved: Vec<Option<u8>>, closed: &[u8], anew: &[u8]) -> Vec<Option<u8>> {
    let mut order = saved;
    for slot in closed {
        if let Some(place) = order.iter().position(|known| *known == Some(*slot)) {
            order.swap_remove(place);
        }
    }
    order.extend(anew.iter().copied().map(Some));
    order
}
