//! What one worker goes through: start, readiness, crash, restart, drain, end.

use crate::Lifecycle;
use crate::generation::{Generation, Leader, Life, Process, Role, Slot, SlotState};
use crate::stop::Phase;
use crate::vocabulary::{Cause, Effect, Fact, Mode, Number, Readiness, Signal, Stage, Timer, Wait, Worker};
use alloc::vec::Vec;

impl Lifecycle {
    /// Start every worker that is wanted and may run now. Where reloads are rolling, all wait for room. In queue mode a generation waits until no process of
    /// another one is left, and a replacement until its predecessor is gone.
    pub(crate) fn spawn_wanted(&mut self) {
        let mut wanted = Vec::new();
        for generation in self.by_urgency() {
            for (index, slot) in (0u16..).zip(&generation.slots) {
                if slot.state == SlotState::Wanted && self.may_run(generation.number, index) {
                    wanted.push((generation.number, index));
                }
            }
        }
        for (number, index) in wanted {
            if !self.is_full() {
                self.spawn(number, index);
            }
        }
    }

    fn may_run(&self, number: Number, slot: u16) -> bool {
        match self.plan_of(number).map(|plan| plan.mode) {
            Some(Mode::Overlap) | None => !self.awaits_token(number),
            Some(Mode::Queue) if self.planted.runs_twice() => true,
            Some(Mode::Queue) => self.generations.values().all(|other| {
                other
                    .processes
                    .iter()
                    .all(|process| other.number == number && process.worker.slot != slot)
            }),
        }
    }

    fn spawn(&mut self, number: Number, index: u16) {
        let Some(generation) = self.generations.get_mut(&number) else {
            return;
        };
        let worker = generation.next_worker(index);
        let Some(slot) = generation.slots.get_mut(usize::from(index)) else {
            return;
        };
        slot.state = SlotState::Running(worker.start);
        let replaces = slot.failures > 0;
        generation.processes.push(Process {
            worker,
            life: Life::Starting,
            leader: Leader::Running,
        });
        let (record, readiness) = (generation.record, generation.plan.readiness);
        self.effects.push(Effect::Spawn(worker, record));
        self.arm(Timer::Start(worker), Wait::Start);
        match readiness {
            Readiness::Notify | Readiness::Accepting | Readiness::Auto => {
                self.arm(Timer::Hint(worker), Wait::Hint)
            }
            Readiness::Alive => {}
        }
        if replaces {
            self.tell(Fact::Restarted(worker));
        }
    }

    pub(crate) fn on_spawn_failed(&mut self, worker: Worker) {
        let Some(process) = self.process(worker) else {
            return;
        };
        match process.life {
            Life::Starting => {
                self.set_life(worker, Life::Draining);
                self.lost(worker, Cause::NotSpawned(worker));
            }
            // It was told to stop before it existed.
            Life::Serving | Life::Draining | Life::Killed => {}
        }
        self.remove(worker);
    }

    pub(crate) fn watch(&mut self, worker: Worker) {
        match self.plan_of(worker.generation).map(|plan| plan.watchdog) {
            Some(Stage::Kept) => self.arm(Timer::Watchdog(worker), Wait::Watchdog),
            Some(Stage::Skipped) | None => {}
        }
    }

    pub(crate) fn on_alive(&mut self, worker: Worker) {
        match self.process(worker).map(|process| process.life) {
            Some(Life::Serving) => {
                self.disarm(Timer::Watchdog(worker));
                self.watch(worker);
            }
            Some(Life::Starting | Life::Draining | Life::Killed) | None => {}
        }
    }

    /// The app may extend the wait that it is in: its start or its drain. Nobody extends the stop of everything, or one worker
    /// would decide for how long a stop takes.
    pub(crate) fn on_more_time(&mut self, worker: Worker) {
        let timer = match self.process(worker).map(|process| process.life) {
            Some(Life::Starting) => {
                self.note_notifier(worker);
                self.disarm(Timer::Silent(worker));
                Timer::Start(worker)
            }
            Some(Life::Draining) if self.planted.extends_the_stop() => Timer::Stop,
            Some(Life::Draining) => Timer::Drain(worker),
            Some(Life::Serving | Life::Killed) | None => return,
        };
        if self.timers.contains(&timer) {
            self.effects.push(Effect::Extend(timer, worker));
        }
    }

