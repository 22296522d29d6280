//! Steered listeners: new clients are sent to the slot of one generation, and those who wait in another slot are not forgotten.
//!
//! Our own copies of the slots to which new clients do not go tell when a client waits there ([`EpollFlags::EPOLLONESHOT`]): at rest
//! that costs nothing. From then on the slot is looked at until nobody waits. What is done about it is the core's to decide.
//!
//! Not every generation listens at each address: one may be new with a candidate, or have been left out of the settings. Clients of the
//! first wait where all others go until the candidate has taken over; those of the other go to the old generation for as long as it
//! lingers. A relief worker could answer neither before, for it is started from the record of the incumbent.

use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use segue_lifecycle::{Event, Handoff, Lane, Number, Progress};

use crate::clock::{self, Timers};
use crate::listeners::Listener;
use crate::log::Log;
use crate::shell::destinations::{destinations, pointed, send_clients_to, slots, tell_doubt};
use crate::shell::fleet::Ground;
use crate::shell::tokens::Tokens;
use crate::shell::{Alarm, PollSet};
use crate::sources::Source;
use crate::sys::errno_text;

/// How long the incumbent has after the switch to accept those who wait in its slot, before it is told to stop. A client that is left then
/// is answered by a relief worker, which takes the start of an app.
const SWITCH_PATIENCE: Duration = Duration::from_secs(1);

/// The pause between two looks at the slot of an incumbent that has been switched away from: a reload waits for it.
const SWITCH_PAUSE: Duration = Duration::from_millis(1);

/// The pause between two looks at a slot in which clients wait.
const SLOT_PAUSE: Duration = Duration::from_millis(20);

/// The pause before it is tried again to watch the slots, after the kernel has refused (for lack of fds, say).
const WATCH_AGAIN: Duration = Duration::from_secs(1);

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
    /// Whether it has been told that they cannot be watched.
    told: bool,
    /// The slots in which clients wait, as the core was told.
    stranded: BTreeSet<Lane>,
    /// When the kernel's order of the slots is looked at again.
    order: Option<Instant>,
    /// Whether it has been told that the kernel refuses to send clients where they go.
    refused: bool,
    /// By which it is seen whether a candidate accepts.
    pub(crate) tokens: Tokens,
}

impl Steering {
    /// Send every new client to the slot of this generation.
    ///
    /// # Errors
    /// Why the kernel has refused, in one line.
    pub(crate) fn switch(&mut self, number: Number, ground: &Ground<'_>) -> Result<(), String> {
        let Some(lane) = ground.core.generation(number).map(|generation| generation.lane) else {
            return Ok(());
        };
        self.pending = None;
        send_clients_to(number, lane, ground)?;
        let until = clock::now() + SWITCH_PATIENCE;
        self.pending = Some(Pending { to: number, until });
        Ok(())
    }

    /// The generation to which clients have been switched, once nobody waits in the slot of the incumbent any more, or its time is
    /// over.
    pub(crate) fn switched(
        &mut self,
        now: Instant,
        ground: &Ground<'_>,
        timers: &mut Timers<Alarm>,
    ) -> Option<Number> {
        let pending = self.pending?;
        let incumbent = ground.core.incumbent();
        let old = incumbent.filter(|incumbent| incumbent.number != pending.to);
        let waits = old.is_some_and(|old| old.serves() && waits_in(old.lane, ground));
        if waits && now < pending.until {
            timers.arm(Alarm::Slots, Some(SWITCH_PAUSE), now);
            return None;
        }
        self.pending = None;
        Some(pending.to)
    }

    /// Watch the slots to which new clients do not go. To be called after each turn.
    pub(crate) fn watch(
        &mut self,
        ground: &Ground<'_>,
        sources: &mut PollSet,
        timers: &mut Timers<Alarm>,
    ) -> Vec<Event> {
        self.tokens.let_go_of_excused(ground.core);
        if ground.core.pointed().is_none() {
            return Vec::new();
        }
        self.heed_order(&slots(ground), ground.log, timers);
        let mut slots = slots_to_watch(ground);
        // A token is no client.
        slots.retain(|slot| {
            slot.slot()
                .is_none_or(|lane| self.stranded.contains(&lane) || !self.tokens.are_in(lane))
        });
        let wanted: Vec<(u64, Lane)> = slots
            .iter()
            .filter_map(|slot| Some((slot.inode(), slot.slot()?)))
            .collect();
        if wanted == self.watched {
            return Vec::new();
        }
        if let Some(set) = self.set.take() {
            sources.remove(Source::Slots, &set.0);
        }
        let relieved = self.forget_unwatched(&wanted);
        self.watched.clear();
        match self.open_set(&slots, sources) {
            Ok(()) => {
                self.watched = wanted;
                self.told = false;
            }
            Err(errno) => self.watch_later(errno, ground, timers),
        }
        relieved
    }

