//! `kill -9` while the supervisor stops: the next `segue run` is a new start. It takes the listeners from what still drains, so that the
//! new app serves at once, and keeps the deadline that the stop has given.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use segue_tests::free_port;
use segue_tests::http;
use segue_tests::needs;
use segue_tests::pool;
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};
use segue_tests::strace::{self, Tracer};

use super::{kill_process, killed_with_its_supervisor, wait_for_death};

/// An app that goes on with the stop signal, and an address that a second start cannot choose anew.
fn hangs(listen: &str, drain_timeout: &str) -> Segue {
    let setup = Setup::new(Program::new("./app"))
        .listen(listen)
        .flags(["--drain-timeout", drain_timeout]);
    setup.deploy("app", &Program::fixture("ignores-term"));
    setup.start()
}

/// Asks for a stop, and kills the supervisor once everybody has been told. Gives the pid of what drains, and when the stop began.
fn killed_while_it_stops(segue: &Segue) -> (i32, Instant) {
    let app = segue.status().pids(1)[0];
    let begun = Instant::now();
    segue.signal(Signal::SIGTERM);
    segue.wait_until("it drains", |status| status.state() == "stopping");
    segue.kill();
    (app, begun)
}

#[track_caller]
fn assert_served(segue: &Segue) {
    let client = segue.target().connect();
    let answer = client.unwrap().ask(&http::get_and_close("/ping"));
    assert_eq!(answer.unwrap().status, 200);
}

fn say_killed(pid: i32) -> String {
    format!("pid {pid}, which an earlier supervisor left draining, has not ended: it is killed")
}

fn wait_until(moment: Instant) {
    std::thread::sleep(moment.saturating_duration_since(Instant::now()));
}

#[test]
fn the_listener_is_taken_back_from_what_still_drains() {
    for listen in [&format!("127.0.0.1:{}", free_port()), "unix:socket"] {
        let mut segue = hangs(listen, "10m");
        let (old, _) = killed_while_it_stops(&segue);
        segue.deploy("app", &Program::fixture("good"));
        segue.resume();
        segue.process().wait_for_line(&format!(
            "was killed while it stopped; pid {old} of its app still drains, and is killed if that takes too long"
        ));
        let new = segue.status().pids(1)[0];
        assert_ne!(new, old);
        assert_served(&segue);
        // A later end is heard of at once, and one that is killed all the same is nobody's surprise.
        segue.reload_ok(&["--drained"]);
        kill_process(old, Signal::SIGKILL);
        segue.process().wait_for_line(&format!(
            "pid {old}, which an earlier supervisor left draining, has ended"
        ));
        assert_served(&segue);
        segue.stop();
    }
}

/// The directory that `{runtime}` names to a process.
fn runtime_of(pid: i32) -> PathBuf {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
    let mut variables = environment.split(|byte| *byte == 0);
    let path = variables.find_map(|variable| variable.strip_prefix(b"RUNTIME="));
    PathBuf::from(OsStr::from_bytes(path.unwrap()))
}

/// Generations are numbered from 1 again, and the new app still has nothing of the old one.
#[test]
fn it_keeps_its_directory_until_it_has_ended() {
    let setup = Setup::new(Program::new("./app"))
        .listen(format!("127.0.0.1:{}", free_port()))
        .flags(["--drain-timeout", "10m", "--env", "RUNTIME={runtime}"]);
    setup.deploy("app", &Program::fixture("ignores-term"));
    let mut segue = setup.start();
    let (old, _) = killed_while_it_stops(&segue);
    let kept = runtime_of(old);
    let file = kept.join("pid");
    std::fs::write(&file, "1").unwrap();
    segue.deploy("app", &Program::fixture("good"));
    segue.resume();
    // The next one adopts the new app, and what drains beside it.
    for _ in 0..2 {
        let new = runtime_of(segue.status().pids(1)[0]);
        assert!(new != kept && new.exists() && file.exists(), "{}", new.display());
        assert_eq!(std::fs::read_dir(&new).unwrap().count(), 0);
        segue.kill();
        segue.resume();
    }
    let before = runtime_of(segue.status().pids(1)[0]);
    segue.reload_ok(&["--drained"]);
    segue_tests::wait_until("that of the first generation goes with it", || !before.exists());
    assert!(runtime_of(segue.status().pids(2)[0]).exists() && file.exists());
    kill_process(old, Signal::SIGKILL);
    segue_tests::wait_until("its directory goes with it", || !kept.exists());
    assert_served(&segue);
    segue.stop();
}

