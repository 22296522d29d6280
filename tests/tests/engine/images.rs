//! A new image instead of new code: Segue has the socket and starts `podman run` for each generation, and `deploy.sh --image`
//! puts one image in the place of the other.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot look at its subject has failed"
)]

use std::process::Command;

use nix::sys::signal::Signal;
use segue_tests::deployed;
use segue_tests::figures;
use segue_tests::http::get;
use segue_tests::load::{Kind, Load};
use segue_tests::needs;
use segue_tests::podman::Podman;
use segue_tests::process::{Finished, Process};
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};
use segue_tests::{version, wait_until};

/// The repository of the images.
const IMAGES: &str = "localhost/shop";

/// The app, as deploy.sh calls it.
const APP: &str = "app";

/// The first image in place, and a supervisor that runs it.
fn start(podman: &Podman) -> Segue {
    start_with(podman, setup())
}

fn setup() -> Setup {
    let app = Program::new("./srv/current/app");
    Setup::new(app).flags(["--probation", "10ms", "--start-timeout", "60s"])
}

fn start_with(podman: &Podman, setup: Setup) -> Segue {
    let setup = podman
        .env()
        .into_iter()
        .fold(setup, |setup, (key, value)| setup.env(key, value));
    podman.build("localhost/shop:1", &["--message", "image 1"]);
    let mut first = deployed::command(
        &setup.path("."),
        &setup.path("control"),
        &["--no-reload", "--image", "localhost/shop:1"],
    );
    let done = finish(podman, &mut first);
    assert_eq!(done.code, Some(0), "{done:?}");
    setup.start()
}

fn finish(podman: &Podman, command: &mut Command) -> Finished {
    Process::start(command.envs(podman.env())).finish()
}

fn deploy(podman: &Podman, segue: &Segue, args: &[&str]) -> Finished {
    let mut command = deployed::command(&segue.path("."), segue.control(), args);
    finish(podman, &mut command)
}

fn deploy_image(podman: &Podman, segue: &Segue, number: u64) {
    let tag = format!("{IMAGES}:{number}");
    podman.build(&tag, &["--message", &format!("image {number}")]);
    let done = deploy(podman, segue, &["--keep", "3", "--image", &tag]);
    assert_eq!(done.code, Some(0), "{done:?}\n{}", segue.process().stderr());
}

