//! Steering is switched on and off by a reload whose settings say so: the listener that all generations share becomes a slot, and
//! clients lose nothing by it.

use std::path::PathBuf;

use segue_tests::figures::{say, scale};
use segue_tests::load::{Kind, Load};
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};

/// An instance whose settings are changed between its reloads.
struct Settings {
    file: PathBuf,
    go: PathBuf,
}

impl Settings {
    fn start(listener: &str, more: &str) -> (Self, Segue) {
        let setup = Setup::from_config();
        let settings = Self {
            file: setup.path("segue.toml"),
            go: setup.path("go"),
        };
        settings.write("good", listener, more);
        settings.release();
        let segue = setup
            .flags(["--config".into(), settings.file.clone().into_os_string()])
            .start();
        (settings, segue)
    }

    /// The probe passes while it is not held.
    fn write(&self, fixture: &str, listener: &str, more: &str) {
        let command = Program::fixture(fixture).as_toml();
        let probe = format!("test -e {}", self.go.display());
        put(
            &self.file,
            &format!(
                "command = {command}\nlisten = [\"web={listener}\"]\nprobe = '{probe}'\nprobe-timeout = \"120s\"\n{more}\n"
            ),
        );
    }

    fn hold(&self) {
        std::fs::remove_file(&self.go).unwrap_or_else(|error| panic!("{}: {error}", self.go.display()));
    }

    fn release(&self) {
        put(&self.go, "");
    }
}

