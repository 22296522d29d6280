//! Names of events and effects for the table in `docs/LIFECYCLE.md`.

use std::collections::BTreeSet;

use crate::{Effect, Ending, Event, Fact, Outcome, Signal, Timer};

/// What a table is about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Topic {
    Requests,
    Handoff,
    Lanes,
    Workers,
    Slots,
}

impl Topic {
    pub(super) const ALL: [Self; 5] = [
        Self::Requests,
        Self::Handoff,
        Self::Lanes,
        Self::Workers,
        Self::Slots,
    ];

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Requests => "What people ask for",
            Self::Handoff => "The candidate as a whole",
            Self::Lanes => "Where new clients go, and those that wait elsewhere",
            Self::Workers => "One worker",
            Self::Slots => "Trust and back-off",
        }
    }
}

macro_rules! events {
    ($($topic:ident: $name:literal = $pattern:pat),* $(,)?) => {
        /// The name of each event and the table that it belongs to.
        pub(super) const EVENTS: &[(&str, Topic)] = &[$(($name, Topic::$topic)),*];

        /// The place of an event in [`EVENTS`].
        pub(super) fn of_event(event: Event) -> usize {
            let name = match event {
                $($pattern => $name),*
            };
            EVENTS.iter().position(|(other, _)| *other == name).expect("an event with this name")
        }
    };
}

events! {
    Requests: "Reload" = Event::Reload(..),
    Requests: "Workers" = Event::Workers(_),
    Requests: "Stop" = Event::Stop,
    Requests: "Stop is due" = Event::Due(Timer::Stop),
    Handoff: "Prepared" = Event::Prepared(..),
    Handoff: "PrepareFailed" = Event::PrepareFailed(_),
    Handoff: "ProbePassed" = Event::ProbePassed(_),
    Handoff: "ProbeFailed" = Event::ProbeFailed(_),
    Handoff: "ProbeAgain is due" = Event::Due(Timer::ProbeAgain(_)),
    Handoff: "Probe is due" = Event::Due(Timer::Probe(_)),
    Handoff: "Soak is due" = Event::Due(Timer::Soak(_)),
    Handoff: "Confirmed" = Event::Confirmed(_),
    Handoff: "Unawaited" = Event::Unawaited(_),
    Handoff: "Look is due" = Event::Due(Timer::Look(_)),
    Handoff: "Await is due" = Event::Due(Timer::Await(_)),
    Handoff: "Unheld" = Event::Unheld(_),
    Lanes: "Switched" = Event::Switched(_),
    Lanes: "NotSwitched" = Event::NotSwitched(_),
    Lanes: "TokenPlaced" = Event::TokenPlaced(_),
    Lanes: "TokenExcused" = Event::TokenExcused(_),
    Lanes: "TokenAccepted" = Event::TokenAccepted(_),
    Lanes: "Stranded" = Event::Stranded(_),
    Lanes: "Relieved" = Event::Relieved(_),
    Lanes: "Unused" = Event::Unused(_),
    Lanes: "InUse" = Event::InUse(_),
    Lanes: "RoomWanted" = Event::RoomWanted,
    Lanes: "Switch is due" = Event::Due(Timer::Switch),
    Lanes: "Relieve is due" = Event::Due(Timer::Relieve(_)),
    Lanes: "Count is due" = Event::Due(Timer::Count(_)),
    Lanes: "Linger is due" = Event::Due(Timer::Linger(_)),
    Workers: "SpawnFailed" = Event::SpawnFailed(_),
    Workers: "Executed" = Event::Executed(_),
    Workers: "Ready" = Event::Ready(_),
    Workers: "Accepts" = Event::Accepts(_),
    Workers: "Silent is due" = Event::Due(Timer::Silent(_)),
    Workers: "Alive is due" = Event::Due(Timer::Alive(_)),
    Workers: "Hint is due" = Event::Due(Timer::Hint(_)),
    Workers: "Start is due" = Event::Due(Timer::Start(_)),
    Workers: "MoreTime" = Event::MoreTime(_),
    Workers: "Alive" = Event::Alive(_),
    Workers: "Watchdog is due" = Event::Due(Timer::Watchdog(_)),
    Workers: "Stuck" = Event::Stuck(_),
    Workers: "Exited" = Event::Exited(_),
    Workers: "Gone" = Event::Gone(_),
    Workers: "Drain is due" = Event::Due(Timer::Drain(_)),
    Workers: "Kill is due" = Event::Due(Timer::Kill(_)),
    Slots: "Deaf" = Event::Deaf(_),
    Slots: "Probation is due" = Event::Due(Timer::Probation(_)),
    Slots: "BackOff is due" = Event::Due(Timer::BackOff(..)),
    Slots: "Calm is due" = Event::Due(Timer::Calm(..)),
}

