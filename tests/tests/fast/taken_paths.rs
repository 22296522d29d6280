//! Apps that take away the path of a Unix listener, as php-fpm does at each of its ends: the same socket is there again at once.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot look at its subject has failed"
)]

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use segue_tests::figures::{say, scale};
use segue_tests::load::knocks::Knocks;
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};
use segue_tests::wait_until;
use tempfile::TempDir;

const AT_TERM: &str = "unlinks-path then=at-term";
const BACK: &str = "an app removed its path; it is there again";

fn second(path: &Path) -> PathBuf {
    path.with_extension("kept")
}

fn inode(path: &Path) -> Option<u64> {
    std::fs::symlink_metadata(path).ok().map(|there| there.ino())
}

/// An instance that serves at the path `s`.
fn at_path(app: &str) -> (Segue, TempDir, PathBuf) {
    at_path_with("", app)
}

fn at_path_with(options: &str, app: &str) -> (Segue, TempDir, PathBuf) {
    let setup = Setup::new(Program::new("./app"));
    setup.deploy("app", &Program::fixture(app));
    let directory = segue_tests::segue::directory();
    let path = directory.path().join("s");
    let listen = format!("web=unix:{}{options}", path.display());
    (setup.listen(listen).start(), directory, path)
}

/// With well-behaved apps in their places, so that the last look at the directory is not a race.
fn stop(segue: Segue, directory: &TempDir) {
    segue.deploy("app", &Program::fixture("good"));
    segue.reload_ok(&["--drained"]);
    let files = || std::fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(files(), 3, "the path, its lock and its second link");
    segue.stop();
    assert_eq!(files(), 0);
}

#[test]
fn a_path_that_each_generation_takes_away_is_missed_once_a_reload_at_most() {
    let (segue, directory, path) = at_path(AT_TERM);
    let first = inode(&path);
    let rounds = scale(10, 100);
    let knocks = Knocks::start(&path);
    for _ in 0..rounds {
        segue.reload_ok(&["--drained"]);
        wait_until("the path is there", || inode(&path) == first);
    }
    let knocked = knocks.stop();
    say(format_args!(
        "{rounds} reloads of an app that takes its path away: {knocked}"
    ));
    assert!(knocked.others.is_empty(), "{knocked}");
    assert!(knocked.gaps <= rounds, "{knocked}");
    assert_eq!(
        segue.process().stderr().matches(BACK).count(),
        1,
        "it is told once"
    );
    assert!(segue.status().listener("trouble").is_null());
    stop(segue, &directory);
}

/// The app removes what its socket tells it. An upgrade and the next supervisor after kill -9 know of it as well.
#[test]
fn a_linked_path_that_each_generation_takes_away_is_missed_by_nobody() {
    let (mut segue, directory, path) = at_path_with(",linked", AT_TERM);
    let first = inode(&path);
    let rounds = scale(5, 100);
    let knocks = Knocks::start(&path);
    let reload = |segue: &Segue| {
        segue.reload_ok(&["--drained"]);
        wait_until("the second link is there", || inode(&second(&path)) == first);
    };
    for _ in 0..rounds {
        reload(&segue);
    }
    let upgraded = segue.run("upgrade", &[]);
    assert_eq!(upgraded.code, Some(0), "{upgraded:?}");
    reload(&segue);
    segue.kill();
    segue.resume();
    reload(&segue);
    knocks.wait_for_more(1);
    let knocked = knocks.stop();
    say(format_args!(
        "{rounds} reloads, an upgrade and a kill -9 with a linked path that each generation takes away: {knocked}"
    ));
    assert_eq!((knocked.missed, knocked.lost()), (0, 0), "{knocked}");
    assert_eq!(segue.process().stderr().matches(BACK).count(), 0);
    let status = segue.status();
    let address = format!("unix:{}", path.display());
    assert_eq!(status.listener("address").as_str(), Some(&*address));
    assert!(status.listener("trouble").is_null());
    stop(segue, &directory);
}

