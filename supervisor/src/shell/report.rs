//! What people are told: one line an event, in the words of the core, with the details that the core does not know.

use std::time::{Duration, Instant};

use nix::unistd::Pid;
use segue_lifecycle::{Cause, Fact, Number, Timer, Worker};

use super::desk::no_way_back;
use super::waits::HINT;
use super::{Alarm, Shell};
use crate::clock;
use crate::protocol::{CauseCode, LastCrash, LastReload, Outcome, elapsed, rfc3339, setting};
use crate::sys;

/// How many processes that the app left behind are named, a line each: more would tell no more.
const STAYING_TOLD: usize = 10;

impl Shell {
    /// Tell a fact: to the log, to `status`, to those who wait, to systemd.
    pub(super) fn tell(&mut self, fact: Fact) {
        match fact {
            Fact::HandoffBegan(number) => {
                self.history.asked = self.desk.handoff_began();
                self.log.info(&format!("generation {number}: handoff began"));
                // Also if it had waited: those who asked meanwhile need a later time than the one that was told then.
                self.manager.reloading(clock::monotonic_micros());
            }
            Fact::WaitingForRoom => {
                self.log.warning(&format!(
                    "reload waits: {} generations live, the most that --max-generations allows; it goes on when a retired one is gone",
                    self.core.generations().count()
                ));
                self.manager.reloading(clock::monotonic_micros());
            }
            Fact::ReloadOver => self.tell_ready(),
            Fact::StillWaiting(worker) => self.still_waiting(worker),
            Fact::WorkerReady(worker) => self.worker_ready(worker),
            Fact::TookOver(number, old) => self.took_over(number, old),
            Fact::Settled(number) => {
                self.log.info(&format!(
                    "generation {number} passed probation: it is the last good"
                ));
            }
            Fact::Stepped(number, count) => {
                let generation = self.core.generation(number);
                let wanted = generation.map_or(count, |generation| generation.plan.workers);
                let text = format!("generation {number} has {count} of {wanted} workers; old ones make room");
                self.log.info(&text);
                self.tell_progress(&text);
            }
            Fact::CandidateFailed(number, cause) => self.candidate_failed(number, cause),
            Fact::RolledBack(failed, number, cause) => self.rolled_back(failed, number, cause),
            Fact::NoWayBack(number, cause) => self.no_way_back(number, cause),
            Fact::Deaf(number) => self.deaf(number),
            Fact::Crashed(worker, cause) => self.crashed(worker, cause),
            Fact::Restarted(worker) => {
                self.history.restarts += 1;
                self.log
                    .info(&format!("{} started again", self.name_worker(worker)));
            }
            Fact::Overran(worker) => {
                let text = format!("{} did not end in time: it is killed", self.name_worker(worker));
                self.log.warning(&text);
                self.tell_progress(&text);
            }
            Fact::Unkillable(worker) => {
                self.log.error(&format!(
                    "{} survived SIGKILL: it is left behind",
                    self.name_worker(worker)
                ));
                self.give_up_strays(worker);
            }
            Fact::Ended(number) => self.ended(number),
            Fact::Stopping => {
                self.log.info("stopping: every generation drains");
                // A failed start stays the last word; a failed reload does not matter any more.
                if self.history.last_reload.is_some() {
                    self.history.trouble = None;
                }
                self.manager.stopping();
            }
        }
    }

    /// `generation 2, worker 0 (pid 812)`.
    pub(super) fn name_worker(&self, worker: Worker) -> String {
        let pid = self.workers.get(&worker).and_then(|info| info.pid);
        let pid = pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
        format!("generation {}, worker {}{pid}", worker.generation, worker.slot)
    }

    fn still_waiting(&self, worker: Worker) {
        let left = self.timers.deadline(Alarm::Core(Timer::Start(worker)));
        let left = left.map(|deadline| deadline.saturating_duration_since(clock::now()));
        let left = left
            .map(|left| format!(" ({} s left)", (left.as_millis() + 500) / 1000))
            .unwrap_or_default();
        let pid = self.workers.get(&worker).and_then(|info| info.pid);
        let pid = pid.map_or_else(|| "the app".to_owned(), |pid| format!("pid {pid}"));
        self.log.warning(&format!(
            "still waiting for READY=1 from {pid}{left}; an app that cannot notify needs --ready exec:2s"
        ));
    }

    fn worker_ready(&mut self, worker: Worker) {
        if let Some(info) = self.workers.get_mut(&worker) {
            info.since = clock::wall();
            let after = clock::now().saturating_duration_since(info.started);
            info.ready_after = Some(after);
            let after = elapsed(after);
            let text = format!("{} is ready after {after}", self.name_worker(worker));
            self.log.info(&text);
        }
        self.note_flags(worker.generation);
    }

