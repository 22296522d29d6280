//! O_NONBLOCK is one flag for all who hold a listener. An event loop that has set it never finds it cleared, for it would hang in
//! accept; a program that blocks in accept does not find it set by a candidate.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot look at its subject has failed"
)]

use nix::sys::signal::Signal;
use segue_tests::http::{self, Target};
use segue_tests::needs;
use segue_tests::proc;
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};
use segue_tests::wait_until;

/// The listener is fd 3 of each worker.
fn is_nonblocking(pid: i32) -> bool {
    proc::is_nonblocking(pid, 3)
}

/// Each on a connection of its own; a loop that hangs takes the first of them and no more.
fn asks_twenty(target: &Target) {
    for _ in 0..20 {
        let mut client = target.connect().unwrap();
        let answer = client.ask(&http::get_and_close("/healthz")).unwrap();
        assert_eq!(answer.status, 200);
    }
}

/// What `--ready exec:` cannot know: the loop begins after the app counts as ready.
fn late(after: &str, flags: &[&str]) -> Segue {
    let setup = Setup::new(Program::fixture(&format!("event-loop after={after}")))
        .flags(["--ready", "exec:50ms"])
        .flags(flags.iter().copied());
    setup.start()
}

#[test]
fn an_event_loop_that_begins_after_it_counts_as_ready_keeps_its_flag() {
    let segue = late("700ms", &[]);
    segue.process().wait_for_line("serving");
    asks_twenty(&segue.target());
    for _ in 0..2 {
        let mark = segue.process().mark();
        segue.reload_ok(&[]);
        segue.process().wait_for_line_after(mark, "serving");
        let pid = segue.status().pids(segue.status().generation())[0];
        assert!(is_nonblocking(pid), "{}", segue.process().stderr());
        asks_twenty(&segue.target());
    }
    segue.stop();
}

#[test]
fn an_event_loop_that_begins_during_its_soak_keeps_its_flag() {
    let segue = late("300ms", &["--soak", "1s"]);
    asks_twenty(&segue.target());
    assert!(is_nonblocking(segue.status().pids(1)[0]));
    segue.reload_ok(&[]);
    asks_twenty(&segue.target());
    assert!(is_nonblocking(segue.status().pids(2)[0]));
    segue.stop();
}

/// A candidate of this instance stays one for the rest of the test.
fn with_long_soak(segue: &Segue) {
    std::fs::write(segue.path("settings.toml"), "soak = \"1h\"\n").unwrap();
}

/// An instance whose first generation serves at once, and which runs `./app`.
fn patient(first: &Program) -> Segue {
    let setup = Setup::new(Program::new("./app"));
    let settings = setup.path("settings.toml");
    std::fs::write(&settings, "soak = \"0s\"\n").unwrap();
    setup.deploy("app", first);
    let config = std::ffi::OsString::from("--config");
    setup.flags([config, settings.into_os_string()]).start()
}

fn stop_in_the_middle(segue: Segue) {
    segue.signal(Signal::SIGTERM);
    segue.ended();
}

/// The incumbent is seen to have an event loop, so a flag that is set while a candidate is there is its own.
#[test]
fn the_incumbent_may_set_its_flag_beside_a_candidate() {
    let setup = Setup::new(Program::new("./app")).flags(["--ready", "exec:50ms"]);
    let (settings, file) = (setup.path("settings.toml"), setup.path("begin"));
    std::fs::write(&settings, "soak = \"0s\"\n").unwrap();
    setup.deploy(
        "app",
        &Program::fixture(&format!("event-loop file={}", file.display())),
    );
    let config = std::ffi::OsString::from("--config");
    let segue = setup.flags([config, settings.into_os_string()]).start();
    with_long_soak(&segue);
    segue.deploy("app", &Program::new("/bin/sleep").args(["1000"]));
    let reload = segue.begin("reload", &[]);
    let status = segue.wait_until("there is a candidate", |status| !status.pids(2).is_empty());
    std::fs::write(&file, "").unwrap();
    segue.process().wait_for_line("serving");
    let candidate = nix::unistd::Pid::from_raw(status.pids(2)[0]);
    nix::sys::signal::kill(candidate, Signal::SIGKILL).unwrap();
    assert_ne!(reload.finish().code, Some(0));
    assert!(is_nonblocking(segue.status().pids(1)[0]));
    asks_twenty(&segue.target());
    segue.stop();
}

#[test]
fn a_candidate_does_not_take_the_wait_from_an_incumbent_that_blocks() {
    let segue = patient(&Program::fixture("blocking-server"));
    let first = segue.status().pids(1)[0];
    assert!(!is_nonblocking(first));
    with_long_soak(&segue);
    segue.deploy("app", &Program::fixture("event-loop"));
    let _reload = segue.begin("reload", &[]);
    // It has set the flag before it says so.
    segue.process().wait_for_line("serving");
    wait_until("the flag is cleared", || !is_nonblocking(first));
    stop_in_the_middle(segue);
}

#[test]
fn the_choice_of_a_candidate_counts_once_it_serves() {
    let segue = patient(&Program::fixture("blocking-server"));
    segue.deploy("app", &Program::fixture("event-loop"));
    segue.reload_ok(&[]);
    assert!(is_nonblocking(segue.status().pids(2)[0]));
    asks_twenty(&segue.target());
    segue.stop();
}