    /// Nobody tells of clients in the slots until then. It is said once.
    fn watch_later(&mut self, errno: Errno, ground: &Ground<'_>, timers: &mut Timers<Alarm>) {
        if !std::mem::replace(&mut self.told, true) {
            let text = format!("watch the slots of the listeners: {}", errno_text(errno));
            ground.log.warning(&text);
        }
        if !timers.runs(Alarm::Slots) {
            timers.arm(Alarm::Slots, Some(WATCH_AGAIN), clock::now());
        }
    }

    fn forget_unwatched(&mut self, wanted: &[(u64, Lane)]) -> Vec<Event> {
        let is_gone = |lane: &Lane| !wanted.iter().any(|(_, other)| other == lane);
        self.stranded
            .extract_if(.., is_gone)
            .map(Event::Relieved)
            .collect()
    }

    fn open_set(&mut self, slots: &[Rc<Listener>], sources: &mut PollSet) -> Result<(), Errno> {
        if slots.is_empty() {
            return Ok(());
        }
        let set = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        for slot in slots {
            set.add(&**slot, once(slot))?;
        }
        sources.add(Source::Slots, &set.0)?;
        self.set = Some(set);
        Ok(())
    }

    /// Clients wait in a slot to which new ones do not go, or an app has shut one down.
    pub(crate) fn note_stranded(&mut self, ground: &Ground<'_>, timers: &mut Timers<Alarm>) -> Vec<Event> {
        let Some(set) = &self.set else {
            return Vec::new();
        };
        let mut told = [EpollEvent::empty(); AT_ONCE];
        let count = set.wait(&mut told, EpollTimeout::ZERO).unwrap_or_default();
        let told: Vec<EpollEvent> = told.into_iter().take(count).collect();
        let mut events = Vec::new();
        for slot in slots_to_watch(ground) {
            let Some(told) = told.iter().find(|told| told.data() == slot.inode()) else {
                continue;
            };
            if told.events().contains(EpollFlags::EPOLLHUP)
                && let Err(error) = slot.restore_flags()
            {
                ground.log.error(&error.to_string());
            }
            if let Some(lane) = slot.slot()
                && self.stranded.insert(lane)
            {
                events.push(Event::Stranded(lane));
            }
        }
        timers.arm(Alarm::Slots, Some(SLOT_PAUSE), clock::now());
        events
    }

    /// Connect to the slot of a candidate. It is started once its token waits, or none can be had.
    pub(crate) fn place_token(
        &mut self,
        number: Number,
        ground: &Ground<'_>,
        timers: &mut Timers<Alarm>,
    ) -> Option<Event> {
        self.tokens.place(number, ground);
        self.tokens.arrived(clock::now(), ground.log, timers)
    }

    /// Look again at a token that is on its way, and at the slots in which clients wait.
    pub(crate) fn look(
        &mut self,
        now: Instant,
        ground: &Ground<'_>,
        timers: &mut Timers<Alarm>,
    ) -> Vec<Event> {
        let placed = self.tokens.arrived(now, ground.log, timers);
        let is_empty = |lane: &Lane| !waits_in(*lane, ground);
        let empty: Vec<Lane> = self.stranded.extract_if(.., is_empty).collect();
        for lane in &empty {
            self.rearm(*lane, ground);
        }
        if self.pending.is_none() && !self.tokens.are_on_their_way() && !self.stranded.is_empty() {
            timers.arm(Alarm::Slots, Some(SLOT_PAUSE), now);
        }
        // Connections of our own go one by one.
        if self.order.is_some_and(|at| now >= at) && !self.tokens.are_on_their_way() {
            self.look_at_order(ground);
        }
        self.arm_for_order(now, timers);
        let relieved = empty.into_iter().map(Event::Relieved);
        placed.into_iter().chain(relieved).collect()
    }

