//! `--ready accepting`: a worker is ready when it is seen waiting for clients on each of its listeners that accept connections.
//!
//! Nothing tells when a process begins to wait, so it is looked at again and again while it starts, and only then.

use std::time::Duration;

use segue_lifecycle::{Event, Life, Worker};

use crate::clock;
use crate::config::Ready;
use crate::shell::narrator::view::View;
use crate::shell::succession::unheard::is_any_accepting;
use crate::shell::{Alarm, Shell};

/// The pause between two looks grows with the time that a start takes already: a start is noticed an eighth late at most.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

impl Shell {
    /// Be woken as long as a worker starts that is to be seen accepting.
    pub(crate) fn watch_starts(&mut self) {
        if self.timers.deadline(Alarm::Accepting).is_some() {
            return;
        }
        let started = self.view().unseen().into_iter();
        let youngest = started
            .filter_map(|worker| self.fleet.workers.get(&worker).map(|info| info.started))
            .max();
        let Some(youngest) = youngest else { return };
        let now = clock::now();
        let pause = now.saturating_duration_since(youngest) / 8;
        let pause = pause.clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        self.timers.arm(Alarm::Accepting, Some(pause), now);
    }

    /// Look at all of them.
    pub(crate) fn look_at_starts(&mut self) {
        for worker in self.view().unseen() {
            if self.view().waits_on_all(worker) {
                self.events.push_back(Event::Ready(worker));
            }
        }
    }
}

impl View<'_> {
    /// Workers that start and are to be seen accepting.
    fn unseen(&self) -> Vec<Worker> {
        let generations = self
            .core
            .generations()
            .filter(|generation| self.config_of(generation.number).ready == Ready::Accepting);
        let processes = generations.flat_map(|generation| &generation.processes);
        let starting = processes.filter(|process| process.life == Life::Starting);
        starting
            .map(|process| process.worker)
            .filter(|worker| self.is_to_be_seen(*worker))
            .collect()
    }

    /// Whether a worker is ready by what is seen of it alone. Without a listener that accepts connections there is nothing to see,
    /// and its word counts.
    pub(crate) fn is_to_be_seen(&self, worker: Worker) -> bool {
        self.config_of(worker.generation).ready == Ready::Accepting
            && self
                .share_of(worker)
                .is_some_and(|share| is_any_accepting(&share))
    }
}