fn put(path: &PathBuf, text: &str) {
    std::fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// A reload, until its version has answered.
fn reload_until_heard(segue: &Segue, load: &Load) {
    segue.reload_ok(&[]);
    load.wait_for_generation(segue.status().generation());
}

/// The slots that status shows.
fn slots(segue: &Segue) -> usize {
    let status = segue.status();
    let listeners = status.0["listeners"].as_array().cloned().unwrap_or_default();
    listeners.iter().filter(|one| one["slot"].is_u64()).count()
}

/// Whether who connects after a reload meets the new version alone, though the old one serves on.
fn meets_the_new(segue: &Segue) -> bool {
    let (target, new) = (segue.target(), segue.status().generation());
    (0..scale(200, 2_000)).all(|_| target.who_answers() == new)
}

fn is_switched_on_and_off(listener: &str, kind: Kind) {
    let steered = format!("{listener},steer");
    let (settings, segue) = Settings::start(listener, "linger = \"0s\"");
    let load = Load::start(kind, &segue.target(), 3);
    reload_until_heard(&segue, &load);
    assert_eq!(slots(&segue), 0);
    for _ in 0..scale(2, 50) {
        settings.write("good", &steered, "linger = \"0s\"");
        reload_until_heard(&segue, &load);
        reload_until_heard(&segue, &load);
        assert_eq!(slots(&segue), 4);
        load.wait_for_more(50);
        settings.write("good", listener, "linger = \"0s\"");
        reload_until_heard(&segue, &load);
        reload_until_heard(&segue, &load);
        load.wait_for_more(50);
    }
    let tally = load.stop();
    say(format_args!(
        "{listener}, switched on and off, {kind:?}: {}",
        tally.figures()
    ));
    tally.assert_nothing_lost();
    segue.stop();
}

#[test]
fn switched_on_and_off_nothing_is_lost() {
    is_switched_on_and_off("127.0.0.1:0", Kind::Fresh);
}

#[test]
fn switched_on_and_off_nothing_is_lost_on_kept_connections_over_both_families() {
    is_switched_on_and_off("*:0", Kind::KeepAlive);
}

/// From the reload on that switches it on, the kernel sends clients to the new version alone; before and after that it is chance.
#[test]
fn each_generation_has_a_slot_while_it_is_on() {
    let stubborn = "drain-timeout = \"1h\"\nstop-timeout = \"100ms\"\nlinger = \"0s\"";
    let (settings, segue) = Settings::start("127.0.0.1:0", stubborn);
    settings.write("ignores-term", "127.0.0.1:0", stubborn);
    segue.reload_ok(&["--drained"]);
    settings.write("ignores-term", "127.0.0.1:0,steer", stubborn);
    segue.reload_ok(&[]);
    assert!(meets_the_new(&segue), "3");
    segue.reload_ok(&[]);
    assert!(meets_the_new(&segue), "4");
    settings.write("ignores-term", "127.0.0.1:0", stubborn);
    segue.reload_ok(&[]);
    assert!(!meets_the_new(&segue), "the versions 4 and 5 share a slot");
    settings.write("good", "127.0.0.1:0,steer", stubborn);
    segue.reload_ok(&[]);
    assert!(meets_the_new(&segue), "6");
    segue.signal(nix::sys::signal::Signal::SIGTERM);
    segue.ended();
}

/// A version that fails as it is switched on leaves everything as it was, and the next one has the slots.
#[test]
fn a_reload_that_fails_as_it_switches_harms_nobody() {
    let (settings, segue) = Settings::start("127.0.0.1:0", "linger = \"0s\"");
    let load = Load::start(Kind::Fresh, &segue.target(), 3);
    for _ in 0..3 {
        settings.write("crash-at-start", "127.0.0.1:0,steer", "linger = \"0s\"");
        assert_eq!(segue.reload(&[]).code, Some(1));
        load.wait_for_more(50);
        // As on a shared listener.
        settings.write("good", "127.0.0.1:0", "linger = \"0s\"");
        reload_until_heard(&segue, &load);
    }
    settings.write("good", "127.0.0.1:0,steer", "linger = \"0s\"");
    reload_until_heard(&segue, &load);
    settings.write("crash-at-start", "127.0.0.1:0", "linger = \"0s\"");
    assert_eq!(segue.reload(&[]).code, Some(1));
    load.wait_for_more(50);
    load.stop().assert_nothing_lost();
    assert!(meets_the_new(&segue));
    segue.stop();
}

/// The supervisor is killed while the candidate is probed with which steering is switched on, or off; its successor goes on.
#[test]
fn kill_9_in_the_middle_loses_nothing() {
    let (settings, mut segue) = Settings::start("127.0.0.1:0", "linger = \"0s\"");
    let load = Load::start(Kind::Fresh, &segue.target(), 3);
    for listener in ["127.0.0.1:0,steer", "127.0.0.1:0", "127.0.0.1:0,steer"] {
        settings.write("good", listener, "linger = \"0s\"");
        settings.hold();
        let reload = segue.begin("reload", &[]);
        let mut candidate = Vec::new();
        segue.wait_until("a candidate is probed", |status| candidate_of(status).is_some());
        candidate.extend(candidate_of(&segue.status()));
        segue
            .process()
            .wait_for_line(&format!("generation {}, worker 0 (pid ", candidate[0]));
        segue.kill();
        load.wait_for_more(50);
        segue.start_again();
        drop(reload);
        settings.release();
        segue.wait_until("the candidate has taken over", |status| {
            status.generation() == candidate[0]
        });
        load.wait_for_generation(candidate[0]);
        reload_until_heard(&segue, &load);
    }
    load.stop().assert_nothing_lost();
    assert!(meets_the_new(&segue));
    segue.stop();
}

/// Versions that share a socket may have come to another slot than the first, from listeners that were steered before: the socket becomes
/// their slot, so that clients go on reaching them if the version with which it is switched on fails, or the supervisor is killed.
#[test]
fn those_who_share_a_socket_keep_it_whatever_their_slot_is() {
    let more = "linger = \"0s\"\nprobation = \"0s\"";
    let (settings, mut segue) = Settings::start("127.0.0.1:0,steer", more);
    segue.reload_ok(&["--drained"]);
    segue.reload_ok(&["--drained"]);
    settings.write("good", "*:0", more);
    segue.reload_ok(&["--drained"]);
    let load = Load::start(Kind::Fresh, &segue.target(), 3);
    settings.write("crash-at-start", "*:0,steer", more);
    assert_eq!(segue.reload(&[]).code, Some(1));
    assert_eq!(slots(&segue), 4);
    load.wait_for_more(50);
    segue.kill();
    segue.resume();
    load.wait_for_more(50);
    settings.write("good", "*:0,steer", more);
    reload_until_heard(&segue, &load);
    load.stop().assert_nothing_lost();
    assert!(meets_the_new(&segue));
    segue.stop();
}

/// What cannot be done without leaving clients alone is refused, and all goes on.
#[test]
fn a_listener_beside_steered_ones_is_switched_by_a_restart_alone() {
    let two = |web: &str, side: &str| format!("127.0.0.1:0{web}\", \"side=127.0.0.2:0{side}");
    let (settings, segue) = Settings::start(&two(",steer", ""), "linger = \"0s\"");
    let load = Load::start(Kind::Fresh, &segue.target(), 3);
    for (web, side, why) in [
        (",steer", ",steer", "steer cannot be switched on here: "),
        ("", ",steer", "steer cannot be switched on here: "),
    ] {
        settings.write("good", &two(web, side), "linger = \"0s\"");
        let refused = segue.reload(&[]);
        assert_eq!(refused.code, Some(1));
        assert!(
            format!("{refused:?}").contains(why) && format!("{refused:?}").contains("start segue again"),
            "{refused:?}"
        );
        load.wait_for_more(50);
    }
    settings.write("good", &two(",steer", ""), "linger = \"0s\"");
    reload_until_heard(&segue, &load);
    load.stop().assert_nothing_lost();
    segue.stop();
}

fn candidate_of(status: &segue_tests::segue::Status) -> Option<u64> {
    status.in_role("candidate").first().copied()
}
