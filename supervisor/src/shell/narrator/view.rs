//! What `status` shows: the core's state, with the names, times and numbers that the core does not know.

use std::time::Duration;

use segue_lifecycle::{Generation, Life, Lifecycle, Number, Role, Standing, State, Timer, Wait, Worker};

use crate::clock::Timers;
use crate::config::Config;
use crate::listeners::Listener;
use crate::log::Log;
use crate::protocol::{self, Probation, Status, rfc3339};
use crate::shell::fleet::{Fleet, Ground};
use crate::shell::inspection::queues::Queues;
use crate::shell::narrator::history::History;
use crate::shell::records::Records;
use crate::shell::{Alarm, Given, waits};

/// Everything that there is, to be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    pub(crate) core: &'a Lifecycle,
    pub(crate) given: &'a Given,
    pub(crate) records: &'a Records,
    pub(crate) fleet: &'a Fleet,
    pub(crate) queues: &'a Queues,
    pub(crate) log: &'a Log,
}

/// A view that leaves the other rooms free.
macro_rules! view {
    ($shell:expr) => {
        View {
            core: &$shell.core,
            given: &$shell.given,
            records: &$shell.records,
            fleet: &$shell.fleet,
            queues: &$shell.queues,
            log: &$shell.log,
        }
    };
}

pub(crate) use view;

/// How far the probation of a generation has come.
pub(crate) fn probation(generation: &Generation) -> Probation {
    match (generation.role, generation.standing) {
        (Role::Candidate, _) => Probation::NotReached,
        (Role::Incumbent | Role::Lingering | Role::Retired | Role::Relief, Standing::Proven) => {
            Probation::Passed
        }
        (Role::Incumbent, Standing::Untried) => Probation::Running,
        (Role::Lingering | Role::Retired | Role::Relief, Standing::Untried) => Probation::NotPassed,
    }
}

impl<'a> View<'a> {
    /// The settings of a generation.
    pub(crate) fn config_of(&self, number: Number) -> &'a Config {
        self.records.config_of(number, self.given)
    }

    /// How long a timer of the core is to run from now on, by the settings of its generation.
    pub(crate) fn length_of(&self, timer: Timer, wait: Wait, timers: &Timers<Alarm>) -> Option<Duration> {
        let newest = self.records.generations.keys().next_back().copied();
        let number = waits::of_timer(timer, newest);
        let config = number.map_or(&*self.given.config, |number| self.config_of(number));
        waits::from_now(timer, wait, config, timers)
    }

    /// What the fleet reads of it.
    pub(crate) const fn ground(&self) -> Ground<'a> {
        Ground {
            core: self.core,
            given: self.given,
            records: self.records,
            log: self.log,
        }
    }

    /// What was noted of a listener of the incumbent.
    fn note_on(&self, listener: &Listener) -> Option<String> {
        let info = self.records.generations.get(&self.core.incumbent()?.number)?;
        let mut notes = info.findings.notes.iter();
        let found = notes.find(|(inode, _)| *inode == listener.inode());
        found.map(|(_, note)| note.clone())
    }
}

