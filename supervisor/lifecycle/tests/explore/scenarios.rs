//! The worlds that are explored, and how far.

use std::sync::OnceLock;
use std::time::Instant;

use super::explorer::{Explorer, Goal, Report};
use super::world::{Budget, Rules};
use crate::{Mode, Plan, Readiness, Stage, Until};

const PLAIN: Plan = Plan {
    workers: 1,
    mode: Mode::Overlap,
    readiness: Readiness::Notify,
    probe: Stage::Skipped,
    soak: Stage::Skipped,
    probation: Stage::Skipped,
    watchdog: Stage::Skipped,
    max_generations: 8,
    rolling: 0,
    lanes: 0,
    linger: Stage::Skipped,
};
const ON_PROBATION: Plan = Plan {
    probation: Stage::Kept,
    ..PLAIN
};
const AUTO: Plan = Plan {
    readiness: Readiness::Auto,
    ..PLAIN
};
const QUEUE: Plan = Plan {
    mode: Mode::Queue,
    ..ON_PROBATION
};
const TWO: Plan = Plan { workers: 2, ..PLAIN };
const ROLLING: Plan = Plan {
    workers: 2,
    rolling: 1,
    ..PLAIN
};
const STEERED: Plan = Plan { lanes: 3, ..PLAIN };
const LINGERING: Plan = Plan {
    linger: Stage::Kept,
    ..STEERED
};
const CAREFUL: Plan = Plan {
    probe: Stage::Kept,
    soak: Stage::Kept,
    ..PLAIN
};

const RULES: Rules = Rules {
    plans: &[PLAIN],
    untils: &[Until::Takeover],
    counts: &[],
    budget: budget(1, 1, 1, 0),
    chatter: false,
    spawn_fails: false,
    unkillable: false,
    looks_differ: false,
    deaf: false,
    strands: false,
};

const fn budget(reloads: u8, failures: u8, stops: u8, scalings: u8) -> Budget {
    Budget {
        reloads,
        failures,
        stops,
        scalings,
    }
}

/// A world with a name.
pub(super) struct Scenario {
    pub(super) name: &'static str,
    pub(super) rules: Rules,
    /// Other bounds within which it is explored as well: much of one kind and little of another are far fewer states than
    /// much of both.
    also: Option<Budget>,
    /// The bounds with `SEGUE_LONG=1`.
    long: Budget,
    seen: OnceLock<Report>,
}

const fn scenario(name: &'static str, long: Budget, rules: Rules) -> Scenario {
    Scenario {
        name,
        rules,
        also: None,
        long,
        seen: OnceLock::new(),
    }
}