/// What the table says of an effect. Timers that are disarmed are left out: they bounded what has just ended.
pub(super) fn of_effect(effect: &Effect) -> Option<&'static str> {
    Some(match effect {
        Effect::Prepare(_) => "Prepare",
        Effect::Spawn(..) => "Spawn",
        Effect::Signal(_, Signal::Stop) => "signal Stop",
        Effect::Signal(_, Signal::StopGroup) => "signal StopGroup",
        Effect::Signal(_, Signal::Abort) => "signal Abort",
        Effect::Signal(_, Signal::Kill) => "signal Kill",
        Effect::Arm(timer, _) => of_timer(*timer),
        Effect::Disarm(_) => return None,
        Effect::Extend(..) => "Extend",
        Effect::Abandon(_) => "Abandon",
        // The facts beside them stand for them.
        Effect::NoteReady(_)
        | Effect::TakeOver(_)
        | Effect::TakeBack(_)
        | Effect::RollBack(..)
        | Effect::Bury(_) => return None,
        Effect::Probe(_) => "Probe",
        Effect::EndProbe(_) => "EndProbe",
        Effect::Confirm(_) => "Confirm",
        Effect::ConfirmAnyway(_) => "ConfirmAnyway",
        Effect::Switch(_) => "Switch",
        Effect::Count(_) => "Count",
        Effect::PlaceToken(_) => "PlaceToken",
        Effect::Answer(_, outcome) => of_outcome(*outcome),
        Effect::Tell(fact) => return of_fact(*fact),
        Effect::Forget(_) => "Forget",
        Effect::Finish(Ending::Stopped) => "Finish Stopped",
        Effect::Finish(Ending::NeverServed(_)) => "Finish NeverServed",
    })
}

const fn of_timer(timer: Timer) -> &'static str {
    match timer {
        Timer::Start(_) => "arm Start",
        Timer::Hint(_) => "arm Hint",
        Timer::Alive(_) => "arm Alive",
        Timer::Silent(_) => "arm Silent",
        Timer::Watchdog(_) => "arm Watchdog",
        Timer::Drain(_) => "arm Drain",
        Timer::Kill(_) => "arm Kill",
        Timer::Probe(_) => "arm Probe",
        Timer::ProbeAgain(_) => "arm ProbeAgain",
        Timer::Soak(_) => "arm Soak",
        Timer::Look(_) => "arm Look",
        Timer::Await(_) => "arm Await",
        Timer::Switch => "arm Switch",
        Timer::Relieve(_) => "arm Relieve",
        Timer::Linger(_) => "arm Linger",
        Timer::Count(_) => "arm Count",
        Timer::Probation(_) => "arm Probation",
        Timer::BackOff(..) => "arm BackOff",
        Timer::Calm(..) => "arm Calm",
        Timer::Stop => "arm Stop",
    }
}

const fn of_outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::TookOver(_) => "answer TookOver",
        Outcome::Settled(_) => "answer Settled",
        Outcome::Drained(_) => "answer Drained",
        Outcome::Replaced(..) => "answer Replaced",
        Outcome::Failed(..) => "answer Failed",
        Outcome::RolledBack(..) => "answer RolledBack",
        Outcome::NoWayBack(..) => "answer NoWayBack",
        Outcome::Stopping => "answer Stopping",
    }
}

/// Facts that only repeat the event or another effect are left out.
const fn of_fact(fact: Fact) -> Option<&'static str> {
    match fact {
        Fact::TookOver(..) => Some("*takeover*"),
        Fact::Stepped(..) => Some("*step*"),
        Fact::Settled(_) => Some("*last good*"),
        Fact::CandidateFailed(..) => Some("*candidate failed*"),
        Fact::RolledBack(..) => Some("*rollback*"),
        Fact::SwitchedBack(..) => Some("*switched back*"),
        Fact::LingerOver(..) => Some("*linger over*"),
        Fact::NoWayBack(..) => Some("*no way back*"),
        Fact::Deaf(_) => Some("*deaf*"),
        Fact::Relief(..) => Some("*relief*"),
        Fact::ReliefFailed(..) => Some("*relief failed*"),
        Fact::NotSwitched(_) => Some("*not switched*"),
        Fact::Unaccepted(_) => Some("*unaccepted*"),
        Fact::Crashed(..) => Some("*crash*"),
        Fact::Unkillable(_) => Some("*given up*"),
        Fact::StillWaiting(_) => Some("*still waiting*"),
        Fact::HandoffBegan(_)
        | Fact::WaitingForRoom
        | Fact::ReloadOver
        | Fact::WorkerReady(_)
        | Fact::Restarted(_)
        | Fact::Overran(_)
        | Fact::Ended(_)
        | Fact::Stopping => None,
    }
}

/// The facts first, then what is done; words that begin alike are drawn together: `arm Start, Hint`.
pub(super) fn join(words: &BTreeSet<&'static str>) -> String {
    let (facts, rest): (Vec<&str>, Vec<&str>) = words.iter().partition(|word| word.starts_with('*'));
    let plain = rest.iter().filter(|word| !word.contains(' '));
    let mut parts: Vec<String> = facts
        .iter()
        .chain(plain)
        .map(|word| String::from(*word))
        .collect();
    for head in ["signal", "arm", "answer", "Finish"] {
        let tails: Vec<&str> = rest
            .iter()
            .filter_map(|word| word.strip_prefix(head)?.strip_prefix(' '))
            .collect();
        if !tails.is_empty() {
            parts.push(format!("{head} {}", tails.join(", ")));
        }
    }
    parts.join("; ")
}
