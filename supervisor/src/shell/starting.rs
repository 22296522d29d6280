//! A generation is started: from the effect that asks for its record to processes that run, and to the end of both.
//!
//! Each part is the business of a room (records are made in `records/`, processes in `fleet/`); here is their order, and what is
//! written down in between.

use std::collections::VecDeque;

use segue_lifecycle::{Event, FIRST, Handoff, Lifecycle, Number, Progress, Record, State, Worker};

use crate::clock::Timers;
use crate::log::Log;
use crate::shell::desk::Desk;
use crate::shell::fleet::launch::{ForkedWorker, Peers};
use crate::shell::fleet::worker::WorkerInfo;
use crate::shell::fleet::{Fleet, Ground, ground};
use crate::shell::inspection::flags;
use crate::shell::inspection::queues::Queues;
use crate::shell::journal::Journal;
use crate::shell::narrator::Narrator;
use crate::shell::records::{Records, Workshop};
use crate::shell::steering::Steering;
use crate::shell::{Alarm, Given, PollSet};

/// What the loop lends for a start, and to tell of it (`facts.rs`).
#[derive(Debug)]
pub(crate) struct Starting<'a> {
    pub(crate) core: &'a Lifecycle,
    /// What comes of it, for the core.
    pub(crate) events: &'a mut VecDeque<Event>,
    pub(crate) timers: &'a mut Timers<Alarm>,
    pub(crate) sources: &'a mut PollSet,
    pub(crate) given: &'a Given,
    pub(crate) records: &'a mut Records,
    pub(crate) fleet: &'a mut Fleet,
    pub(crate) queues: &'a mut Queues,
    pub(crate) steering: &'a mut Steering,
    pub(crate) desk: &'a mut Desk,
    pub(crate) narrator: &'a mut Narrator,
    pub(crate) journal: &'a mut Journal,
    pub(crate) log: &'a Log,
}

/// The same, where the whole shell is at hand.
macro_rules! starting {
    ($shell:expr) => {
        Starting {
            core: &$shell.core,
            events: &mut $shell.events,
            timers: &mut $shell.timers,
            sources: &mut $shell.sources,
            given: &$shell.given,
            records: &mut $shell.records,
            fleet: &mut $shell.fleet,
            queues: &mut $shell.queues,
            steering: &mut $shell.steering,
            desk: &mut $shell.desk,
            narrator: &mut $shell.narrator,
            journal: &mut $shell.journal,
            log: &$shell.log,
        }
    };
}

pub(crate) use starting;