/// All of them. The order of a budget is reloads, failures, stops, changes of the number of workers.
pub(super) static SCENARIOS: [Scenario; 38] = [
    scenario(
        "overlap",
        budget(2, 2, 1, 0),
        Rules {
            budget: budget(2, 1, 1, 0),
            ..RULES
        },
    ),
    scenario(
        "everything may go wrong",
        budget(2, 2, 2, 0),
        Rules {
            chatter: true,
            spawn_fails: true,
            unkillable: true,
            budget: budget(2, 1, 2, 0),
            ..RULES
        },
    ),
    scenario(
        "tickets",
        budget(3, 0, 1, 0),
        Rules {
            plans: &[ON_PROBATION],
            untils: &[Until::Settled, Until::Drained],
            budget: budget(2, 1, 0, 0),
            ..RULES
        },
    ),
    scenario(
        "probation",
        budget(2, 2, 1, 0),
        Rules {
            plans: &[ON_PROBATION],
            untils: &[Until::Settled],
            budget: budget(2, 1, 0, 0),
            ..RULES
        },
    )
    .and(budget(1, 1, 1, 0)),
    scenario(
        "restarts",
        budget(1, 4, 0, 0),
        Rules {
            budget: budget(1, 3, 0, 0),
            ..RULES
        },
    ),
    scenario(
        "two workers",
        budget(2, 0, 1, 0),
        Rules {
            plans: &[TWO],
            budget: budget(1, 1, 1, 0),
            ..RULES
        },
    ),
    scenario(
        "probe and soak",
        budget(2, 2, 1, 0),
        Rules {
            plans: &[CAREFUL],
            budget: budget(2, 1, 0, 0),
            ..RULES
        },
    )
    .and(budget(1, 1, 1, 0)),
    scenario(
        "queue",
        budget(4, 2, 1, 0),
        Rules {
            plans: &[QUEUE],
            untils: &[Until::Settled],
            budget: budget(3, 2, 1, 0),
            ..RULES
        },
    ),
    scenario(
        "limit of two generations",
        budget(5, 1, 1, 0),
        Rules {
            plans: &[Plan {
                max_generations: 2,
                ..PLAIN
            }],
            budget: budget(4, 1, 1, 0),
            ..RULES
        },
    ),
    scenario(
        "ready when alive",
        budget(2, 2, 1, 0),
        Rules {
            plans: &[Plan {
                readiness: Readiness::Alive,
                ..PLAIN
            }],
            budget: budget(2, 1, 0, 0),
            ..RULES
        },
    )
    .and(budget(1, 1, 1, 0)),
    scenario(
        "ready when it accepts",
        budget(2, 1, 1, 0),
        Rules {
            plans: &[AUTO],
            chatter: true,
            budget: budget(1, 1, 0, 0),
            ..RULES
        },
    ),
    scenario(
        "two workers that may accept in silence",
        budget(1, 1, 0, 0),
        Rules {
            plans: &[Plan { workers: 2, ..AUTO }],
            budget: budget(1, 0, 0, 0),
            ..RULES
        },
    ),
    scenario(
        "ready by what is seen alone",
        budget(2, 1, 1, 0),
        Rules {
            plans: &[Plan {
                readiness: Readiness::Accepting,
                ..PLAIN
            }],
            budget: budget(1, 1, 0, 0),
            ..RULES
        },
    ),
    scenario(
        "watchdog",
        budget(2, 1, 1, 0),
        Rules {
            plans: &[Plan {
                watchdog: Stage::Kept,
                ..PLAIN
            }],
            budget: budget(1, 2, 1, 0),
            ..RULES
        },
    ),
    scenario(
        "workers change",
        budget(1, 1, 1, 2),
        Rules {
            plans: &[CAREFUL],
            counts: &[1, 2],
            budget: budget(1, 0, 0, 2),
            ..RULES
        },
    ),
    scenario(
        "workers change and crash",
        budget(0, 2, 1, 3),
        Rules {
            plans: &[TWO],
            counts: &[1, 2],
            budget: budget(0, 2, 0, 2),
            ..RULES
        },
    ),
    scenario(
        "workers change on probation",
        budget(1, 2, 0, 2),
        Rules {
            plans: &[ON_PROBATION],
            untils: &[Until::Settled],
            counts: &[2],
            budget: budget(1, 1, 0, 1),
            ..RULES
        },
    ),
    scenario(
        "the mode changes",
        budget(2, 1, 1, 0),
        Rules {
            plans: &[PLAIN, QUEUE],
            budget: budget(2, 1, 0, 0),
            ..RULES
        },
    ),
    scenario(
        "rolling",
        budget(2, 1, 1, 0),
        Rules {
            plans: &[ROLLING],
            budget: budget(1, 1, 1, 0),
            ..RULES
        },
    ),
    scenario(
        "rolling by two of three",
        budget(1, 0, 1, 0),
        Rules {
            plans: &[Plan {
                workers: 3,
                rolling: 2,
                ..PLAIN
            }],
            budget: budget(1, 0, 0, 0),
            ..RULES
        },
    ),
    scenario(
        "rolling with probe and soak",
        budget(2, 1, 1, 0),
        Rules {
            plans: &[Plan {
                workers: 2,
                rolling: 1,
                ..CAREFUL
            }],
            budget: budget(1, 1, 1, 0),
            ..RULES
        },
    ),
    scenario(
        "rolling on probation",
        budget(2, 2, 0, 0),
        Rules {
            plans: &[Plan {
                probation: Stage::Kept,
                ..ROLLING
            }],
            untils: &[Until::Settled],
            budget: budget(2, 1, 0, 0),
            ..RULES
        },
    ),
    scenario(
        "workers change while rolling",
        budget(1, 1, 1, 1),
        Rules {
            plans: &[ROLLING],
            counts: &[1, 3],
            budget: budget(1, 0, 0, 1),
            ..RULES
        },
    ),
    scenario(
        "listeners",
        budget(2, 2, 1, 0),
        Rules {
            plans: &[ON_PROBATION],
            looks_differ: true,
            budget: budget(1, 1, 1, 0),
            ..RULES
        },
    ),
    scenario(
        "listeners while rolling",
        budget(1, 1, 1, 0),
        Rules {
            plans: &[ROLLING],
            looks_differ: true,
            budget: budget(1, 0, 0, 0),
            ..RULES
        },
    ),
    scenario(
        "deaf on probation",
        budget(2, 2, 1, 0),
        Rules {
            plans: &[ON_PROBATION],
            untils: &[Until::Settled],
            deaf: true,
            budget: budget(1, 1, 0, 0),
            ..RULES
        },
    ),
    scenario(
        "steered",
        budget(2, 2, 1, 0),
        Rules {
            plans: &[STEERED],
            budget: budget(2, 1, 0, 0),
            ..RULES
        },
    )
    .and(budget(1, 1, 1, 0)),
    scenario(
        "steered with clients left behind",
        budget(2, 2, 1, 0),
        Rules {
            plans: &[Plan { lanes: 2, ..PLAIN }],
            strands: true,
            budget: budget(1, 1, 0, 0),
            ..RULES
        },
    ),
    scenario(
        "steered with nobody to relieve",
        budget(2, 2, 1, 0),
        Rules {
            plans: &[Plan { lanes: 2, ..PLAIN }],
            strands: true,
            budget: budget(1, 2, 0, 0),
            ..RULES
        },
    ),
    scenario(
        "steered on probation",
        budget(2, 2, 1, 0),
        Rules {
            plans: &[Plan {
                probation: Stage::Kept,
                lanes: 2,
                ..PLAIN
            }],
            untils: &[Until::Settled],
            budget: budget(2, 1, 0, 0),
            ..RULES
        },
    ),
    scenario(
        "steering begins and ends",
        budget(2, 1, 1, 0),
        Rules {
            plans: &[PLAIN, STEERED],
            budget: budget(2, 1, 0, 0),
            ..RULES
        },
    )
    .and(budget(1, 1, 1, 0)),
    scenario(
        "lingering",
        budget(3, 1, 1, 0),
        Rules {
            plans: &[LINGERING],
            untils: &[Until::Drained],
            budget: budget(2, 0, 1, 0),
            ..RULES
        },
    ),
    scenario(
        "lingering without room",
        budget(3, 1, 1, 0),
        Rules {
            plans: &[Plan {
                lanes: 2,
                ..LINGERING
            }],
            budget: budget(3, 0, 0, 0),
            ..RULES
        },
    ),
    scenario(
        "lingering with fewer lanes",
        budget(3, 0, 1, 0),
        Rules {
            plans: &[
                LINGERING,
                Plan {
                    lanes: 2,
                    ..LINGERING
                },
            ],
            budget: budget(2, 0, 0, 0),
            ..RULES
        },
    ),
    scenario(
        "lingering on probation",
        budget(2, 2, 1, 0),
        Rules {
            plans: &[Plan {
                probation: Stage::Kept,
                ..LINGERING
            }],
            untils: &[Until::Drained],
            budget: budget(2, 1, 0, 0),
            ..RULES
        },
    ),
    scenario(
        "lingering and deaf",
        budget(2, 2, 1, 0),
        Rules {
            plans: &[Plan {
                probation: Stage::Kept,
                ..LINGERING
            }],
            untils: &[Until::Settled],
            deaf: true,
            budget: budget(1, 1, 1, 0),
            ..RULES
        },
    ),
    scenario(
        "workers change while one lingers",
        budget(1, 2, 1, 1),
        Rules {
            plans: &[Plan {
                probation: Stage::Kept,
                ..LINGERING
            }],
            counts: &[2],
            budget: budget(1, 1, 0, 1),
            ..RULES
        },
    ),
    scenario(
        "linger and watchdog",
        budget(2, 1, 1, 0),
        Rules {
            plans: &[Plan {
                watchdog: Stage::Kept,
                ..LINGERING
            }],
            strands: true,
            budget: budget(1, 1, 0, 0),
            ..RULES
        },
    ),
];

