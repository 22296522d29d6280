//! Bugs planted on purpose, one at a time, to prove that the explorer can see each kind of failure.
//!
//! They exist only in the crate's own tests: in every other build each question below is the constant `false`.

use crate::handoff::{Handoff, Progress};
use crate::vocabulary::{Number, Timer};

/// A way to be wrong.
#[cfg(test)]
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
    /// Records are never forgotten.
    KeepsRecords,
    /// `--drained` is answered at the takeover.
    AnswersDrainedEarly,
    /// A worker that overruns its drain is given up at once.
    GivesUpEarly,
    /// A candidate that fails ends the back-off of the incumbent.
    CancelsBackOff,
    /// A crash on probation is treated like any other.
    RestartsOnProbation,
    /// A generation that is replaced on probation becomes the last good.
    TrustsTheSuperseded,
    /// A slot that comes back names its workers from 0 again.
    ReusesNames,
    /// A timer that was disarmed is heard when it comes due.
    HearsTheStale,
    /// A ticket that comes in the turn of the end gets no answer.
    DropsTheLateTicket,
    /// A handoff begins while another one is under way.
    TwoCandidates,
    /// Two probe commands are run at once.
    ProbesTwice,
    /// The end does not wait for the last process.
    FinishesEarly,
    /// A stop waits for the unkillable for ever.
    NeverGivesUp,
    /// An app that asks for more time puts off the end of a stop.
    ExtendsTheStop,
    /// A stop ends a reload and nobody is told that it is over.
    LeavesTheReloadOpen,
    /// A client that waits for the end of probation waits on when there may be none.
    HopesForEver,
    /// Places of the incumbent are yielded to workers that were not looked at once more.
    YieldsToTheUnseen,
    /// Steps do not wait for those that drain.
    CrowdsTheMachine,
    /// A candidate that fails after some steps leaves the places empty that were yielded to it.
    LeavesPlacesEmpty,
    /// What is saved for a successor lacks the timer of probation.
    SavesNoProbation,
    /// A candidate that has no listener takes over by its word alone.
    BelievesTheWord,
    /// A worker that accepts without a word counts as ready though those before it have notified.
    BelievesTheSilent,
    /// A generation that accepts nobody on probation stays.
    BearsWithTheDeaf,
    /// A takeover is told of, and the candidate's flags are not put in force.
    TakesOverInWords,
    /// What only a generation needed that is gone stays open.
    BuriesNobody,
    /// New clients go to a candidate from its start.
    SwitchesEarly,
    /// New clients still go to a candidate that failed after the switch.
    NeverSwitchesBack,
    /// A candidate gets a lane in which somebody else is, or clients wait.
    CrowdsTheLane,
    /// Clients in a lane that nobody serves are left there.
    AbandonsTheStranded,
    /// A reload waits for clients whom nobody can answer but its candidate.
    WaitsForTheGivenUp,
    /// Clients whom a relief worker could answer are left to a candidate.
    GivesUpAtOnce,
    /// A relief worker that accepts nobody stays.
    BearsWithTheRelief,
    /// A relief worker is started in the lane of a candidate, or in the one that a reload waits for.
    RelievesThePromised,
    /// Nothing ends the linger of a generation whose clients never go.
    LingersForEver,
    /// A generation that lingers is told to drain though it has connections.
    StopsAtTheFirstLook,
    /// A reload waits for a generation that nobody has told to drain.
    WaitsForTheLingering,
    /// A rollback starts anew what still serves.
    ForgetsTheWayBack,
    /// A candidate takes over that was not seen to accept.
    TakesOverUnaccepted,
    /// A candidate fails if its lane was taken while its record was made.
    FailsWithoutALane,
    /// A candidate waits for a lane that nobody was told to give back.
    SeeksInVain,
}

#[cfg(test)]
impl Bug {
    /// All of them.
    pub const ALL: [Self; 53] = [
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
        Self::KeepsRecords,
        Self::AnswersDrainedEarly,
        Self::GivesUpEarly,
        Self::CancelsBackOff,
        Self::RestartsOnProbation,
        Self::TrustsTheSuperseded,
        Self::ReusesNames,
        Self::HearsTheStale,
        Self::DropsTheLateTicket,
        Self::TwoCandidates,
        Self::ProbesTwice,
        Self::FinishesEarly,
        Self::NeverGivesUp,
        Self::ExtendsTheStop,
        Self::LeavesTheReloadOpen,
        Self::HopesForEver,
        Self::YieldsToTheUnseen,
        Self::CrowdsTheMachine,
        Self::LeavesPlacesEmpty,
        Self::SavesNoProbation,
        Self::BelievesTheWord,
        Self::BelievesTheSilent,
        Self::BearsWithTheDeaf,
        Self::TakesOverInWords,
        Self::BuriesNobody,
        Self::SwitchesEarly,
        Self::NeverSwitchesBack,
        Self::CrowdsTheLane,
        Self::AbandonsTheStranded,
        Self::WaitsForTheGivenUp,
        Self::GivesUpAtOnce,
        Self::BearsWithTheRelief,
        Self::RelievesThePromised,
        Self::LingersForEver,
        Self::StopsAtTheFirstLook,
        Self::WaitsForTheLingering,
        Self::ForgetsTheWayBack,
        Self::TakesOverUnaccepted,
        Self::FailsWithoutALane,
        Self::SeeksInVain,
    ];
}

