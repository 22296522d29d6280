//! A socket that Segue was given once, by whoever started it: it becomes a slot, at the start or at a reload, and Segue binds the others.

use std::path::{Path, PathBuf};

use segue_tests::figures::{say, scale};
use segue_tests::load::{Kind, Load};
use segue_tests::needs;
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};

/// Opens one socket, as a socket unit with one line does. Where somebody listens there already, it gives none.
const OPENER: &str = r#"
import os, socket, sys
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
host, port = os.environ["GIVEN"].split(":")
try:
    s.bind((host, int(port)))
except OSError:
    os.execvp(sys.argv[1], sys.argv[1:])
s.listen(1000)
os.dup2(s.fileno(), 103)
os.dup2(103, 3)
os.close(103)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES="web")
os.execvp(sys.argv[1], sys.argv[1:])
"#;

/// An address of this process's own, with a port that the kernel gives to nobody.
fn address(port: u16) -> String {
    let [.., high, low] = std::process::id().to_be_bytes();
    format!("127.33.{high}.{low}:{port}")
}

fn write(path: &Path, listener: &str) {
    let command = Program::fixture("good").as_toml();
    let text = format!("command = {command}\nlisten = [\"web={listener}\"]\nlinger = \"0s\"\n");
    std::fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

fn start(address: &str, listener: &str) -> (PathBuf, Segue) {
    let setup = Setup::from_config();
    let file = setup.path("segue.toml");
    write(&file, listener);
    let segue = setup
        .env("GIVEN", address)
        .opened_by(["python3", "-c", OPENER])
        .flags(["--config".into(), file.clone().into_os_string()])
        .start();
    (file, segue)
}

fn slots(segue: &Segue) -> Vec<Option<u64>> {
    let status = segue.status();
    let listeners = status.0["listeners"].as_array().cloned().unwrap_or_default();
    let slotted = listeners.iter().filter(|one| one["slot"].is_u64());
    slotted.map(|one| one["generation"].as_u64()).collect()
}

/// A reload, until its version has answered.
fn reload_until_heard(segue: &Segue, load: &Load) {
    segue.reload_ok(&["--drained"]);
    load.wait_for_generation(segue.status().generation());
}

#[test]
fn what_was_given_once_is_steered_and_a_killed_supervisor_loses_nobody() {
    if needs::or_skip("an opener of a socket", needs::program("python3")).is_none() {
        return;
    }
    let address = address(7701);
    let (_, mut segue) = start(&address, &format!("{address},steer"));
    assert_eq!(slots(&segue), [Some(1), None, None, None]);
    let load = Load::start(Kind::Fresh, &segue.target(), 3);
    for round in 0..scale(1, 20) {
        // Nobody but the supervisor has what it was given then.
        reload_until_heard(&segue, &load);
        let own = slots(&segue);
        assert_eq!(own.len(), 4, "{own:?}");
        segue.kill();
        load.wait_for_more(50);
        segue.resume();
        reload_until_heard(&segue, &load);
        assert_eq!(slots(&segue).len(), 4, "round {round}");
        load.wait_for_more(50);
    }
    let tally = load.stop();
    say(format_args!("steered, one socket given: {}", tally.figures()));
    tally.assert_nothing_lost();
    let (target, new) = (segue.target(), segue.status().generation());
    assert!((0..100).all(|_| target.who_answers() == new));
    segue.stop();
}

#[test]
fn a_reload_switches_it_on_for_what_was_given_once() {
    if needs::or_skip("an opener of a socket", needs::program("python3")).is_none() {
        return;
    }
    let address = address(7702);
    let (file, segue) = start(&address, &address);
    assert_eq!(slots(&segue).len(), 0);
    let load = Load::start(Kind::Fresh, &segue.target(), 3);
    for _ in 0..scale(2, 50) {
        write(&file, &format!("{address},steer"));
        reload_until_heard(&segue, &load);
        assert_eq!(slots(&segue).len(), 4);
        reload_until_heard(&segue, &load);
        write(&file, &address);
        reload_until_heard(&segue, &load);
    }
    let tally = load.stop();
    say(format_args!(
        "one socket given, switched on and off: {}",
        tally.figures()
    ));
    tally.assert_nothing_lost();
    let log = segue.process().stderr();
    assert!(!log.contains("cannot be steered"), "{log}");
    segue.stop();
}
