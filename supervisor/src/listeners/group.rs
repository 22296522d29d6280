//! The sockets of one steered address, in the kernel's order.

use std::cell::{Cell, RefCell};
use std::os::fd::BorrowedFd;
use std::rc::{Rc, Weak};
use std::time::Instant;

use super::doors::Doors;
use super::socket::Socket;
use crate::sys::errno_text;

/// The sockets of one steered address.
#[derive(Debug)]
pub(super) struct Group {
    /// The slots in the kernel's order. In a place without one stands a socket that is none of ours.
    order: RefCell<Vec<Option<u8>>>,
    /// The sockets of the slots.
    members: RefCell<Vec<(u8, Weak<Socket>)>>,
    /// The slot to which new clients go.
    pointed: Cell<u8>,
    /// What stands in front of the slots, for connections of our own.
    pub(super) doors: Doors,
    /// Whether the order is known or guessed.
    pub(super) certainty: Certainty,
}

impl Group {
    /// Slots whose sockets stand in this order in the kernel.
    pub(super) fn in_order(order: Vec<u8>) -> Rc<Self> {
        let order = order.into_iter().map(Some).collect();
        Self::in_guessed_order(order, Certainty::default())
    }

    /// The same, if that is a guess, and others may be among them.
    pub(super) fn in_guessed_order(order: Vec<Option<u8>>, certainty: Certainty) -> Rc<Self> {
        let first = order.iter().flatten().next().copied();
        Rc::new(Self {
            pointed: Cell::new(first.unwrap_or_default()),
            order: RefCell::new(order),
            members: RefCell::default(),
            doors: Doors::default(),
            certainty,
        })
    }

    /// The slots in the kernel's order.
    pub(super) fn order(&self) -> Vec<Option<u8>> {
        self.order.borrow().clone()
    }

    /// It is this order.
    pub(super) fn set_order(&self, order: Vec<Option<u8>>) {
        self.order.replace(order);
    }

    /// How many slots there are.
    pub(super) fn length(&self) -> usize {
        self.order.borrow().iter().flatten().count()
    }

    /// In how many places of the order a socket stands that is none of ours.
    pub(super) fn count_places_of_strangers(&self) -> usize {
        self.order.borrow().iter().filter(|place| place.is_none()).count()
    }

    /// More slots, which stand behind all others.
    pub(super) fn append(&self, made: Vec<u8>) {
        self.order.borrow_mut().extend(made.into_iter().map(Some));
    }

    pub(super) fn index_of(&self, slot: u8) -> Option<u32> {
        let place = self
            .order
            .borrow()
            .iter()
            .position(|known| *known == Some(slot))?;
        u32::try_from(place).ok()
    }

    /// The sockets of its slots that are open.
    pub(super) fn members(&self) -> Vec<(u8, Rc<Socket>)> {
        let members = self.members.borrow();
        let open = members
            .iter()
            .filter_map(|(slot, socket)| Some((*slot, socket.upgrade()?)));
        open.collect()
    }

    /// The slot to which new clients go.
    pub(super) fn pointed(&self) -> u8 {
        self.pointed.get()
    }

    /// A supervisor before us has sent new clients to this slot.
    pub(super) fn note_pointed(&self, slot: u8) {
        self.pointed.set(slot);
    }

    /// These slots were shut down, and listen again in this order: each time the last one has taken the index of the one that left, and
    /// each stands behind all others now. In which order several have left nobody can tell, and so not where the others stand.
    fn rejoin(&self, slots: &[u8]) {
        let mut order = self.order.borrow_mut();
        for slot in slots {
            if let Some(place) = order.iter().position(|known| *known == Some(*slot)) {
                order.swap_remove(place);
            }
        }
        order.extend(slots.iter().copied().map(Some));
        if self.certainty.is_guess() {
            self.certainty.guess_anew(self.members());
        } else if slots.len() > 1 {
            let mut others = self.members();
            others.retain(|(slot, _)| !slots.contains(slot));
            self.certainty.guess_anew(others);
        }
    }

    /// Let all others listen again that were shut down as well. Returns these, in the order in which they do.
    fn mend_all_but(&self, own: u8) -> Vec<u8> {
        let mut others = self.members();
        others.retain(|(slot, socket)| *slot != own && !socket.listens());
        others.retain(|(_, socket)| {
            let (options, owner) = socket.applied();
            // Why it does not is told when it is looked at itself.
            let _ = socket.mend(&options, owner);
            socket.listens()
        });
        others.into_iter().map(|(slot, _)| slot).collect()
    }
}

/// The place of a socket in its group.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    pub(super) group: Rc<Group>,
    pub(super) number: u8,
}