/// The world of the scenario with this name.
pub(super) fn rules_of(name: &str) -> &'static Rules {
    let found = SCENARIOS.iter().find(|scenario| scenario.name == name);
    &found.expect("a scenario with this name").rules
}

/// Whether the bounds are raised.
pub(super) fn is_long() -> bool {
    std::env::var_os("SEGUE_LONG").is_some()
}

impl Scenario {
    /// The same world, explored within these bounds as well.
    const fn and(mut self, also: Budget) -> Self {
        self.also = Some(also);
        self
    }

    /// The bounds within which it is explored. The raised ones leave out those that they contain.
    fn budgets(&self) -> Vec<Budget> {
        let mut budgets = vec![self.rules.budget];
        budgets.extend(self.also);
        if is_long() {
            budgets.retain(|budget| !self.long.contains(*budget));
            budgets.push(self.long);
        }
        budgets
    }

    /// Explore it, once in the life of the test process.
    pub(super) fn explore(&self) -> &Report {
        self.seen.get_or_init(|| {
            let begin = Instant::now();
            let mut report = Report::default();
            for budget in self.budgets() {
                let rules = Rules { budget, ..self.rules };
                report.add(Explorer::new(&rules, None, Goal::Everything).run());
            }
            println!(
                "{:<28} {:>8} states {:>10} transitions, {:>2} turns deep, {:.1?}",
                self.name,
                report.states,
                report.transitions,
                report.depth,
                begin.elapsed()
            );
            report
        })
    }
}