impl View<'_> {
    /// What the instance as a whole is doing.
    pub(crate) fn state(&self) -> protocol::State {
        match self.core.state() {
            State::Starting => protocol::State::Starting,
            State::Serving => protocol::State::Serving,
            State::HandingOff => protocol::State::HandingOff,
            State::BackingOff => protocol::State::BackingOff,
            State::Stopping => protocol::State::Stopping,
        }
    }

    /// The state as `status` sends it. Connections are counted by the client, so that the loop never is.
    pub(crate) fn status(&self, history: &History, timers: &Timers<Alarm>) -> Status {
        Status {
            schema: protocol::SCHEMA,
            name: self.given.config.name.clone(),
            pid: nix::unistd::getpid().as_raw(),
            since: rfc3339(self.given.since),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            state: self.state(),
            generation: self.core.incumbent().map(|generation| generation.number),
            listeners: self.listeners_shown(),
            generations: self
                .core
                .generations()
                .map(|generation| self.generation_shown(generation, timers))
                .collect(),
            last_reload: history.last_reload.clone(),
            last_crash: history.last_crash.clone(),
            restarts: history.restarts,
            rollbacks: history.rollbacks,
            oom_kills: history.oom_kills,
        }
    }

    /// The listeners of the incumbent, or else of the newest record.
    pub(crate) fn listeners_shown(&self) -> Vec<protocol::Listener> {
        let record = self.core.incumbent().map(|generation| generation.record);
        let birth = record.and_then(|record| self.records.births.get(&record));
        let birth = birth.or_else(|| self.records.births.values().next_back());
        let listeners = birth.map(|birth| birth.listeners.as_slice()).unwrap_or_default();
        listeners
            .iter()
            .map(|listener| protocol::Listener {
                name: listener.name().to_owned(),
                address: listener.address_text(),
                backlog: listener.backlog(),
                queued: None,
                trouble: self.trouble_of(listener),
                inode: Some(listener.inode()),
                slot: listener.slot().map(u64::from),
                generation: listener.slot().and_then(|slot| self.core.holder_of(slot)),
            })
            .collect()
    }

    /// Why clients of a listener may wait in vain.
    fn trouble_of(&self, listener: &Listener) -> Option<String> {
        let broken = listener.trouble().map(str::to_owned);
        let queue = || self.queues.note_on(listener.inode()).map(str::to_owned);
        let refused = || self.refused_switch(listener);
        broken
            .or_else(refused)
            .or_else(queue)
            .or_else(|| self.note_on(listener))
    }

    /// The kernel has refused to send new clients to the slot of the incumbent, and is going to be asked again.
    fn refused_switch(&self, listener: &Listener) -> Option<String> {
        let is_refused = self.core.timers().any(|timer| timer == Timer::Switch);
        let serving = self.core.incumbent().map(|incumbent| incumbent.lane);
        let is_meant = listener.slot().is_some() && listener.slot() == serving;
        (is_refused && is_meant).then(|| format!("new clients do not reach it: {}", self.why_not_switched()))
    }

    fn generation_shown(&self, generation: &Generation, timers: &Timers<Alarm>) -> protocol::Generation {
        let info = self.records.generations.get(&generation.number);
        let unknown = || protocol::Binary {
            path: String::new(),
            inode: 0,
            sha256: None,
        };
        protocol::Generation {
            generation: generation.number,
            role: match generation.role {
                Role::Candidate => protocol::Role::Candidate,
                Role::Incumbent => protocol::Role::Incumbent,
                Role::Lingering => protocol::Role::Lingering,
                Role::Retired => protocol::Role::Retired,
                Role::Relief => protocol::Role::Relief,
            },
            since: rfc3339(info.map_or(self.given.since, |info| info.since)),
            probation: probation(generation),
            workers: self.workers_shown(generation, timers),
            strays: self.fleet.strays.count(generation.number),
            binary: info.map_or_else(unknown, |info| info.binary.clone()),
            replaced: info.and_then(|info| info.replaced.clone()),
        }
    }

    fn workers_shown(&self, generation: &Generation, timers: &Timers<Alarm>) -> Vec<protocol::Worker> {
        let shown = generation.processes.iter().filter_map(|process| {
            let info = self.fleet.workers.get(&process.worker)?;
            Some(protocol::Worker {
                pid: info.pid?.as_raw(),
                state: match process.life {
                    Life::Starting => protocol::WorkerState::Starting,
                    Life::Serving => protocol::WorkerState::Serving,
                    Life::Draining | Life::Killed => protocol::WorkerState::Draining,
                },
                since: rfc3339(info.since),
                connections: None,
                status: info.status.clone(),
                limit_ms: limit_of(process.worker, process.life, timers),
            })
        });
        shown.collect()
    }

    /// The pids of the workers that serve, in the order of their slots.
    pub(crate) fn pids_of(&self, generation: &Generation) -> Vec<i32> {
        let processes = generation.processes.iter();
        let mut serving: Vec<_> = processes
            .filter(|process| process.life == Life::Serving)
            .collect();
        serving.sort_by_key(|process| process.worker.slot);
        let pids = serving
            .iter()
            .filter_map(|process| self.fleet.workers.get(&process.worker)?.pid);
        pids.map(nix::unistd::Pid::as_raw).collect()
    }
}

/// How long a worker may take for what it does, in milliseconds.
fn limit_of(worker: Worker, life: Life, timers: &Timers<Alarm>) -> Option<u64> {
    let timer = match life {
        Life::Starting => Timer::Start(worker),
        Life::Draining => Timer::Drain(worker),
        Life::Serving | Life::Killed => return None,
    };
    let limit = timers.length(Alarm::Core(timer))?;
    u64::try_from(limit.as_millis()).ok()
}