    /// A process that has a socket among the slots, none of ours, may close it at any time, and then another slot has its place: as long as
    /// one is there the order is looked at, and clients go where they went. What could not be found out is tried again.
    fn look_at_order(&mut self, ground: &Ground<'_>) {
        self.order = None;
        let Some((number, lane)) = pointed(ground) else {
            return;
        };
        let now = clock::now();
        let mut refused = None;
        for slot in destinations(number, lane, ground) {
            if slot.next_look_at_order(now).is_some() {
                refused = slot.send_clients_here_still().err().or(refused);
                tell_doubt(&slot, ground.log);
            }
        }
        let was_refused = std::mem::replace(&mut self.refused, refused.is_some());
        if let Some(error) = refused.filter(|_| !was_refused) {
            ground.log.error(&error.to_string());
        }
    }

    /// Whatever has been done with these slots in this turn: what came of it is told, and looked at again when that is due.
    fn heed_order(&mut self, slots: &[Rc<Listener>], log: &Log, timers: &mut Timers<Alarm>) {
        slots.iter().for_each(|slot| tell_doubt(slot, log));
        let now = clock::now();
        let due = slots.iter().filter_map(|slot| slot.next_look_at_order(now));
        self.order = due.chain(self.order).min();
        self.arm_for_order(now, timers);
    }

    /// Every other look at the slots is sooner.
    fn arm_for_order(&self, now: Instant, timers: &mut Timers<Alarm>) {
        if let Some(at) = self.order
            && !timers.runs(Alarm::Slots)
        {
            timers.arm(Alarm::Slots, Some(at.saturating_duration_since(now)), now);
        }
    }

    /// The slot tells when the next client waits.
    fn rearm(&self, lane: Lane, ground: &Ground<'_>) {
        let Some(set) = &self.set else { return };
        for slot in slots_to_watch(ground) {
            if slot.slot() == Some(lane) {
                // It can only fail for a descriptor that is not in the set.
                let _ = set.modify(&*slot, &mut once(&slot));
            }
        }
    }

    /// After a succession, before all else: the kernel sends clients where it sent them before, though the order of the slots may have
    /// changed. If it refuses, [`Steering::steer_again`] tells.
    pub(crate) fn point_again(&self, ground: &Ground<'_>) {
        if let Some((number, lane)) = pointed(ground) {
            let _ = send_clients_to(number, lane, ground);
        }
    }

    /// After a succession: the kernel is told again where clients go, for the order of the slots may have changed, and a switch that
    /// was under way is answered.
    ///
    /// # Errors
    /// Why the kernel has refused, in one line: the core is to hear of it, as of every other switch.
    pub(crate) fn steer_again(
        &mut self,
        events: &VecDeque<Event>,
        ground: &Ground<'_>,
        timers: &mut Timers<Alarm>,
    ) -> Result<(), String> {
        let Some((number, lane)) = pointed(ground) else {
            self.tokens.restore(ground, timers);
            return Ok(());
        };
        // Those of which the core was told are looked at, and told to be empty if they are.
        self.stranded = ground.core.stranded().collect();
        timers.arm(Alarm::Slots, Some(SWITCH_PAUSE), clock::now());
        let sent = send_clients_to(number, lane, ground);
        self.tokens.restore(ground, timers);
        sent?;
        if let Handoff::Candidate(number, Progress::Switching) = ground.core.handoff()
            && !events.contains(&Event::Switched(number))
            && !events.contains(&Event::NotSwitched(number))
        {
            let until = clock::now() + SWITCH_PATIENCE;
            self.pending = Some(Pending { to: number, until });
        }
        Ok(())
    }
}

/// Those of the listeners of the incumbent: nobody else can answer whoever waits in one of the others, and no relief worker could.
fn slots_of_incumbent(ground: &Ground<'_>) -> Vec<Rc<Listener>> {
    let mut slots = slots(ground);
    if let Some(incumbent) = ground.core.incumbent() {
        let its = ground.records.inodes_of(incumbent.number, ground.core);
        slots.retain(|slot| its.contains(&slot.inode()));
    }
    slots
}

/// Its own, and that of the next one, are watched in other ways.
fn slots_to_watch(ground: &Ground<'_>) -> Vec<Rc<Listener>> {
    let incumbent = ground.core.incumbent().map(|incumbent| incumbent.lane);
    let mut slots = slots_of_incumbent(ground);
    slots.retain(|slot| slot.slot() != ground.core.pointed() && slot.slot() != incumbent);
    slots
}

fn waits_in(lane: Lane, ground: &Ground<'_>) -> bool {
    let slots = slots_of_incumbent(ground);
    let mut of_lane = slots.iter().filter(|slot| slot.slot() == Some(lane));
    of_lane.any(|slot| slot.has_clients_waiting())
}

/// It tells once that a client waits, or that it was shut down.
fn once(slot: &Listener) -> EpollEvent {
    EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLONESHOT, slot.inode())
}
