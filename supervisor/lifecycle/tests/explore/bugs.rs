//! Every invariant can fail: for each there is a bug, planted on purpose, that it catches.

use super::explorer::{Explorer, Goal};
use super::invariants::{OF_CORES, OF_STATES, OF_STEPS, STOP_ALWAYS_ENDS};
use super::scenarios::rules_of;
use crate::Bug;

/// In which scenario a bug shows, and which invariant catches it.
const fn expected(bug: Bug) -> (&'static str, &'static str) {
    match bug {
        Bug::DrainsBeforeReady => ("overlap", "the_incumbent_still_serves"),
        Bug::AnswersTwice | Bug::LosesTickets => ("overlap", "each_ticket_gets_one_answer"),
        Bug::JoinsRunningHandoff => ("overlap", "answers_come_from_a_later_start"),
        Bug::ForgetsDrainTimer => ("overlap", "every_wait_has_a_timer"),
        Bug::DisarmsTwice => ("overlap", "timers_start_and_stop_once"),
        Bug::KeepsStartTimer => ("overlap", "every_timer_has_its_wait"),
        Bug::ExceedsGenerations => ("limit of two generations", "generations_stay_within_the_limit"),
        Bug::StopForgets => ("overlap", "everybody_is_told_of_the_stop"),
        Bug::SignalsTheGone => ("overlap", "no_signal_to_the_gone"),
        Bug::SkipsConfirmation => ("overlap", "takeover_only_by_the_ready"),
        Bug::RunsTwice => ("queue", "queue_mode_runs_one_generation"),
        Bug::ForgetsLastGood => ("probation", "records_are_used_while_kept"),
        Bug::KeepsRecords => ("overlap", "records_are_forgotten"),
        Bug::AnswersDrainedEarly => ("tickets", "answers_are_true"),
        Bug::GivesUpEarly => ("overlap", "given_up_only_when_killed"),
        Bug::CancelsBackOff => ("restarts", "back_off_goes_on"),
        Bug::RestartsOnProbation => ("probation", "crash_on_probation_rolls_back"),
        Bug::TrustsTheSuperseded => ("probation", "only_the_trusted_become_last_good"),
        Bug::ReusesNames => ("workers change and crash", "workers_are_never_named_twice"),
        Bug::HearsTheStale => ("overlap", "the_stale_is_ignored"),
        Bug::DropsTheLateTicket => ("overlap", "nothing_after_the_end"),
        Bug::TwoCandidates => ("overlap", "one_candidate_one_incumbent"),
        Bug::ProbesTwice => ("probe and soak", "one_probe_at_a_time"),
        Bug::FinishesEarly => ("overlap", "no_orphan"),
        Bug::NeverGivesUp => ("overlap", STOP_ALWAYS_ENDS),
        Bug::ExtendsTheStop => ("everything may go wrong", "timers_start_and_stop_once"),
        Bug::LeavesTheReloadOpen => ("overlap", "reloads_are_told_as_they_are"),
        Bug::YieldsToTheUnseen => ("rolling", "the_incumbent_still_serves"),
        Bug::CrowdsTheMachine => ("rolling", "steps_wait_for_room"),
        Bug::LeavesPlacesEmpty => ("rolling", "places_are_yielded_to_a_candidate"),
        Bug::HopesForEver => ("tickets", "each_ticket_gets_one_answer"),
        Bug::BelievesTheSilent => ("ready when it accepts", "who_notifies_is_waited_for"),
        Bug::BelievesTheWord => ("listeners", "nobody_takes_over_without_a_listener"),
        Bug::BearsWithTheDeaf => ("deaf on probation", "deaf_on_probation_rolls_back"),
        Bug::TakesOverInWords | Bug::BuriesNobody => ("overlap", "deeds_match_the_words"),
        Bug::SwitchesEarly | Bug::NeverSwitchesBack => ("steered", "new_clients_go_to_the_incumbent"),
        Bug::CrowdsTheLane => ("steered", "a_lane_is_free_when_it_is_given"),
        Bug::AbandonsTheStranded => (
            "steered with clients left behind",
            "who_waits_elsewhere_is_relieved",
        ),
        Bug::WaitsForTheGivenUp => ("steered with nobody to relieve", "every_wait_has_a_timer"),
        Bug::GivesUpAtOnce => ("steered with clients left behind", "lanes_are_given_up_in_need"),
        Bug::BearsWithTheRelief => (
            "steered with clients left behind",
            "who_waits_elsewhere_is_relieved",
        ),
        Bug::RelievesThePromised => ("steered with nobody to relieve", "relief_is_for_the_forsaken"),
        Bug::LingersForEver => ("lingering", "whoever_lingers_is_looked_at_and_ends"),
        Bug::StopsAtTheFirstLook => ("lingering", "whoever_lingers_keeps_its_clients"),
        Bug::WaitsForTheLingering => ("lingering without room", "every_wait_has_a_timer"),
        Bug::ForgetsTheWayBack => ("lingering on probation", "who_lingers_is_the_way_back"),
        Bug::TakesOverUnaccepted => ("steered", "a_steered_candidate_is_seen_to_accept"),
        Bug::FailsWithoutALane => ("steered with clients left behind", "a_reload_waits_for_a_lane"),
        Bug::SeeksInVain => ("lingering with fewer lanes", "every_wait_has_a_timer"),
        Bug::SavesNoProbation => ("probation", "a_successor_knows_the_same"),
    }
}

/// Which planted bugs each invariant catches, as Markdown.
pub(super) fn table() -> String {
    let mut text = String::from("| invariant | catches the planted bug |\n|---|---|\n");
    for invariant in invariants() {
        let bugs: Vec<String> = Bug::ALL
            .into_iter()
            .filter(|bug| expected(*bug).1 == invariant)
            .map(|bug| format!("{bug:?}"))
            .collect();
        text += &format!("| `{invariant}` | {} |\n", bugs.join(", "));
    }
    text
}

fn invariants() -> impl Iterator<Item = &'static str> {
    let steps = OF_STEPS.iter().map(|(name, _)| *name);
    let states = OF_STATES.iter().map(|(name, _)| *name);
    let cores = OF_CORES.iter().map(|(name, _)| *name);
    steps.chain(states).chain(cores).chain([STOP_ALWAYS_ENDS])
}

#[test]
fn every_planted_bug_is_caught() {
    for bug in Bug::ALL {
        let (scenario, invariant) = expected(bug);
        let report = Explorer::new(rules_of(scenario), Some(bug), Goal::Broken(invariant)).run();
        assert!(
            report.broken.contains(invariant),
            "{bug:?} is not caught by {invariant} in the scenario `{scenario}`, but by {:?}",
            report.broken
        );
        let caught = format!("{bug:?}");
        println!(
            "{caught:<22} caught by {invariant:<36} after {:>6} states",
            report.states
        );
        if std::env::var_os("SEGUE_STORIES").is_some() {
            println!("{}\n", report.story.unwrap_or_default());
        }
    }
}

#[test]
fn every_invariant_catches_a_bug() {
    let caught: Vec<&str> = Bug::ALL.into_iter().map(|bug| expected(bug).1).collect();
    for invariant in invariants() {
        assert!(
            caught.contains(&invariant),
            "no planted bug proves that {invariant} can fail"
        );
    }
}