impl Starting<'_> {
    /// A handoff begins: those who have asked so far share it.
    pub(crate) fn begin_handoff(&mut self, number: Number) {
        if number != FIRST {
            self.narrator.history.asked = self.desk.tickets.handoff_began();
        }
        self.prepare(number);
    }

    /// Make the birth record of a candidate.
    pub(crate) fn prepare(&mut self, number: Number) {
        let mut shop = Workshop {
            core: self.core,
            given: self.given,
            log: self.log,
            timers: self.timers,
        };
        match self.records.begin_candidate(number, &mut shop) {
            Ok(plan) => self.ask_before_reload(number, plan),
            Err(event) => {
                // It may come outside of a batch: at the start, or after a wait for memory or for files.
                self.journal.keeper.note_change();
                self.events.extend(event);
            }
        }
    }

    /// What a candidate waited for may be there by now.
    pub(crate) fn prepare_again(&mut self) {
        let Some(number) = self.records.waiting_candidate() else {
            return;
        };
        if self.core.handoff().is_at(number, Progress::Preparing) {
            self.prepare(number);
        } else {
            // A stop came in between. Every preparation is answered all the same.
            self.records.give_up_waiting();
            self.events.push_back(Event::PrepareFailed(number));
        }
    }

    /// A generation that was replaced serves again. Those who wait in vain have somebody else to accept them.
    pub(crate) fn take_back(&mut self, number: Number) {
        self.queues.begin_anew();
        self.records.take_back(number, self.core, self.log);
    }

    /// A generation is started from an older record. Those who wait in vain have somebody else to accept them.
    pub(crate) fn roll_back(&mut self, number: Number, record: Record) {
        self.queues.begin_anew();
        if let Err(text) = self.ensure_generation(number, record) {
            self.log.error(&format!("generation {number}: {text}"));
        }
    }

    /// Have a connection of our own wait in the slot of a candidate: it is started once that is there, or none can be had.
    pub(crate) fn place_token(&mut self, number: Number) {
        let placed = self.steering.place_token(number, &ground!(self), self.timers);
        self.events.extend(placed);
    }

    /// Nothing is left of a generation: what only it needed is closed.
    pub(crate) fn bury(&mut self, number: Number) {
        self.steering.tokens.bury(number, &ground!(self));
        let manager = &mut self.narrator.manager;
        self.records.bury(number, self.timers, manager);
        self.fleet.probes.forget(number);
        if let Err(error) = self.given.place.remove_runtime_directory(number) {
            self.log.warning(&error.to_string());
        }
    }

    /// Nothing is started from this record any more.
    pub(crate) fn forget(&mut self, record: Record) {
        let listeners = self.records.forget(record, &mut self.narrator.manager);
        // While it stops, the supervisor closes its listeners and the app has them still: what they are is kept for a
        // supervisor that takes them back from it, if this one is killed before all of it has ended.
        if self.core.state() == State::Stopping && !listeners.is_empty() {
            self.journal.note_closed(&listeners);
        }
        // Options that this record alone wanted are taken back.
        self.records.flags_due = true;
        self.steering.tokens.let_go_of_closed(&ground!(self));
    }

    /// Start a worker.
    pub(crate) fn spawn(&mut self, worker: Worker, record: Record) {
        let peers = self.fleet.peers_in(worker.generation);
        match self.fork(worker, record) {
            Ok(forked) => {
                self.make_ready_for(worker, peers);
                let manager = &mut self.narrator.manager;
                self.journal.write_down_worker(&forked, self.fleet, manager);
                self.fleet.let_go(forked);
            }
            Err(text) => {
                // What keeps a worker from being started may have taken the control socket, too.
                self.tell_of_lost_socket();
                let failed = self.fleet.spawn_failed(worker, WorkerInfo::new(None), text);
                self.events.push_back(failed);
            }
        }
    }

    fn fork(&mut self, worker: Worker, record: Record) -> Result<ForkedWorker, String> {
        let number = worker.generation;
        self.ensure_generation(number, record)?;
        let workers = self.records.share_out(number, self.core);
        let ground = ground!(self);
        self.fleet.fork(worker, record, workers, &ground, self.sources)
    }

    /// What is to be put right and looked at before a worker becomes the app. It prepares itself meanwhile.
    fn make_ready_for(&mut self, worker: Worker, peers: Peers) {
        match peers {
            // What its peers were started with is seen to. One may have chosen its O_NONBLOCK already and not yet have said READY=1; what one worker of a generation chooses the
            // others choose as well.
            Peers::Some if is_of_first_start(worker, self.core.handoff()) => {}
            // Much may have been killed for memory since its peers were started, and explains no later death.
            Peers::Some => self.fleet.kills.look(),
            Peers::None => {
                self.fleet.kills.look();
                self.tell_of_lost_socket();
                self.records.flags_due = true;
                self.restore_flags();
                self.records.begin_lending(worker.generation, self.core, self.log);
            }
        }
    }

    /// Undo the harm that processes did to what all holders of a listener share, if they may have done some.
    pub(crate) fn restore_flags(&mut self) {
        if std::mem::take(&mut self.records.flags_due) {
            flags::restore(&ground!(self), self.fleet);
        }
    }

    /// Tell, once, that no command reaches this supervisor any more.
    fn tell_of_lost_socket(&mut self) {
        if let Some(loss) = self.desk.control.take_loss() {
            self.log.warning(&loss);
        }
    }

    /// Make sure that a generation started from this record is known.
    pub(crate) fn ensure_generation(&mut self, number: Number, record: Record) -> Result<(), String> {
        let (asked, manager) = (self.narrator.history.asked, &mut self.narrator.manager);
        let (core, place) = (self.core, &self.given.place);
        self.records
            .ensure_generation(number, record, asked, core, place, manager)
    }

    /// Run the probe command once.
    pub(crate) fn start_probe(&mut self, number: Number) {
        match self.fleet.fork_probe(number, &ground!(self)) {
            Ok(Some(probe)) => {
                self.journal.mark_forked(probe.child, probe.pid, probe.began);
                probe.let_go("probe", self.log);
            }
            Ok(None) => {}
            Err(failed) => self.events.push_back(failed),
        }
    }
}

/// Whether a worker is one of those that its generation begins with, and no later one beside them.
fn is_of_first_start(worker: Worker, handoff: Handoff) -> bool {
    worker.start == 0 && handoff.candidate() == Some(worker.generation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_is_started_again_or_added_is_not_of_the_first_start() {
        let worker = |start| Worker {
            generation: 2,
            slot: 1,
            start,
        };
        let under_way = Handoff::Candidate(2, Progress::Preparing);
        assert!(is_of_first_start(worker(0), under_way));
        assert!(!is_of_first_start(worker(1), under_way));
        assert!(!is_of_first_start(worker(0), Handoff::Idle));
    }
}
