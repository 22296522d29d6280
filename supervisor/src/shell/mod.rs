//! The supervisor: a loop, and the rooms that it puts together. Each room is a struct with state of its own.
//!
//! One thread, one blocking wait. Everything that is pending in a turn becomes events before any effect is performed
//! (`run/gather.rs`); effects are performed in the order of the core (`run/perform.rs`); what performing them shows (a birth
//! record made, a spawn failed) becomes events of the same turn. *Why* an effect was chosen is the core's business: here
//! it is only known how it is done and, for people, what to call it (`narrator/`).
//!
//! To read a reload, begin with `run/mod.rs` (a turn), then `run/perform.rs` and `starting.rs`.

mod begin;
mod confirming;
mod desk;
mod destinations;
mod facts;
mod fleet;
mod found;
mod hooks;
mod inspection;
mod journal;
mod narrator;
mod records;
mod restore;
mod run;
mod save;
mod starting;
mod steering;
mod succession;
mod tokens;
mod waits;
mod watching;
mod wishes;

use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;
use std::str::FromStr;
use std::time::SystemTime;

use nix::errno::Errno;
use segue_lifecycle::{Ending, Event, Lifecycle, NoSuchWord, Number, Timer, Worker};

use crate::clock::Timers;
use crate::config::{Config, Invocation};
use crate::control::{ClientId, Control};
use crate::keeper::Keeper;
use crate::launch::InheritedEnvironment;
use crate::listeners::Inherited;
use crate::log::Log;
use crate::manager::Manager;
use crate::pid_file::PidFile;
use crate::place::Place;
use crate::signals::Signals;
use crate::sources::Sources;
use crate::state::Fds;
use crate::sys::errno_text;
use crate::upgrade::Origin;

pub(crate) use begin::{go_on, run};
pub(crate) use records::births::wanted;
pub(crate) use restore::{restore, style};
pub(crate) use succession::adopt::adopt;
pub(crate) use succession::predecessor::{AdoptionDecision, PredecessorState, Unadopted, settings_left};
pub(crate) use succession::recover::refuse_orphans;

use desk::Desk;
use fleet::Fleet;
use inspection::paths::Paths;
use inspection::queues::Queues;
use journal::Journal;
use narrator::Narrator;
use records::Records;
use steering::Steering;
use succession::Succession;

/// What the loop may wake up for besides its sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Alarm {
    /// A timer of the lifecycle.
    Core(Timer),
    /// A process group outlives its leader and may end without a SIGCHLD to us.
    Linger,
    /// The manager above us has no room, or is spared words of the app for a moment.
    Upward,
    /// The manager above us wants to hear that the loop goes round.
    Beat,
    /// The check of an upgrade takes too long.
    Check,
    /// A start waits for memory.
    Memory,
    /// A start waits for files that are being written.
    Files,
    /// What a predecessor left draining has had its time.
    DrainingOrphans,
    /// A main process that blocks the stop signal has had time to fetch it.
    Fetched(Worker),
    /// Clients wait in a queue, which is looked at again.
    Queues,
    /// Slots of steered listeners are looked at again.
    Slots,
    /// Workers whose word may be lost are looked at again.
    Unheard,
    /// Workers that start are looked at again: do they accept?
    Accepting,
    /// A hook has had its time.
    Hooks,
}

/// A process that we have started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Child {
    /// A worker of the app.
    Worker(Worker),
    /// A run of the probe command, by the generation that is probed and the number of the run.
    Probe(Number, u32),
    /// A hook, by its number among them.
    Hook(u32),
    /// The check of an upgrade.
    Check,
}

impl fmt::Display for Child {
    /// As a state calls it: `4.0.2` for a worker, `probe-4.7` for the seventh run of a probe, `hook-3` for the third hook.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Child::Worker(worker) => worker.fmt(f),
            Child::Probe(number, run) => write!(f, "probe-{number}.{run}"),
            Child::Hook(id) => write!(f, "hook-{id}"),
            Child::Check => f.write_str("check"),
        }
    }
}

impl FromStr for Child {
    type Err = NoSuchWord;

    fn from_str(text: &str) -> Result<Self, NoSuchWord> {
        if text == "check" {
            return Ok(Child::Check);
        }
        if let Some(id) = text.strip_prefix("hook-") {
            return id.parse().map(Child::Hook).map_err(|_| NoSuchWord);
        }
        let Some(run) = text.strip_prefix("probe-") else {
            return text.parse().map(Child::Worker);
        };
        let (number, run) = run.split_once('.').ok_or(NoSuchWord)?;
        match (number.parse(), run.parse()) {
            (Ok(number), Ok(run)) => Ok(Child::Probe(number, run)),
            (Ok(_) | Err(_), Ok(_) | Err(_)) => Err(NoSuchWord),
        }
    }
}

/// Everything that the loop listens to.
pub(crate) type PollSet = Sources<Worker, ClientId>;

/// Everything that the loop needs at its start.
#[derive(Debug)]
pub(crate) struct Begin {
    /// What was given on the command line; the file is read again at each reload.
    pub(crate) invocation: Invocation,
    /// The settings at start; name, control socket, pid file and log format are those for the whole life.
    pub(crate) config: Rc<Config>,
    /// Where the instance lies.
    pub(crate) place: Place,
    /// Its open control socket.
    pub(crate) control: Control,
    /// The sockets that we were given ourselves.
    pub(crate) inherited: Inherited,
    /// Environment and limits that we were born with.
    pub(crate) inherited_environment: InheritedEnvironment,
    /// Where lines go.
    pub(crate) log: Log,
    /// systemd above us, if it is there.
    pub(crate) manager: Manager,
    /// How this process was started.
    pub(crate) origin: Origin,
    /// The file for others with our pid in it, if one was asked for.
    pub(crate) pid_file: Option<PidFile>,
    /// Where the state is written down.
    pub(crate) keeper: Keeper,
    /// What systemd has kept of an earlier supervisor.
    pub(crate) stored: Fds,
    /// What goes on of an earlier supervisor whose app is not adopted.
    pub(crate) left: Unadopted,
}

/// The loop, and the rooms that it puts together.
#[derive(Debug)]
pub(crate) struct Shell {
    core: Lifecycle,
    /// Events that the core has not yet seen, oldest first.
    events: VecDeque<Event>,
    timers: Timers<Alarm>,
    sources: PollSet,
    signals: Signals,
    given: Given,
    records: Records,
    fleet: Fleet,
    queues: Queues,
    paths: Paths,
    steering: Steering,
    desk: Desk,
    log: Log,
    narrator: Narrator,
    journal: Journal,
    succession: Succession,
    /// The start is over: at the end of the turn the memory goes back that only it needed.
    trim_heap: bool,
    ending: Option<Ending>,
}

/// What stays as it was at the start.
#[derive(Debug)]
pub(crate) struct Given {
    invocation: Invocation,
    config: Rc<Config>,
    place: Place,
    inherited_environment: InheritedEnvironment,
    pid: u32,
    since: SystemTime,
    /// Which start of the machine this is, where the kernel tells.
    boot: Option<String>,
}

/// Why the loop cannot begin, or cannot go on.
#[derive(Debug)]
pub(crate) struct ShellError(String);

impl fmt::Display for ShellError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ShellError {
    fn new(attempt: &str, errno: Errno) -> Self {
        Self(format!("{attempt}: {}", errno_text(errno)))
    }
}