/// However often the supervisor is killed, the time runs from the first stop on.
#[test]
fn its_deadline_is_kept_also_by_the_next_but_one() {
    // So long that a slow machine does all that comes after it in less.
    const DRAIN: Duration = Duration::from_secs(60);
    pool::each(2, &[0, 1], |kills| {
        let mut segue = hangs(&format!("127.0.0.1:{}", free_port()), "60s");
        let (old, begun) = killed_while_it_stops(&segue);
        segue.deploy("app", &Program::fixture("good"));
        for _ in 0..*kills {
            segue.resume();
            segue.kill();
        }
        wait_until(begun + DRAIN);
        let again = Instant::now();
        segue.resume();
        segue.process().wait_for_line(&say_killed(old));
        assert!(again.elapsed() < DRAIN, "it was given the whole time once more");
        wait_for_death(old);
        assert_served(&segue);
        segue.stop();
    });
}

/// Nobody else would keep its deadline: a supervisor whose own app does not start goes last.
#[test]
fn a_start_that_fails_waits_for_it() {
    // So long that a slow machine has the next start behind it by then.
    let mut segue = hangs(&format!("127.0.0.1:{}", free_port()), "60s");
    let (old, _) = killed_while_it_stops(&segue);
    segue.deploy("app", &Program::fixture("crash-at-start"));
    segue.start_again();
    segue.process().wait_for_line(&format!(
        "segue ends when the processes that an earlier supervisor left draining (pid {old}) have ended"
    ));
    segue.process().wait_for_line(&say_killed(old));
    assert_eq!(segue.process().finish().code, Some(1));
    wait_for_death(old);
    segue.deploy("app", &Program::fixture("good"));
    segue.resume();
    segue.stop();
}

#[test]
fn a_stop_signal_ends_that_wait() {
    let mut segue = hangs(&format!("127.0.0.1:{}", free_port()), "10m");
    let (old, _) = killed_while_it_stops(&segue);
    segue.deploy("app", &Program::fixture("crash-at-start"));
    segue.start_again();
    segue
        .process()
        .wait_for_line("segue ends when the processes that an earlier supervisor left");
    segue.signal(Signal::SIGTERM);
    segue.process().wait_for_line(&say_killed(old));
    assert_eq!(segue.process().finish().code, Some(1));
    wait_for_death(old);
}

/// The stop is written down, and nobody has been told: the next one tells them.
#[test]
fn a_process_that_has_not_been_told_is_told() {
    let Some(()) = needs::or_skip("killed before the stop signal", strace::available()) else {
        return;
    };
    let mut segue = Setup::new(Program::app())
        .listen(format!("127.0.0.1:{}", free_port()))
        .flags(["--workers", "2", "--drain-timeout", "10m"])
        .start();
    let old = segue.status().pids(1);
    let words = [
        "-o",
        "/dev/null",
        "-e",
        "trace=pidfd_send_signal",
        "-e",
        "inject=pidfd_send_signal:signal=KILL:when=2",
    ];
    let tracer = Tracer::attach(segue.process().pid(), words);
    segue.signal(Signal::SIGTERM);
    let _ = segue.process().wait_for_exit();
    tracer.detach();
    segue.resume();
    for pid in old {
        wait_for_death(pid);
    }
    assert_served(&segue);
    segue.stop();
}

/// What a worker had started in a session of its own is no worker, and has the listener all the same.
#[test]
fn a_listener_that_only_a_stranger_has_is_taken_back_from_it() {
    let port = free_port();
    let (mut segue, stranger) = killed_with_its_supervisor("own-session", port);
    segue.deploy("app", &Program::fixture("good"));
    segue.resume();
    segue.process().wait_for_line(&format!(
        "no worker has the listener 127.0.0.1:{port} any more; it is taken back from fixture, pid {stranger}"
    ));
    assert_served(&segue);
    kill_process(stranger, Signal::SIGKILL);
    segue.stop();
}
