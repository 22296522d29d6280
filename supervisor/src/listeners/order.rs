//! The kernel's order of the slots that a killed supervisor has left, found out by connections of our own.
//!
//! The kernel tells nobody in which order the sockets of a group stand, and each that was closed has changed it. In which order they were
//! closed can be guessed ([`super::regroup`]), unless an app has died since. So before the kernel is told for the first time where
//! clients go, a connection is made to each place in question, and the slot in whose queue it appears stands there. An app may accept it
//! before that is seen: then another is made. It sees clients that connect and close. None of them is taken out of a queue again, for a
//! client may stand before it: where no app accepts, a relief worker does.
//!
//! A slot may be in the hands of a process that we cannot ask. It was made anew, but the old socket stands in the order as long as that
//! process has it: a *stranger*. A place in whose stead none of ours answers is such a one's. No client is sent there.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
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

/// How long it is tried to see a connection at one place. On a machine that is busy few arrive in a while, and apps are quick to accept them.
const PATIENCE: Duration = Duration::from_millis(500);

/// So long at least, and so many connections, for a place where nobody of ours stands.
const STRANGE_AFTER: Duration = Duration::from_millis(100);
const STRANGE_UNSEEN: u32 = 30;

/// How long one connection that has arrived may take to appear in a queue: the last packet of a handshake inside this machine.
const ARRIVAL: Duration = Duration::from_millis(1);

/// The pause before that is tried again: the loop waits for [`PATIENCE`] each time.
const AGAIN: Duration = Duration::from_secs(10);

/// The pause between two looks at a socket that is none of ours and stands among the slots.
const STRANGER_PAUSE: Duration = Duration::from_secs(1);

/// So many connections are made at one place at least, if they arrive: who is stopped for a while (CPUQuota=, a machine that is full) has
/// less time than the clock says.
const LEAST_ARRIVALS: u32 = STRANGE_UNSEEN;

/// How long one connection may take to arrive once [`PATIENCE`] is over.
const LATE_ARRIVAL: Duration = Duration::from_millis(10);

/// How often a connection has to be seen in the same queue: a late handshake of a client may end in another just then.
const SIGHTINGS: u32 = 3;

impl Listener {
    /// Why the order of the slots of its address is a guess still, in one line; once.
    pub(crate) fn take_doubt(&self) -> Option<String> {
        let why = self.slot.as_ref()?.group.certainty.take_doubt()?;
        let text = format!(
            "the kernel's order of its slots is a guess, so clients may meet an older version: {why}"
        );
        Some(self.alarm(&text).to_string())
    }

    /// When the order of the slots of its address is to be looked at though no client is sent elsewhere, see
    /// [`Listener::send_clients_here_still`]. `None` if it can only change by what we do.
    pub(crate) fn next_look_at_order(&self, now: Instant) -> Option<Instant> {
        let certainty = &self.slot.as_ref()?.group.certainty;
        let soonest = now + STRANGER_PAUSE;
        let again = certainty
            .not_before
            .get()
            .filter(|_| certainty.is_tried_unasked());
        let again = again.map(|again| again.max(soonest));
        let strangers = self.is_beside_strangers().then_some(soonest);
        strangers.or(again)
    }
}

impl Group {
    /// Find out the order of the slots, if it is a guess. What cannot be found out stays a guess, and is tried again later.
    pub(super) fn settle_order(self: &Rc<Self>) {
        // Our own connection, by which that is being done.
        if self.doors.visited.get().is_some() {
            return;
        }
        self.notice_strangers_that_left();
        self.settle_what_is_guessed();
    }

    /// The same though no client is sent elsewhere: it is tried a few times, for the loop waits for it.
    pub(super) fn look_at_order(self: &Rc<Self>) {
        self.notice_strangers_that_left();
        if self.certainty.is_tried_unasked() {
            self.settle_what_is_guessed();
        }
    }

    fn settle_what_is_guessed(self: &Rc<Self>) {
        let not_before = self.certainty.not_before.get();
        if not_before.is_some_and(|not_before| clock::now() < not_before) {
            return;
        }
        let guessed = self.certainty.guessed.take();
        if guessed.is_empty() {
            return;
        }
        let visited: BTreeMap<u8, Listener> = guessed
            .iter()
            .map(|(slot, socket)| (*slot, self.visited(*slot, Rc::clone(socket))))
            .collect();
        let found = self.find_out(&visited);
        self.doors.visited.set(None);
        match found {
            Ok(()) => self.certainty.settle(),
            Err(why) => self.certainty.fail(why, guessed, clock::now() + AGAIN),
        }
    }

    fn find_out(self: &Rc<Self>, visited: &BTreeMap<u8, Listener>) -> Result<(), String> {
        // One alone is in doubt only if somebody unknown has another: without a visit there is no reason to think so.
        if let (1, Some((_, alone))) = (visited.len(), visited.first_key_value())
            && alone.way_for_silence().is_err()
            && self.certainty.failures.get() == 0
            && self.strangers().is_none_or(|strangers| strangers.is_empty())
        {
            return Ok(());
        }
        Search::begin(self, visited).find_out()
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
}

/// A search for the places of slots.
struct Search<'a> {
    group: &'a Rc<Group>,
    /// Those slots.
    visited: &'a BTreeMap<u8, Listener>,
    unsettled: BTreeSet<u8>,
    /// Where somebody stands who is none of them.
    strange: BTreeSet<usize>,
    /// How many more of these there may be than the order has room for, where the kernel does not tell how many there are.
    hidden: usize,
}