    fn took_over(&mut self, number: Number, old: Option<Number>) {
        self.history.crash = None;
        self.history.last_crash = None;
        self.share_mended(number);
        self.forget_own_files(number);
        self.keep_flags(number);
        self.restore_flags();
        self.mark_since(number);
        if let Some(old) = old {
            self.mark_since(old);
        }
        let serving = self.serving().map(|serving| serving.to_string());
        let who = serving.unwrap_or_else(|| format!("generation {number} serves"));
        if number == 1 {
            self.log.info(&who);
            self.tell_ready();
            self.trim_heap = true;
        } else {
            self.history.trouble = None;
            let took = self.note_reload(Outcome::Ok, None, number);
            let draining = old
                .map(|old| format!(", generation {old} drains"))
                .unwrap_or_default();
            let text = format!("{who}{draining}; the reload took {took}");
            self.log.info(&text);
            self.tell_progress(&text);
        }
    }

    fn candidate_failed(&mut self, number: Number, cause: Cause) {
        self.mark_since(number);
        let reason = self.reason(cause);
        let trouble = if number == 1 {
            let text = format!("the first start failed: {reason}");
            self.log.error(&text);
            text
        } else {
            let serving = self
                .serving()
                .map_or_else(|| "nobody serves".to_owned(), |serving| serving.to_string());
            let text = format!("reload failed: generation {number}: {reason}");
            self.note_reload(Outcome::Failed, Some((cause, reason)), number);
            self.log.error(&format!("{text}; {serving}"));
            text
        };
        self.history.trouble = Some(trouble);
    }

    fn rolled_back(&mut self, failed: Number, number: Number, cause: Cause) {
        self.mark_since(failed);
        let reason = self.reason(cause);
        self.history.rollbacks += 1;
        self.history.crash = None;
        self.history.last_crash = None;
        self.queues.begin_anew();
        self.note_reload(Outcome::RolledBack, Some((cause, reason.clone())), failed);
        let record = self.core.generation(number).map(|generation| generation.record);
        let known = record.map_or(Ok(()), |record| self.ensure_generation(number, record));
        self.log.error(&format!(
            "generation {failed} is rolled back: {reason}; generation {number} is started from the last good{}",
            self.files_not_brought_back(number)
        ));
        self.history.trouble = Some(format!("reload rolled back: generation {failed}: {reason}"));
        if let Err(text) = known {
            self.log.error(&format!("generation {number}: {text}"));
        }
    }

    /// Clients wait in vain. Told as long as that lasts, and logged once.
    fn deaf(&mut self, number: Number) {
        if let Some(text) = self.queues.take_untold() {
            self.log.error(&text);
        }
        if self
            .core
            .incumbent()
            .is_some_and(|incumbent| incumbent.number == number)
        {
            self.tell_status();
        }
    }

    fn deaf_in_words(&self, number: Number) -> String {
        let info = self.generations.get(&number);
        let words = info.and_then(|info| info.findings.deaf.clone());
        words.unwrap_or_else(|| "clients waited and it accepted none".to_owned())
    }

    /// The reload has failed after all. Told again at each crash, and noted once.
    fn no_way_back(&mut self, number: Number, cause: Cause) {
        let noted = self.history.last_reload.as_ref();
        if noted.is_some_and(|last| last.generation == Some(number) && last.outcome == Outcome::Failed) {
            return;
        }
        let reason = self.reason(cause);
        let text = format!(
            "reload failed: generation {number}: {reason}; {}",
            no_way_back(cause)
        );
        self.note_reload(Outcome::Failed, Some((cause, reason)), number);
        self.log.error(&text);
    }

    fn crashed(&mut self, worker: Worker, cause: Cause) {
        let back_off = Timer::BackOff(worker.generation, worker.slot);
        let then = match self.timers.deadline(Alarm::Core(back_off)) {
            Some(deadline) => format!(
                "in {}",
                elapsed(round_up(deadline.saturating_duration_since(clock::now())))
            ),
            None => "at once".to_owned(),
        };
        let (name, reason) = (self.name_worker(worker), self.reason(cause));
        let text = format!("{name} crashed: {reason}; it is started again {then}");
        self.log.error(&text);
        self.history.crash = Some(text);
        self.history.last_crash = Some(LastCrash {
            generation: worker.generation,
            worker: worker.slot,
            pid: self
                .workers
                .get(&worker)
                .and_then(|info| info.pid)
                .map(Pid::as_raw),
            reason,
            at: rfc3339(clock::wall()),
            words: self.words_after(cause),
        });
    }

    fn ended(&mut self, number: Number) {
        let text = format!("generation {number} is gone");
        self.log.info(&text);
        self.tell_progress(&text);
        let info = self.generations.remove(&number);
        if let Some(probe) = info.and_then(|info| info.probe) {
            self.unstore_probe(&probe);
        }
        self.chosen_flags
            .retain(|(generation, _), _| *generation != number);
        self.probes.forget(number);
        if self.memory.waits() {
            self.timers.arm(Alarm::Memory, Some(Duration::ZERO), clock::now());
        }
    }

