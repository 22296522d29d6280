//! The kernel's order of the slots that a killed supervisor has left, found out by connections of our own.
//!
//! The kernel tells nobody in which order the sockets of a group stand, and each that was closed has changed it. In which order they were
//! closed can be guessed ([`super::regroup`]), unless an app has died since. So before the kernel is told for the first time where
//! clients go, a connection is made to each place in question, and the slot in whose queue it appears stands there. An app may accept it
//! before that is seen: then another is made. It sees clients that connect and close. None of them is taken out of a queue again, for a
//! client may stand before it: where no app accepts, a relief worker does.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::os::fd::AsFd as _;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::Listener;
use super::group::{Group, Slot};
use super::holder;
use super::local::BoundTo;
use super::resolve::Owner;
use super::socket::Socket;
use crate::address::SocketOptions;
use crate::clock;
use crate::sys::diag::{self, States};
use crate::sys::sock;

/// How long it is tried to see a connection at one place.
const PATIENCE: Duration = Duration::from_millis(100);

/// So many listening sockets at one port are looked at.
const MOST_LISTENERS: usize = 4096;

/// How long one connection may take to appear in a queue: a handshake inside this machine.
const ARRIVAL: Duration = Duration::from_millis(1);

/// The pause before that is tried again, when clients are next sent somewhere: the loop waits for [`PATIENCE`] each time.
const AGAIN: Duration = Duration::from_secs(10);

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

impl Listener {
    /// Who listens at the address of this slot with a socket that is none of these, in one line: where it stands in the kernel's order
    /// nobody can tell.
    pub(crate) fn stranger_beside(&self, ours: &[u64]) -> Option<String> {
        let BoundTo::Internet { address, .. } = self.socket.local().bound_to else {
            return None;
        };
        self.slot.as_ref()?;
        let mut stranger = None;
        // A kernel that does not tell has nothing to say against it.
        let _ = diag::search(States::LISTEN, address.port(), MOST_LISTENERS, |found| {
            if found.local != address || ours.contains(&found.inode) {
                return ControlFlow::Continue(());
            }
            stranger = Some(found.inode);
            ControlFlow::Break(())
        });
        let who = holder::of_inode(stranger?).unwrap_or_else(|| "a process that cannot be seen".to_owned());
        let text = format!(
            "{who} listens at its address with a socket that segue does not have, so clients may come there, or meet an older version"
        );
        Some(self.alarm(&text).to_string())
    }
}

impl Group {
    /// Find out the order of the slots, if it is a guess. What cannot be found out stays a guess, and is tried again later.
    pub(super) fn settle_order(self: &Rc<Self>) {
        let not_before = self.certainty.not_before.get();
        if not_before.is_some_and(|not_before| clock::now() < not_before) {
            return;
        }
        let guessed = self.certainty.guessed.take();
        if guessed.is_empty() {
            return;
        }
        let mut unsettled: BTreeMap<u8, Listener> = guessed
            .into_iter()
            .map(|(slot, socket)| (slot, self.visited(slot, socket)))
            .collect();
        // One alone is in doubt only if somebody unknown has another: without a visit there is no reason to think so.
        let is_alone = unsettled.len() == 1;
        if is_alone && unsettled.values().any(|one| one.way_for_silence().is_err()) {
            return;
        }
        while let Some(believed) = self.next_to_settle(&unsettled) {
            match self.who_stands_at(believed, &unsettled) {
                Ok(found) => {
                    self.exchange(believed, found);
                    unsettled.remove(&found);
                }
                Err(why) => {
                    self.certainty.doubt.replace(Some(why));
                    let unsettled = unsettled.iter();
                    let guessed = unsettled.map(|(slot, visited)| (*slot, Rc::clone(&visited.socket)));
                    self.certainty.guess(guessed.collect());
                    self.certainty.not_before.set(Some(clock::now() + AGAIN));
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
            let _visitor = visited.knock()?;
            let seen = queues.wait_for_growth(clock::now() + ARRIVAL);
            visited.shut_door()?;
            let Some(slot) = seen else { continue };
            let count = sightings.entry(slot).or_default();
            *count += 1;
            if *count == SIGHTINGS {
                return Ok(slot);
            }
        }
        Err("no connection of our own was seen in its queue".to_owned())
    }
}

/// How many wait in each of some slots.
struct Queues<'a>(Vec<(u8, &'a Listener, Cell<u32>)>);

impl<'a> Queues<'a> {
    fn of(slots: &'a BTreeMap<u8, Listener>) -> Self {
        let queue = |(number, slot): (&u8, &'a Listener)| (*number, slot, Cell::new(length(slot)));
        Self(slots.iter().map(queue).collect())
    }

    /// The slot whose queue has grown.
    fn wait_for_growth(&self, until: Instant) -> Option<u8> {
        loop {
            for (number, slot, last) in &self.0 {
                let now = length(slot);
                if now > last.get() {
                    return Some(*number);
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
