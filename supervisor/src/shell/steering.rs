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
use segue_lifecycle::{Event, Handoff, Lane, Number, Progress, Role};

use crate::clock::{self, Timers};
use crate::listeners::Listener;
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

/// The pause between two looks at a socket that is none of ours and stands among the slots.
const STRANGER_PAUSE: Duration = Duration::from_secs(1);

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
    /// When it is looked again whether a socket that is none of ours stands among the slots still.
    strangers: Option<Instant>,
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
        if self.strangers.is_some_and(|at| now >= at) {
            self.heed_strangers(now, ground);
        }
        if self.strangers.is_some() && !timers.runs(Alarm::Slots) {
            timers.arm(Alarm::Slots, Some(STRANGER_PAUSE), now);
        }
        let relieved = empty.into_iter().map(Event::Relieved);
        placed.into_iter().chain(relieved).collect()
    }

    /// Whoever has such a socket may close it at any time, and then another slot has its place: as long as one is there the order is looked
    /// at, and clients go where they went.
    fn heed_strangers(&mut self, now: Instant, ground: &Ground<'_>) {
        self.strangers = None;
        let Some((number, lane)) = pointed(ground) else {
            return;
        };
        for slot in destinations(number, lane, ground).filter(|slot| slot.is_beside_strangers()) {
            // It is tried again.
            let _ = slot.send_clients_here();
            self.strangers = Some(now + STRANGER_PAUSE);
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
        self.heed_strangers(clock::now(), ground);
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

/// Where the kernel sends clients since before a succession: nothing that is told to it from now on must change that by the way.
pub(crate) fn note_pointed(ground: &Ground<'_>) {
    if let Some((number, lane)) = pointed(ground) {
        destinations(number, lane, ground).for_each(|slot| slot.note_clients_come_here());
    }
}

/// The generation to which new clients go, and its lane.
fn pointed(ground: &Ground<'_>) -> Option<(Number, Lane)> {
    ground.core.switched_to().zip(ground.core.pointed())
}

/// The slots to which new clients are to come when they go to this generation: one of each steered listener. Where it does not listen they
/// go on coming to the generation that does; if none has taken over yet, nobody is to meet them before.
fn destinations(number: Number, lane: Lane, ground: &Ground<'_>) -> impl Iterator<Item = Rc<Listener>> {
    let its = ground.records.inodes_of(number, ground.core);
    slots(ground).into_iter().filter(move |slot| {
        let at = match its.contains(&slot.inode()) {
            true => lane,
            false => lane_beside(number, slot, ground).unwrap_or(lane),
        };
        slot.slot() == Some(at)
    })
}

/// The lane of the newest other generation that listens there and is, or was, the incumbent.
fn lane_beside(number: Number, slot: &Listener, ground: &Ground<'_>) -> Option<Lane> {
    let others = ground.core.generations().filter(|one| one.number != number);
    let listens = others.filter(|one| match one.role {
        Role::Incumbent | Role::Lingering | Role::Retired => ground
            .records
            .inodes_of(one.number, ground.core)
            .contains(&slot.inode()),
        Role::Candidate | Role::Relief => false,
    });
    listens.last().map(|one| one.lane)
}

fn send_clients_to(number: Number, lane: Lane, ground: &Ground<'_>) -> Result<(), String> {
    for slot in destinations(number, lane, ground) {
        let sent = slot.send_clients_here();
        if let Some(doubt) = slot.take_doubt() {
            ground.log.warning(&doubt);
        }
        sent.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Every slot of every steered listener, each once.
fn slots(ground: &Ground<'_>) -> Vec<Rc<Listener>> {
    let mut current = ground.records.current_listeners();
    current.retain(|listener| listener.slot().is_some());
    current
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
