//! What people are told: one line an event, in the words of the core, with the details that the core does not know.

use nix::unistd::Pid;
use segue_lifecycle::{Cause, FIRST, Fact, LingerEnd, Number, Readiness, Role, Timer, Worker};

use crate::clock::{self, Timers};
use crate::log::Log;
use crate::protocol::{CauseCode, LastCrash, LastReload, Outcome, elapsed, rfc3339, setting};
use crate::shell::Alarm;
use crate::shell::narrator::Narrator;
use crate::shell::narrator::reasons::no_way_back;
use crate::shell::narrator::view::View;
use crate::sys;

/// How many processes that the app left behind are named, a line each: more would tell no more.
const STAYING_TOLD: usize = 10;

impl Narrator {
    /// Tell a fact: to the log, to `status`, to those who wait, to systemd.
    pub(crate) fn tell(&mut self, fact: Fact, view: &View<'_>, timers: &Timers<Alarm>) {
        match fact {
            Fact::HandoffBegan(number) => {
                view.log.info(&format!("generation {number}: handoff began"));
                // Also if it had waited: those who asked meanwhile need a later time than the one that was told then.
                self.manager.reloading(clock::monotonic_micros());
            }
            Fact::WaitingForRoom => {
                view.log.warning(&view.why_no_room());
                self.manager.reloading(clock::monotonic_micros());
            }
            Fact::ReloadOver => self.tell_ready(view),
            Fact::StillWaiting(worker) => self.still_waiting(worker, view, timers),
            Fact::WorkerReady(worker) => self.worker_ready(worker, view),
            Fact::TookOver(number, old) => self.took_over(number, old, view),
            Fact::Settled(number) => {
                view.log.info(&format!(
                    "generation {number} passed probation: it is the last good"
                ));
            }
            Fact::Stepped(number, count) => {
                let generation = view.core.generation(number);
                let wanted = generation.map_or(count, |generation| generation.plan.workers);
                let text = format!("generation {number} has {count} of {wanted} workers; old ones make room");
                view.log.info(&text);
                self.progress = Some(text);
            }
            Fact::CandidateFailed(number, cause) => self.candidate_failed(number, cause, view),
            Fact::RolledBack(failed, number, cause) => self.rolled_back(failed, number, cause, view),
            Fact::SwitchedBack(failed, number, cause) => self.switched_back(failed, number, cause, view),
            Fact::LingerOver(number, why) => linger_over(number, why, view),
            Fact::NoWayBack(number, cause) => self.no_way_back(number, cause, view),
            Fact::Deaf(number) => self.deaf(number, view),
            Fact::Relief(number, lane) => view.log.warning(&format!(
                "clients wait in slot {lane}, which nobody serves: generation {number}, a relief worker, is started to answer them"
            )),
            Fact::ReliefFailed(number, cause) => view.log.error(&format!(
                "generation {number}, a relief worker: {}",
                view.reason(cause)
            )),
            Fact::NotSwitched(number) => view.log.error(&format!(
                "new clients do not reach generation {number}, which serves: {}",
                view.why_not_switched()
            )),
            Fact::Unaccepted(number) => view.log.warning(&format!(
                "generation {number} takes over, for nobody else serves: {}",
                view.why_unaccepted(number)
            )),
            Fact::Crashed(worker, cause) => self.crashed(worker, cause, view, timers),
            Fact::Restarted(worker) => {
                self.history.restarts += 1;
                view.log
                    .info(&format!("{} started again", view.name_worker(worker)));
            }
            Fact::Overran(worker) => {
                let text = format!("{} did not end in time: it is killed", view.name_worker(worker));
                view.log.warning(&text);
                self.progress = Some(text);
            }
            Fact::Unkillable(worker) => {
                view.log.error(&format!(
                    "{} survived SIGKILL: it is left behind",
                    view.name_worker(worker)
                ));
            }
            Fact::Ended(number) => self.ended(number, view),
            Fact::Stopping => {
                view.log.info("stopping: every generation drains");
                // A failed start stays the last word; a failed reload does not matter any more.
                if self.history.last_reload.is_some() {
                    self.history.trouble = None;
                }
                self.manager.stopping();
            }
        }
    }

