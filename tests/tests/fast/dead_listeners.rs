//! A Unix listener that an app has killed for everybody, by shutdown() or by removing its path where there is no second link to
//! put it back by (`taken_paths.rs`): it is told while it lasts, and the next reload binds it afresh.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot look at its subject has failed"
)]

use std::path::{Path, PathBuf};

use segue_tests::http::{Target, get_and_close};
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};
use tempfile::TempDir;

const SHUT: &str = "an app shut it down, and clients are refused until the next reload";
const UNLINKED: &str = "an app removed its path, and no client finds it until the next reload";
const TAKEN: &str = "something else lies at its path, and no client finds it until the next reload";

/// An instance that serves at the path `s`, as the listener `web`. Every reload runs what was deployed last.
fn at_path(app: &str) -> (Segue, TempDir, PathBuf) {
    at_path_of(Setup::new(Program::new("./app")), app)
}

fn at_path_of(setup: Setup, app: &str) -> (Segue, TempDir, PathBuf) {
    setup.deploy("app", &Program::fixture(app));
    // One of its own, so that it can be looked at when the instance is gone.
    let directory = segue_tests::segue::directory();
    let path = directory.path().join("s");
    // Somebody else's directory has the name of the second link.
    std::fs::create_dir(directory.path().join("s.kept")).unwrap();
    let segue = setup.listen(format!("web=unix:{}", path.display())).start();
    (segue, directory, path)
}

/// A candidate that shuts the listener down and dies before it is ready.
fn shut_down_by_a_candidate(segue: &Segue) {
    segue.deploy("app", &Program::fixture("shuts-listener then=die"));
    assert_eq!(segue.reload(&[]).code, Some(1));
}

/// The generation that answers a new client.
#[track_caller]
fn answered_by(target: &Target) -> String {
    let response = target
        .connect()
        .and_then(|mut client| client.ask(&get_and_close("/ping")));
    let response = response.unwrap_or_else(|loss| panic!("a client is not served: {loss:?}"));
    response.header("x-segue-generation").to_owned()
}

fn trouble(segue: &Segue) -> serde_json::Value {
    segue.status().0["listeners"][0]["trouble"].clone()
}

/// What each form of the status says, and that clients are refused indeed.
#[track_caller]
fn assert_dead(segue: &Segue, path: &Path, clause: &str) {
    assert_eq!(trouble(segue), clause);
    let table = segue.run("status", &[]).stdout;
    assert!(table.contains(&format!("\nlistener web: {clause}\n")), "{table}");
    let flat = segue.run("status", &["--flat"]).stdout;
    assert!(
        flat.contains(&format!("\nlisteners.0.trouble={clause}\n")),
        "{flat}"
    );
    std::os::unix::net::UnixStream::connect(path).unwrap_err();
}

#[track_caller]
fn assert_alive(segue: &Segue, path: &Path, generation: &str) {
    assert_eq!(answered_by(&Target::Unix(path.to_owned())), generation);
    assert!(trouble(segue).is_null(), "{}", segue.status().0);
    let table = segue.run("status", &[]).stdout;
    assert!(!table.contains("listener web:"), "{table}");
}