    pub(crate) fn on_stuck(&mut self, worker: Worker) {
        match self.process(worker).map(|process| process.life) {
            Some(Life::Starting | Life::Serving) => {
                self.set_life(worker, Life::Draining);
                self.effects.push(Effect::Signal(worker, Signal::Abort));
                self.arm(Timer::Drain(worker), Wait::Abort);
                self.lost(worker, Cause::Stuck(worker));
            }
            Some(Life::Draining | Life::Killed) | None => {}
        }
    }

    pub(crate) fn not_ready(&mut self, worker: Worker) {
        self.drain(worker);
        self.lost(worker, Cause::NotReady(worker));
    }

    /// The main process has ended. What is left of its group is asked to end, in the time that remains if the
    /// worker was draining, in a drain timeout of its own if it crashed.
    pub(crate) fn on_exited(&mut self, worker: Worker) {
        let Some(process) = self.process_mut(worker) else {
            return;
        };
        process.leader = Leader::Exited;
        match process.life {
            Life::Starting | Life::Serving => {
                self.set_life(worker, Life::Draining);
                self.effects.push(Effect::Signal(worker, Signal::StopGroup));
                self.arm(Timer::Drain(worker), Wait::Drain);
                self.lost(worker, Cause::Exited(worker));
            }
            Life::Draining => self.effects.push(Effect::Signal(worker, Signal::StopGroup)),
            Life::Killed => {}
        }
    }

    pub(crate) fn on_gone(&mut self, worker: Worker) {
        match self.process(worker).map(|process| process.life) {
            None => return,
            Some(Life::Draining | Life::Killed) => self.remove(worker),
            Some(Life::Starting | Life::Serving) => {
                self.on_exited(worker);
                self.remove(worker);
            }
        }
        if self.planted.signals_the_gone() {
            self.effects.push(Effect::Signal(worker, Signal::Kill));
        }
    }

    pub(crate) fn overran(&mut self, worker: Worker) {
        self.tell(Fact::Overran(worker));
        if self.planted.gives_up_early() {
            return self.unkillable(worker);
        }
        self.kill(worker);
        self.arm(Timer::Kill(worker), Wait::Kill);
    }

    /// Not even SIGKILL has ended it (uninterruptible sleep, say): nobody waits for it any longer.
    pub(crate) fn unkillable(&mut self, worker: Worker) {
        self.tell(Fact::Unkillable(worker));
        self.effects.push(Effect::Abandon(worker));
        self.remove(worker);
    }

    /// A worker that nobody asked to end has failed.
    fn lost(&mut self, worker: Worker, cause: Cause) {
        let number = worker.generation;
        match self.generations.get(&number).map(|generation| generation.role) {
            Some(Role::Candidate) => self.fail_candidate(number, cause),
            Some(Role::Incumbent) => self.incumbent_lost(number, worker.slot, worker.start, cause),
            Some(Role::Relief) => self.relief_lost(number, cause),
            Some(Role::Lingering) => self.lingering_lost(worker),
            Some(Role::Retired) | None => {}
        }
    }

    /// Replace a worker within its generation: at once the first time, then with back-off.
    pub(crate) fn restart(&mut self, number: Number, index: u16, start: u32, cause: Cause) {
        let Some(slot) = self.slot_mut(number, index) else {
            return;
        };
        if slot.state != SlotState::Running(start) {
            return;
        }
        slot.failures = slot.failures.saturating_add(1);
        let failures = slot.failures;
        slot.state = if failures > 1 {
            SlotState::BackingOff
        } else {
            SlotState::Wanted
        };
        self.disarm(Timer::Calm(number, index));
        self.disarm(Timer::Probation(number));
        // Armed before it is told, so that the message can say how long it takes.
        if failures > 1 {
            self.arm(Timer::BackOff(number, index), Wait::BackOff(failures - 1));
        }
        let worker = Worker {
            generation: number,
            slot: index,
            start,
        };
        self.tell(Fact::Crashed(worker, cause));
    }

    pub(crate) fn backed_off(&mut self, number: Number, index: u16) {
        if let Some(slot) = self.slot_mut(number, index) {
            match slot.state {
                SlotState::BackingOff => slot.state = SlotState::Wanted,
                SlotState::Wanted | SlotState::Running(_) | SlotState::Yielded => {}
            }
        }
    }

    pub(crate) fn calmed(&mut self, number: Number, index: u16) {
        if let Some(slot) = self.slot_mut(number, index) {
            slot.failures = 0;
        }
    }

