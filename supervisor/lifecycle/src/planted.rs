//! Bugs planted on purpose, one at a time, to prove that the explorer can see each kind of failure.
//!
//! Without the feature `planted-bugs` every question below is the constant `false`.

use crate::handoff::Handoff;
use crate::vocabulary::{Number, Timer};

/// A way to be wrong.
#[cfg(any(test, feature = "planted-bugs"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bug {
    /// The incumbent drains when the candidate is spawned, not when it is ready.
    DrainsBeforeReady,
    /// A takeover answers a ticket twice.
    AnswersTwice,
    /// A failed candidate's tickets are dropped.
    LosesTickets,
    /// A request that comes during a handoff is answered by that handoff.
    JoinsRunningHandoff,
    /// A worker is told to drain without a deadline.
    ForgetsDrainTimer,
    /// A timer is disarmed that is not running.
    DisarmsTwice,
    /// The start timer goes on after readiness.
    KeepsStartTimer,
    /// The limit on generations is ignored.
    ExceedsGenerations,
    /// The first generation is not told to stop.
    StopForgets,
    /// A signal is sent after the worker was reaped.
    SignalsTheGone,
    /// The candidate is not looked at once more before the takeover.
    SkipsConfirmation,
    /// Queue mode starts the candidate beside the incumbent.
    RunsTwice,
    /// The last good record is closed while a rollback may need it.
    ForgetsLastGood,
}

#[cfg(any(test, feature = "planted-bugs"))]
impl Bug {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::DrainsBeforeReady,
        Self::AnswersTwice,
        Self::LosesTickets,
        Self::JoinsRunningHandoff,
        Self::ForgetsDrainTimer,
        Self::DisarmsTwice,
        Self::KeepsStartTimer,
        Self::ExceedsGenerations,
        Self::StopForgets,
        Self::SignalsTheGone,
        Self::SkipsConfirmation,
        Self::RunsTwice,
        Self::ForgetsLastGood,
    ];
}

/// The bug that was planted, if any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Planted {
    #[cfg(any(test, feature = "planted-bugs"))]
    bug: Option<Bug>,
}

macro_rules! questions {
    ($($name:ident => $bug:ident),* $(,)?) => {
        impl Planted {
            $(
                pub(crate) const fn $name(self) -> bool {
                    #[cfg(any(test, feature = "planted-bugs"))]
                    return matches!(self.bug, Some(Bug::$bug));
                    #[cfg(not(any(test, feature = "planted-bugs")))]
                    false
                }
            )*
        }
    };
}

questions! {
    drains_before_ready => DrainsBeforeReady,
    answers_twice => AnswersTwice,
    loses_tickets => LosesTickets,
    is_joining => JoinsRunningHandoff,
    has_no_drain_timer => ForgetsDrainTimer,
    is_disarming_twice => DisarmsTwice,
    keeps_start_timer => KeepsStartTimer,
    exceeds_generations => ExceedsGenerations,
    is_forgetting_at_stop => StopForgets,
    signals_the_gone => SignalsTheGone,
    skips_confirmation => SkipsConfirmation,
    runs_twice => RunsTwice,
    forgets_last_good => ForgetsLastGood,
}

impl Planted {
    pub(crate) const fn none() -> Self {
        Self {
            #[cfg(any(test, feature = "planted-bugs"))]
            bug: None,
        }
    }

    #[cfg(any(test, feature = "planted-bugs"))]
    pub(crate) const fn one(bug: Bug) -> Self {
        Self { bug: Some(bug) }
    }

    pub(crate) fn forgets_drain_timer(self, timer: Timer) -> bool {
        self.has_no_drain_timer() && matches!(timer, Timer::Drain(_))
    }

    pub(crate) fn disarms_twice(self, timer: Timer) -> bool {
        self.is_disarming_twice() && matches!(timer, Timer::Hint(_))
    }

    pub(crate) fn stop_forgets(self, number: Number) -> bool {
        self.is_forgetting_at_stop() && number == 1
    }

    pub(crate) fn joins_running_handoff(self, handoff: Handoff) -> Option<Number> {
        match handoff {
            Handoff::Starting(number) | Handoff::Probing(number) | Handoff::Soaking(number)
                if self.is_joining() =>
            {
                Some(number)
            }
            Handoff::Idle
            | Handoff::Waiting
            | Handoff::Preparing(_)
            | Handoff::Starting(_)
            | Handoff::Probing(_)
            | Handoff::Soaking(_)
            | Handoff::Confirming(_) => None,
        }
    }
}