    /// Name the processes that are left behind: those of a worker, a probe or a check that took a session or group of their own,
    /// so that nobody told them to end. They may hold the listeners. (With PID 1 the kernel ends them.)
    pub(super) fn tell_who_stays(&self) {
        if std::process::id() == 1 {
            return;
        }
        let rows = sys::process_rows().unwrap_or_default();
        let ours = rows.iter().filter(|row| row.parent == Pid::this() && !row.zombie);
        for row in ours.take(STAYING_TOLD) {
            self.log.warning(&format!(
                "pid {} was started below this segue in a process group of its own: it is left running and may hold listeners",
                row.pid
            ));
        }
    }

    fn mark_since(&mut self, number: Number) {
        if let Some(info) = self.generations.get_mut(&number) {
            info.since = clock::wall();
        }
    }

    /// Keep the outcome of a reload for `status`. Returns how long it took, in words.
    fn note_reload(&mut self, outcome: Outcome, failure: Option<(Cause, String)>, number: Number) -> String {
        let (cause, reason) = failure.unzip();
        // Its own request: another reload may have been asked for since. One that could not be prepared is not known.
        let known = self.generations.get(&number).map(|info| info.asked);
        let since = known.or(self.history.asked);
        let took = clock::now().saturating_duration_since(since.unwrap_or_else(Instant::now));
        self.history.last_reload = Some(LastReload {
            outcome,
            cause: cause.map(cause_code),
            reason,
            duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            generation: Some(number),
            at: rfc3339(clock::wall()),
            words: cause.map(|cause| self.words_after(cause)).unwrap_or_default(),
        });
        elapsed(took)
    }

    /// Why it failed, in one line without the generation.
    pub(super) fn reason(&self, cause: Cause) -> String {
        match cause {
            Cause::NotPrepared => self
                .refusal
                .clone()
                .unwrap_or_else(|| "its birth record could not be made".to_owned()),
            Cause::NotSpawned(worker) | Cause::Exited(worker) => {
                let info = self.workers.get(&worker);
                let end = info.map_or_else(|| "ended".to_owned(), super::worker::WorkerInfo::end_in_words);
                end + &self.last_words(worker)
            }
            Cause::NotReady(worker) => self.not_ready_in_words(worker),
            Cause::Stuck(worker) if self.workers.get(&worker).is_some_and(|info| info.gave_up) => {
                format!("it said WATCHDOG=trigger{}", self.last_words(worker))
            }
            Cause::Stuck(worker) => {
                let limit = self
                    .generations
                    .get(&worker.generation)
                    .and_then(|info| info.config.watchdog);
                let limit = limit
                    .map(|limit| format!(" for {}", setting(limit)))
                    .unwrap_or_default();
                format!("no WATCHDOG=1{limit}{}", self.last_words(worker))
            }
            Cause::Unheld(number) => {
                let info = self.generations.get(&number);
                let why = info.and_then(|info| info.findings.unheld.clone());
                why.unwrap_or_else(|| "no process of it has a listener that it needs".to_owned())
            }
            Cause::Deaf(number) => self.deaf_in_words(number),
            Cause::Probe => {
                let candidate = self.probes.newest();
                candidate.map_or_else(
                    || "the probe did not pass".to_owned(),
                    |number| self.probe_in_words(number) + &self.last_words_of(self.first_worker(number)),
                )
            }
        }
    }

    fn not_ready_in_words(&self, worker: Worker) -> String {
        let info = self.generations.get(&worker.generation);
        let limit = info.and_then(|info| info.config.start_timeout);
        let asked = self.workers.get(&worker).filter(|info| info.extended);
        let late = match asked {
            Some(info) => Some(elapsed(clock::now().saturating_duration_since(info.started))),
            None => limit.map(setting),
        };
        let late = late.map(|time| format!("not ready after {time}"));
        let hint = match limit {
            Some(limit) if limit < HINT => "",
            Some(_) | None => " (an app that cannot notify needs --ready exec:2s)",
        };
        format!(
            "{}{hint}{}",
            late.unwrap_or_else(|| "not ready".to_owned()),
            self.last_words(worker)
        )
    }
}

/// The code for a cause, for programs.
pub(super) const fn cause_code(cause: Cause) -> CauseCode {
    match cause {
        Cause::NotPrepared => CauseCode::NotPrepared,
        Cause::NotSpawned(_) => CauseCode::NotSpawned,
        Cause::Exited(_) => CauseCode::Exited,
        Cause::NotReady(_) => CauseCode::NotReady,
        Cause::Stuck(_) => CauseCode::Stuck,
        Cause::Probe => CauseCode::Probe,
        Cause::Unheld(_) => CauseCode::Unheld,
        Cause::Deaf(_) => CauseCode::Deaf,
    }
}

/// To the next millisecond, so that 250 ms are not 249 because some of it has passed already.
fn round_up(duration: std::time::Duration) -> std::time::Duration {
    duration + std::time::Duration::from_micros(999)
}
