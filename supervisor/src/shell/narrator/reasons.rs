//! Why something has failed, in one line.

use std::os::fd::{AsFd as _, BorrowedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use segue_lifecycle::{Cause, Handoff, Number, Progress, Readiness, Worker};

use crate::clock;
use crate::config::Ready;
use crate::protocol::{elapsed, setting};
use crate::shell::fleet::worker::WorkerInfo;
use crate::shell::narrator::view::View;
use crate::shell::waits::HINT;

/// Whether people are told which setting would help a worker that is not ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Help {
    /// They are.
    Due,
    /// Its start timeout is so short that it may have lacked time and nothing else.
    Untimely,
}

impl View<'_> {
    /// `generation 2, worker 0 (pid 812)`.
    pub(crate) fn name_worker(&self, worker: Worker) -> String {
        self.fleet.name_worker(worker)
    }

    fn deaf_in_words(&self, number: Number) -> String {
        let info = self.records.generations.get(&number);
        let words = info.and_then(|info| info.findings.deaf.clone());
        words.unwrap_or_else(|| "clients waited and it accepted none".to_owned())
    }

    /// Why it failed, in one line without the generation.
    pub(crate) fn reason(&self, cause: Cause) -> String {
        match cause {
            Cause::NotPrepared => self
                .records
                .refusal
                .clone()
                .unwrap_or_else(|| "its birth record could not be made".to_owned()),
            Cause::NotSpawned(worker) | Cause::Exited(worker) => {
                let info = self.fleet.workers.get(&worker);
                let end = info.map_or_else(|| "ended".to_owned(), WorkerInfo::end_in_words);
                end + &self.last_words(worker)
            }
            Cause::NotReady(worker) => self.not_ready_in_words(worker),
            Cause::Stuck(worker) if self.fleet.workers.get(&worker).is_some_and(|info| info.gave_up) => {
                format!("it said WATCHDOG=trigger{}", self.last_words(worker))
            }
            Cause::Stuck(worker) => {
                let limit = self
                    .records
                    .generations
                    .get(&worker.generation)
                    .and_then(|info| info.config.watchdog);
                let limit = limit
                    .map(|limit| format!(" for {}", setting(limit)))
                    .unwrap_or_default();
                format!("no WATCHDOG=1{limit}{}", self.last_words(worker))
            }
            Cause::Unheld(number) => {
                let info = self.records.generations.get(&number);
                let why = info.and_then(|info| info.findings.unheld.clone());
                why.unwrap_or_else(|| "no process of it has a listener that it needs".to_owned())
            }
            Cause::Deaf(number) => self.deaf_in_words(number),
            Cause::Unaccepted(number) => self.why_unaccepted(number),
            Cause::NotSwitched(_) => self.why_not_switched().to_owned(),
            Cause::Probe => {
                let candidate = self.fleet.probes.newest();
                candidate.map_or_else(
                    || "the probe did not pass".to_owned(),
                    |number| self.probe_in_words(number) + &self.last_words_of(self.first_worker(number)),
                )
            }
        }
    }

    /// Why the kernel has refused the last switch.
    pub(crate) fn why_not_switched(&self) -> &str {
        let refusal = self.records.not_switched.as_deref();
        refusal.unwrap_or("the kernel refuses")
    }

    /// Why a reload has to wait, in one line.
    pub(crate) fn why_no_room(&self) -> String {
        let count = self.core.generations().count();
        let limit = self
            .core
            .incumbent()
            .map_or(count, |incumbent| usize::from(incumbent.plan.max_generations));
        let seeks = matches!(self.core.handoff(), Handoff::Candidate(_, Progress::Seeking));
        let why = if seeks || count < limit.max(2) {
            "each slot of a steered listener is in use (slots=N)".to_owned()
        } else {
            format!("{count} generations live, the most that --max-generations allows")
        };
        format!("reload waits: {why}; it goes on when a retired one is gone")
    }

    fn not_ready_in_words(&self, worker: Worker) -> String {
        let info = self.records.generations.get(&worker.generation);
        let limit = info.and_then(|info| info.config.start_timeout);
        let asked = self.fleet.workers.get(&worker).filter(|info| info.extended);
        let late = match asked {
            Some(info) => Some(elapsed(clock::now().saturating_duration_since(info.started))),
            None => limit.map(setting),
        };
        let late = late.map(|time| format!("not ready after {time}"));
        let short = limit.is_some_and(|limit| limit < HINT);
        let lacks = self.lacks_to_be_ready(worker, if short { Help::Untimely } else { Help::Due });
        let lacks = lacks.map(|lacks| format!(" ({lacks})")).unwrap_or_default();
        format!(
            "{}{lacks}{}",
            late.unwrap_or_else(|| "not ready".to_owned()),
            self.last_words(worker)
        )
    }

    /// What a worker lacks that is not ready, or which setting helps it, as a clause.
    pub(crate) fn lacks_to_be_ready(&self, worker: Worker, help: Help) -> Option<String> {
        let config = self.config_of(worker.generation);
        let info = self.records.generations.get(&worker.generation);
        let unaccepted = info.and_then(|info| info.findings.unaccepted.clone());
        match (self.core.readiness_of(worker), help) {
            (Some(Readiness::Accepting), _) if unaccepted.is_some() => unaccepted,
            (Some(Readiness::Accepting), _) => {
                Some("it does not wait for clients on each of its listeners".to_owned())
            }
            (Some(Readiness::Auto), _) => Some(format!(
                "it has neither said READY=1 nor waited for clients on each of its listeners for {}",
                setting(config.ready_after)
            )),
            (Some(Readiness::Notify | Readiness::Alive) | None, Help::Untimely) => None,
            (Some(Readiness::Notify | Readiness::Alive) | None, Help::Due) => {
                Some(self.how_to_be_ready(worker))
            }
        }
    }

    /// Which setting helps a worker that has not said READY=1.
    pub(crate) fn how_to_be_ready(&self, worker: Worker) -> String {
        let plan = self
            .core
            .generation(worker.generation)
            .map(|generation| generation.plan);
        let config = self.config_of(worker.generation);
        let share = self.share_of(worker).unwrap_or_default();
        match config.ready {
            Ready::Auto if plan.is_some_and(|plan| plan.readiness == Readiness::Auto) => {
                "this app has notified, so only READY=1 counts; a silent one needs --ready accepting"
            }
            _ if config.watchdog.is_some() => {
                "an app with a --watchdog says READY=1 before it says WATCHDOG=1"
            }
            Ready::Notify if share.iter().any(|listener| listener.kind().accepts_connections()) => {
                "an app that cannot notify needs --ready auto"
            }
            Ready::Auto | Ready::Notify | Ready::Accepting | Ready::Exec(_) => {
                "an app that cannot notify needs --ready exec:2s"
            }
        }
        .to_owned()
    }

    /// Why the probe did not pass, in words: how its last run ended, and whether anybody serves its listener.
    fn probe_in_words(&self, number: Number) -> String {
        let limit = self
            .records
            .generations
            .get(&number)
            .and_then(|generation| generation.config.probe_timeout);
        let limit = limit
            .map(|limit| format!(" within {}", setting(limit)))
            .unwrap_or_default();
        let last = self.fleet.probes.last_end(number).unwrap_or("still running");
        let unserved = self
            .records
            .generations
            .get(&number)
            .and_then(|generation| generation.probe.as_ref());
        let unserved = match unserved.map(|listener| somebody_waits(listener.as_fd())) {
            Some(true) => "; the app does not serve the listener \"probe\"",
            Some(false) | None => "",
        };
        format!("the probe did not pass{limit} (last run: {last}){unserved}")
    }
}

/// Whether a connection waits to be accepted: a listening socket is then readable (poll(2)).
fn somebody_waits(listener: BorrowedFd<'_>) -> bool {
    let mut poll_set = [PollFd::new(listener, PollFlags::POLLIN)];
    poll(&mut poll_set, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

/// Why a generation that failed on probation is not rolled back.
pub(crate) const fn no_way_back(cause: Cause) -> &'static str {
    match cause {
        Cause::Deaf(_) => "no version has passed probation yet, so it is left alone",
        Cause::NotPrepared
        | Cause::NotSpawned(_)
        | Cause::Exited(_)
        | Cause::NotReady(_)
        | Cause::Stuck(_)
        | Cause::Probe
        | Cause::Unheld(_)
        | Cause::NotSwitched(_)
        | Cause::Unaccepted(_) => "no version has passed probation yet, so it is started again",
    }
}