    fn still_waiting(&self, worker: Worker, view: &View<'_>, timers: &Timers<Alarm>) {
        let left = timers.deadline(Alarm::Core(Timer::Start(worker)));
        let left = left.map(|deadline| deadline.saturating_duration_since(clock::now()));
        let left = left
            .map(|left| format!(" ({} s left)", (left.as_millis() + 500) / 1000))
            .unwrap_or_default();
        let pid = view.fleet.workers.get(&worker).and_then(|info| info.pid);
        let pid = pid.map_or_else(|| "the app".to_owned(), |pid| format!("pid {pid}"));
        let awaited = match view.core.readiness_of(worker) {
            Some(Readiness::Accepting) => format!("until {pid} accepts on each of its listeners{left}"),
            Some(Readiness::Auto) => {
                format!("until {pid} says READY=1 or accepts on each of its listeners{left}")
            }
            Some(Readiness::Notify | Readiness::Alive) | None => {
                let help = view.how_to_be_ready(worker);
                format!("for READY=1 from {pid}{left}; {help}")
            }
        };
        view.log.warning(&format!("still waiting {awaited}"));
    }

    fn worker_ready(&self, worker: Worker, view: &View<'_>) {
        let info = view.fleet.workers.get(&worker);
        let after = info.and_then(|info| info.ready_after).unwrap_or_default();
        view.log.info(&format!(
            "{} is ready after {}",
            view.name_worker(worker),
            elapsed(after)
        ));
    }

    fn took_over(&mut self, number: Number, old: Option<Number>, view: &View<'_>) {
        self.history.crash = None;
        self.history.last_crash = None;
        let serving = view.serving().map(|serving| serving.to_string());
        let who = serving.unwrap_or_else(|| format!("generation {number} serves"));
        if number == FIRST {
            view.log.info(&who);
            self.tell_ready(view);
        } else {
            self.history.trouble = None;
            let took = self.note_reload(Outcome::Ok, None, number, view);
            let draining = old
                .map(|old| format!(", generation {old} {}", what_becomes_of(old, view)))
                .unwrap_or_default();
            let text = format!("{who}{draining}; the reload took {took}");
            view.log.info(&text);
            self.progress = Some(text);
        }
    }

    fn candidate_failed(&mut self, number: Number, cause: Cause, view: &View<'_>) {
        let reason = view.reason(cause);
        let trouble = if number == FIRST {
            let text = format!("the first start failed: {reason}");
            view.log.error(&text);
            text
        } else {
            let serving = view
                .serving()
                .map_or_else(|| "nobody serves".to_owned(), |serving| serving.to_string());
            let text = format!("reload failed: generation {number}: {reason}");
            self.note_reload(Outcome::Failed, Some((cause, reason)), number, view);
            view.log.error(&format!("{text}; {serving}"));
            text
        };
        self.history.trouble = Some(trouble);
    }

    fn rolled_back(&mut self, failed: Number, number: Number, cause: Cause, view: &View<'_>) {
        let now = format!(
            "generation {number} is started from the last good{}",
            view.files_not_brought_back(number)
        );
        self.given_up(failed, cause, &now, view);
    }

    /// As [`Self::rolled_back`], and nobody is started.
    fn switched_back(&mut self, failed: Number, number: Number, cause: Cause, view: &View<'_>) {
        let now = format!("generation {number}, which lingered, serves again");
        self.given_up(failed, cause, &now, view);
    }

    /// A generation has failed on probation; `now` says who takes its place.
    fn given_up(&mut self, failed: Number, cause: Cause, now: &str, view: &View<'_>) {
        let reason = view.reason(cause);
        self.history.rollbacks += 1;
        self.history.crash = None;
        self.history.last_crash = None;
        self.note_reload(Outcome::RolledBack, Some((cause, reason.clone())), failed, view);
        view.log
            .error(&format!("generation {failed} is rolled back: {reason}; {now}"));
        self.history.trouble = Some(format!("reload rolled back: generation {failed}: {reason}"));
    }

    /// Clients wait in vain. Told as long as that lasts; the queues log it once.
    fn deaf(&mut self, number: Number, view: &View<'_>) {
        if view
            .core
            .incumbent()
            .is_some_and(|incumbent| incumbent.number == number)
        {
            self.tell_status(view);
        }
    }

    /// The reload has failed after all. Told again at each crash, and noted once.
    fn no_way_back(&mut self, number: Number, cause: Cause, view: &View<'_>) {
        let noted = self.history.last_reload.as_ref();
        if noted.is_some_and(|last| last.generation == Some(number) && last.outcome == Outcome::Failed) {
            return;
        }
        let reason = view.reason(cause);
        let text = format!(
            "reload failed: generation {number}: {reason}; {}",
            no_way_back(cause)
        );
        self.note_reload(Outcome::Failed, Some((cause, reason)), number, view);
        view.log.error(&text);
    }