/// The negative control: somebody's directory has the name of the second link, so that there is none. Nobody finds the app from the
/// end of one generation to the next reload at least.
#[test]
fn without_a_second_link_the_path_is_missed_for_good() {
    let setup = Setup::new(Program::new("./app"));
    setup.deploy("app", &Program::fixture(AT_TERM));
    let directory = segue_tests::segue::directory();
    let path = directory.path().join("s");
    std::fs::create_dir(second(&path)).unwrap();
    let segue = setup.listen(format!("web=unix:{}", path.display())).start();
    let knocks = Knocks::start(&path);
    let rounds = scale(10, 100);
    for _ in 0..rounds {
        segue.reload_ok(&["--drained"]);
        knocks.wait_until_missed();
    }
    let knocked = knocks.stop();
    say(format_args!(
        "control: {rounds} reloads without a second link: {knocked}"
    ));
    assert!(knocked.missed >= rounds, "{knocked}");
    segue
        .process()
        .wait_for_line("an app removed its path, and no client finds it until the next reload");
    segue.stop();
}

#[test]
fn a_candidate_that_takes_the_path_away_at_its_start_is_not_noticed_by_clients() {
    let (segue, directory, path) = at_path("good");
    let first = inode(&path);
    segue.deploy("app", &Program::fixture("unlinks-path"));
    let done = segue.reload(&["--drained"]);
    assert_eq!(
        (done.code, done.stdout.contains("listener web")),
        (Some(0), false),
        "{done:?}"
    );
    wait_until("the path is there", || inode(&path) == first);
    segue.process().wait_for_line(BACK);
    stop(segue, &directory);
}

#[test]
fn a_path_that_is_taken_away_while_all_is_at_rest_is_put_back() {
    let (segue, directory, path) = at_path("good");
    let first = inode(&path);
    for way in [
        |path: &Path| std::fs::remove_file(path),
        |path: &Path| std::fs::rename(path, path.with_extension("elsewhere")),
    ] {
        way(&path).unwrap();
        wait_until("the path is there", || inode(&path) == first);
    }
    std::fs::remove_file(path.with_extension("elsewhere")).unwrap();
    std::fs::remove_file(second(&path)).unwrap();
    wait_until("the second link is there", || inode(&second(&path)) == first);
    stop(segue, &directory);
}

#[test]
fn it_is_put_back_after_an_upgrade_and_by_the_next_supervisor_after_kill_9() {
    let (mut segue, directory, path) = at_path("good");
    let first = inode(&path);
    let upgraded = segue.run("upgrade", &[]);
    assert_eq!(upgraded.code, Some(0), "{upgraded:?}");
    std::fs::remove_file(&path).unwrap();
    wait_until("the path is there", || inode(&path) == first);

    segue.kill();
    std::fs::remove_file(&path).unwrap();
    segue.resume();
    wait_until("the path is there", || inode(&path) == first);
    std::fs::remove_file(&path).unwrap();
    wait_until("the path is there", || inode(&path) == first);
    stop(segue, &directory);
}

/// As of an app that clears the way and binds there itself: it is not ours to replace.
#[test]
fn the_socket_that_an_app_binds_there_itself_stays() {
    let (segue, directory, path) = at_path("good");
    let theirs = directory.path().join("theirs");
    let listener = std::os::unix::net::UnixListener::bind(&theirs).unwrap();
    let its_inode = inode(&theirs);
    std::fs::rename(&theirs, &path).unwrap();
    let taken = "something else lies at its path, and no client finds it until the next reload";
    segue.wait_until("it is seen", |status| status.listener("trouble") == taken);
    let done = segue.reload(&["--drained"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(
        done.stdout.ends_with(&format!("; listener web: {taken}\n")),
        "{done:?}"
    );
    segue
        .process()
        .wait_for_line("cannot bind it afresh: address already in use");
    assert_eq!(inode(&path), its_inode);
    // One that nobody serves any more makes room.
    drop(listener);
    stop(segue, &directory);
}
