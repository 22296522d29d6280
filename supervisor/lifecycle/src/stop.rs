//! The end: everything drains, then is killed, then is left behind; it always ends.

use crate::Lifecycle;
use crate::generation::Life;
use crate::handoff::Handoff;
use crate::vocabulary::{Effect, Ending, Fact, Number, Outcome, Timer, Wait, Worker};
use alloc::vec::Vec;

/// Whether it is ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    /// It is not.
    Running,
    /// Everything drains.
    Stopping(Ending),
    /// Everything was sent SIGKILL.
    Killing(Ending),
    /// It has ended.
    Finished,
}

impl Lifecycle {
    /// The first stop drains, the second kills; more change nothing.
    pub(crate) fn on_stop(&mut self) {
        match self.phase {
            Phase::Running => self.begin_stop(Ending::Stopped),
            Phase::Stopping(_) => {
                self.disarm(Timer::Stop);
                self.stop_overran();
            }
            Phase::Killing(_) | Phase::Finished => {}
        }
    }

    /// Everything drains: candidate, incumbent and retired. No record is needed any more, and with the records
    /// go the supervisor's own copies of the listeners.
    pub(crate) fn begin_stop(&mut self, ending: Ending) {
        self.phase = Phase::Stopping(ending);
        self.end_stage();
        if self.planted.leaves_the_reload_open() {
            self.handoff = Handoff::Idle;
        }
        self.reload_over();
        self.tell(Fact::Stopping);
        self.answer_everyone(Outcome::Stopping);
        self.incumbent = None;
        self.last_good = None;
        self.fallback = None;
        self.forget_lanes();
        let numbers: Vec<Number> = self.generations.keys().copied().collect();
        for number in numbers {
            if !self.planted.stop_forgets(number) {
                self.retire(number);
            }
        }
        self.arm(Timer::Stop, Wait::Stop);
    }

    /// The time to drain is over: kill what is left. The time after the kill is over: leave it behind.
    pub(crate) fn stop_overran(&mut self) {
        match self.phase {
            Phase::Stopping(ending) => {
                self.phase = Phase::Killing(ending);
                for (worker, life) in self.living() {
                    match life {
                        Life::Starting | Life::Serving | Life::Draining => {
                            self.tell(Fact::Overran(worker));
                            self.disarm(Timer::Drain(worker));
                            self.kill(worker);
                        }
                        Life::Killed => {}
                    }
                }
                self.arm(Timer::Stop, Wait::Kill);
            }
            Phase::Killing(_) if self.planted.never_gives_up() => self.arm(Timer::Stop, Wait::Kill),
            Phase::Killing(_) => {
                for (worker, _) in self.living() {
                    self.unkillable(worker);
                }
                self.bury();
            }
            Phase::Running | Phase::Finished => {}
        }
    }

    pub(crate) fn finish_if_over(&mut self) {
        let ending = match self.phase {
            Phase::Stopping(ending) | Phase::Killing(ending) => ending,
            Phase::Running | Phase::Finished => return,
        };
        if self.generations.is_empty() || self.planted.finishes_early() {
            self.phase = Phase::Finished;
            self.disarm(Timer::Stop);
            self.effects.push(Effect::Finish(ending));
        }
    }

    fn living(&self) -> Vec<(Worker, Life)> {
        let processes = self
            .generations
            .values()
            .flat_map(|generation| &generation.processes);
        processes.map(|process| (process.worker, process.life)).collect()
    }
}
