//! The timers of the core, and the waits that they are armed for. The shell knows how long each wait is.

use crate::vocabulary::{Lane, Number, Worker};

/// The waits that can run out. Each is armed at most once at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// Until a worker is ready.
    Start(Worker),
    /// Until people are told that a worker is still not ready.
    Hint(Worker),
    /// Until a worker counts as ready because it is still alive ([`Readiness::Alive`]).
    Alive(Worker),
    /// Until a worker that accepts counts as ready without having said `READY=1` ([`Readiness::Auto`]).
    Silent(Worker),
    /// Until a serving worker must have said `WATCHDOG=1` again.
    Watchdog(Worker),
    /// Until a worker that was told to stop is killed.
    Drain(Worker),
    /// Until a killed worker is given up as unkillable.
    Kill(Worker),
    /// Until the probe has failed the candidate.
    Probe(Number),
    /// Until the probe command is run again.
    ProbeAgain(Number),
    /// Until the candidate takes over.
    Soak(Number),
    /// Until the candidate is looked at again, on whose listeners nobody waits yet.
    Look(Number),
    /// Until a candidate takes over though nobody is seen waiting on its listeners.
    Await(Number),
    /// Until the kernel is asked again to send clients to the incumbent.
    Switch,
    /// Until a relief worker is started for a lane in which clients wait, and then until it has failed them.
    Relieve(Lane),
    /// Until a generation that lingers is told to drain, whatever connections it has.
    Linger(Number),
    /// Until its connections are counted again.
    Count(Number),
    /// Until the incumbent is trusted.
    Probation(Number),
    /// Until a crashed worker is started again.
    BackOff(Number, u16),
    /// Until a slot's crashes are forgiven.
    Calm(Number, u16),
    /// Until a stop becomes a kill, and then until the unkillable are left behind.
    Stop,
}

/// How long a timer runs: the name of a setting or constant of the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wait {
    /// `--start-timeout`.
    Start,
    /// The time without readiness after which people are told.
    Hint,
    /// The duration of `--ready exec:DURATION`.
    Alive,
    /// `--ready-after`.
    Silent,
    /// `--watchdog`.
    Watchdog,
    /// `--drain-timeout`.
    Drain,
    /// The time that a stuck worker has to dump its core.
    Abort,
    /// The time that the kernel has to end a killed process.
    Kill,
    /// `--probe-timeout`.
    Probe,
    /// The pause between two runs of the probe command.
    ProbeAgain,
    /// `--soak`.
    Soak,
    /// The pause between two looks at a candidate on whose listeners nobody waits yet.
    Look,
    /// The time that it has until somebody does.
    Await,
    /// The pause before the kernel is asked again, after it has refused.
    Switch,
    /// The time that clients wait in a lane before a relief worker is started.
    Relieve,
    /// The pause before another relief worker is started, after one that failed.
    RelieveAgain,
    /// The time that a relief worker has from its start until nobody waits in its lane any more.
    Relief,
    /// `--linger`.
    Linger,
    /// The pause between two looks at the connections of a generation that lingers.
    Count,
    /// `--probation`.
    Probation,
    /// The n-th back-off in a row, from 1.
    BackOff(u8),
    /// The calm time after which crashes are forgiven.
    Calm,
    /// `--stop-timeout`.
    Stop,
}
