//! The state as this version writes it, recorded in `tests/samples`: every later version must understand it. `segue` itself has the
//! test that it does (`src/samples.rs`); here the sample of this version is compared with what is really written.
//!
//! `SEGUE_BLESS=1` writes it, which is right until the version is released.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use segue_tests::binaries::Binary;
use segue_tests::executable;
use segue_tests::http;
use segue_tests::proc::MARK;
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};

use super::shelf::{self, Next, VERSION};

/// What stands in the sample for the directory of the test.
const SOMEWHERE: &str = "/srv/example";

fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("samples/state-{VERSION}"))
}

/// A supervisor that has something of everything: a generation that drains, one on probation with two workers and a probe, a last
/// good, a reload that is waited for, one that failed, a crash, sockets of several kinds, a pid file.
fn busy() -> (Segue, http::Client, segue_tests::process::Process) {
    let setup = Setup::new(Program::new("./app").args(["good"]))
        .listen("web=127.0.0.1:0")
        .listen("side=unix:side,mode=0666")
        .listen("log=unix-dgram:log");
    let flags = [
        "--name",
        "example",
        "--workers",
        "2",
        "--pid-file",
        "app.pid",
        "--env",
        "COLOUR=dark blue",
        "--probe",
        "true",
        "--probation",
        "5m",
        "--drain-timeout",
        "90s",
        "--watchdog",
        "60s",
    ];
    let here = setup.path("").display().to_string();
    let mark = format!("{MARK}={}", here.trim_end_matches('/'));
    let script = format!("shift; exec env -i PATH=/usr/bin:/bin '{mark}' ./segue \"$@\"");
    let setup = setup.flags(flags).opened_by(["sh", "-c", &script, "sh"]);
    shelf::place(Next::Same, &setup.path("segue"));
    executable::write(&setup.path("app"), &fs::read(Binary::Fixture.path()).unwrap());
    let segue = setup.start();
    let mut client = segue.target().connect().unwrap();
    client.write(&http::get("/slow?ms=60000")).unwrap();
    segue.wait_until("the app has the request", |status| {
        let workers = status.0["generations"][0]["workers"].as_array().unwrap();
        workers.iter().any(|one| one["connections"] == 1)
    });
    let waits = segue.begin("reload", &["--settled"]);
    segue.process().wait_for_line("generation 2 serves");
    fs::remove_file(segue.path("app")).unwrap();
    let failed = segue.reload(&[]);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    (segue, client, waits)
}

/// The kinds of rows and the keys that occur with them.
fn shape(state: &str) -> BTreeSet<String> {
    let keys = |line: &str| {
        let mut words = line.split(' ').map(str::to_owned);
        let kind = words.next().unwrap_or_default();
        let keys = words.map(move |word| format!("{kind} {}", word.split('=').next().unwrap_or_default()));
        keys.collect::<Vec<_>>()
    };
    state.lines().flat_map(keys).collect()
}

#[test]
fn the_sample_of_this_version_is_what_it_writes() {
    let (segue, client, waits) = busy();
    shelf::put(&segue, Next::Impostor("records"));
    let done = segue.run("upgrade", &[]);
    assert!(done.stderr.contains("it said \"recorded\""), "{done:?}");
    let state = fs::read_to_string(segue.path("segue.state")).unwrap();
    let here = segue.path("").display().to_string();
    let state = state.replace(here.trim_end_matches('/'), SOMEWHERE);
    drop((client, waits));
    segue.signal(nix::sys::signal::Signal::SIGTERM);
    segue.process().wait_for_line("stop asked for by SIGTERM");
    segue.signal(nix::sys::signal::Signal::SIGTERM);
    segue.ended();
    if std::env::var_os("SEGUE_BLESS").is_some() {
        fs::create_dir_all(sample().parent().unwrap()).unwrap();
        fs::write(sample(), &state).unwrap();
    }
    let recorded = fs::read_to_string(sample()).unwrap();
    assert_eq!(
        shape(&recorded),
        shape(&state),
        "tests/samples: record it anew with SEGUE_BLESS=1"
    );
}