/// An instance that runs `./app`, waits 50 ms for its readiness, and serves as `segue.toml` says.
fn by_settings(setup: Setup, first: &Program, settings: &str) -> (Segue, std::path::PathBuf) {
    let file = setup.path("settings.toml");
    std::fs::write(&file, settings).unwrap();
    setup.deploy("app", first);
    let setup = setup.flags([
        std::ffi::OsString::from("--config"),
        file.clone().into_os_string(),
    ]);
    (setup.flags(["--", "./app"]).start(), file)
}

/// What is asked for at a reload is the choice of its candidate, as if that had set the flag.
#[test]
fn an_option_that_a_reload_brings_counts_from_the_takeover_on() {
    let shared = "listen = [\"web=127.0.0.1:0\"]\nready = \"exec:50ms\"\n";
    let (segue, file) = by_settings(Setup::from_config(), &Program::fixture("blocking-server"), shared);
    let first = segue.status().pids(1)[0];
    let non_blocking = shared.replace(":0", ":0,non-blocking");
    std::fs::write(&file, format!("{non_blocking}soak = \"1h\"\n")).unwrap();
    segue.deploy("app", &Program::fixture("event-loop after=3600s"));
    let reload = segue.begin("reload", &[]);
    let status = segue.wait_until("there is a candidate", |status| !status.pids(2).is_empty());
    assert!(!is_nonblocking(first), "an incumbent that blocks in accept");
    let candidate = nix::unistd::Pid::from_raw(status.pids(2)[0]);
    nix::sys::signal::kill(candidate, Signal::SIGKILL).unwrap();
    assert_ne!(reload.finish().code, Some(0));
    assert!(!is_nonblocking(first), "the reload has failed");
    assert_eq!(segue.status().pids(1), [first]);
    std::fs::write(&file, &non_blocking).unwrap();
    segue.deploy("app", &Program::fixture("event-loop"));
    segue.reload_ok(&[]);
    let generation = segue.status().generation();
    assert!(is_nonblocking(segue.status().pids(generation)[0]));
    segue.stop();
}

/// The incumbent does not have it, so that nobody but the candidate waits in accept there.
#[test]
fn the_flag_of_a_listener_that_a_reload_adds_is_the_candidate_s_own() {
    let before = "listen = [\"web=127.0.0.1:0\"]\n";
    let (segue, file) = by_settings(Setup::from_config(), &Program::fixture("blocking-server"), before);
    let after = before.replace("]", ", \"more=127.0.0.1:0\"]");
    std::fs::write(&file, format!("{after}soak = \"1h\"\n")).unwrap();
    segue.deploy("app", &Program::fixture("event-loop"));
    let _reload = segue.begin("reload", &[]);
    segue.process().wait_for_line("generation 2, worker 0 (pid");
    let status = segue.status();
    let (first, candidate) = (status.pids(1)[0], status.pids(2)[0]);
    assert!(!is_nonblocking(first), "the incumbent blocks in accept");
    assert!(
        proc::is_nonblocking(candidate, 4),
        "the new listener is fd 4 of the candidate"
    );
    stop_in_the_middle(segue);
}

/// Opens one socket and hands it over.
const OPENER: &str = r#"
import os, socket, sys
s = socket.socket()
s.bind(("127.0.0.1", 0))
s.listen(1000)
os.dup2(s.fileno(), 103)
s.close()
os.dup2(103, 3)
os.close(103)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES="web")
os.execvp(sys.argv[1], sys.argv[1:])
"#;

fn inherits() -> Option<Setup> {
    needs::or_skip("an opener of sockets", needs::program("python3"))?;
    Some(Setup::from_config().opened_by(["python3", "-c", OPENER]))
}

/// The preset of a server that believes its listeners to be non-blocking is that of the candidate alone.
#[test]
fn a_preset_that_a_refused_reload_brings_changes_no_inherited_listener() {
    let Some(setup) = inherits() else { return };
    let (segue, file) = by_settings(
        setup,
        &Program::fixture("blocking-server"),
        "ready = \"exec:50ms\"\n",
    );
    let first = segue.status().pids(1)[0];
    assert!(!is_nonblocking(first));
    std::fs::write(
        &file,
        "ready = \"exec:50ms\"\napp = \"nginx\"\nuser = \"nobody-of-that-name\"\n",
    )
    .unwrap();
    assert_ne!(segue.reload(&[]).code, Some(0), "there is no such user");
    assert!(!is_nonblocking(first), "the reload was refused");
    std::fs::write(
        &file,
        "ready = \"exec:50ms\"\napp = \"nginx\"\nprotocol = \"systemd\"\n",
    )
    .unwrap();
    segue.deploy("app", &Program::fixture("event-loop after=3600s"));
    segue.reload_ok(&[]);
    let generation = segue.status().generation();
    assert!(
        is_nonblocking(segue.status().pids(generation)[0]),
        "as it believes"
    );
    segue.signal(Signal::SIGTERM);
    segue.ended();
}

#[test]
fn a_preset_sets_the_flag_of_inherited_listeners_at_the_start_unless_they_say_no() {
    for (listen, expected) in [
        ("", true),
        ("listen = [\"web=127.0.0.1:1\"]\n", true),
        ("listen = [\"web=127.0.0.1:1,non-blocking=no\"]\n", false),
    ] {
        let Some(setup) = inherits() else { return };
        let settings = format!("{listen}ready = \"exec:50ms\"\napp = \"nginx\"\nprotocol = \"systemd\"\n");
        let (segue, _) = by_settings(setup, &Program::fixture("event-loop after=3600s"), &settings);
        assert_eq!(is_nonblocking(segue.status().pids(1)[0]), expected, "{listen}");
        assert!(!segue.process().stderr().contains("without non-blocking"));
        segue.signal(Signal::SIGTERM);
        segue.ended();
    }
}
