//! What `segue status --json` prints: schema 1.

use serde::{Deserialize, Serialize};

use super::{CauseCode, LastWords};

/// The number in `schema`. It changes only if a key changes its meaning or vanishes; new keys do not change
/// it.
pub(crate) const SCHEMA: u32 = 1;

/// The state of one instance. Times are RFC 3339 in UTC, see [`super::rfc3339`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Status {
    /// [`SCHEMA`].
    pub(crate) schema: u32,
    /// The instance.
    pub(crate) name: String,
    /// The supervisor's pid.
    pub(crate) pid: i32,
    /// When the supervisor started.
    pub(crate) since: String,
    /// The supervisor's version.
    pub(crate) version: String,
    /// What it is doing.
    pub(crate) state: State,
    /// The incumbent's number; null if there is none.
    pub(crate) generation: Option<u64>,
    /// The listeners, in the order in which the app gets them.
    pub(crate) listeners: Vec<Listener>,
    /// Every generation that lives.
    pub(crate) generations: Vec<Generation>,
    /// How the last reload ended; null before the first.
    pub(crate) last_reload: Option<LastReload>,
    /// The last crash; null if there was none since the last takeover.
    pub(crate) last_crash: Option<LastCrash>,
    /// Workers started again after a crash, since the supervisor started.
    pub(crate) restarts: u64,
    /// Reloads that were rolled back, since the supervisor started.
    pub(crate) rollbacks: u64,
    /// Workers that the kernel has killed for memory, since the supervisor started.
    #[serde(default)]
    pub(crate) oom_kills: u64,
}

/// A status as a client has received it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// What the supervisor said.
    pub(crate) status: Status,
    /// The supervisor's pid as the kernel tells it *here*. If it is not the one that the status names, the
    /// two live in different pid namespaces and the status' pids mean nothing to us.
    pub(crate) supervisor: Option<i32>,
}

/// What the instance as a whole is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    /// The first generation is not ready yet.
    Starting,
    /// The incumbent serves and nothing else goes on.
    Serving,
    /// A candidate is on its way.
    HandingOff,
    /// The incumbent crashed and waits for its next start.
    BackingOff,
    /// A stop was asked for.
    Stopping,
}

/// One listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listener {
    /// Its name, as in `LISTEN_FDNAMES`.
    pub(crate) name: String,
    /// Its address, with the real port.
    pub(crate) address: String,
    /// How many connections may wait; null for datagram sockets.
    pub(crate) backlog: Option<u32>,
    /// How many connections wait now; null where that cannot be seen, and for datagram sockets. The
    /// supervisor sends null, the client fills it in.
    pub(crate) queued: Option<u64>,
    /// Why no client reaches it, in one clause; null as long as all is well.
    pub(crate) trouble: Option<String>,
    /// The socket's inode, by which the client finds it in /proc. The supervisor sends it; `--json` leaves it
    /// out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) inode: Option<u64>,
    /// Which slot of a steered address this is; null where all generations share the socket.
    pub(crate) slot: Option<u64>,
    /// The newest generation that has this slot; null if none has, and where all share the socket.
    pub(crate) generation: Option<u64>,
}

/// One generation that lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Generation {
    /// Its number.
    pub(crate) generation: u64,
    /// What it is at the moment.
    pub(crate) role: Role,
    /// Since when it has that role.
    pub(crate) since: String,
    /// How far its probation has come.
    pub(crate) probation: Probation,
    /// Its workers, in the order of their slots.
    pub(crate) workers: Vec<Worker>,
    /// How many processes that it has started live outside the process groups of its workers, with nobody above them; they end with it.
    #[serde(default)]
    pub(crate) strays: u64,
    /// What it runs.
    pub(crate) binary: Binary,
    /// Files of the last good version that were replaced in place, by name, so that a rollback does not bring them back (or
    /// did not); null if there are none.
    pub(crate) replaced: Option<String>,
}