/// A reload that binds it afresh has nothing to tell about it.
#[track_caller]
fn mend(segue: &Segue) {
    segue.deploy("app", &Program::fixture("good"));
    let done = segue.reload(&["--drained"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(!done.stdout.contains("listener web"), "{done:?}");
}

/// Neither the path nor its lock file may stay, but what is somebody else's.
#[track_caller]
fn stop(segue: Segue, path: &Path) {
    let directory = path.parent().unwrap();
    let files = || std::fs::read_dir(directory).unwrap().count();
    assert_eq!(files(), 3, "the path is locked as long as it is ours");
    segue.stop();
    assert_eq!(files(), 1);
}

#[test]
fn the_next_reload_mends_a_listener_that_was_shut_down() {
    let (segue, _directory, path) = at_path("good");
    assert_alive(&segue, &path, "1");
    shut_down_by_a_candidate(&segue);
    segue.process().wait_for_line(SHUT);
    assert_dead(&segue, &path, SHUT);
    mend(&segue);
    assert_alive(&segue, &path, "3");
    segue.reload_ok(&["--drained"]);
    assert_alive(&segue, &path, "4");
    stop(segue, &path);
}

#[test]
fn the_next_reload_mends_a_listener_whose_path_was_removed() {
    let (segue, _directory, path) = at_path("unlinks-path");
    segue.process().wait_for_line(UNLINKED);
    assert_dead(&segue, &path, UNLINKED);
    mend(&segue);
    assert_alive(&segue, &path, "2");
    let log = segue.process().stderr();
    assert!(
        !log.contains(TAKEN),
        "the new socket of ours is no stranger to the old one: {log}"
    );
    stop(segue, &path);
}

#[test]
fn a_reload_that_fails_leaves_it_as_dead_as_it_was() {
    let (segue, _directory, path) = at_path("good");
    shut_down_by_a_candidate(&segue);
    segue.deploy("app", &Program::fixture("crash-at-start"));
    assert_eq!(segue.reload(&[]).code, Some(1));
    assert_dead(&segue, &path, SHUT);
    std::fs::remove_file(segue.path("app")).unwrap();
    assert_eq!(segue.reload(&[]).code, Some(1));
    assert_dead(&segue, &path, SHUT);
    let log = segue.process().stderr();
    assert_eq!(
        log.matches("an app ").count(),
        1,
        "it is told once, and nothing else: {log}"
    );
    mend(&segue);
    assert_eq!(
        answered_by(&Target::Unix(path.clone())),
        segue.status().generation().to_string()
    );
    stop(segue, &path);
}

#[test]
fn a_rollback_keeps_what_the_reload_has_mended() {
    let setup = Setup::new(Program::new("./app")).trusted_at_once();
    let (segue, _directory, path) = at_path_of(setup, "good");
    segue.distrust();
    shut_down_by_a_candidate(&segue);
    segue.deploy(
        "app",
        &Program::fixture("ready-then-dies once=serving after=10ms"),
    );
    let done = segue.reload(&["--settled"]);
    assert_eq!(done.code, Some(1), "{done:?}");
    let status = segue.wait_until("the last good serves", |status| {
        status.count("rollbacks") == 1 && status.state() == "serving"
    });
    assert_alive(&segue, &path, &status.generation().to_string());
    stop(segue, &path);
}

#[test]
fn a_reload_whose_own_app_kills_the_listener_says_so() {
    let (segue, _directory, path) = at_path("good");
    segue.deploy("app", &Program::fixture("unlinks-path"));
    let done = segue.reload(&[]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(
        done.stdout.ends_with(&format!("; listener web: {UNLINKED}\n")),
        "{done:?}"
    );
    mend(&segue);
    assert_alive(&segue, &path, "3");
    stop(segue, &path);
}

#[test]
fn what_lies_at_the_path_by_then_is_left_alone_and_the_reload_says_so() {
    let (segue, _directory, path) = at_path("unlinks-path");
    std::fs::write(&path, "somebody's").unwrap();
    segue.deploy("app", &Program::fixture("good"));
    let done = segue.reload(&["--drained"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(
        done.stdout.ends_with(&format!("; listener web: {TAKEN}\n")),
        "{done:?}"
    );
    segue.process().wait_for_line(
        "cannot bind it afresh: there is a regular file at that path, not a socket, and it stays",
    );
    std::fs::remove_file(&path).unwrap();
    mend(&segue);
    assert_alive(&segue, &path, "3");
    stop(segue, &path);
}

#[test]
fn an_abstract_address_stays_dead_and_every_reload_says_so() {
    let setup = Setup::new(Program::new("./app"));
    setup.deploy("app", &Program::fixture("good"));
    let address = format!("@segue-test-dead-{}", std::process::id());
    let segue = setup.listen(format!("web=unix:{address}")).start();
    assert_eq!(answered_by(&Target::Abstract(address[1..].to_owned())), "1");
    shut_down_by_a_candidate(&segue);
    let clause = "an app shut it down, and clients are refused until segue is started again";
    assert_eq!(trouble(&segue), clause);
    segue.deploy("app", &Program::fixture("good"));
    let done = segue.reload(&[]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(
        done.stdout.ends_with(&format!("; listener web: {clause}\n")),
        "{done:?}"
    );
    segue.process().wait_for_line(&format!(
        "listener web (unix:{address}): cannot bind it afresh: address already in use"
    ));
    segue.stop();
}