/// The bug that was planted, if any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Planted {
    #[cfg(test)]
    bug: Option<Bug>,
}

macro_rules! questions {
    ($($name:ident => $bug:ident),* $(,)?) => {
        impl Planted {
            $(
                pub(crate) const fn $name(self) -> bool {
                    #[cfg(test)]
                    return matches!(self.bug, Some(Bug::$bug));
                    #[cfg(not(test))]
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
    keeps_records => KeepsRecords,
    answers_drained_early => AnswersDrainedEarly,
    gives_up_early => GivesUpEarly,
    cancels_back_off => CancelsBackOff,
    restarts_on_probation => RestartsOnProbation,
    trusts_the_superseded => TrustsTheSuperseded,
    reuses_names => ReusesNames,
    hears_the_stale => HearsTheStale,
    drops_the_late_ticket => DropsTheLateTicket,
    is_impatient => TwoCandidates,
    probes_twice => ProbesTwice,
    finishes_early => FinishesEarly,
    never_gives_up => NeverGivesUp,
    extends_the_stop => ExtendsTheStop,
    leaves_the_reload_open => LeavesTheReloadOpen,
    hopes_for_ever => HopesForEver,
    yields_to_the_unseen => YieldsToTheUnseen,
    crowds_the_machine => CrowdsTheMachine,
    leaves_places_empty => LeavesPlacesEmpty,
    is_saving_no_probation => SavesNoProbation,
    believes_the_word => BelievesTheWord,
    believes_the_silent => BelievesTheSilent,
    bears_with_the_deaf => BearsWithTheDeaf,
    takes_over_in_words => TakesOverInWords,
    buries_nobody => BuriesNobody,
    switches_early => SwitchesEarly,
    never_switches_back => NeverSwitchesBack,
    crowds_the_lane => CrowdsTheLane,
    abandons_the_stranded => AbandonsTheStranded,
    waits_for_the_given_up => WaitsForTheGivenUp,
    gives_up_at_once => GivesUpAtOnce,
    bears_with_the_relief => BearsWithTheRelief,
    relieves_the_promised => RelievesThePromised,
    lingers_for_ever => LingersForEver,
    stops_at_the_first_look => StopsAtTheFirstLook,
    waits_for_the_lingering => WaitsForTheLingering,
    forgets_the_way_back => ForgetsTheWayBack,
    takes_over_unaccepted => TakesOverUnaccepted,
    fails_without_a_lane => FailsWithoutALane,
    seeks_in_vain => SeeksInVain,
}

impl Planted {
    pub(crate) const fn none() -> Self {
        Self {
            #[cfg(test)]
            bug: None,
        }
    }

    #[cfg(test)]
    pub(crate) const fn one(bug: Bug) -> Self {
        Self { bug: Some(bug) }
    }

    pub(crate) fn forgets_drain_timer(self, timer: Timer) -> bool {
        self.has_no_drain_timer() && matches!(timer, Timer::Drain(_))
    }

    pub(crate) fn disarms_twice(self, timer: Timer) -> bool {
        self.is_disarming_twice() && matches!(timer, Timer::Hint(_))
    }

    pub(crate) fn saves_no_probation(self, timer: Timer) -> bool {
        self.is_saving_no_probation() && matches!(timer, Timer::Probation(_))
    }

    pub(crate) fn stop_forgets(self, number: Number) -> bool {
        self.is_forgetting_at_stop() && number == 1
    }

    pub(crate) fn takes_two_candidates(self, progress: Progress) -> bool {
        self.is_impatient() && progress == Progress::Starting
    }

    pub(crate) fn joins_running_handoff(self, handoff: Handoff) -> Option<Number> {
        match handoff {
            Handoff::Candidate(number, Progress::Starting | Progress::Probing | Progress::Soaking)
                if self.is_joining() =>
            {
                Some(number)
            }
            Handoff::Idle | Handoff::Waiting | Handoff::Candidate(..) => None,
        }
    }
}
