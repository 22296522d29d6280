//! Steered listeners: new clients are sent to the slot of one generation, and those who wait in another slot are not forgotten.
//!
//! Our own copies of the slots to which new clients do not go tell when a client waits there ([`EpollFlags::EPOLLONESHOT`]): at rest
//! that costs nothing. From then on the slot is looked at until nobody waits. What is done about it is the core's to decide.

use std::collections::BTreeSet;
use std::os::fd::AsFd as _;
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use segue_lifecycle::{Event, Handoff, Lane, Number, Progress};

use crate::clock;
use crate::listeners::Listener;
use crate::shell::{Alarm, Shell};
use crate::sources::Source;
use crate::sys::{errno_text, sock};

/// How long the incumbent has after the switch to accept those who wait in its slot, before it is told to stop. Whoever is left then
/// is answered by a relief worker, which takes the start of an app.
const SWITCH_PATIENCE: Duration = Duration::from_secs(1);

/// The pause between two looks at the slot of an incumbent that has been switched away from: a reload waits for it.
const SWITCH_PAUSE: Duration = Duration::from_millis(1);

/// The pause between two looks at a slot in which clients wait.
const SLOT_PAUSE: Duration = Duration::from_millis(20);

/// How many slots can tell at once in one turn; the others tell in the next.
const AT_ONCE: usize = 16;

/// A switch that has been made and not yet answered.
#[derive(Clone, Copy, Debug)]
struct Pending {
    to: Number,
    until: Instant,
}

/// What is known of the slots.
#[derive(Debug, Default)]
pub(crate) struct Steering {
    pending: Option<Pending>,
    /// The sockets in the set, by inode, and their slots.
    watched: Vec<(u64, Lane)>,
    set: Option<Epoll>,
    /// The slots in which clients wait, as the core was told.
    stranded: BTreeSet<Lane>,
}

impl Shell {
    /// Send every new client to the slot of this generation.
    pub(crate) fn switch(&mut self, number: Number) {
        let Some(lane) = self.core.generation(number).map(|generation| generation.lane) else {
            return;
        };
        match self.send_clients_to(lane) {
            Ok(()) => {
                let until = clock::now() + SWITCH_PATIENCE;
                self.steering.pending = Some(Pending { to: number, until });
                self.answer_switch(clock::now());
            }
            Err(text) => {
                self.log.error(&text);
                self.records.not_switched = Some(text);
                self.steering.pending = None;
                self.events.push_back(Event::NotSwitched(number));
            }
        }
    }

