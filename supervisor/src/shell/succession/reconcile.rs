//! After `kill -9`: what the predecessor would have heard of, and nobody will tell again.

use segue_lifecycle::{Effect, Event, Handoff, Life, Number, Progress, Role, Timer, Worker};

use crate::shell::begin::is_answered;
use crate::shell::narrator::view::{View, view};
use crate::shell::starting::{Starting, starting};
use crate::shell::succession::adopt::{Adopted, note_group_ended};
use crate::shell::succession::last_batch::Finished;
use crate::shell::{Alarm, Child, Shell, waits};

/// The loop knows all that its predecessor would know.
pub(super) struct Reconciled;

impl Adopted<Finished> {
    /// What the predecessor would have heard of, and nobody will tell again.
    pub(super) fn reconcile(mut self) -> Adopted<Reconciled> {
        let starting: Vec<Worker> = self
            .shell
            .core
            .generations()
            .flat_map(|generation| &generation.processes)
            .filter(|process| process.life == Life::Starting)
            .map(|process| process.worker)
            .collect();
        for worker in starting {
            // Its launch was to report this, and the report is lost.
            if self
                .shell
                .fleet
                .workers
                .get(&worker)
                .is_some_and(|info| info.report.is_none())
            {
                self.shell.events.push_back(Event::Executed(worker));
            }
        }
        match self.shell.core.handoff() {
            Handoff::Candidate(number, Progress::Preparing) if !is_answered(&self.shell.events, number) => {
                starting!(self.shell).prepare(number);
            }
            Handoff::Candidate(number, Progress::Confirming) if !is_answered(&self.shell.events, number) => {
                self.shell.perform(Effect::Confirm(number));
            }
            Handoff::Candidate(number, Progress::Probing)
                if self
                    .shell
                    .timers
                    .deadline(Alarm::Core(Timer::ProbeAgain(number)))
                    .is_none() =>
            {
                self.shell.events.push_back(Event::ProbeFailed(number));
            }
            Handoff::Idle | Handoff::Waiting | Handoff::Candidate(..) => {}
        }
        self.look_at_the_lingering();
        self.arm_what_is_not();
        self.miss_the_missing();
        let shell = &mut self.shell;
        let passed_on = shell.succession.draining.pass_on();
        let manager = &mut shell.narrator.manager;
        shell
            .journal
            .store_everything(&shell.records, &shell.fleet, passed_on, manager);
        if self.shell.core.somebody_serves() {
            self.shell.narrator.tell_ready(&view!(self.shell));
        }
        Adopted {
            shell: self.shell,
            step: Reconciled,
        }
    }

    /// What a look has found is lost: there is another.
    fn look_at_the_lingering(&mut self) {
        let core = &self.shell.core;
        let lingering = core.generations().filter(|one| one.role == Role::Lingering);
        let is_owed = |number: &Number| core.timers().all(|timer| timer != Timer::Count(*number));
        let owed = lingering.map(|one| one.number).filter(is_owed);
        self.shell.events.extend(owed.map(Event::InUse));
    }

    /// A timer of which no row told, and every watchdog: it cannot have been fed while nobody listened.
    fn arm_what_is_not(&mut self) {
        let timers: Vec<Timer> = self.shell.core.timers().collect();
        for timer in timers {
            let watchdog = matches!(timer, Timer::Watchdog(_));
            if watchdog || !self.shell.timers.runs(Alarm::Core(timer)) {
                self.shell.perform(Effect::Arm(timer, waits::of(timer)));
            }
        }
    }

    /// Workers that the core knows and nobody has seen are gone.
    fn miss_the_missing(&mut self) {
        let known = self
            .shell
            .core
            .generations()
            .flat_map(|generation| &generation.processes);
        let missing: Vec<Worker> = known
            .map(|process| process.worker)
            .filter(|worker| self.shell.fleet.children.pid(Child::Worker(*worker)).is_none())
            .filter(|worker| !self.shell.fleet.strays.are_all_of(*worker))
            .filter(|worker| !self.shell.events.iter().any(|event| is_end_of(event, *worker)))
            .collect();
        for worker in missing {
            self.shell.events.push_back(Event::Exited(worker));
            note_group_ended(&mut self.shell, worker);
        }
    }
}

impl Adopted<Reconciled> {
    /// If the incumbent is dead and cannot be started again, a new generation is started, as by a reload.
    pub(super) fn replace_what_is_lost(mut self) -> Shell {
        let Some(incumbent) = self.shell.core.incumbent() else {
            return self.shell;
        };
        let record = self.shell.records.births.get(&incumbent.record);
        let is_lost = record.is_some_and(|birth| birth.record.is_err());
        let mut pids = incumbent
            .processes
            .iter()
            .filter_map(|process| self.shell.fleet.workers.get(&process.worker)?.pid);
        let lives = pids.any(|pid| self.shell.fleet.children.lives(pid));
        if is_lost && !lives && self.shell.core.handoff() == Handoff::Idle {
            self.shell.log
                .warning("reload: nobody serves, and the version that served cannot be started again; the version on disk is started instead");
            let reload = self.shell.desk.reload_for_nobody();
            self.shell.events.push_back(reload);
        }
        self.shell
    }
}

/// Whether the event tells that nothing is left of the worker.
fn is_end_of(event: &Event, worker: Worker) -> bool {
    *event == Event::Gone(worker) || *event == Event::SpawnFailed(worker)
}
