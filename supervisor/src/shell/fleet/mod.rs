//! The processes that we have started: workers, runs of the probe, what workers have started themselves.
//!
//! It forks, signals and reaps, and knows what each process said last. It knows no client, no ticket, and nobody above us.

mod ending;
pub(crate) mod hearing;
mod hook_output;
pub(crate) mod hooks;
pub(crate) mod launch;
pub(crate) mod orders;
mod out_of_memory;
pub(crate) mod probe;
pub(crate) mod saved;
mod shared_stderr;
pub(crate) mod strays;
mod telling;
pub(crate) mod worker;

use std::collections::BTreeMap;
use std::time::Duration;

use nix::unistd::Pid;
use segue_lifecycle::{Event, Life, Lifecycle, Number, Worker};

use crate::children::{Children, ExitStatus};
use crate::config::Config;
use crate::descent;
use crate::log::Log;
use crate::memory::{Kills, Roots};
use crate::shell::records::Records;
use crate::shell::waits::Pauses;
use crate::shell::{Child, Given};
use crate::sight::Hint;

use hooks::{Decision, Hooks};
use probe::Probes;
use strays::Strays;
use worker::WorkerInfo;

/// Every process of ours, alive or being buried.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) children: Children<Child>,
    pub(crate) workers: BTreeMap<Worker, WorkerInfo>,
    /// Workers that are gone; what is known of them is kept until the turn ends, for the messages about them.
    pub(crate) gone: Vec<Worker>,
    pub(crate) probes: Probes,
    /// Commands of the user's that run at this moment.
    pub(crate) hooks: Hooks,
    /// What workers have started outside their groups.
    pub(crate) strays: Strays,
    /// Where the last generation was seen waiting for clients.
    pub(crate) hint: Hint,
    /// Whom the kernel has killed for memory.
    pub(crate) kills: Kills,
    pub(crate) linger: Pauses,
    /// Workers that were told to stop in this turn.
    pub(crate) told_this_turn: Vec<Worker>,
}

impl Fleet {
    /// Nothing runs yet.
    pub(crate) fn new() -> Self {
        Self {
            children: Children::new(),
            workers: BTreeMap::new(),
            gone: Vec::new(),
            probes: Probes::new(),
            hooks: Hooks::default(),
            strays: Strays::default(),
            hint: Hint::default(),
            kills: Kills::new(Roots::real()),
            linger: Pauses::new(),
            told_this_turn: Vec::new(),
        }
    }

    /// `generation 2, worker 0 (pid 812)`.
    pub(crate) fn name_worker(&self, worker: Worker) -> String {
        let pid = self.workers.get(&worker).and_then(|info| info.pid);
        let pid = pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
        format!("generation {}, worker {}{pid}", worker.generation, worker.slot)
    }

    /// The main process of a worker, once it has become the app. Until then it has copies of our own files, and among them the
    /// epoll set by which we watch the queues: whoever looks at it sees somebody wait on every listener.
    pub(crate) fn executed(&self, worker: Worker) -> Option<Pid> {
        let info = self.workers.get(&worker)?;
        info.pid.filter(|_| info.report.is_none())
    }

    /// The main processes of a generation that have become the app, live and were not told to end.
    pub(crate) fn leaders_of(&self, number: Number, ground: &Ground<'_>) -> Vec<Pid> {
        let generation = ground.core.generation(number).into_iter();
        let processes = generation.flat_map(|generation| &generation.processes);
        let living = processes.filter(|process| match process.life {
            Life::Starting | Life::Serving => true,
            Life::Draining | Life::Killed => false,
        });
        let pids = living.filter_map(|process| self.executed(process.worker));
        pids.collect()
    }

    /// Every living process of a generation.
    pub(crate) fn party_of(&self, number: Number, ground: &Ground<'_>) -> Vec<Pid> {
        self.party(|worker| worker.generation == number, ground)
    }

    /// Every living process of these workers, and of the containers that they have started.
    pub(crate) fn party(&self, is_meant: impl Fn(Worker) -> bool, ground: &Ground<'_>) -> Vec<Pid> {
        let look = descent::look(&self.origins(ground), self.scope());
        let members = look.members.iter();
        let ours = members.filter(|member| is_meant(member.key));
        let known = self.strays.monitors();
        let is_known = |pid: Pid| known.iter().any(|(monitor, _)| *monitor == pid);
        let unknown = look.strangers.iter().filter(|row| !is_known(row.pid));
        let unknown = unknown.filter_map(|row| Some((row.pid, self.whose_by_listener(row, ground)?)));
        let monitors = known.iter().copied().chain(unknown);
        let monitors = monitors.filter(|(_, worker)| is_meant(*worker));
        let monitored = monitors.flat_map(|(pid, _)| descent::below(pid));
        ours.map(|member| member.pid).chain(monitored).collect()
    }
}

/// What has become known of a child, and concerns others.
#[derive(Debug)]
pub(crate) enum News {
    /// For the core.
    Event(Event),
    /// The worker asks for so much time: for the core, and for the manager above us.
    MoreTime(Worker, Duration),
    /// The main process of a worker has ended. It may have changed what all holders of a listener share.
    Exited(Worker),
    /// The kernel has killed a worker for memory.
    OutOfMemory,
    /// The process group of the worker is empty, so that nobody speaks for it any more.
    GroupEnded(Worker),
    /// The check of an upgrade has ended with this status.
    Checked(ExitStatus),
    /// Nothing is left of that check.
    CheckGone,
    /// The hook of a reload has ended.
    Decided(Decision),
    /// Another hook has ended.
    HookEnded,
}

/// What the fleet reads of the others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ground<'a> {
    pub(crate) core: &'a Lifecycle,
    pub(crate) given: &'a Given,
    pub(crate) records: &'a Records,
    pub(crate) log: &'a Log,
}

impl<'a> Ground<'a> {
    /// The settings of a generation.
    pub(crate) fn config_of(&self, number: Number) -> &'a Config {
        self.records.config_of(number, self.given)
    }
}

/// The ground, where the whole shell is at hand: it leaves the fleet free.
macro_rules! ground {
    ($shell:expr) => {
        Ground {
            core: &$shell.core,
            given: &$shell.given,
            records: &$shell.records,
            log: &$shell.log,
        }
    };
}

pub(crate) use ground;