    fn crashed(&mut self, worker: Worker, cause: Cause, view: &View<'_>, timers: &Timers<Alarm>) {
        let back_off = Timer::BackOff(worker.generation, worker.slot);
        // However much of it has passed already.
        let then = match timers.length(Alarm::Core(back_off)) {
            Some(length) => format!("in {}", elapsed(length)),
            None => "at once".to_owned(),
        };
        let (name, reason) = (view.name_worker(worker), view.reason(cause));
        let text = format!("{name} crashed: {reason}; it is started again {then}");
        view.log.error(&text);
        self.history.crash = Some(text);
        self.history.last_crash = Some(LastCrash {
            generation: worker.generation,
            worker: worker.slot,
            pid: view
                .fleet
                .workers
                .get(&worker)
                .and_then(|info| info.pid)
                .map(Pid::as_raw),
            reason,
            at: rfc3339(clock::wall()),
            words: view.words_after(cause),
        });
    }

    fn ended(&mut self, number: Number, view: &View<'_>) {
        let text = format!("generation {number} is gone");
        view.log.info(&text);
        self.progress = Some(text);
    }

    /// Keep the outcome of a reload for `status`. Returns how long it took, in words.
    fn note_reload(
        &mut self,
        outcome: Outcome,
        failure: Option<(Cause, String)>,
        number: Number,
        view: &View<'_>,
    ) -> String {
        let (cause, reason) = failure.unzip();
        // Its own request: another reload may have been asked for since. One that could not be prepared is not known.
        let known = view.records.generations.get(&number).map(|info| info.asked);
        let since = known.or(self.history.asked);
        let took = clock::now().saturating_duration_since(since.unwrap_or_else(clock::now));
        self.history.last_reload = Some(LastReload {
            outcome,
            cause: cause.map(cause_code),
            reason,
            duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            generation: Some(number),
            at: rfc3339(clock::wall()),
            words: cause.map(|cause| view.words_after(cause)).unwrap_or_default(),
        });
        elapsed(took)
    }
}

fn what_becomes_of(old: Number, view: &View<'_>) -> &'static str {
    let generation = view.core.generation(old);
    match generation.map(|generation| generation.role) {
        Some(Role::Lingering) => "keeps its connections",
        Some(Role::Candidate | Role::Incumbent | Role::Retired | Role::Relief) | None => "drains",
    }
}

fn linger_over(number: Number, why: LingerEnd, view: &View<'_>) {
    let limit = || setting(view.config_of(number).linger);
    match why {
        LingerEnd::Unused => {
            let text = format!("generation {number} has no connection left: it is told to stop");
            view.log.info(&text);
        }
        LingerEnd::Time => view.log.warning(&format!(
            "generation {number} is told to stop though it may have connections: --linger {} is over",
            limit()
        )),
        LingerEnd::Room => view.log.warning(&format!(
            "generation {number} is told to stop before --linger {} is over: a reload needs its room",
            limit()
        )),
    }
}

/// Name the processes that are left behind: those of a worker, a probe or a check that took a session or group of their own,
/// so that nobody told them to end. They may hold the listeners. (With PID 1 the kernel ends them.)
pub(crate) fn tell_who_stays(log: &Log) {
    if std::process::id() == 1 {
        return;
    }
    let rows = sys::process_rows().unwrap_or_default();
    let ours = rows.iter().filter(|row| row.parent == Pid::this() && !row.zombie);
    for row in ours.take(STAYING_TOLD) {
        log.warning(&format!(
            "pid {} was started below this segue in a process group of its own: it is left running and may hold listeners",
            row.pid
        ));
    }
}

/// The code for a cause, for programs.
pub(crate) const fn cause_code(cause: Cause) -> CauseCode {
    match cause {
        Cause::NotPrepared => CauseCode::NotPrepared,
        Cause::NotSpawned(_) => CauseCode::NotSpawned,
        Cause::Exited(_) => CauseCode::Exited,
        Cause::NotReady(_) => CauseCode::NotReady,
        Cause::Stuck(_) => CauseCode::Stuck,
        Cause::Probe => CauseCode::Probe,
        Cause::Unheld(_) => CauseCode::Unheld,
        Cause::Unaccepted(_) => CauseCode::Unaccepted,
        Cause::Deaf(_) => CauseCode::Deaf,
        Cause::NotSwitched(_) => CauseCode::NotSwitched,
    }
}
