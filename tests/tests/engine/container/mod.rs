//! Segue as PID 1 of a container, in a real engine: the images of our Dockerfile, deploys into a volume, `docker stop`.
//!
//! One engine serves all cases; each is a function below, with a container of its own. They run side by side, in the
//! engine's network.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot look at its subject has failed"
)]

mod cases;
mod volume;

use segue_tests::engine::{Engine, runtime_dockerfile};
use segue_tests::{needs, pool};

/// How many cases run at a time: they mostly wait.
const SIDE_BY_SIDE: usize = 4;

#[test]
fn containers() {
    // `SEGUE_TEST_SCENE=volume` runs the cases whose name contains that.
    let only = std::env::var("SEGUE_TEST_SCENE").unwrap_or_default();
    let cases: Vec<_> = cases::ALL
        .iter()
        .filter(|case| case.name.contains(&only))
        .collect();
    assert!(!cases.is_empty(), "no scene has {only:?} in its name");
    if !needs::whole_system("container") {
        return;
    }
    let Some(engine) = needs::or_skip("container", Engine::start()) else {
        return;
    };
    if needs::or_skip("container", engine.build_images()).is_none() {
        return;
    }
    pool::each(SIDE_BY_SIDE, &cases, |case| {
        engine.enter_network();
        (case.play)(&engine);
    });
    engine.end();
}

/// The images as a user builds them, from source. It takes a minute or two: `.ci/more image` runs it, and the long run does.
#[test]
fn the_whole_dockerfile_builds() {
    if !segue_tests::long_run() {
        eprintln!("left out: container, from source: it takes minutes; `.ci/more image` runs it");
        return;
    }
    if !needs::whole_system("container, from source") {
        return;
    }
    let Some(engine) = needs::or_skip("container, from source", Engine::start()) else {
        return;
    };
    if needs::or_skip("container, from source", engine.build_from_source()).is_none() {
        return;
    }
    std::thread::scope(|scope| {
        scope.spawn(|| {
            engine.enter_network();
            cases::from_source(&engine);
        });
    });
    engine.end();
}

/// What the engine builds in the short run differs from our Dockerfile in the build stages alone.
#[test]
fn the_runtime_stages_are_the_dockerfiles_own() {
    let original = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../Dockerfile")).unwrap();
    let ours = runtime_dockerfile(&original);
    let runtime = original.find("FROM scratch AS static").unwrap();
    assert!(ours.ends_with(&original[runtime..]), "{ours}");
    assert!(
        ours.starts_with(&original[..original.find("FROM ").unwrap()]),
        "{ours}"
    );
}