impl<'a> Search<'a> {
    /// Sockets that are none of ours were there before all that we have made anew: they stand among those that are visited.
    fn begin(group: &'a Rc<Group>, visited: &'a BTreeMap<u8, Listener>) -> Self {
        let mut order = group.order();
        let hidden = match group.strangers() {
            Some(strangers) => {
                order.retain(Option::is_some);
                let behind = visited.len().min(order.len());
                order.splice(behind..behind, std::iter::repeat_n(None, strangers.len()));
                0
            }
            // Each has a slot that was made anew since.
            None => order
                .len()
                .saturating_sub(visited.len())
                .saturating_sub(order.iter().filter(|place| place.is_none()).count()),
        };
        group.set_order(order);
        Self {
            group,
            visited,
            unsettled: visited.keys().copied().collect(),
            strange: BTreeSet::new(),
            hidden,
        }
    }

    fn find_out(mut self) -> Result<(), String> {
        while let Some(believed) = self.next() {
            let order = self.group.order();
            let place = order.iter().position(|slot| *slot == Some(believed));
            let place = place.ok_or("it has no such slot")?;
            match self.who_stands_at(place)? {
                Some(found) if self.unsettled.remove(&found) => self.exchange(place, Some(found))?,
                Some(_) => return Err("one slot was seen at two places".to_owned()),
                None => {
                    self.strange.insert(place);
                    self.exchange(place, None)?;
                }
            }
        }
        Ok(())
    }

    /// The place where clients go comes first: as long as it is not known whose it is, their connections could be taken for ours at the
    /// others. There they are as good as ours.
    fn next(&self) -> Option<u8> {
        let pointed = self.group.pointed();
        match self.unsettled.contains(&pointed) {
            true => Some(pointed),
            false => self.unsettled.first().copied(),
        }
    }

    /// The slot that was found at a place changes places with the one that was believed there.
    fn exchange(&mut self, place: usize, found: Option<u8>) -> Result<(), String> {
        let mut order = self.group.order();
        let is_it = |other: usize| order[other] == found && !self.strange.contains(&other);
        let other = match (0..order.len()).find(|other| is_it(*other)) {
            Some(other) => other,
            None if found.is_none() && self.hidden > 0 => {
                self.hidden -= 1;
                let behind = self.visited.len() + self.strange.len() - 1;
                order.insert(behind.min(order.len()), None);
                behind
            }
            None => return Err("no connection of our own was seen in its queue".to_owned()),
        };
        order.swap(place, other);
        self.group.set_order(order);
        Ok(())
    }

    /// Which of these slots has this place; none if none of them is seen to have it.
    fn who_stands_at(&self, place: usize) -> Result<Option<u8>, String> {
        let (_, visited) = self.visited.first_key_value().ok_or("it has no slots")?;
        self.group.doors.visited.set(u32::try_from(place).ok());
        let mut sightings: BTreeMap<u8, u32> = BTreeMap::new();
        let mut arrivals = 0;
        let begin = clock::now();
        let may_be_strange = self.has_room_for_strangers();
        let mut last_arrived = true;
        loop {
            let now = clock::now();
            if now >= begin + PATIENCE && (arrivals >= LEAST_ARRIVALS || !last_arrived) {
                return Err("no connection of our own was seen in its queue".to_owned());
            }
            let unseen = sightings.is_empty() && arrivals >= STRANGE_UNSEEN;
            if may_be_strange && unseen && now >= begin + STRANGE_AFTER {
                return Ok(None);
            }
            let queues = Queues::of(self.visited);
            let visitor = visited.knock()?;
            let until = (begin + PATIENCE).max(clock::now() + LATE_ARRIVAL);
            let seen = queues.wait_for_growth(&visitor, until);
            last_arrived = steering::has_arrived(visitor.as_fd());
            arrivals += u32::from(last_arrived);
            visited.shut_door()?;
            let Some(slot) = seen else { continue };
            let count = sightings.entry(slot).or_default();
            *count += 1;
            if *count == SIGHTINGS {
                return Ok(Some(slot));
            }
        }
    }

    /// Whether somebody who is none of ours may stand where it is not known yet.
    fn has_room_for_strangers(&self) -> bool {
        let order = self.group.order();
        let mut places = (0..order.len()).filter(|place| order[*place].is_none());
        self.hidden > 0 || places.any(|place| !self.strange.contains(&place))
    }
}

/// How many wait in each of some slots.
struct Queues<'a>(Vec<(u8, &'a Listener, Cell<u32>)>);

impl<'a> Queues<'a> {
    fn of(slots: &'a BTreeMap<u8, Listener>) -> Self {
        let queue = |(number, slot): (&u8, &'a Listener)| (*number, slot, Cell::new(length(slot)));
        Self(slots.iter().map(queue).collect())
    }

    /// The slot whose queue has grown since. The visitor is waited for: once its door is shut, one that is late would come to where all go.
    fn wait_for_growth(&self, visitor: &OwnedFd, until: Instant) -> Option<u8> {
        let (mut seen, mut arrived) = (None, None);
        loop {
            for (number, slot, last) in &self.0 {
                let now = length(slot);
                if now > last.replace(now) {
                    seen = seen.or(Some(*number));
                }
            }
            let now = clock::now();
            if arrived.is_none() && steering::has_arrived(visitor.as_fd()) {
                arrived = Some(now);
            }
            let Some(arrived) = arrived else {
                if now >= until {
                    return None;
                }
                std::thread::yield_now();
                continue;
            };
            if seen.is_some() || now >= arrived + ARRIVAL {
                return seen;
            }
            // An app that is quick takes it away.
            std::hint::spin_loop();
        }
    }
}

fn length(slot: &Listener) -> u32 {
    sock::tcp_queue(slot.as_fd()).unwrap_or_default()
}
