//! After `kill -9`: workers whose READY=1 nobody has heard, because it was said while no supervisor lived.
//!
//! Without systemd's store a notify socket ends with its supervisor, and whatever is said then is lost. A worker that says it only
//! once would never count as ready, and would be killed after the start timeout though it serves. So a worker that is adopted before
//! it was ready, on a notify socket that had to be made anew, is looked at from outside: one that has each of its listeners and
//! waits on it is as ready as its word would make it. The word counts as ever, if it comes.

use std::time::Duration;

use segue_lifecycle::{Event, Life, Readiness, Timer, Worker};

use crate::clock;
use crate::listeners::{Listener, shares};
use crate::readiness::NotifySocket;
use crate::shell::narrator::view::View;
use crate::shell::{Alarm, Shell};
use crate::sight::{Hold, Sight};

/// The pause between two looks. Nothing tells when a process begins to wait for clients.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// How many looks in a row must have seen it: one that waits on its listeners before it is ready mostly says READY=1 in between.
const LOOKS: u8 = 2;

impl Shell {
    /// Look at all of them, and again after a while at those who are not ready by then.
    pub(crate) fn look_at_unheard(&mut self) {
        let mut left = false;
        for worker in self.unheard() {
            let serves = self.view().waits_on_all(worker);
            let Some(info) = self.fleet.workers.get_mut(&worker) else {
                continue;
            };
            info.seen_serving = if serves { info.seen_serving + 1 } else { 0 };
            if info.seen_serving >= LOOKS {
                self.take_as_ready(worker);
            } else {
                left = true;
            }
        }
        if left {
            self.timers.arm(Alarm::Unheard, Some(LOOK_AGAIN), clock::now());
        }
    }

    /// What a deadline means that has passed: a worker that is seen to serve is ready.
    pub(crate) fn due(&mut self, timer: Timer) {
        match timer {
            Timer::Start(worker) if self.is_unheard(worker) && self.view().waits_on_all(worker) => {
                self.take_as_ready(worker);
            }
            Timer::Start(_)
            | Timer::Hint(_)
            | Timer::Alive(_)
            | Timer::Watchdog(_)
            | Timer::Drain(_)
            | Timer::Kill(_)
            | Timer::Probe(_)
            | Timer::ProbeAgain(_)
            | Timer::Soak(_)
            | Timer::Probation(_)
            | Timer::BackOff(..)
            | Timer::Calm(..)
            | Timer::Look(_)
            | Timer::Await(_)
            | Timer::Switch
            | Timer::Relieve(_)
            | Timer::Stop => self.events.push_back(Event::Due(timer)),
        }
    }

    fn take_as_ready(&mut self, worker: Worker) {
        self.log.warning(&format!(
            "{} waits for clients on its listeners: it counts as ready, since messages sent while no supervisor ran are lost",
            self.fleet.name_worker(worker)
        ));
        self.events.push_back(Event::Ready(worker));
    }

    fn unheard(&self) -> Vec<Worker> {
        let workers = self.fleet.workers.keys().copied();
        workers.filter(|worker| self.is_unheard(*worker)).collect()
    }

    /// Whether it is to say READY=1, has not as far as anybody knows, and may have said it to nobody.
    fn is_unheard(&self, worker: Worker) -> bool {
        let Some(generation) = self.core.generation(worker.generation) else {
            return false;
        };
        let mut processes = generation.processes.iter();
        let starts = processes.any(|process| process.worker == worker && process.life == Life::Starting);
        let info = self.fleet.workers.get(&worker);
        let notify = info.and_then(|info| info.notify.as_ref());
        starts
            && generation.plan.readiness == Readiness::Notify
            && notify.is_some_and(NotifySocket::is_made_anew)
            && !self.events.contains(&Event::Ready(worker))
    }
}

impl View<'_> {
    /// Whether its processes are seen to have each of its listeners and to wait on it. What cannot be seen is not so. A datagram
    /// socket beside listeners that accept connections need only be open: a thread that is blocked in recv(2) on it is not seen.
    pub(crate) fn waits_on_all(&self, worker: Worker) -> bool {
        let Some(share) = self.share_of(worker).filter(|share| !share.is_empty()) else {
            return false;
        };
        let Some(pid) = self.fleet.workers.get(&worker).and_then(|info| info.pid) else {
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
pub(crate) fn is_any_accepting(share: &[&Listener]) -> bool {
    let mut share = share.iter();
    share.any(|listener| listener.kind().accepts_connections())
}