/// The part that a generation plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Role {
    /// It is starting.
    Candidate,
    /// It serves.
    Incumbent,
    /// It was replaced, and keeps its clients for a while.
    Lingering,
    /// It was told to drain.
    Retired,
    /// One worker that answers clients in a slot that nobody else serves.
    Relief,
}

/// How far the probation of a generation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Probation {
    /// It has not taken over (yet).
    NotReached,
    /// It serves, or is started again, and is not trusted yet.
    Running,
    /// It was trusted, or was started from a record that was.
    Passed,
    /// It was replaced or rolled back from before it was trusted, or crashed with nothing to go back to.
    NotPassed,
}

/// One process of a generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Worker {
    /// Its main process.
    pub(crate) pid: i32,
    /// What it is doing.
    pub(crate) state: WorkerState,
    /// Since when it is doing that.
    pub(crate) since: String,
    /// Open connections of its whole process tree; null where they cannot be seen. The supervisor sends null,
    /// the client fills it in.
    pub(crate) connections: Option<u64>,
    /// Its last `STATUS=`; null before the first.
    pub(crate) status: Option<String>,
    /// How long it may do that altogether, in milliseconds: then its start has failed, or it is killed. Null without such a limit.
    #[serde(default)]
    pub(crate) limit_ms: Option<u64>,
}

/// What a worker is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum WorkerState {
    /// Started and not ready yet.
    Starting,
    /// Ready.
    Serving,
    /// Told to drain.
    Draining,
}

/// What a generation runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Binary {
    /// The path that was resolved when the birth record was made.
    pub(crate) path: String,
    /// The inode that was opened then.
    pub(crate) inode: u64,
    /// The digest in lower-case hexadecimal; null until it is known.
    pub(crate) sha256: Option<String>,
}

/// How the last reload ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LastReload {
    /// The outcome.
    pub(crate) outcome: Outcome,
    /// What kind of failure it was; null if it was none.
    pub(crate) cause: Option<CauseCode>,
    /// Why it was not `ok`; null if it was.
    pub(crate) reason: Option<String>,
    /// From the request to the outcome, in milliseconds.
    pub(crate) duration_ms: u64,
    /// The generation that it started; null if it failed before one was.
    pub(crate) generation: Option<u64>,
    /// When the outcome was known.
    pub(crate) at: String,
    /// What the worker that failed said at last.
    #[serde(flatten)]
    pub(crate) words: LastWords,
}

/// The last crash of a worker that served, or was to be started again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LastCrash {
    /// The worker's generation.
    pub(crate) generation: u64,
    /// Its place in the generation, from 0.
    pub(crate) worker: u16,
    /// Its main process.
    pub(crate) pid: Option<i32>,
    /// How it ended.
    pub(crate) reason: String,
    /// When that was seen.
    pub(crate) at: String,
    /// What it said at last.
    #[serde(flatten)]
    pub(crate) words: LastWords,
}

/// The outcome of a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// The candidate took over.
    Ok,
    /// It did not; the generation that served serves on.
    Failed,
    /// It took over, crashed in probation, and the last good was started.
    RolledBack,
}

impl Status {
    /// Whether a generation serves: the incumbent has a worker that is ready.
    pub(crate) fn serves(&self) -> bool {
        let ready =
            |generation: &Generation| generation.workers.iter().any(|w| w.state == WorkerState::Serving);
        self.generations
            .iter()
            .any(|g| g.role == Role::Incumbent && ready(g))
    }
}

impl State {
    /// The word that JSON uses.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::HandingOff => "handing-off",
            Self::BackingOff => "backing-off",
            Self::Stopping => "stopping",
        }
    }
}

impl Role {
    /// The word that JSON uses.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Candidate => "candidate",
            Self::Incumbent => "incumbent",
            Self::Lingering => "lingering",
            Self::Retired => "retired",
            Self::Relief => "relief",
        }
    }
}

impl WorkerState {
    /// The word that JSON uses.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::Draining => "draining",
        }
    }
}

impl Outcome {
    /// The word that JSON uses.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::RolledBack => "rolled-back",
        }
    }
}
