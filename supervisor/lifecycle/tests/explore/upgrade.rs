//! The upgrade in place, explored like the lifecycle: every order of events, and every invariant at every step.
//!
//! The world outside is small: who is in charge, the process that checks, the timer, and how many wait for an answer.

use std::collections::{HashMap, VecDeque};

use crate::upgrade::{Bug, Effect, Event, Service, Stage, Upgrade};

/// How often somebody may ask in one story.
const ASKED_AT_MOST: u8 = 3;

/// The process that checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Check {
    None,
    /// It was asked for, and is not made yet.
    Wanted,
    Runs,
    /// It was told to end.
    Told,
    /// Its main process has ended, and has agreed or not.
    Ended(Answer),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Answer {
    Yes,
    No,
}

/// Who is in charge of the listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Charge {
    Old,
    /// The old one tries to become the new one.
    Between,
    New,
}

/// What there is outside, and the books of what the machine has asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    charge: Charge,
    check: Check,
    /// Whether a check has agreed since the request that is under way was made.
    agreed: bool,
    armed: bool,
    service: Service,
    /// Requests so far, and those of them that have no answer yet.
    asked: u8,
    waiting: i8,
}

/// What can come next.
fn possible(world: &World) -> Vec<Event> {
    if world.charge == Charge::New {
        return Vec::new();
    }
    if world.charge == Charge::Between {
        return vec![Event::NotExecuted];
    }
    let mut events = Vec::new();
    match world.check {
        Check::Wanted => return vec![Event::Began, Event::NotBegun],
        Check::Runs => events.extend([Event::Agreed, Event::Refused]),
        // It may have agreed before it heard.
        Check::Told => events.extend([Event::Agreed, Event::Refused]),
        Check::Ended(_) => events.push(Event::Gone),
        Check::None => {}
    }
    if world.asked < ASKED_AT_MOST {
        events.push(Event::Asked(world.service));
    }
    events.push(Event::TurnOver(world.service));
    if world.armed {
        events.push(Event::Overdue);
    }
    events
}

/// The outside does what an event says, before the machine hears of it.
fn happen(world: &mut World, event: Event) {
    match event {
        Event::Asked(_) => {
            world.asked += 1;
            world.waiting += 1;
        }
        Event::Began => world.check = Check::Runs,
        Event::NotBegun => world.check = Check::None,
        Event::Agreed => {
            world.agreed = world.check == Check::Runs;
            world.check = Check::Ended(Answer::Yes);
        }
        Event::Refused => world.check = Check::Ended(Answer::No),
        Event::Gone => world.check = Check::None,
        Event::NotExecuted => world.charge = Charge::Old,
        Event::Overdue => world.armed = false,
        Event::TurnOver(_) => {}
    }
}

/// Performs an effect. Says which invariant it breaks, if it does.
fn perform(world: &mut World, effect: Effect) -> Option<&'static str> {
    match effect {
        Effect::Begin => {
            let is_second = world.check != Check::None;
            world.check = Check::Wanted;
            world.agreed = false;
            return is_second.then_some("one_check_at_a_time");
        }
        Effect::Arm => world.armed = true,
        Effect::Disarm => world.armed = false,
        Effect::End => {
            if world.check == Check::Runs {
                world.check = Check::Told;
            }
        }
        Effect::Execute => {
            world.charge = Charge::Between;
            if world.check != Check::None {
                return Some("never_two_in_charge");
            }
            if !world.agreed || world.waiting != 1 {
                return Some("only_the_agreed_takes_over");
            }
            if world.service == Service::Stops {
                return Some("a_stop_is_a_stop");
            }
        }
        Effect::Refuse(_) | Effect::Fail(_) => {
            world.waiting -= 1;
            if matches!(effect, Effect::Fail(_)) {
                // A failed upgrade leaves the old one in charge.
                world.agreed = false;
                if world.charge != Charge::Old {
                    return Some("a_failed_upgrade_leaves_the_old_in_charge");
                }
            }
        }
    }
    (world.waiting < 0).then_some("each_request_gets_one_answer")
}

/// What must hold between two events.
fn wrong(machine: &Upgrade, world: &World) -> Option<&'static str> {
    let idle = machine.stage() == Stage::Idle;
    if world.check == Check::Runs && !world.armed {
        return Some("every_wait_has_a_timer");
    }
    if idle && world.charge == Charge::Old && world.waiting != 0 {
        return Some("each_request_gets_one_answer");
    }
    if world.waiting > 1 {
        return Some("each_request_gets_one_answer");
    }
    if machine.stage() == Stage::Ending && world.check == Check::Runs {
        return Some("nobody_checks_for_nobody");
    }
    None
}

