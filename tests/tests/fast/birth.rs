//! What an app is born with, seen by the app itself: exactly what the protocol promises, after a hundred reloads as
//! after none.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot look at its subject has failed"
)]

use segue_tests::birth;
use segue_tests::executable;
use segue_tests::program::Program;
use segue_tests::segue::Setup;
use serde_json::{Value, json};

/// Reloads between the first record and the last.
const RELOADS: u64 = 100;

#[test]
fn an_app_is_born_the_same_after_a_hundred_reloads_with_nothing_but_its_listeners() {
    let setup = Setup::new(Program::fixture("good"))
        .listen("web=127.0.0.1:0")
        .listen("side=unix:side");
    let segue = setup
        .flags(["--probation", "0s", "--umask", "027", "--env", "COLOUR=blue"])
        .start();
    let first = birth::of(&segue);
    check_birth(&first, 1);
    for _ in 0..RELOADS {
        segue.reload_ok(&["--drained"]);
    }
    let last = birth::of(&segue);
    check_birth(&last, 1 + RELOADS);
    assert_eq!(birth::without_numbers(first), birth::without_numbers(last));
    segue.stop();
}

fn check_birth(birth: &Value, generation: u64) {
    let fds: Vec<i64> = birth["fds"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|fd| fd["fd"].as_i64())
        .collect();
    assert_eq!(
        fds,
        [0, 1, 2, 3, 4],
        "stdin, stdout, stderr and the listeners: {birth}"
    );
    let env = &birth["env"];
    assert_eq!(env["LISTEN_PID"], birth["pid"].to_string().as_str());
    assert_eq!(
        (&env["LISTEN_FDS"], &env["LISTEN_FDNAMES"]),
        (&json!("2"), &json!("web:side"))
    );
    assert_eq!(env["SEGUE_GENERATION"], generation.to_string().as_str());
    assert_eq!(
        (&env["SEGUE_WORKER"], &env["COLOUR"]),
        (&json!("0"), &json!("blue"))
    );
    assert_eq!(env["SEGUE_DRAIN_TIMEOUT_MS"], "30000");
    for foreign in [
        "WATCHDOG_USEC",
        "WATCHDOG_PID",
        "MAINPID",
        "MANAGERPID",
        "JOURNAL_STREAM",
    ] {
        assert_eq!(
            env[foreign],
            Value::Null,
            "{foreign} is passed on only if it is for the app"
        );
    }
    assert_eq!(birth["sid"], birth["pid"], "a session of its own");
    assert_eq!(birth["pgid"], birth["pid"]);
    assert_eq!(birth["umask"], "0027");
    assert_eq!(birth["signals"]["blocked"], "0000000000000000");
    // The fixture's own runtime ignores SIGPIPE (13); nothing else may be ignored.
    assert_eq!(birth["signals"]["ignored"], "0000000000001000");
}

#[test]
fn a_script_is_born_with_default_dispositions_and_nothing_blocked() {
    let setup = Setup::new(Program::new("./born.sh"));
    let script = "#!/bin/sh\ncat /proc/self/status >born.txt\nexec \"$@\"\n";
    let fixture = Program::fixture("good");
    let words: Vec<_> = fixture
        .words()
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let script = script.replace("\"$@\"", &words.join(" "));
    executable::write(&setup.path("born.sh"), script.as_bytes());
    let segue = setup.start();
    let born = std::fs::read_to_string(segue.path("born.txt")).unwrap();
    // cat is the script's child: it has what the script was born with, and catches nothing.
    for set in ["SigBlk", "SigIgn", "SigCgt"] {
        assert!(born.contains(&format!("{set}:\t0000000000000000\n")), "{born}");
    }
    segue.stop();
}

#[test]
fn the_variables_of_our_own_service_manager_stay_with_us() {
    let foreign = [
        ("WATCHDOG_USEC", "1000000"),
        ("WATCHDOG_PID", "1"),
        ("MAINPID", "1"),
        ("MANAGERPID", "1"),
    ];
    let setup = foreign
        .iter()
        .fold(Setup::new(Program::fixture("good")), |setup, (key, value)| {
            setup.env(key, value)
        })
        .env("STATE_DIRECTORY", "/var/lib/app");
    let segue = setup.start();
    let env = birth::of(&segue)["env"].clone();
    for (key, _) in foreign {
        assert_eq!(env[key], Value::Null, "{key}");
    }
    assert_eq!(
        env["STATE_DIRECTORY"], "/var/lib/app",
        "all the rest is passed on"
    );
    segue.stop();
}
