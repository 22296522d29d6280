//! The sockets of one steered address, in the kernel's order.

use std::cell::{Cell, RefCell};
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::time::Instant;

use super::doors::Doors;
use super::socket::Socket;
use crate::sys::errno_text;

/// The sockets of one steered address.
#[derive(Debug)]
pub(super) struct Group {
    /// The slots in the kernel's order.
    order: RefCell<Vec<u8>>,
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
        Self::in_guessed_order(order, Certainty::default())
    }

    /// The same, if that is a guess.
    pub(super) fn in_guessed_order(order: Vec<u8>, certainty: Certainty) -> Rc<Self> {
        Rc::new(Self {
            pointed: Cell::new(order.first().copied().unwrap_or_default()),
            order: RefCell::new(order),
            doors: Doors::default(),
            certainty,
        })
    }

    /// The slots in the kernel's order.
    pub(super) fn order(&self) -> Vec<u8> {
        self.order.borrow().clone()
    }

    /// How many slots there are.
    pub(super) fn length(&self) -> usize {
        self.order.borrow().len()
    }

    /// More slots, which stand behind all others.
    pub(super) fn append(&self, made: Vec<u8>) {
        self.order.borrow_mut().extend(made);
    }

    pub(super) fn index_of(&self, slot: u8) -> Option<u32> {
        let place = self.order.borrow().iter().position(|known| *known == slot)?;
        u32::try_from(place).ok()
    }

    /// The slot to which new clients go.
    pub(super) fn pointed(&self) -> u8 {
        self.pointed.get()
    }

    /// A supervisor before us has sent new clients to this slot.
    pub(super) fn note_pointed(&self, slot: u8) {
        self.pointed.set(slot);
    }

    /// Each of two slots stands where the other was believed to stand.
    pub(super) fn exchange(&self, one: u8, other: u8) {
        for known in self.order.borrow_mut().iter_mut() {
            *known = match *known {
                slot if slot == one => other,
                slot if slot == other => one,
                slot => slot,
            };
        }
    }

    /// The socket in this slot was shut down and listens again: the last one has its index, and it is the last.
    fn rejoin(&self, slot: u8) {
        let mut order = self.order.borrow_mut();
        if let Some(place) = order.iter().position(|known| *known == slot) {
            order.swap_remove(place);
            order.push(slot);
        }
    }
}

/// The place of a socket in its group.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    pub(super) group: Rc<Group>,
    pub(super) number: u8,
}

impl Slot {
    /// Its place in the kernel's order.
    pub(super) fn index(&self) -> Option<u32> {
        self.group.index_of(self.number)
    }

    /// It was shut down and listens again; clients go where they went.
    pub(super) fn rejoin(&self, fd: BorrowedFd<'_>) -> Result<(), String> {
        self.group.rejoin(self.number);
        self.group.settle_order();
        self.group.send_to(self.group.pointed.get(), fd)
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
    /// The slots whose places are guessed, with their sockets: they stand before all others.
    pub(super) guessed: RefCell<Vec<(u8, Rc<Socket>)>>,
    /// Why that could not be settled, until it is told.
    pub(super) doubt: RefCell<Option<String>>,
    /// It was tried in vain, and is not tried again before.
    pub(super) not_before: Cell<Option<Instant>>,
}

impl Certainty {
    /// The places of these slots are a guess.
    pub(super) fn guess(&self, slots: Vec<(u8, Rc<Socket>)>) {
        // One alone, too: somebody whom we cannot ask may have another, and stand before it.
        self.guessed.replace(slots);
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