#[test]
fn ten_images_follow_each_other_and_a_broken_one_harms_nobody() {
    let test = "ten_images_follow_each_other_and_a_broken_one_harms_nobody";
    if !needs::whole_system(test) {
        return;
    }
    let Some(podman) = needs::or_skip(test, Podman::start()) else {
        return;
    };
    let segue = start(&podman);
    // A tag that could not be removed with its release goes with a later one.
    let kept = podman.kept(APP);
    let (repository, _) = kept[0].rsplit_once(':').unwrap();
    let stale = podman.run(&["tag", "localhost/shop:1", &format!("{repository}:0123456789ab")]);
    assert_eq!(stale.code, Some(0), "{stale:?}");
    let target = segue.target();
    let loads = [Kind::Fresh, Kind::KeepAlive].map(|kind| Load::start(kind, &target, 2));
    for number in 2..=11 {
        deploy_image(&podman, &segue, number);
        for load in &loads {
            load.wait_for_generation(number);
        }
    }
    // A response in flight ends before its container does.
    let mut slow = target.connect().unwrap();
    slow.write(&get("/slow?ms=1500")).unwrap();
    deploy_image(&podman, &segue, 12);
    slow.response().unwrap().ok().unwrap();
    version::wait_for(&target, "image 12");

    podman.build("localhost/shop:broken", &["--no-such-option"]);
    let done = deploy(&podman, &segue, &["--image", "localhost/shop:broken"]);
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(done.stderr.contains("current leads to it again"), "{done:?}");
    version::assert_only(&segue, "image 12");

    let done = deploy(&podman, &segue, &["--rollback"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    version::wait_for(&target, "image 11");
    for load in loads {
        let tally = load.stop();
        figures::say(format_args!("images of podman, 12 deploys: {}", tally.figures()));
        tally.assert_nothing_lost();
    }
    let said = segue.process().stderr();
    assert!(
        !said.contains("no process has it open") && !said.contains("nobody is seen waiting"),
        "{said}"
    );
    // Three releases are kept, and the one that failed until the next deploy; the images of the others have no tag of ours.
    let kept = podman.kept(APP);
    assert_eq!(kept.len(), 4, "{kept:?}");
    let listed = deploy(&podman, &segue, &["--list"]).stdout;
    let mut ids = kept.iter().filter_map(|tag| tag.rsplit(':').next());
    assert!(ids.all(|id| listed.contains(&format!("image {id}"))), "{listed}");
    segue.stop();
    assert_eq!(podman.containers(), Vec::<String>::new());
}

/// A tag that moves on takes the image away from nobody: the release keeps it by a tag of its own.
#[test]
fn a_rollback_needs_no_tag_of_the_users() {
    let test = "a_rollback_needs_no_tag_of_the_users";
    if !needs::whole_system(test) {
        return;
    }
    let Some(podman) = needs::or_skip(test, Podman::start()) else {
        return;
    };
    let segue = start(&podman);
    let again = deploy(&podman, &segue, &["--image", "localhost/shop:1"]);
    assert_eq!(again.code, Some(0), "{again:?}");
    assert!(again.stdout.contains("already serves"), "{again:?}");
    podman.build("localhost/shop:1", &["--message", "the tag moved on"]);
    let done = deploy(&podman, &segue, &["--image", "localhost/shop:1"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    version::wait_for(&segue.target(), "the tag moved on");
    let pruned = podman.run(&["image", "prune", "--force"]);
    assert_eq!(pruned.code, Some(0), "{pruned:?}");
    let done = deploy(&podman, &segue, &["--rollback"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    version::wait_for(&segue.target(), "image 1");
    segue.stop();
}

/// One lets go of its images, and the other one still has its own.
#[test]
fn two_roots_of_one_name_have_tags_of_their_own() {
    let test = "two_roots_of_one_name_have_tags_of_their_own";
    if !needs::whole_system(test) {
        return;
    }
    let Some(podman) = needs::or_skip(test, Podman::start()) else {
        return;
    };
    podman.build("localhost/shop:1", &[]);
    for _ in 0..2 {
        let place = setup();
        let words = ["--no-reload", "--image", "localhost/shop:1"];
        let mut command = deployed::command(&place.path("."), &place.path("control"), &words);
        let done = finish(&podman, &mut command);
        assert_eq!(done.code, Some(0), "{done:?}");
    }
    let kept = podman.kept(APP);
    assert_eq!(kept.len(), 2, "{kept:?}");
}

/// The supervisor is killed; its successor adopts the container's podman, and the next deploy works.
#[test]
fn a_container_survives_its_supervisor() {
    let test = "a_container_survives_its_supervisor";
    if !needs::whole_system(test) {
        return;
    }
    let Some(podman) = needs::or_skip(test, Podman::start()) else {
        return;
    };
    let mut segue = start(&podman);
    let target = segue.target();
    let load = Load::start(Kind::KeepAlive, &target, 2);
    segue.signal(Signal::SIGKILL);
    let _ = segue.process().wait_for_exit();
    load.wait_for_more(10);
    segue.resume();
    deploy_image(&podman, &segue, 2);
    version::assert_only(&segue, "image 2");
    load.stop().assert_nothing_lost();
    let said = segue.process().stderr();
    assert!(said.contains("its app is adopted: generation 1 serves"), "{said}");
    segue.stop();
    assert_eq!(podman.containers(), Vec::<String>::new());
}

/// Its own supervisor ends a container that outlives the stop timeout, and so does a successor that has never been its parent.
/// Podman, which is killed as well, never learns of that: the next deploy tells it.
#[test]
fn a_container_that_does_not_drain_in_time_is_ended() {
    let test = "a_container_that_does_not_drain_in_time_is_ended";
    if !needs::whole_system(test) {
        return;
    }
    let Some(podman) = needs::or_skip(test, Podman::start()) else {
        return;
    };
    let setup = setup().flags(["--config", "segue.toml"]);
    let settings = setup.path("segue.toml");
    std::fs::write(&settings, "drain-timeout = \"1s\"\n").unwrap();
    let mut segue = start_with(&podman, setup);
    let target = segue.target();
    segue.signal(Signal::SIGKILL);
    let _ = segue.process().wait_for_exit();
    segue.resume();
    let mut slow = target.connect().unwrap();
    slow.write(&get("/slow?ms=600000")).unwrap();
    segue.wait_until("the app has the request", |status| status.listener("queued") == 0);
    // From here on each ends by itself, however long that takes.
    std::fs::write(&settings, "drain-timeout = \"60s\"\n").unwrap();
    deploy_image(&podman, &segue, 2);
    segue.process().wait_for_line("did not end in time: it is killed");
    version::assert_only(&segue, "image 2");
    slow.response().unwrap_err();
    assert_eq!(podman.containers().len(), 2);
    // deploy.sh takes a process for dead once nobody has still to reap it.
    wait_until("the dead one is reaped", || podman.unseen().len() == 1);
    deploy_image(&podman, &segue, 3);
    version::assert_only(&segue, "image 3");
    wait_until("the dead one and the last one are removed", || {
        podman.containers().len() == 1
    });
    segue.stop();
    assert_eq!(podman.containers(), Vec::<String>::new());
}
