//! `--ready auto` and `accepting`: whether a worker that starts is seen waiting for clients on each of its listeners that accept
//! connections.
//!
//! Nothing tells when a process begins to wait, so it is looked at again and again while it starts, and only then. What follows
//! from it the core decides; one whose word alone counts is not looked at.

use std::time::Duration;

use segue_lifecycle::{Event, Role, Token, Worker};

use crate::clock::{self, Timers};
use crate::listeners::{Listener, shares};
use crate::shell::Alarm;
use crate::shell::narrator::view::View;
use crate::sight::{Hold, Sight};

/// The pause between two looks grows with the time that a start takes already: a start is noticed an eighth late at most.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// Where a token tells, a look is one call.
const SHORTEST_BY_TOKEN: Duration = Duration::from_millis(1);
const LONGEST_BY_TOKEN: Duration = Duration::from_millis(25);

/// And it is so many times what the look cost: with many workers and threads that is much, and the loop has others to hear. A look that
/// took long because the machine was busy has cost no more than others.
const PAUSES_PER_LOOK: u32 = 10;

impl View<'_> {
    /// Be woken as long as a worker starts that is to be seen accepting.
    pub(crate) fn watch_starts(&self, timers: &mut Timers<Alarm>) {
        if timers.deadline(Alarm::Accepting).is_some() {
            return;
        }
        let unseen = self.unseen().into_iter();
        let started = unseen.filter_map(|worker| Some(self.fleet.workers.get(&worker)?.started));
        let Some(youngest) = started.max() else { return };
        let now = clock::now();
        let pause = now.saturating_duration_since(youngest) / 8;
        let by_token = self
            .unseen()
            .into_iter()
            .all(|worker| self.speaks_by_token(worker));
        let pause = match by_token {
            true => pause.clamp(SHORTEST_BY_TOKEN, LONGEST_BY_TOKEN),
            false => pause.clamp(SHORTEST_PAUSE, LONGEST_PAUSE),
        };
        timers.arm(Alarm::Accepting, Some(pause), now);
    }

    /// Look at all of them: those that accept.
    pub(crate) fn look_at_starts(&self, timers: &mut Timers<Alarm>) -> Vec<Event> {
        let before = clock::processor_time();
        let unseen = self.unseen().into_iter();
        let accepting = unseen.filter(|worker| self.waits_on_all(*worker));
        let accepting = accepting.map(Event::Accepts).collect();
        let cost = clock::processor_time().saturating_sub(before);
        let pause = cost * PAUSES_PER_LOOK;
        if pause > LONGEST_PAUSE {
            timers.arm(Alarm::Accepting, Some(pause), clock::now());
        }
        accepting
    }

    /// Workers that start and are to be seen accepting.
    fn unseen(&self) -> Vec<Worker> {
        let processes = self
            .core
            .generations()
            .flat_map(|generation| &generation.processes);
        processes
            .map(|process| process.worker)
            .filter(|worker| self.core.is_to_be_seen(*worker))
            .collect()
    }

    /// Whether its processes are seen to have each of its listeners and to wait on it. What cannot be seen is not so. A datagram
    /// socket beside listeners that accept connections need only be open: a thread that is blocked in recv(2) on it is not seen.
    pub(crate) fn waits_on_all(&self, worker: Worker) -> bool {
        let Some(mut share) = self.share_of(worker).filter(|share| !share.is_empty()) else {
            return false;
        };
        if self.speaks_by_token(worker) {
            if self.core.is_token_placed(worker.generation) && self.accepted_by(worker.generation).is_empty()
            {
                return false;
            }
            share.retain(|listener| !self.accepted_by(worker.generation).contains(&listener.inode()));
            if share.is_empty() {
                return true;
            }
        }
        let Some(pid) = self.fleet.executed(worker) else {
            return false;
        };
        let mut sight = Sight::of(share.iter().map(|listener| listener.inode()));
        let of_datagrams = if is_any_accepting(&share) {
            Hold::Held
        } else {
            Hold::Awaited
        };
        let wanted = |listener: &Listener| {
            if listener.kind().accepts_connections() {
                Hold::Awaited
            } else {
                of_datagrams
            }
        };
        let serves = |sight: &Sight| {
            let mut share = share.iter();
            share.all(|listener| sight.hold(listener.inode()) >= wanted(listener))
        };
        sight.look_at(pid);
        if serves(&sight) {
            return true;
        }
        let party = self.fleet.party(|one| one == worker, &self.ground());
        party.into_iter().for_each(|pid| sight.look_at(pid));
        serves(&sight)
    }

    /// Whether a token tells of this worker: it is the only one of a candidate. Which of several has accepted is not seen.
    fn speaks_by_token(&self, worker: Worker) -> bool {
        let generation = self.core.generation(worker.generation);
        generation.is_some_and(|one| {
            one.role == Role::Candidate && one.plan.workers == 1 && one.token != Token::Unasked
        })
    }

    /// The listeners that it was given.
    pub(crate) fn share_of(&self, worker: Worker) -> Option<Vec<&Listener>> {
        let record = self.core.generation(worker.generation)?.record;
        let birth = self.records.births.get(&record)?;
        let workers = self.records.generations.get(&worker.generation)?.began_with?;
        let lane = self.core.lane_of(worker.generation);
        Some(shares(&birth.listeners, lane, worker.slot, workers))
    }
}

/// Whether clients connect to one of them at least.
fn is_any_accepting(share: &[&Listener]) -> bool {
    let mut share = share.iter();
    share.any(|listener| listener.kind().accepts_connections())
}