    /// Change the number of workers of the incumbent and of the candidate. New workers start beside the
    /// others; those with the highest numbers drain first.
    pub(crate) fn on_workers(&mut self, count: u16) {
        match self.phase {
            Phase::Running => {}
            Phase::Stopping(_) | Phase::Killing(_) | Phase::Finished => return,
        }
        let count = count.max(1);
        self.workers_wanted = Some(count);
        let active: Vec<Number> = self
            .generations
            .values()
            .filter(|generation| generation.role.is_active())
            .map(|generation| generation.number)
            .collect();
        for number in active {
            self.resize(number, count);
        }
        if self.incumbent().is_some_and(Generation::yielded_all) {
            self.skip_remaining_checks();
        }
    }

    pub(crate) fn resize(&mut self, number: Number, count: u16) {
        let grows = !self.is_rolling(number);
        let Some(generation) = self.generations.get_mut(&number) else {
            return;
        };
        let role = generation.role;
        generation.plan.workers = count;
        while grows && generation.slots.len() < usize::from(count) {
            generation.slots.push(Slot::new());
        }
        if self.planted.reuses_names() {
            generation.starts.truncate(usize::from(count));
        }
        let surplus: Vec<Slot> = generation
            .slots
            .drain(usize::from(count).min(generation.slots.len())..)
            .collect();
        for (index, slot) in (count..).zip(surplus) {
            self.clear_slot(number, index, slot.state);
        }
        match role {
            Role::Candidate => self.candidate_resized(number),
            Role::Incumbent => self.begin_probation(number),
            Role::Lingering | Role::Retired | Role::Relief => {}
        }
    }

    pub(crate) fn clear_slot(&mut self, number: Number, index: u16, state: SlotState) {
        self.disarm(Timer::BackOff(number, index));
        self.disarm(Timer::Calm(number, index));
        match state {
            SlotState::Running(start) => self.drain(Worker {
                generation: number,
                slot: index,
                start,
            }),
            SlotState::Wanted | SlotState::BackingOff | SlotState::Yielded => {}
        }
    }

    /// Tell a generation to drain. Nothing of it is started again.
    pub(crate) fn retire(&mut self, number: Number) {
        let Some(generation) = self.generations.get_mut(&number) else {
            return;
        };
        generation.role = Role::Retired;
        let slots = core::mem::take(&mut generation.slots);
        self.disarm(Timer::Probation(number));
        self.disarm(Timer::Linger(number));
        self.disarm(Timer::Count(number));
        for (index, slot) in (0u16..).zip(slots) {
            self.clear_slot(number, index, slot.state);
        }
    }

    /// Ask a worker to drain, unless it already was, within the drain timeout; during a stop the timer of the
    /// stop bounds it.
    pub(crate) fn drain(&mut self, worker: Worker) {
        match self.process(worker).map(|process| process.life) {
            Some(Life::Starting | Life::Serving) => {}
            Some(Life::Draining | Life::Killed) | None => return,
        }
        self.set_life(worker, Life::Draining);
        self.effects.push(Effect::Signal(worker, Signal::Stop));
        match self.phase {
            Phase::Running => self.arm(Timer::Drain(worker), Wait::Drain),
            Phase::Stopping(_) | Phase::Killing(_) | Phase::Finished => {}
        }
    }

    pub(crate) fn kill(&mut self, worker: Worker) {
        self.set_life(worker, Life::Killed);
        self.effects.push(Effect::Signal(worker, Signal::Kill));
    }

    /// The timers of a life end with it.
    pub(crate) fn set_life(&mut self, worker: Worker, life: Life) {
        if let Some(process) = self.process_mut(worker) {
            process.life = life;
        }
        if !self.planted.keeps_start_timer() {
            self.disarm(Timer::Start(worker));
        }
        self.disarm(Timer::Hint(worker));
        self.disarm(Timer::Alive(worker));
        self.disarm(Timer::Silent(worker));
        self.disarm(Timer::Watchdog(worker));
    }

    fn remove(&mut self, worker: Worker) {
        self.disarm(Timer::Drain(worker));
        self.disarm(Timer::Kill(worker));
        if let Some(generation) = self.generations.get_mut(&worker.generation) {
            generation.processes.retain(|process| process.worker != worker);
        }
    }

    pub(crate) fn process(&self, worker: Worker) -> Option<&Process> {
        self.generations
            .get(&worker.generation)
            .and_then(|generation| generation.process(worker))
    }

    fn process_mut(&mut self, worker: Worker) -> Option<&mut Process> {
        self.generations
            .get_mut(&worker.generation)
            .and_then(|generation| generation.process_mut(worker))
    }

    pub(crate) fn slot_mut(&mut self, number: Number, index: u16) -> Option<&mut Slot> {
        self.generations
            .get_mut(&number)
            .and_then(|generation| generation.slots.get_mut(usize::from(index)))
    }
}