    fn send_clients_to(&self, lane: Lane) -> Result<(), String> {
        for slot in self.slots_of(lane) {
            slot.send_clients_here().map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Nobody has the slots of this generation yet: their O_NONBLOCK is as the options say. Never to be called while an older
    /// generation has them: its event loop would hang in accept.
    pub(crate) fn lend_slots_anew(&self, number: Number) {
        for listener in self.records.listeners_of(number, &self.core) {
            if let Err(error) = listener.lend_anew() {
                self.log.error(&error.to_string());
            }
        }
    }

    /// Every slot of every steered listener, each once.
    fn slots(&self) -> Vec<Rc<Listener>> {
        let mut current = self.records.current_listeners();
        current.retain(|listener| listener.slot().is_some());
        current
    }

    /// Those of one lane: one of each steered listener.
    fn slots_of(&self, lane: Lane) -> impl Iterator<Item = Rc<Listener>> {
        self.slots()
            .into_iter()
            .filter(move |slot| slot.slot() == Some(lane))
    }

    /// Once nobody waits in the slot of the incumbent any more, or its time is over, the switch is answered. A candidate that
    /// has died meanwhile is reported first.
    fn answer_switch(&mut self, now: Instant) {
        let Some(pending) = self.steering.pending else {
            return;
        };
        let old = self
            .core
            .incumbent()
            .filter(|incumbent| incumbent.number != pending.to);
        let waits = old.is_some_and(|old| old.serves() && self.waits_in(old.lane));
        if waits && now < pending.until {
            self.timers.arm(Alarm::Slots, Some(SWITCH_PAUSE), now);
            return;
        }
        self.steering.pending = None;
        if self.fleet.any_dies_within(pending.to, Duration::ZERO) {
            self.sweep();
        }
        self.events.push_back(Event::Switched(pending.to));
    }

    fn waits_in(&self, lane: Lane) -> bool {
        self.slots_of(lane).any(|slot| has_clients(&slot))
    }

    /// Watch the slots to which new clients do not go. To be called after each turn.
    pub(crate) fn watch_slots(&mut self) {
        if self.core.pointed().is_none() {
            return;
        }
        let slots = self.slots_to_watch();
        let wanted: Vec<(u64, Lane)> = slots
            .iter()
            .filter_map(|slot| Some((slot.inode(), slot.slot()?)))
            .collect();
        if wanted == self.steering.watched {
            return;
        }
        if let Some(set) = self.steering.set.take() {
            self.sources.remove(Source::Slots, &set.0);
        }
        self.forget_unwatched(&wanted);
        self.steering.watched = wanted;
        if let Err(errno) = self.open_slot_set(&slots) {
            let text = format!("watch the slots of the listeners: {}", errno_text(errno));
            self.log.warning(&text);
        }
    }

    /// Those of the incumbent, and of whoever is about to be, are watched in other ways.
    fn slots_to_watch(&self) -> Vec<Rc<Listener>> {
        let incumbent = self.core.incumbent().map(|incumbent| incumbent.lane);
        let mut slots = self.slots();
        slots.retain(|slot| slot.slot() != self.core.pointed() && slot.slot() != incumbent);
        slots
    }

    fn forget_unwatched(&mut self, wanted: &[(u64, Lane)]) {
        let kept = |lane: &Lane| wanted.iter().any(|(_, other)| other == lane);
        let gone: Vec<Lane> = self
            .steering
            .stranded
            .iter()
            .copied()
            .filter(|lane| !kept(lane))
            .collect();
        for lane in gone {
            self.steering.stranded.remove(&lane);
            self.events.push_back(Event::Relieved(lane));
        }
    }

    fn open_slot_set(&mut self, slots: &[Rc<Listener>]) -> Result<(), Errno> {
        if slots.is_empty() {
            return Ok(());
        }
        let set = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        for slot in slots {
            set.add(&**slot, once(slot))?;
        }
        self.sources.add(Source::Slots, &set.0)?;
        self.steering.set = Some(set);
        Ok(())
    }

    /// Clients wait in a slot to which new ones do not go, or an app has shut one down.
    pub(crate) fn note_stranded(&mut self) {
        let Some(set) = &self.steering.set else { return };
        let mut told = [EpollEvent::empty(); AT_ONCE];
        let count = set.wait(&mut told, EpollTimeout::ZERO).unwrap_or_default();
        let told: Vec<EpollEvent> = told.into_iter().take(count).collect();
        for slot in self.slots_to_watch() {
            let Some(told) = told.iter().find(|told| told.data() == slot.inode()) else {
                continue;
            };
            if told.events().contains(EpollFlags::EPOLLHUP)
                && let Err(error) = slot.restore_flags()
            {
                self.log.error(&error.to_string());
            }
            if let Some(lane) = slot.slot()
                && self.steering.stranded.insert(lane)
            {
                self.events.push_back(Event::Stranded(lane));
            }
        }
        self.timers.arm(Alarm::Slots, Some(SLOT_PAUSE), clock::now());
    }

    /// Look again at the slots in which clients wait.
    pub(crate) fn look_at_slots(&mut self, now: Instant) {
        self.answer_switch(now);
        let stranded = self.steering.stranded.iter().copied();
        let empty: Vec<Lane> = stranded.filter(|lane| !self.waits_in(*lane)).collect();
        for lane in empty {
            self.steering.stranded.remove(&lane);
            self.events.push_back(Event::Relieved(lane));
            self.rearm(lane);
        }
        if self.steering.pending.is_none() && !self.steering.stranded.is_empty() {
            self.timers.arm(Alarm::Slots, Some(SLOT_PAUSE), now);
        }
    }

    /// The slot tells when the next client waits.
    fn rearm(&self, lane: Lane) {
        let Some(set) = &self.steering.set else { return };
        for slot in self.slots_to_watch() {
            if slot.slot() == Some(lane) {
                // It can only fail for a descriptor that is not in the set.
                let _ = set.modify(&*slot, &mut once(&slot));
            }
        }
    }

    /// After a succession: the kernel is told again where clients go, for the order of the slots may have changed, and a switch that
    /// was under way is answered.
    pub(crate) fn steer_again(&mut self) {
        let Some(lane) = self.core.pointed() else { return };
        if let Err(text) = self.send_clients_to(lane) {
            self.log.error(&text);
        }
        // Those of which the core was told are looked at, and told to be empty if they are.
        self.steering.stranded = self.core.stranded().collect();
        if let Handoff::Candidate(number, Progress::Switching) = self.core.handoff()
            && !self.events.contains(&Event::Switched(number))
            && !self.events.contains(&Event::NotSwitched(number))
        {
            let until = clock::now() + SWITCH_PATIENCE;
            self.steering.pending = Some(Pending { to: number, until });
        }
        self.timers.arm(Alarm::Slots, Some(SWITCH_PAUSE), clock::now());
    }
}

fn has_clients(slot: &Listener) -> bool {
    sock::tcp_queue(slot.as_fd()).is_some_and(|length| length > 0)
}

/// It tells once that a client waits, or that it was shut down.
fn once(slot: &Listener) -> EpollEvent {
    EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLONESHOT, slot.inode())
}