impl Slot {
    /// A socket in this place of its group.
    pub(super) fn of(group: &Rc<Group>, number: u8, socket: &Rc<Socket>) -> Self {
        let mut members = group.members.borrow_mut();
        members.retain(|(known, _)| *known != number);
        members.push((number, Rc::downgrade(socket)));
        Self {
            group: Rc::clone(group),
            number,
        }
    }

    /// Its place in the kernel's order.
    pub(super) fn index(&self) -> Option<u32> {
        self.group.index_of(self.number)
    }

    /// It was shut down and listens again; clients go where they went. So do others that were shut down meanwhile: which, is returned, and
    /// why the kernel refuses to send clients where they went.
    pub(super) fn rejoin(&self, fd: BorrowedFd<'_>) -> (Vec<u8>, Result<(), String>) {
        let others = self.group.mend_all_but(self.number);
        let all: Vec<u8> = std::iter::once(self.number)
            .chain(others.iter().copied())
            .collect();
        self.group.rejoin(&all);
        self.group.notice_strangers_that_came();
        self.group.settle_order();
        let sent = self.group.send_to(self.group.pointed.get(), fd);
        (others, sent)
    }
}

impl Group {
    /// From now on new clients go to this slot.
    ///
    /// # Errors
    /// Why the kernel has refused, in one clause.
    pub(super) fn send_to(&self, slot: u8, fd: BorrowedFd<'_>) -> Result<(), String> {
        self.attach(slot, fd)?;
        self.pointed.set(slot);
        Ok(())
    }

    /// The program of the group, for clients that go to this slot.
    fn attach(&self, slot: u8, fd: BorrowedFd<'_>) -> Result<(), String> {
        let index = self.index_of(slot).ok_or("it has no such slot")?;
        let order = self.order.borrow();
        self.doors.attach(&order, index, fd).map_err(errno_text)
    }

    /// The program of the group once more, since its doors have changed.
    pub(super) fn attach_again(&self, fd: BorrowedFd<'_>) -> Result<(), String> {
        self.attach(self.pointed.get(), fd)
    }
}

/// What is known of the order of a group.
#[derive(Debug, Default)]
pub(super) struct Certainty {
    /// The slots whose places are guessed, with their sockets: they stand before all others, but for those that are none of ours.
    pub(super) guessed: RefCell<Vec<(u8, Rc<Socket>)>>,
    /// Why that could not be settled, until it is told.
    doubt: RefCell<Option<String>>,
    /// Whether that has been told since it was last known.
    is_told: Cell<bool>,
    /// It was tried in vain, and is not tried again before.
    pub(super) not_before: Cell<Option<Instant>>,
    /// How often, one after the other.
    pub(super) failures: Cell<u32>,
}

/// So often it is tried though nobody is sent elsewhere.
const MOST_UNASKED: u32 = 6;

impl Certainty {
    /// The places of these slots are a guess.
    pub(super) fn guess(&self, slots: Vec<(u8, Rc<Socket>)>) {
        // One alone, too: somebody whom we cannot ask may have another, and stand before it.
        self.guessed.replace(slots);
    }

    /// The same for another reason than before: it is tried at once.
    pub(super) fn guess_anew(&self, slots: Vec<(u8, Rc<Socket>)>) {
        self.guess(slots);
        self.not_before.set(None);
        self.failures.set(0);
    }

    /// All places are known.
    pub(super) fn settle(&self) {
        self.doubt.take();
        self.is_told.set(false);
        self.not_before.set(None);
        self.failures.set(0);
    }

    /// They are not, and these slots stay a guess.
    pub(super) fn fail(&self, why: String, slots: Vec<(u8, Rc<Socket>)>, not_before: Instant) {
        self.guess(slots);
        self.doubt.replace(Some(why));
        self.not_before.set(Some(not_before));
        self.failures.set(self.failures.get().saturating_add(1));
    }

    /// Whether the places of some are a guess.
    pub(super) fn is_guess(&self) -> bool {
        !self.guessed.borrow().is_empty()
    }

    /// Whether what is a guess is tried again though nobody is sent elsewhere.
    pub(super) fn is_tried_unasked(&self) -> bool {
        self.is_guess() && self.failures.get() < MOST_UNASKED
    }

    /// Why it is a guess, unless that has been told.
    pub(super) fn take_doubt(&self) -> Option<String> {
        let why = self.doubt.take()?;
        (!self.is_told.replace(true)).then_some(why)
    }

    /// The same slots, by other numbers.
    pub(super) fn renumbered(&self, number_of: impl Fn(u8) -> Option<u8>) -> Self {
        let guessed = self.guessed.take().into_iter();
        let renumbered = guessed.filter_map(|(slot, socket)| Some((number_of(slot)?, socket)));
        Self {
            guessed: RefCell::new(renumbered.collect()),
            ..Self::default()
        }
    }
}
