//! The words of the lifecycle: what can happen ([`Event`]) and what to do about it ([`Effect`]).
//!
//! Every enum here is closed and is matched without a catch-all arm, so that a new word does not compile
//! until every state has an answer to it.

pub use crate::timers::{Timer, Wait};

/// The number of a generation: one start of the app, counted from 1, never reused.
pub type Number = u64;

/// The generation that the first start makes, and nobody asked for by a reload.
pub const FIRST: Number = 1;

/// One start of one worker. Never reused: a worker that is replaced gets a higher `start`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Worker {
    /// The generation that the worker belongs to.
    pub generation: Number,
    /// Its place among the workers of the generation, from 0.
    pub slot: u16,
    /// How many workers had been started in this slot before it.
    pub start: u32,
}

/// One of the sockets of a steered address, by its place among them: each generation has one of its own, and the kernel sends
/// every new client to one of them. People call it a slot.
pub type Lane = u8;

/// A birth record, named after the generation for which it was made. A rollback starts a new generation from
/// an older record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Record(pub Number);

/// One request for a reload. The shell chooses the numbers and never uses one twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// How far a reload must have come before its ticket is answered with success. A failure always answers at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Until {
    /// The candidate has become the incumbent.
    Takeover,
    /// The new incumbent has passed its probation.
    Settled,
    /// Every generation that was retired before it is gone.
    Drained,
}

/// Whether two generations may run at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The candidate starts beside the incumbent.
    Overlap,
    /// The incumbent drains and is gone before the candidate starts; clients wait in the backlog.
    Queue,
}

/// Whether an optional stage of the lifecycle takes place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// It does.
    Kept,
    /// It is left out.
    Skipped,
}

/// How a worker is known to be ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Readiness {
    /// By its own `READY=1`.
    Notify,
    /// By being alive some time after exec, for an app that cannot notify.
    Alive,
    /// By being seen to wait for clients, whatever it says.
    Accepting,
    /// By its own `READY=1`, or by being seen to wait for clients for a while without it. The second counts only where nobody
    /// that it follows has notified.
    Auto,
}

/// What the core needs to know of a generation's settings. Durations stay outside: the core only names waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Plan {
    /// How many workers make up the generation, at least 1.
    pub workers: u16,
    /// Whether it may run beside another generation.
    pub mode: Mode,
    /// How its workers are known to be ready.
    pub readiness: Readiness,
    /// Whether it is probed between readiness and takeover.
    pub probe: Stage,
    /// Whether both generations serve for a while before the takeover.
    pub soak: Stage,
    /// Whether a crash soon after the takeover means rollback.
    pub probation: Stage,
    /// Whether its workers must send `WATCHDOG=1` regularly.
    pub watchdog: Stage,
    /// How many generations may live at once; a reload above it waits.
    pub max_generations: u16,
    /// How many workers a handoff replaces at a time; 0 for all of them. Of no account in queue mode.
    pub rolling: u16,
    /// How many lanes its steered listeners have; 0 if it has none, and shares its sockets with all others.
    pub lanes: Lane,
    /// Whether it keeps its clients for a while after it was replaced. Of no account without lanes.
    pub linger: Stage,
}

/// What happened. Events about workers, generations or timers that the core no longer knows are stale and
/// have no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Somebody asks for a reload.
    Reload(Ticket, Until),
    /// The birth record of the candidate has been made ([`Effect::Prepare`] succeeded).
    Prepared(Number, Plan),
    /// The birth record of the candidate cannot be made.
    PrepareFailed(Number),
    /// The worker's process could not be created at all.
    SpawnFailed(Worker),
    /// The worker's process has become the app (exec succeeded).
    Executed(Worker),
    /// The worker said `READY=1`.
    Ready(Worker),
    /// The worker was seen to wait for clients on each of its listeners.
    Accepts(Worker),
    /// The worker asked for more time.
    MoreTime(Worker),
    /// The worker said `WATCHDOG=1`.
    Alive(Worker),
    /// The worker said `WATCHDOG=trigger`: it knows itself to be stuck.
    Stuck(Worker),
    /// The worker's main process has ended; others of its process group may live on.
    Exited(Worker),
    /// Nothing is left of the worker: its process group is empty, and so is all else that it has started. Always after [`Event::Exited`].
    Gone(Worker),
    /// One run of the probe command ended with status 0.
    ProbePassed(Number),
    /// One run of the probe command failed.
    ProbeFailed(Number),
    /// Each worker of the candidate was looked at once more; those found dead were reported before this.
    Confirmed(Number),
    /// The same, and its listeners are open in it, but nobody is seen waiting on one of them yet.
    Unawaited(Number),
    /// The same, and no process of the candidate has a listener that it needs: it cannot serve.
    Unheld(Number),
    /// Clients wait for this generation, and it has accepted none of them for as long as it may.
    Deaf(Number),
    /// New clients go to the lane of this generation ([`Effect::Switch`]), and those in the lane they went to before were accepted
    /// (or have had their time). Each of its workers was looked at once more; those found dead were reported before this.
    Switched(Number),
    /// The kernel refuses to send new clients to the lane of this generation; they go where they went before.
    NotSwitched(Number),
    /// A connection of our own waits in the lane of this candidate ([`Effect::PlaceToken`]), and nobody of it was started yet.
    TokenPlaced(Number),
    /// No such connection can be used to see whether it accepts, and people were told why.
    TokenExcused(Number),
    /// The candidate has accepted it.
    TokenAccepted(Number),
    /// Clients wait in a lane to which new ones do not go.
    Stranded(Lane),
    /// Nobody waits in it any more.
    Relieved(Lane),
    /// This generation has no connection of a steered listener left, and nobody waits in its lane ([`Effect::Count`]).
    Unused(Number),
    /// It has one, or that cannot be seen.
    InUse(Number),
    /// A candidate cannot be prepared for lack of memory while an old generation lingers.
    RoomWanted,
    /// A timer that was armed has come due.
    Due(Timer),
    /// The number of workers is to change.
    Workers(u16),
    /// Stop with drain; the second one kills.
    Stop,
}

