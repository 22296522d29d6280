use super::*;
use crate::protocol::{Generation, LastWords, Role, Worker, WorkerState};

fn names(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

#[test]
fn names_of_releases_are_known() {
    for name in ["20261125-173202-068d3693", "20261125-173202.01-068d3693", "1-a"] {
        assert!(is_release(name), "{name}");
    }
    for name in [
        "", ".new", ".gone", "current", "20261125", "a-1", "1-x", "1-a/b", "1-a ",
    ] {
        assert!(!is_release(name), "{name}");
    }
}

#[test]
fn each_release_comes_behind_all_others() {
    let name = |stamp: &str, newest: Option<&str>| release_name(stamp, newest, "0123456789abcdef");
    let first = name("20261125-173202", None).unwrap();
    assert_eq!(first, "20261125-173202-01234567");
    // A thousand in one second, or with a clock that was set back: until it is too much.
    let mut newest = first;
    for count in 1..=99 {
        let next = name("20261125-173202", Some(&newest)).unwrap();
        assert_eq!(next, format!("20261125-173202.{count:02}-01234567"));
        assert!(next > newest, "{next} {newest}");
        newest = next;
    }
    assert!(
        name("20201125-173202", Some(&newest))
            .unwrap_err()
            .contains("is the clock right?")
    );
    assert_eq!(
        name("20261125-173203", Some(&newest)).unwrap(),
        "20261125-173203-01234567"
    );
    assert!(is_release(&newest));
}

#[test]
fn the_release_before_is_the_newest_good_one_that_is_older() {
    let releases = names("5-a 4-a 3-a 2-a 1-a");
    let good = |name: &str| name != "4-a" && name != "2-a";
    assert_eq!(previous(&releases, Some("5-a"), good), Some("3-a"));
    assert_eq!(previous(&releases, Some("4-a"), good), Some("3-a"));
    assert_eq!(previous(&releases, Some("3-a"), good), Some("1-a"));
    assert_eq!(previous(&releases, Some("1-a"), good), None);
    assert_eq!(previous(&releases, Some("9-a"), good), None);
    assert_eq!(previous(&releases, None, good), None);
}

#[test]
fn the_current_release_and_the_one_before_are_never_too_old() {
    let releases = names("5-a 4-a 3-a 2-a 1-a");
    for keep in 0..7 {
        for current in 0..5 {
            for before in current..5 {
                let (current, before) = (releases[current].as_str(), releases[before].as_str());
                let old = too_old(&releases, keep, Some(current), Some(before));
                assert!(!old.contains(&current) && !old.contains(&before));
                let all = releases
                    .iter()
                    .skip(keep)
                    .filter(|name| *name != current && *name != before);
                assert!(all.eq(old.iter()));
            }
        }
    }
}

const PROBATIONS: [Option<Probation>; 5] = [
    None,
    Some(Probation::NotReached),
    Some(Probation::Running),
    Some(Probation::Passed),
    Some(Probation::NotPassed),
];

/// Every combination of what can be found, and what must hold whatever it is.
#[test]
fn an_open_flip_is_resolved_to_what_serves() {
    let servers = [
        Server::NoSupervisor,
        Server::Release("new"),
        Server::Release("old"),
        Server::Release("third"),
        Server::SameAsBefore,
        Server::Unknown,
    ];
    let mut tried = 0;
    for server in servers {
        for probation in PROBATIONS {
            for (led_somewhere, is_flipped) in [(false, false), (false, true), (true, false), (true, true)] {
                let found = resolve(OpenFlip {
                    to: "new",
                    led_somewhere,
                    is_flipped,
                    server,
                    probation,
                });
                let story = format!("{server:?} {probation:?} {led_somewhere} {is_flipped}: {found:?}");
                let expected = match server {
                    // Nobody knows: nothing is changed.
                    Server::NoSupervisor => Resolution::NotKnown,
                    // `current` leads to what serves, whatever became of the flip.
                    Server::Release("new") => Resolution::Serves {
                        is_proven: probation == Some(Probation::Passed),
                    },
                    _ if !is_flipped => Resolution::NotFlipped,
                    Server::Release(other) => Resolution::BackTo(other),
                    Server::SameAsBefore if led_somewhere => Resolution::BackToBefore,
                    Server::SameAsBefore | Server::Unknown => Resolution::NotSeen,
                };
                assert_eq!(found, expected, "{story}");
                tried += 1;
            }
        }
    }
    assert_eq!(tried, 120);
}

const OUTCOMES: [Outcome; 3] = [Outcome::Ok, Outcome::Failed, Outcome::RolledBack];

fn course(outcome: Outcome, probation: Option<Probation>) -> Course {
    Course {
        outcome,
        probation,
        generation: Some(3),
        cause: None,
        reason: Some("it fell".to_owned()),
        last_lines: Vec::new(),
    }
}

#[test]
fn only_a_crash_without_a_good_version_brings_a_second_reload() {
    for outcome in OUTCOMES {
        for probation in PROBATIONS {
            let next = next(&course(outcome, probation));
            let expected = match (outcome, probation) {
                (Outcome::Ok, _) => Next::Succeed,
                (Outcome::Failed, Some(Probation::NotPassed)) => Next::ReturnToOld,
                _ => Next::TakeBack,
            };
            assert_eq!(next, expected, "{outcome:?} {probation:?}");
        }
    }
}

#[test]
fn a_failure_is_told_with_its_generation() {
    let told = |outcome, probation| course(outcome, probation).failure();
    assert_eq!(told(Outcome::Failed, None), "generation 3: it fell");
    assert_eq!(
        told(Outcome::Failed, Some(Probation::NotPassed)),
        "generation 3: it fell; no version has passed probation yet"
    );
    assert_eq!(
        told(Outcome::RolledBack, None),
        "rolled back: generation 3: it fell"
    );
    let bare = Course {
        generation: None,
        reason: None,
        ..course(Outcome::Failed, None)
    };
    assert_eq!(bare.failure(), "no reason was told");
}

fn status(state: State, worker: WorkerState, last_reload: Option<LastReload>, restarts: u64) -> Status {
    let text = r#"{"schema":1,"name":"app","pid":1,"since":"","version":"","state":"serving","generation":2,
        "listeners":[],"generations":[],"last_reload":null,"last_crash":null,"restarts":0,"rollbacks":0}"#;
    let generation = Generation {
        generation: 2,
        role: Role::Incumbent,
        since: String::new(),
        probation: Probation::Running,
        workers: vec![Worker {
            pid: 9,
            state: worker,
            since: String::new(),
            connections: None,
            limit_ms: None,
            status: None,
        }],
        strays: 0,
        binary: serde_json::from_str(r#"{"path":"/app","inode":1,"sha256":null}"#).unwrap(),
        replaced: None,
    };
    Status {
        state,
        last_reload,
        restarts,
        generations: vec![generation],
        ..serde_json::from_str(text).unwrap()
    }
}

fn last(outcome: Outcome, generation: Option<u64>, at: &str) -> LastReload {
    LastReload {
        outcome,
        cause: None,
        reason: Some("it fell".to_owned()),
        duration_ms: 1,
        generation,
        at: at.to_owned(),
        words: LastWords::default(),
    }
}

/// Whatever a status says of a reload whose outcome nobody told: every combination, and what must hold.
#[test]
fn a_reload_is_judged_by_the_status_and_never_taken_for_more_than_it_is() {
    let states = [
        State::Starting,
        State::Serving,
        State::HandingOff,
        State::BackingOff,
        State::Stopping,
    ];
    let versions = [Version::Release, Version::ThroughCurrent, Version::Other];
    let mut reloads = vec![None];
    for outcome in OUTCOMES {
        for generation in [None, Some(1), Some(2), Some(3)] {
            for at in ["before", "later"] {
                reloads.push(Some(last(outcome, generation, at)));
            }
        }
    }
    let mut tried = 0;
    for state in states {
        for worker in [WorkerState::Serving, WorkerState::Starting] {
            for reload in &reloads {
                for version in versions {
                    for probation in PROBATIONS {
                        for until in [Until::Takeover, Until::Settled] {
                            for tries in [1, RELOAD_TRIES] {
                                let status = status(state, worker, reload.clone(), 4);
                                let incumbent = Incumbent {
                                    generation: Some(2),
                                    probation,
                                    version,
                                };
                                let asked = Asked {
                                    last_before: Some("before".to_owned()),
                                    generation: Some(3),
                                    restarts: 4,
                                    until,
                                    tries,
                                };
                                check(&status, &incumbent, &asked);
                                tried += 1;
                            }
                        }
                    }
                }
            }
        }
    }
    assert!(tried > 10_000, "{tried}");
}

#[track_caller]
fn check(status: &Status, incumbent: &Incumbent, asked: &Asked) {
    let found = judge(status, incumbent, asked);
    let story = format!("{status:?} {incumbent:?} {asked:?}: {found:?}");
    let is_news = status.last_reload.as_ref().is_some_and(|last| last.at == "later");
    let at_rest = matches!(status.state, State::Serving | State::BackingOff);
    match &found {
        Judgement::NotYet => {}
        _ if !at_rest => panic!("it is still under way: {story}"),
        Judgement::AskAgain => {
            assert!(!is_news && incumbent.version == Version::Other, "{story}");
            assert!(status.serves() && asked.tries < RELOAD_TRIES, "{story}");
        }
        Judgement::Came(course) if course.outcome == Outcome::Ok => {
            // A success is one of the release that serves, or the caller finds out that something else does.
            match incumbent.version {
                Version::Other => assert!(is_news && asked.generation == Some(3), "{story}"),
                Version::Release | Version::ThroughCurrent => {
                    assert!(status.serves(), "{story}");
                    let is_trusted = incumbent.probation == Some(Probation::Passed);
                    assert!(asked.until == Until::Takeover || is_trusted, "{story}");
                }
            }
        }
        Judgement::Came(course) => {
            assert!(course.reason.is_some(), "{story}");
            let is_crash = course.probation == Some(Probation::NotPassed);
            let is_told = is_news || asked.tries == RELOAD_TRIES;
            assert!(is_crash || is_told, "a failure that nobody told: {story}");
            if is_crash {
                assert_ne!(incumbent.version, Version::Other, "{story}");
                assert_eq!(incumbent.probation, Some(Probation::Running), "{story}");
            }
        }
    }
}

#[test]
fn restarts_in_probation_are_a_crash() {
    let incumbent = Incumbent {
        generation: Some(2),
        probation: Some(Probation::Running),
        version: Version::Release,
    };
    let asked = Asked {
        last_before: None,
        generation: None,
        restarts: 4,
        until: Until::Settled,
        tries: 1,
    };
    let judged = |state, restarts| {
        let status = status(state, WorkerState::Serving, None, restarts);
        match judge(&status, &incumbent, &asked) {
            Judgement::Came(course) => course.reason,
            Judgement::NotYet | Judgement::AskAgain => None,
        }
    };
    assert_eq!(judged(State::Serving, 4), None);
    let crashed = Some("it crashed, and is started again".to_owned());
    assert_eq!(judged(State::Serving, 5), crashed);
    assert_eq!(judged(State::BackingOff, 4), crashed);
}
