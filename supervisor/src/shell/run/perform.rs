//! From effects to what they do outside.

use std::time::{Duration, Instant};

use segue_lifecycle::{Effect, Event, FIRST, Number, Outcome, Record, Ticket, Timer, Wait, Worker};

use crate::clock;
use crate::shell::fleet::launch::ForkedWorker;
use crate::shell::fleet::orders::Extension;
use crate::shell::fleet::worker::WorkerInfo;
use crate::shell::fleet::{Ground, ground};
use crate::shell::inspection::flags;
use crate::shell::inspection::look::{LAST_LOOK, Patience, Seen, Verdict};
use crate::shell::journal::store;
use crate::shell::narrator::view::{View, view};
use crate::shell::{Alarm, Child, Shell, waits};
use crate::sys::errno_text;

impl Shell {
    /// Perform one effect.
    pub(crate) fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Prepare(number) => self.begin_handoff(number),
            Effect::Spawn(worker, record) => self.spawn(worker, record),
            Effect::Signal(worker, signal) => self.fleet.signal(worker, signal, &ground!(self)),
            Effect::Arm(timer, wait) => self.arm(timer, wait),
            Effect::Disarm(timer) => self.timers.disarm(Alarm::Core(timer)),
            Effect::Extend(timer, worker) => self.extend(timer, worker),
            Effect::Probe(number) => self.start_probe(number),
            Effect::EndProbe(number) => self.fleet.end_probe(number),
            Effect::Confirm(number) => self.confirm(number, Patience::Left),
            Effect::ConfirmAnyway(number) => self.confirm(number, Patience::Over),
            Effect::NoteReady(worker) => {
                self.fleet.note_ready(worker);
                self.records.note_flags(worker.generation, &self.core, &self.log);
                self.restore_flags();
            }
            Effect::TakeOver(number) => {
                self.trim_heap |= number == FIRST;
                self.records.take_over(number, &self.core, &self.log);
                self.restore_flags();
            }
            Effect::RollBack(number, record) => self.begin_rollback(number, record),
            Effect::Abandon(worker) => self.fleet.give_up_strays(worker, &ground!(self)),
            Effect::Bury(number) => self.bury_generation(number),
            Effect::Switch(number) => self.switch(number),
            Effect::Answer(ticket, outcome) => self.answer(ticket, outcome),
            Effect::Tell(fact) => self.tell(fact),
            Effect::Forget(record) => self.forget(record),
            Effect::Finish(ending) => self.ending = Some(ending),
        }
    }

    /// Undo the harm that processes did to what all holders of a listener share.
    pub(crate) fn restore_flags(&self) {
        flags::restore(&ground!(self), &self.fleet);
    }

    fn answer(&mut self, ticket: Ticket, outcome: Outcome) {
        if self.desk.tickets.has_asker(ticket) {
            let awaited = self.view().awaited_by_now();
            self.records.withdraw_notes(&awaited, &self.core);
        }
        self.desk.answer(ticket, outcome, &view!(self));
    }

    pub(crate) fn arm(&mut self, timer: Timer, wait: Wait) {
        let newest = self.records.generations.keys().next_back().copied();
        let number = waits::of_timer(timer, newest);
        let config = number.map_or(&*self.given.config, |number| self.view().config_of(number));
        let length = waits::length(wait, config);
        self.timers.arm(Alarm::Core(timer), length, clock::now());
    }

    fn extend(&mut self, timer: Timer, asking: Worker) {
        let ground = ground!(self);
        if let Some(Extension { asked, limit }) = self.fleet.extend(timer, asking, &ground, &mut self.timers)
        {
            let alarm = Alarm::Core(timer);
            self.narrator.pass_on_more_time(asked, alarm, limit, &self.timers);
        }
    }

    /// Look once more at each worker of a candidate, just before the incumbent is told to drain.
    pub(crate) fn confirm(&mut self, number: Number, patience: Patience) {
        if self.fleet.any_dies_within(number, LAST_LOOK) {
            self.sweep();
        }
        let look = self.view().look_at_listeners(number, patience);
        match look.seen {
            Seen::Leaders => {}
            // Those below a monitor are written down, so that the next supervisor knows them after a kill -9.
            Seen::Party => self.fleet.look_for_strays(&ground!(self)),
        }
        if let Some(findings) = look.findings {
            self.records.note_findings(number, findings);
        }
        let event = match (look.verdict, patience) {
            (Verdict::Unawaited, Patience::Left) => Event::Unawaited(number),
            (Verdict::Serves, Patience::Left | Patience::Over) | (Verdict::Unawaited, Patience::Over) => {
                Event::Confirmed(number)
            }
            (Verdict::Unheld, Patience::Left | Patience::Over) => {
                // It may have ended since: then that is why.
                self.sweep();
                Event::Unheld(number)
            }
        };
        self.events.push_back(event);
    }

    /// New clients go to this generation.
    fn switch(&mut self, number: Number) {
        match self.steering.switch(number, &ground!(self)) {
            Ok(()) => self.answer_switch(clock::now()),
            Err(text) => self.not_switched(number, text),
        }
    }

    /// The kernel has refused to send new clients to this generation.
    pub(crate) fn not_switched(&mut self, number: Number, text: String) {
        self.log.error(&text);
        self.records.not_switched = Some(text);
        self.events.push_back(Event::NotSwitched(number));
    }

    /// A candidate that has died meanwhile is reported before the switch to it is answered.
    pub(crate) fn answer_switch(&mut self, now: Instant) {
        let ground = ground!(self);
        if let Some(number) = self.steering.switched(now, &ground, &mut self.timers) {
            if self.fleet.any_dies_within(number, Duration::ZERO) {
                self.sweep();
            }
            self.events.push_back(Event::Switched(number));
        }
    }

    fn begin_rollback(&mut self, number: Number, record: Record) {
        self.queues.begin_anew();
        if let Err(text) = self.ensure_generation(number, record) {
            self.log.error(&format!("generation {number}: {text}"));
        }
    }

    /// Nothing is left of a generation: what only it needed is closed.
    fn bury_generation(&mut self, number: Number) {
        if let Some(probe) = self.records.bury(number, &mut self.timers) {
            store::unstore_listener(&mut self.narrator.manager, &probe);
        }
        self.fleet.probes.forget(number);
        if let Err(error) = self.given.place.remove_runtime_directory(number) {
            self.log.warning(&error.to_string());
        }
    }

    fn spawn(&mut self, worker: Worker, record: Record) {
        self.fleet.kills.look();
        if let Some(loss) = self.desk.control.take_loss() {
            self.log.warning(&loss);
        }
        match self.fork(worker, record) {
            Ok(forked) => {
                // It waits before it becomes the app: the next supervisor knows of it by then.
                self.write_down(worker, &forked.info);
                self.fleet.let_go(forked);
            }
            Err(text) => self.spawn_failed(worker, WorkerInfo::new(None), text),
        }
    }

    fn fork(&mut self, worker: Worker, record: Record) -> Result<ForkedWorker, String> {
        self.ensure_generation(worker.generation, record)?;
        let workers = self.records.share_out(worker.generation, &self.core);
        // A sibling may have chosen its O_NONBLOCK already and not yet have said READY=1; what one worker of a generation chooses
        // the others choose as well.
        if !self.fleet.has_any_of(worker.generation) {
            self.restore_flags();
            self.records
                .lend_slots_anew(worker.generation, &self.core, &self.log);
            self.records.begin_flags(worker.generation, &self.core, &self.log);
        }
        let ground = ground!(self);
        self.fleet
            .fork(worker, record, workers, &ground, &mut self.sources)
    }

    fn write_down(&mut self, worker: Worker, info: &WorkerInfo) {
        let child = Child::Worker(worker);
        if let Some(pid) = info.pid {
            self.journal.mark_forked(child, pid, info.began);
        }
        let pidfd = self.fleet.children.pidfd(child);
        store::store_worker(&mut self.narrator.manager, worker, info.notify.as_ref(), pidfd);
    }

    /// It could not be started.
    pub(crate) fn spawn_failed(&mut self, worker: Worker, info: WorkerInfo, text: String) {
        let failed = self.fleet.spawn_failed(worker, info, text);
        self.events.push_back(failed);
    }

    fn start_probe(&mut self, number: Number) {
        match self.fleet.fork_probe(number, &ground!(self)) {
            Ok(Some(probe)) => {
                self.journal.mark_forked(probe.child, probe.pid, probe.began);
                if let Err(errno) = probe.go.begin() {
                    // It exits, and what that means for the probe is seen then.
                    self.log.error(&format!("probe: pipe: {}", errno_text(errno)));
                }
            }
            Ok(None) => {}
            Err(failed) => self.events.push_back(failed),
        }
    }
}
