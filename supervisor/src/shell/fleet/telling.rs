//! Who is told to stop. The main process of a worker is, and it is its business to tell what it has started. The rest of its process group
//! hears of it from us only where the main process cannot tell it: it ignores the signal, or blocks it and never fetches it (unshare(1)
//! with `--fork`), or has died of it, or had ended before anybody was told. So nobody has it twice from us. What is left by a main process that
//! caught the signal and ended was told by that, unless it shows otherwise (`strays/`). With `--stop-signal-to all` everybody is told at once.

use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use segue_lifecycle::Worker;

use crate::children::ExitStatus;
use crate::clock::{self, Timers};
use crate::config::StopSignalTo;
use crate::shell::fleet::strays::ending::Meant;
use crate::shell::fleet::worker::{Told, WorkerInfo};
use crate::shell::fleet::{Fleet, Ground};
use crate::shell::{Alarm, Child};
use crate::sys::{self, Disposition};

/// How long a main process that blocks the stop signal has to fetch it (sigwait(3), signalfd(2)). Who waits for it does so within
/// microseconds; who has not by then never will.
const UNTIL_FETCHED: Duration = Duration::from_secs(1);

impl Fleet {
    /// The stop signal, to whom it is meant for.
    pub(super) fn tell_to_stop(
        &mut self,
        worker: Worker,
        signal: Signal,
        ground: &Ground<'_>,
    ) -> Result<(), Errno> {
        let generation = ground.records.generations.get(&worker.generation);
        match generation.map(|generation| generation.config.stop_signal_to) {
            Some(StopSignalTo::All) => self.tell_everybody(worker, signal, ground),
            Some(StopSignalTo::Main) | None => {
                self.note_told(worker, Told::Main);
                self.told_this_turn.push(worker);
                self.children.signal(Child::Worker(worker), signal)
            }
        }
    }

    /// The main process has ended. The rest of its group is told, unless somebody else had that duty.
    pub(super) fn tell_who_is_left(&mut self, worker: Worker, signal: Signal) -> Result<(), Errno> {
        let Some(info) = self.workers.get(&worker) else {
            return Ok(());
        };
        match info.told {
            Told::Main if passed_it_on(info, signal) => {
                self.note_told(worker, Told::ByMain);
                Ok(())
            }
            Told::Nobody | Told::Main => {
                self.note_told(worker, Told::Group);
                self.children.signal_group(Child::Worker(worker), signal)
            }
            // Nobody has it twice.
            Told::Group | Told::ByMain => Ok(()),
        }
    }

    /// The whole group, and at the end of the turn all else that the worker has started.
    fn tell_everybody(&mut self, worker: Worker, signal: Signal, ground: &Ground<'_>) -> Result<(), Errno> {
        self.note_told(worker, Told::Group);
        self.look_for_all_of(worker, ground);
        let sent = self.children.signal_group(Child::Worker(worker), signal);
        self.tell_strays_of(worker, Meant::Everybody, ground);
        sent
    }

    fn note_told(&mut self, worker: Worker, told: Told) {
        if let Some(info) = self.workers.get_mut(&worker) {
            info.told = told;
        }
    }

    /// See what the main processes that were just told make of it.
    pub(crate) fn hear_out(&mut self, ground: &Ground<'_>, timers: &mut Timers<Alarm>) {
        for worker in std::mem::take(&mut self.told_this_turn) {
            let signal = ground.records.stop_signal(worker.generation);
            let Some(pid) = self.children.pid(Child::Worker(worker)) else {
                continue;
            };
            match sys::disposition(pid, signal) {
                Ok(Disposition::Caught) => {
                    if let Some(info) = self.workers.get_mut(&worker) {
                        info.catches = true;
                    }
                }
                Ok(Disposition::Ignored) => self.tell_instead(worker, "ignores", ground),
                Ok(Disposition::Blocked) => {
                    timers.arm(Alarm::Fetched(worker), Some(UNTIL_FETCHED), clock::now());
                }
                // It has ended by now, or does so.
                Ok(Disposition::Default) | Err(_) => {}
            }
        }
    }

    /// One that blocks the signal has had time to fetch it.
    pub(crate) fn ask_whether_fetched(&mut self, worker: Worker, ground: &Ground<'_>) {
        let signal = ground.records.stop_signal(worker.generation);
        let is_there = self
            .workers
            .get(&worker)
            .is_some_and(|info| info.told == Told::Main);
        let pid = self.children.pid(Child::Worker(worker)).filter(|_| is_there);
        if pid.is_some_and(|pid| sys::is_pending(pid, signal).unwrap_or(false)) {
            self.tell_instead(worker, "blocks", ground);
        }
    }

    /// The main process does nothing: a signal that is ignored is dropped, and one that is pending is not there twice. So the whole group may be
    /// told.
    fn tell_instead(&mut self, worker: Worker, does: &str, ground: &Ground<'_>) {
        let signal = ground.records.stop_signal(worker.generation);
        ground.log.info(&format!(
            "{} {does} {signal}: everything that it has started is told",
            self.name_worker(worker)
        ));
        // A process that has ended meanwhile needs not be told.
        let _ = self.tell_everybody(worker, signal, ground);
    }

    /// After a restoration: those that had been told, and may not have fetched it.
    pub(crate) fn hear_out_again(&mut self) {
        let told = self
            .workers
            .iter()
            .filter(|(_, info)| info.told == Told::Main && info.exit.is_none());
        self.told_this_turn = told.map(|(worker, _)| *worker).collect();
        if !self.told_this_turn.is_empty() {
            self.strays.expect();
        }
    }
}

/// Whether a main process that was told has ended in a way that shows that it knew what to do: it had a handler and ended by itself, or by
/// the signal after the handler had run. One that had none, or crashed, has told nobody.
fn passed_it_on(info: &WorkerInfo, signal: Signal) -> bool {
    match info.exit {
        Some((ExitStatus::Code(_), _)) => true,
        Some((ExitStatus::Signal { number, .. }, _)) => info.catches && number == signal as i32,
        Some((ExitStatus::Unknown, _)) | None => info.catches,
    }
}
