//! The wall clock jumps by years, forwards and back, while reloads, drains, restarts, upgrades and adoptions go on: only what is told of
//! times changes. libfaketime(1) stands between the supervisor and the wall clock; the monotonic clock, by which everything waits, it leaves
//! alone, as a jump does.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot look at its subject has failed"
)]

use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use segue_tests::http;
use segue_tests::load::{Kind, Load};
use segue_tests::needs;
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};

/// By how much the clock is wrong, one after the other: also before the epoch, and after the year 9999.
const JUMPS: [&str; 6] = ["+10y", "-10y", "-100y", "+9000y", "-1s", "+0"];

/// The library, where Debian and others put it.
fn library() -> Result<PathBuf, String> {
    let places = ["/usr/lib", "/usr/lib64", "/usr/local/lib"].map(Path::new);
    let architectures = [String::new(), format!("{}-linux-gnu", std::env::consts::ARCH)];
    places
        .iter()
        .flat_map(|place| architectures.iter().map(move |name| place.join(name)))
        .map(|place| place.join("faketime/libfaketime.so.1"))
        .find(|path| path.exists())
        .ok_or_else(|| "libfaketime is not installed".to_owned())
}

fn jump(segue: &Segue, by: &str) {
    let beside = segue.path("clock.new");
    std::fs::write(&beside, format!("{by}\n"))
        .and_then(|()| std::fs::rename(&beside, segue.path("clock")))
        .unwrap();
}

fn with_a_clock_that_jumps(library: &Path) -> Segue {
    // The app keeps the right time: it is not the subject.
    let setup = Setup::new(Program::fixture("good")).flags(["--log-format", "json", "--env", "LD_PRELOAD="]);
    std::fs::write(setup.path("clock"), "+0\n").unwrap();
    let clock = setup.path("clock");
    setup
        .env("LD_PRELOAD", library)
        .env("FAKETIME_TIMESTAMP_FILE", clock)
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .start()
}

#[test]
fn jumps_of_the_wall_clock_change_nothing_but_what_is_told() {
    let Some(library) = needs::or_skip("clock", library()) else {
        return;
    };
    let mut segue = with_a_clock_that_jumps(&library);
    let target = segue.target();
    let loads = [Kind::Fresh, Kind::KeepAlive, Kind::Slow].map(|kind| Load::start(kind, &target, 1));
    for by in JUMPS {
        // It drains while the clock jumps: its deadline is as far away as before.
        let mut slow = target.connect().unwrap();
        slow.write(&http::get("/slow?ms=300")).unwrap();
        segue.reload_ok(&[]);
        jump(&segue, by);
        assert_eq!(slow.response().unwrap().status, 200, "{by}");
        segue.reload_ok(&["--drained"]);
        let done = segue.run("upgrade", &[]);
        assert_eq!(done.code, Some(0), "{by}: {done:?}");
        // The table tells how long ago things were, by a clock that does not jump.
        let done = segue.run("status", &[]);
        assert_eq!(done.code, Some(0), "{by}: {done:?}");
        let before = segue.status();
        segue.kill();
        segue.resume();
        let after = segue.status();
        let number = before.generation();
        assert_eq!(
            (after.generation(), after.pids(number)),
            (number, before.pids(number))
        );
    }
    for load in loads {
        load.stop().assert_nothing_lost();
    }
    let log = segue.process().stderr();
    assert!(
        !log.contains("killed after") && !log.contains("not ready"),
        "{log}"
    );
    segue.stop();
}

#[test]
fn a_back_off_ends_though_the_wall_clock_goes_back() {
    let Some(library) = needs::or_skip("clock", library()) else {
        return;
    };
    let segue = with_a_clock_that_jumps(&library);
    // The first crash is mended at once, the next ones after some time.
    for (crash, by) in [(1, "+0"), (2, "-10y"), (3, "-20y")] {
        let pid = segue.status().pids(1)[0];
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        segue.wait_until("the crash is known", |status| {
            status.state() == "backing-off" || status.count("restarts") == crash
        });
        jump(&segue, by);
        segue.wait_until("it was started again", |status| {
            status.state() == "serving" && status.count("restarts") == crash
        });
    }
    segue.stop();
}
