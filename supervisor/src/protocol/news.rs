//! What happens, as those hear it who follow: one object for each fact that is told.

use serde::{Deserialize, Serialize};

use super::{CauseCode, State};

/// Something that has happened, or (the first one that each client gets) how it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct News {
    /// What.
    pub(crate) event: NewsKind,
    /// When it was told, in RFC 3339 with UTC.
    pub(crate) at: String,
    /// Which generation it is about; null if about none.
    pub(crate) generation: Option<u64>,
    /// Which of its workers; null if about none or all.
    pub(crate) worker: Option<u16>,
    /// The generation that served before, or that failed; null if there is none.
    pub(crate) other: Option<u64>,
    /// What kind of failure it is; null if it is none.
    pub(crate) cause: Option<CauseCode>,
    /// The failure in one line; null if it is none.
    pub(crate) reason: Option<String>,
    /// The state of the instance.
    pub(crate) state: State,
}

/// What has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum NewsKind {
    /// Nothing yet: this is how it is.
    Now,
    /// A handoff has begun with this generation.
    HandoffBegan,
    /// A reload waits until an old generation has gone.
    WaitingForRoom,
    /// The reload that began or waited is over, however it ended.
    ReloadOver,
    /// A worker is not ready yet.
    StillWaiting,
    /// A worker is ready.
    WorkerReady,
    /// This generation serves, and the other one drains.
    TookOver,
    /// It has passed probation.
    Settled,
    /// Some of its workers are ready, and old ones make room.
    Stepped,
    /// It has failed, and the one before it serves on.
    Failed,
    /// The other one has failed, and this one was started from the last good record.
    RolledBack,
    /// The other one has failed, and this one, which lingered, serves again.
    SwitchedBack,
    /// It lingers no more, and is told to stop.
    LingerOver,
    /// It has failed, and there is nothing to go back to.
    NoWayBack,
    /// Clients wait, and it accepts none of them.
    Deaf,
    /// It was started to answer clients that nobody else serves.
    Relief,
    /// And has failed.
    ReliefFailed,
    /// The kernel does not send clients to it.
    NotSwitched,
    /// It takes over, for nobody else serves, and was not seen to accept.
    Unaccepted,
    /// A worker has crashed and is started again.
    Crashed,
    /// It was started again.
    Restarted,
    /// A worker did not drain in time and is killed.
    Overran,
    /// A worker could not even be killed.
    Unkillable,
    /// The last process of this generation has gone.
    Gone,
    /// Everything is to stop.
    Stopping,
}