/// What to do about it. Effects are performed in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Resolve a birth record afresh and answer with [`Event::Prepared`] or [`Event::PrepareFailed`].
    Prepare(Number),
    /// Start a worker from a birth record.
    Spawn(Worker, Record),
    /// Send a signal to a worker.
    Signal(Worker, Signal),
    /// Start a timer that is not running.
    Arm(Timer, Wait),
    /// Forget a timer that is running.
    Disarm(Timer),
    /// Give a running [`Timer::Start`] or [`Timer::Drain`] the time that this worker has asked for, as far as its settings allow it.
    Extend(Timer, Worker),
    /// Run the probe command once and answer with [`Event::ProbePassed`] or [`Event::ProbeFailed`].
    Probe(Number),
    /// End a probe command that may still be running.
    EndProbe(Number),
    /// Look at each worker of the candidate once more: report the dead, then [`Event::Confirmed`],
    /// [`Event::Unawaited`] or [`Event::Unheld`].
    Confirm(Number),
    /// The same for the last time: that nobody waits is noted, and no reason any more ([`Event::Confirmed`]).
    ConfirmAnyway(Number),
    /// This worker is ready: note when, and what its generation has made by now of the flags that all holders of a
    /// listener share.
    NoteReady(Worker),
    /// This candidate is the incumbent from now on: what it has made of the shared flags is in force, and what was
    /// bound afresh for it takes the place of the dead socket in every record.
    TakeOver(Number),
    /// This generation serves again, in the place of one that has failed: what it has made of the shared flags is in force.
    TakeBack(Number),
    /// This generation is started from an older record, in the place of one that has failed.
    RollBack(Number, Record),
    /// Not even SIGKILL has ended this worker: nobody waits for what is left of it.
    Abandon(Worker),
    /// The last process of a retired generation is gone: close what only it needed.
    Bury(Number),
    /// Let the kernel send every new client to the lane of this generation; answer with [`Event::Switched`] or
    /// [`Event::NotSwitched`]. The answer to an earlier one is not owed any more.
    Switch(Number),
    /// Look whether this generation has connections left; answer with [`Event::Unused`] or [`Event::InUse`].
    Count(Number),
    /// Connect to the lane of this candidate and answer with [`Event::TokenPlaced`] or [`Event::TokenExcused`]; later with
    /// [`Event::TokenAccepted`], before any answer to [`Effect::Confirm`].
    PlaceToken(Number),
    /// Answer a ticket. It is the only answer that it gets.
    Answer(Ticket, Outcome),
    /// Tell people, `status` and the service manager what happened. It changes nothing else.
    Tell(Fact),
    /// The birth record is not needed any more: close what it holds.
    Forget(Record),
    /// Everything has ended: leave the loop.
    Finish(Ending),
}

