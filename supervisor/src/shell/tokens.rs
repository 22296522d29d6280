//! Tokens: a connection of our own in the slot of a candidate, so that it is seen whether the candidate accepts.
//!
//! It is made before the first process of the candidate is started, when nobody has the slot: so it is certain to wait there, and
//! nobody but the candidate can accept it. From then on the length of the queue tells: once the slot was seen empty, it was accepted.
//! Nothing is sent on it but its end: the app sees a client that connects and closes.
//!
//! The slot need not be watched meanwhile, for whoever waits in it the candidate accepts, or a relief worker once it has failed.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd as _, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use segue_lifecycle::{Event, Lane, Lifecycle, Number, Token as Known};

use crate::clock::{self, Timers};
use crate::listeners::Listener;
use crate::log::Log;
use crate::shell::Alarm;
use crate::shell::fleet::Ground;
use crate::shell::fleet::probe::slots_of;
use crate::sys::{sock, steering};

/// How long a token may be on its way into its slot: a handshake inside this machine, and the queue may be full.
const ARRIVAL: Duration = Duration::from_secs(1);

/// The pause between two looks at a token that is on its way.
const LOOK_PAUSE: Duration = Duration::from_millis(1);

/// What is seen of the tokens of a candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Acceptance {
    /// Nothing is to be seen, or it was seen before.
    Known,
    /// It was not seen to accept.
    NotYet,
    /// It has accepted on these sockets.
    Seen(Vec<u64>),
}

/// A connection to one slot, until it is accepted: then our copy of the slot must not live on, for once the app has closed its own and
/// nobody else listens there, the kernel is to refuse clients.
#[derive(Debug)]
struct Token {
    slot: Rc<Listener>,
    /// Our end of it. None if an earlier supervisor had it: then both ends are closed, and it still waits.
    client: Option<OwnedFd>,
    /// How many waited in the slot before it.
    before: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    OnItsWay,
    Waits,
}

/// The tokens of one generation.
#[derive(Debug)]
struct Placed {
    lane: Lane,
    until: Instant,
    tokens: Vec<Token>,
    /// The sockets whose tokens were accepted, by inode.
    accepted: Vec<u64>,
}

/// All that were placed for generations that are not gone.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    placed: BTreeMap<Number, Placed>,
    /// The candidate whose tokens are on their way.
    placing: Option<Number>,
    /// Why none could be used, as it was told: each reason once.
    told: BTreeSet<String>,
}

impl Tokens {
    /// Connect to each slot of this candidate. [`Tokens::arrived`] tells what became of it.
    pub(crate) fn place(&mut self, number: Number, ground: &Ground<'_>) {
        let lane = ground.core.lane_of(number);
        let mut placed = Placed {
            lane,
            until: clock::now() + ARRIVAL,
            tokens: Vec::new(),
            accepted: Vec::new(),
        };
        for slot in slots_of(number, ground) {
            let before = sock::tcp_queue(slot.as_fd()).unwrap_or_default();
            match slot.knock() {
                Ok(client) => placed.tokens.push(Token {
                    slot,
                    client: Some(client),
                    before,
                    state: State::OnItsWay,
                }),
                Err(why) => self.excuse(&slot, &why, ground.log),
            }
        }
        self.placed.insert(number, placed);
        self.placing = Some(number);
    }

    /// What became of the tokens of a candidate, once that is known: each waits, or has had its time.
    pub(crate) fn arrived(&mut self, now: Instant, log: &Log, timers: &mut Timers<Alarm>) -> Option<Event> {
        let number = self.placing?;
        let placed = self.placed.get_mut(&number)?;
        placed.tokens.iter_mut().for_each(Token::note_arrival);
        let is_late = now >= placed.until;
        if !is_late && placed.tokens.iter().any(|token| token.state == State::OnItsWay) {
            timers.arm(Alarm::Slots, Some(LOOK_PAUSE), now);
            return None;
        }
        self.placing = None;
        let late: Vec<Token> = placed
            .tokens
            .extract_if(.., |token| token.state == State::OnItsWay)
            .collect();
        let any = !placed.tokens.is_empty();
        for token in late {
            self.excuse(&token.slot, "no connection of its own reached it within 1s", log);
            if let Err(error) = token.slot.shut_door() {
                log.error(&error);
            }
        }
        Some(match any {
            true => Event::TokenPlaced(number),
            false => Event::TokenExcused(number),
        })
    }

    /// Whether tokens of a candidate are on their way.
    pub(crate) fn are_on_their_way(&self) -> bool {
        self.placing.is_some()
    }

    /// Say once why it is not seen whether apps accept on this listener.
    fn excuse(&mut self, slot: &Listener, why: &str, log: &Log) {
        let text = format!(
            "listener {} ({}): whether a new version accepts is judged by what /proc shows: {why}",
            slot.name(),
            slot.address_text()
        );
        if self.told.insert(text.clone()) {
            log.warning(&text);
        }
    }

