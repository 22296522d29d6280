//! After `kill -9`: workers whose READY=1 nobody has heard, because it was said while no supervisor lived.
//!
//! Without systemd's store a notify socket ends with its supervisor, and whatever is said then is lost. A worker that says it only
//! once would never count as ready, and would be killed after the start timeout though it serves. So a worker that is adopted before
//! it was ready, on a notify socket that had to be made anew, is looked at from outside: one that has each of its listeners and
//! waits on it is as ready as its word would make it. The word counts as ever, if it comes.

use std::collections::VecDeque;
use std::time::Duration;

use segue_lifecycle::{Event, Life, Readiness, Timer, Worker};

use crate::clock::{self, Timers};
use crate::log::Log;
use crate::readiness::NotifySocket;
use crate::shell::Alarm;
use crate::shell::fleet::Fleet;
use crate::shell::narrator::view::View;

/// The pause between two looks. Nothing tells when a process begins to wait for clients.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// How many looks in a row must have seen it: one that waits on its listeners before it is ready mostly says READY=1 in between.
const LOOKS: u8 = 2;

/// Whether a worker whose word may be lost was seen to serve.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    worker: Worker,
    serves: bool,
}

impl Fleet {
    /// Those who have been seen to serve often enough are ready. The others are looked at again.
    pub(crate) fn note_unheard(
        &mut self,
        seen: Vec<Seen>,
        timers: &mut Timers<Alarm>,
        log: &Log,
    ) -> Vec<Event> {
        let mut ready = Vec::new();
        let mut left = false;
        for Seen { worker, serves } in seen {
            let Some(info) = self.workers.get_mut(&worker) else {
                continue;
            };
            info.seen_serving = if serves { info.seen_serving + 1 } else { 0 };
            if info.seen_serving >= LOOKS {
                self.say_taken_as_ready(worker, log);
                ready.push(Event::Ready(worker));
            } else {
                left = true;
            }
        }
        if left {
            timers.arm(Alarm::Unheard, Some(LOOK_AGAIN), clock::now());
        }
        ready
    }

    fn say_taken_as_ready(&self, worker: Worker, log: &Log) {
        log.warning(&format!(
            "{} waits for clients on its listeners: it counts as ready, since messages sent while no supervisor ran are lost",
            self.name_worker(worker)
        ));
    }
}

impl View<'_> {
    /// Look at all of them.
    pub(crate) fn look_at_unheard(&self, events: &VecDeque<Event>) -> Vec<Seen> {
        let workers = self.fleet.workers.keys().copied();
        let unheard = workers.filter(|worker| self.is_unheard(*worker, events));
        let seen = |worker| Seen {
            worker,
            serves: self.waits_on_all(worker),
        };
        unheard.map(seen).collect()
    }

    /// A deadline of the core has passed. A worker whose word may be lost, and that is seen to serve, is ready by then.
    pub(crate) fn due(&self, timer: Timer, events: &VecDeque<Event>) -> Event {
        if let Timer::Start(worker) = timer
            && self.is_unheard(worker, events)
            && self.waits_on_all(worker)
        {
            self.fleet.say_taken_as_ready(worker, self.log);
            return Event::Ready(worker);
        }
        Event::Due(timer)
    }

    /// Whether it is to say READY=1, has not as far as anybody knows, and may have said it to nobody.
    fn is_unheard(&self, worker: Worker, events: &VecDeque<Event>) -> bool {
        let Some(generation) = self.core.generation(worker.generation) else {
            return false;
        };
        let mut processes = generation.processes.iter();
        let starts = processes.any(|process| process.worker == worker && process.life == Life::Starting);
        let info = self.fleet.workers.get(&worker);
        let notify = info.and_then(|info| info.notify.as_ref());
        starts
            && self.core.readiness_of(worker) == Some(Readiness::Notify)
            && notify.is_some_and(NotifySocket::is_made_anew)
            && !events.contains(&Event::Ready(worker))
    }
}