impl Effect {
    /// Whom it signals, and how, if that is what it does.
    #[must_use]
    pub const fn signal(self) -> Option<(Worker, Signal)> {
        match self {
            Self::Signal(worker, signal) => Some((worker, signal)),
            Self::Prepare(_)
            | Self::Spawn(..)
            | Self::Arm(..)
            | Self::Disarm(_)
            | Self::Extend(..)
            | Self::NoteReady(_)
            | Self::TakeOver(_)
            | Self::TakeBack(_)
            | Self::RollBack(..)
            | Self::Abandon(_)
            | Self::Bury(_)
            | Self::Probe(_)
            | Self::EndProbe(_)
            | Self::Confirm(_)
            | Self::ConfirmAnyway(_)
            | Self::Switch(_)
            | Self::Count(_)
            | Self::PlaceToken(_)
            | Self::Answer(..)
            | Self::Tell(_)
            | Self::Forget(_)
            | Self::Finish(_) => None,
        }
    }
}

/// The signals that the core asks for. Which numbers they have is the shell's concern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signal {
    /// Ask the main process to drain and exit.
    Stop,
    /// Ask those of its processes to exit that nobody has asked; the main process already has.
    StopGroup,
    /// Make a stuck main process dump its core.
    Abort,
    /// Kill all that it has started.
    Kill,
}

/// Why a worker or a candidate has failed. The shell knows the details (exit status, errno, last words).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Its birth record could not be made.
    NotPrepared,
    /// The process could not be created.
    NotSpawned(Worker),
    /// A worker ended without being asked to.
    Exited(Worker),
    /// A worker was not ready in time.
    NotReady(Worker),
    /// A worker did not feed its watchdog.
    Stuck(Worker),
    /// The probe did not pass in time.
    Probe,
    /// No process of it has a listener that it needs.
    Unheld(Number),
    /// Clients waited for it, and it accepted none.
    Deaf(Number),
    /// The kernel would not send clients to its lane.
    NotSwitched(Number),
    /// It did not accept the connection in its lane.
    Unaccepted(Number),
}

/// The single answer to a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// This generation has taken over.
    TookOver(Number),
    /// This generation has passed probation.
    Settled(Number),
    /// Every generation retired before this one is gone.
    Drained(Number),
    /// The first was replaced by the second before its probation ended.
    Replaced(Number, Number),
    /// The candidate has failed; the incumbent serves on.
    Failed(Number, Cause),
    /// The first has failed after it took over (or in queue mode); the second runs the last good record.
    RolledBack(Number, Number, Cause),
    /// It has failed on probation, and there is no last good to go back to: it is started again.
    NoWayBack(Number, Cause),
    /// A stop was asked for first.
    Stopping,
}

/// What people and `status` are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fact {
    /// A reload has begun with this candidate.
    HandoffBegan(Number),
    /// A reload waits until a retired generation has gone.
    WaitingForRoom,
    /// The reload that began or waited is over, however it ended. The first start is no reload, and is not told.
    ReloadOver,
    /// Still no readiness from this worker.
    StillWaiting(Worker),
    /// The worker serves.
    WorkerReady(Worker),
    /// The candidate is the incumbent now; the second, if any, was until now.
    TookOver(Number, Option<Number>),
    /// The incumbent passed probation and its record is the last good.
    Settled(Number),
    /// So many workers of the candidate are ready, and the incumbent's in their places drain.
    Stepped(Number, u16),
    /// The candidate failed.
    CandidateFailed(Number, Cause),
    /// The first failed and the second was started from the last good record.
    RolledBack(Number, Number, Cause),
    /// The first failed, and new clients go to the second again, which lingered.
    SwitchedBack(Number, Number, Cause),
    /// This generation does not linger any longer.
    LingerOver(Number, LingerEnd),
    /// A generation that a reload brought crashed on probation, and there is no last good to go back to. Told at each crash.
    NoWayBack(Number, Cause),
    /// Clients wait, and the incumbent accepts none of them. Told again as long as that lasts.
    Deaf(Number),
    /// This generation was started to answer the clients in a lane that nobody else serves.
    Relief(Number, Lane),
    /// A relief worker failed.
    ReliefFailed(Number, Cause),
    /// The kernel refuses to send clients to the incumbent.
    NotSwitched(Number),
    /// The first generation takes over, and was not seen to accept.
    Unaccepted(Number),
    /// A worker of the incumbent crashed and is going to be replaced.
    Crashed(Worker, Cause),
    /// A replacement was started.
    Restarted(Worker),
    /// A worker overran its drain and is killed.
    Overran(Worker),
    /// A worker could not even be killed.
    Unkillable(Worker),
    /// The last process of a retired generation is gone.
    Ended(Number),
    /// Stop was asked for.
    Stopping,
}

/// Why a generation that lingered is told to drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LingerEnd {
    /// It has no connection left.
    Unused,
    /// Its time is up.
    Time,
    /// A reload needs its room.
    Room,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// A stop was asked for and everything is gone.
    Stopped,
    /// The first generation failed, so that nobody ever served.
    NeverServed(Cause),
}