    /// Look whether this generation has accepted its tokens, if it is to. Those that it has are closed.
    pub(crate) fn look(&mut self, number: Number, core: &Lifecycle) -> Acceptance {
        if !core.is_token_placed(number) {
            return Acceptance::Known;
        }
        let Some(placed) = self.placed.get_mut(&number) else {
            return Acceptance::NotYet;
        };
        let accepted = placed.tokens.extract_if(.., |token| token.is_accepted());
        placed.accepted.extend(accepted.map(|token| token.slot.inode()));
        if !placed.tokens.is_empty() || placed.accepted.is_empty() {
            return Acceptance::NotYet;
        }
        Acceptance::Seen(placed.accepted.clone())
    }

    /// Whether a token waits in this slot of any listener, or is on its way there.
    pub(crate) fn are_in(&self, lane: Lane) -> bool {
        let mut placed = self.placed.values().filter(|placed| placed.lane == lane);
        placed.any(|placed| !placed.tokens.is_empty())
    }

    /// Let go of the tokens of generations that need not accept any more: the first, whose time for it is over.
    pub(crate) fn let_go_of_excused(&mut self, core: &Lifecycle) {
        self.placed
            .retain(|number, _| core.token_of(*number) != Some(Known::Excused));
    }

    /// A birth record is forgotten: let go of the tokens in slots at which we do not listen any more.
    pub(crate) fn let_go_of_closed(&mut self, ground: &Ground<'_>) {
        if self.placed.values().all(|placed| placed.tokens.is_empty()) {
            return;
        }
        let current: BTreeSet<u64> = ground
            .records
            .current_listeners()
            .iter()
            .map(|listener| listener.inode())
            .collect();
        for placed in self.placed.values_mut() {
            let closed = placed
                .tokens
                .extract_if(.., |token| !current.contains(&token.slot.inode()));
            closed.for_each(Token::let_go);
        }
    }

    /// A generation is gone. Tokens that it has not accepted are taken out of their slots, lest they be taken for clients.
    pub(crate) fn bury(&mut self, number: Number, ground: &Ground<'_>) {
        let Some(placed) = self.placed.remove(&number) else {
            return;
        };
        self.placing = self.placing.filter(|placing| *placing != number);
        let is_ours = ground.core.holder_of(placed.lane).is_none();
        for token in placed.tokens {
            match is_ours {
                true => token.take_back(),
                false => token.let_go(),
            }
        }
    }

    /// After a succession: what became of the tokens that the predecessor had placed is seen by the queues. One that it had placed
    /// in a slot which has been made anew since is placed again.
    pub(crate) fn restore(&mut self, ground: &Ground<'_>, timers: &mut Timers<Alarm>) {
        let candidate = ground.core.handoff().candidate();
        let Some(generation) = candidate.and_then(|number| ground.core.generation(number)) else {
            return;
        };
        let candidate = generation.number;
        // It was placed as the predecessor's batch was finished, and the core has not heard of it.
        if self.placed.contains_key(&candidate) {
            return;
        }
        match (generation.token, generation.processes.is_empty()) {
            (Known::Asked, _) | (Known::Placed, true) => {
                self.place(candidate, ground);
                return timers.arm(Alarm::Slots, Some(LOOK_PAUSE), clock::now());
            }
            (Known::Placed, false) => {}
            (Known::Unasked | Known::Accepted | Known::Excused, _) => return,
        }
        let token = |slot: Rc<Listener>| Token {
            slot,
            client: None,
            before: 0,
            state: State::Waits,
        };
        let slots = slots_of(candidate, ground).into_iter();
        let placed = Placed {
            lane: generation.lane,
            until: clock::now(),
            accepted: Vec::new(),
            tokens: slots.filter(|slot| slot.way().is_ok()).map(token).collect(),
        };
        self.placed.insert(candidate, placed);
    }
}

impl Token {
    fn queue(&self) -> u32 {
        sock::tcp_queue(self.slot.as_fd()).unwrap_or_default()
    }

    fn note_arrival(&mut self) {
        if self.state == State::OnItsWay && self.queue() > self.before {
            self.state = State::Waits;
            if let Some(client) = &self.client {
                // An app that takes one client after the other must not wait for this one to say something.
                steering::send_no_more(client.as_fd());
            }
            // The next switch tells the kernel again if it refuses now.
            let _ = self.slot.shut_door();
        }
    }

    fn is_accepted(&self) -> bool {
        self.state == State::Waits && self.queue() == 0
    }

    /// It is of no interest any more.
    fn let_go(self) {
        // A door that is open when it has arrived is another's.
        if self.state == State::OnItsWay {
            // The next switch tells the kernel again if it refuses now.
            let _ = self.slot.shut_door();
        }
    }

    /// Accept it, if it alone waits in its queue: nobody else has the slot. Otherwise a relief worker finds it.
    fn take_back(self) {
        if self.state == State::OnItsWay {
            return self.let_go();
        }
        if let Some(client) = self.client.filter(|_| self.before == 0) {
            self.slot.take_back(&client);
        }
    }
}
