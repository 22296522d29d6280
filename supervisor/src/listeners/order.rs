//! The kernel's order of the slots that a killed supervisor has left, found out by connections of our own.
//!
//! The kernel tells nobody in which order the sockets of a group stand, and each that was closed has changed it. In which order they were
//! closed can be guessed ([`super::regroup`]), unless an app has died since. So before the kernel is told for the first time where
//! clients go, a connection is made to each place in question, and the slot in whose queue it appears stands there. An app may accept it
//! before that is seen: then another is made. It sees clients that connect and close.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::Listener;
use super::group::{Group, Slot};
use super::resolve::Owner;
use super::socket::Socket;
use crate::address::SocketOptions;
use crate::clock;
use crate::sys::{sock, steering};

/// How long it is tried to see a connection at one place.
const PATIENCE: Duration = Duration::from_millis(100);

/// How long one connection may take to appear in a queue: a handshake inside this machine.
const ARRIVAL: Duration = Duration::from_millis(1);

/// How often a connection has to be seen in the same queue: a late handshake of a client may end in another just then.
const SIGHTINGS: u32 = 3;

impl Listener {
    /// Why the order of the slots of its address is a guess still, in one line; once.
    pub(crate) fn take_doubt(&self) -> Option<String> {
        let why = self.slot.as_ref()?.group.certainty.doubt.take()?;
        let text = format!(
            "the kernel's order of its slots is a guess, so clients may meet an older version: {why}"
        );
        Some(self.alarm(&text).to_string())
    }
}

impl Group {
    /// Find out the order of the slots, if it is a guess.
    pub(super) fn settle_order(self: &Rc<Self>) {
        let guessed = self.certainty.guessed.take();
        if guessed.is_empty() {
            return;
        }
        let mut unsettled: BTreeMap<u8, Listener> = guessed
            .into_iter()
            .map(|(slot, socket)| (slot, self.visited(slot, socket)))
            .collect();
        while let Some(believed) = self.next_to_settle(&unsettled) {
            match self.who_stands_at(believed, &unsettled) {
                Ok(found) => {
                    self.exchange(believed, found);
                    unsettled.remove(&found);
                }
                Err(why) => {
                    self.certainty.doubt.replace(Some(why));
                    return;
                }
            }
        }
    }

    /// For connections of our own.
    fn visited(self: &Rc<Self>, number: u8, socket: Rc<Socket>) -> Listener {
        Listener {
            name: String::new(),
            options: SocketOptions::default(),
            owner: Owner::default(),
            socket,
            slot: Some(Slot {
                group: Rc::clone(self),
                number,
            }),
        }
    }

    /// The place where clients go comes first: as long as it is not known whose it is, their connections could be taken for ours at the
    /// others. There they are as good as ours.
    fn next_to_settle(&self, unsettled: &BTreeMap<u8, Listener>) -> Option<u8> {
        let pointed = self.pointed();
        match unsettled.contains_key(&pointed) {
            true => Some(pointed),
            false => unsettled.keys().next().copied(),
        }
    }

    /// Which of these slots has the place of the one that is believed to have it.
    fn who_stands_at(&self, believed: u8, unsettled: &BTreeMap<u8, Listener>) -> Result<u8, String> {
        let visited = unsettled.get(&believed).ok_or("it has no such slot")?;
        let mut sightings: BTreeMap<u8, u32> = BTreeMap::new();
        let until = clock::now() + PATIENCE;
        while clock::now() < until {
            let queues = Queues::of(unsettled);
            let visitor = visited.knock()?;
            let seen = queues.wait_for_growth(clock::now() + ARRIVAL);
            visited.shut_door()?;
            let Some((slot, before)) = seen else { continue };
            if slot != self.pointed() && before == 0 {
                take_back(unsettled.get(&slot), &visitor);
            }
            let count = sightings.entry(slot).or_default();
            *count += 1;
            if *count == SIGHTINGS {
                return Ok(slot);
            }
        }
        Err("no connection of our own was seen in its queue".to_owned())
    }
}

/// If nobody accepts in that slot, our connection must not be taken for a client later.
fn take_back(slot: Option<&Listener>, visitor: &OwnedFd) {
    steering::send_no_more(visitor.as_fd());
    let Some(slot) = slot else { return };
    if slot.has_clients_waiting() && steering::is_open_elsewhere(visitor.as_fd()) {
        // If somebody was quicker nothing is left to do.
        let _ = steering::accept_first(slot.as_fd());
    }
}

/// How many wait in each of some slots.
struct Queues<'a>(Vec<(u8, &'a Listener, Cell<u32>)>);

impl<'a> Queues<'a> {
    fn of(slots: &'a BTreeMap<u8, Listener>) -> Self {
        let queue = |(number, slot): (&u8, &'a Listener)| (*number, slot, Cell::new(length(slot)));
        Self(slots.iter().map(queue).collect())
    }

    /// The slot whose queue has grown, and its length before.
    fn wait_for_growth(&self, until: Instant) -> Option<(u8, u32)> {
        loop {
            for (number, slot, last) in &self.0 {
                let (now, before) = (length(slot), last.get());
                if now > before {
                    return Some((*number, before));
                }
                last.set(now);
            }
            if clock::now() >= until {
                return None;
            }
            std::hint::spin_loop();
        }
    }
}

fn length(slot: &Listener) -> u32 {
    sock::tcp_queue(slot.as_fd()).unwrap_or_default()
}