/// Left to itself, an upgrade ends: with the new one in charge, or with the old one that nobody waits for.
fn ends(mut machine: Upgrade, mut world: World) -> Option<&'static str> {
    for _ in 0..20 {
        if world.charge == Charge::Between {
            // It works, this time.
            world.charge = Charge::New;
            world.waiting -= 1;
        }
        if world.charge == Charge::New {
            return (world.waiting != 0).then_some("each_request_gets_one_answer");
        }
        if machine.stage() == Stage::Idle && world.check == Check::None {
            return None;
        }
        let event = match world.check {
            Check::Wanted => Event::Began,
            Check::Runs if !world.armed => return Some("every_wait_has_a_timer"),
            // It hangs, until its time is over.
            Check::Runs => Event::Overdue,
            Check::Told => Event::Refused,
            Check::Ended(_) => Event::Gone,
            Check::None => Event::TurnOver(world.service),
        };
        happen(&mut world, event);
        for effect in machine.step(event) {
            let broken = perform(&mut world, effect);
            if broken.is_some() {
                return broken;
            }
        }
    }
    Some("never_none_in_charge")
}

/// The first state of a story, and those that follow it by one event; a stop may come at any moment.
fn successors(machine: &Upgrade, world: &World) -> Vec<(String, Upgrade, World, Option<&'static str>)> {
    let mut found = Vec::new();
    if world.service == Service::GoesOn && world.charge == Charge::Old {
        let stopping = World {
            service: Service::Stops,
            ..world.clone()
        };
        found.push(("a stop is asked for".to_owned(), machine.clone(), stopping, None));
    }
    for event in possible(world) {
        let (mut machine, mut world) = (machine.clone(), world.clone());
        happen(&mut world, event);
        let mut broken = None;
        for effect in machine.step(event) {
            broken = broken.or(perform(&mut world, effect));
        }
        broken = broken
            .or_else(|| wrong(&machine, &world))
            .or_else(|| ends(machine.clone(), world.clone()));
        found.push((format!("{event:?}"), machine, world, broken));
    }
    found
}

/// Goes through all of it. Returns the number of states and the shortest story that breaks something.
fn explore(machine: Upgrade) -> (usize, Option<(&'static str, String)>) {
    let world = World {
        charge: Charge::Old,
        check: Check::None,
        agreed: false,
        armed: false,
        service: Service::GoesOn,
        asked: 0,
        waiting: 0,
    };
    let start = (machine, world);
    let mut stories = HashMap::from([(start.clone(), String::new())]);
    let mut queue = VecDeque::from([start]);
    while let Some(state) = queue.pop_front() {
        let story = stories[&state].clone();
        for (by, machine, world, broken) in successors(&state.0, &state.1) {
            let story = format!("{story}{by}\n");
            if let Some(invariant) = broken {
                return (stories.len(), Some((invariant, story)));
            }
            let next = (machine, world);
            if !stories.contains_key(&next) {
                stories.insert(next.clone(), story);
                queue.push_back(next);
            }
        }
    }
    (stories.len(), None)
}

#[test]
fn every_order_of_events_leaves_one_in_charge() {
    let (states, broken) = explore(Upgrade::new());
    assert_eq!(broken, None);
    assert!(states > 50, "{states} states");
}

#[test]
fn each_planted_bug_of_the_upgrade_is_found() {
    let expected = [
        (Bug::BelievesTheNo, "only_the_agreed_takes_over"),
        (Bug::ExecutesBesideTheCheck, "never_two_in_charge"),
        (Bug::UpgradesTheStopping, "a_stop_is_a_stop"),
        (Bug::DropsTheAsker, "each_request_gets_one_answer"),
        (Bug::HearsTheLate, "only_the_agreed_takes_over"),
        (Bug::LeavesTheCheck, "nobody_checks_for_nobody"),
        (Bug::FallsSilent, "each_request_gets_one_answer"),
        (Bug::WaitsForEver, "every_wait_has_a_timer"),
        (Bug::TakesTheSecond, "each_request_gets_one_answer"),
    ];
    for (bug, invariant) in expected {
        let (_, broken) = explore(Upgrade::with_bug(bug));
        let (found, story) = broken.expect("a planted bug is found");
        assert_eq!(found, invariant, "{bug:?}:\n{story}");
    }
}