fn holds(name: &str) {
    let scenario = SCENARIOS.iter().find(|scenario| scenario.name == name);
    let report = scenario.expect("a scenario with this name").explore();
    if let Some(story) = &report.story {
        panic!("in the scenario `{name}`:\n{story}");
    }
}

macro_rules! tests {
    ($($test:ident: $name:literal),* $(,)?) => {
        $(
            #[test]
            fn $test() {
                holds($name);
            }
        )*

        #[test]
        fn each_scenario_has_its_test() {
            let mut tested = [$($name),*];
            let mut named = SCENARIOS.each_ref().map(|scenario| scenario.name);
            tested.sort_unstable();
            named.sort_unstable();
            assert_eq!(tested, named);
        }
    };
}

tests! {
    overlap: "overlap",
    everything_may_go_wrong: "everything may go wrong",
    tickets: "tickets",
    probation: "probation",
    restarts: "restarts",
    two_workers: "two workers",
    probe_and_soak: "probe and soak",
    queue: "queue",
    limit_of_two_generations: "limit of two generations",
    ready_when_alive: "ready when alive",
    ready_when_it_accepts: "ready when it accepts",
    two_workers_that_may_accept_in_silence: "two workers that may accept in silence",
    ready_by_what_is_seen_alone: "ready by what is seen alone",
    watchdog: "watchdog",
    workers_change: "workers change",
    workers_change_and_crash: "workers change and crash",
    workers_change_on_probation: "workers change on probation",
    the_mode_changes: "the mode changes",
    rolling: "rolling",
    rolling_by_two_of_three: "rolling by two of three",
    rolling_with_probe_and_soak: "rolling with probe and soak",
    rolling_on_probation: "rolling on probation",
    workers_change_while_rolling: "workers change while rolling",
    listeners: "listeners",
    listeners_while_rolling: "listeners while rolling",
    deaf_on_probation: "deaf on probation",
    steered: "steered",
    steered_with_clients_left_behind: "steered with clients left behind",
    steered_with_nobody_to_relieve: "steered with nobody to relieve",
    steered_on_probation: "steered on probation",
    steering_begins_and_ends: "steering begins and ends",
    lingering: "lingering",
    lingering_without_room: "lingering without room",
    lingering_with_fewer_lanes: "lingering with fewer lanes",
    lingering_on_probation: "lingering on probation",
    lingering_and_deaf: "lingering and deaf",
    workers_change_while_one_lingers: "workers change while one lingers",
    linger_and_watchdog: "linger and watchdog",
}
