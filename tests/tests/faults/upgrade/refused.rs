//! Whatever lies in the place of the next binary and is none: one line says why, and nothing changes.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use segue_tests::load::{Kind, Load};
use segue_tests::proc;
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};
use segue_tests::wait_until;

use super::shelf::{self, Next, VERSION};

/// `segue upgrade` fails with exit code 1 and this reason; the supervisor is the same process and has told the same.
#[track_caller]
fn assert_refused(segue: &Segue, next: Next, reason: &str) {
    shelf::put(segue, next);
    let path = segue.path("segue");
    let reason = reason.replace("PATH", &path.display().to_string());
    let before = segue.status();
    let done = segue.run("upgrade", &[]);
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (Some(1), ""),
        "{next:?}: {done:?}"
    );
    let line = done.stderr.trim_end();
    assert!(
        line.starts_with(&format!("segue: upgrade failed: {reason}")) && line.lines().count() == 1,
        "{next:?}: {line}"
    );
    let who = format!(
        "; generation {} serves (pid {})",
        before.generation(),
        before.pids(before.generation())[0]
    );
    assert!(line.ends_with(&who), "{next:?}: {line}");
    segue
        .process()
        .wait_for_line(&format!("; segue {VERSION} goes on"));
    let after = segue.status();
    for key in ["pid", "since", "version", "generation"] {
        assert_eq!(after.0[key], before.0[key], "{next:?}: {key}");
    }
}

#[test]
fn what_is_no_segue_changes_nothing() {
    let segue = shelf::start(Setup::new(Program::app()).flags(["--drain-timeout", "20s"]));
    let pid = segue.process().pid();
    let load = Load::start(Kind::Fresh, &segue.target(), 2);
    let early = proc::descriptors(pid);
    for (next, reason) in [
        (Next::Missing, "exec PATH: no such file or directory"),
        (Next::NotExecutable, "exec PATH: permission denied"),
        (Next::Empty, "exec PATH: exec format error (the file is empty)"),
        (Next::Script, "PATH is a script and no segue"),
        (
            Next::Stranger,
            "PATH says no: exited with status 1, it said \"state: its command line: error: unexpected argument '--drain-timeout' found",
        ),
        (
            Next::Impostor("crashes-at-once"),
            "PATH does not tell its version: killed by SIGABRT",
        ),
        (Next::Impostor("crashes"), "PATH says no: killed by SIGABRT"),
        (
            Next::Impostor("says-yes-and-fails"),
            "PATH says no: exited with status 1, it said \"ok segue 9.9.9\"",
        ),
        (
            Next::Impostor("floods"),
            "PATH says no: exited with status 101, it said \"ok, and so on\\nok, and so on",
        ),
        // What the kernel makes of it is its business; the supervisor's is that it is no yes.
        (Next::Piece, ""),
    ] {
        assert_refused(&segue, next, reason);
    }
    // The last client and the last check may be gone before the supervisor has looked.
    let is_early = |(number, what): (i32, String)| early.get(&number) == Some(&what);
    wait_until("nothing is left open", || {
        proc::descriptors(pid).into_iter().all(is_early)
    });
    wait_until("only the app is left", || proc::children(pid).len() == 1);
    load.wait_for_more(10);
    load.stop().assert_nothing_lost();
    segue.stop();
}

/// One that is executed in the place of the next segue may leave a process behind. Did that have the listeners and the lock, neither the port
/// nor the name would be free for as long as it lives.
#[test]
fn what_is_no_segue_is_given_nothing() {
    let segue = shelf::start(Setup::new(Program::app()));
    let reason = "PATH is no segue: asked for its version, it said \"serving: Ok(Ok(()))\"";
    assert_refused(&segue, Next::Impostor("is-a-daemon"), reason);
    let left = std::fs::read_to_string(segue.path("segue.state"))
        .unwrap()
        .parse()
        .unwrap();
    let fds = proc::descriptors(left);
    kill(Pid::from_raw(left), Signal::SIGKILL).unwrap();
    assert_eq!(fds.len(), 3, "{fds:?}");
    segue.stop();
}

#[test]
fn a_check_that_hangs_is_ended_and_the_loop_goes_on_meanwhile() {
    let segue = shelf::start(Setup::new(Program::app()));
    let pid = segue.process().pid();
    shelf::put(&segue, Next::Impostor("hangs-with-children"));
    let asked = segue.begin("upgrade", &[]);
    segue.process().wait_for_line("upgrade asked for by pid");
    // A second one, by whatever means, is refused; everything else is as ever.
    let second = segue.run("upgrade", &[]);
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(
        second
            .stderr
            .contains("upgrade failed: another upgrade is under way"),
        "{second:?}"
    );
    segue.signal(Signal::SIGUSR2);
    segue
        .process()
        .wait_for_line("upgrade asked for by SIGUSR2 from pid");
    segue.reload_ok(&["--drained"]);
    let done = asked.finish();
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(
        done.stderr
            .contains("did not say within 10s whether it understands the state"),
        "{done:?}"
    );
    segue.wait_until("nothing is left of it", |_| proc::children(pid).len() == 1);
    segue.stop();
}

#[test]
fn a_client_that_does_not_wait_gives_up_alone() {
    let segue = shelf::start(Setup::new(Program::app()));
    shelf::put(&segue, Next::Impostor("hangs-at-once"));
    let done = segue.run("upgrade", &["--timeout", "200ms"]);
    assert_eq!(done.code, Some(4), "{done:?}");
    assert!(
        done.stderr
            .contains("no outcome within 200 ms; the upgrade goes on, and segue status tells how it ends"),
        "{done:?}"
    );
    segue.stop();
}

#[test]
fn a_stop_ends_the_check_and_no_upgrade_begins_after_it() {
    let setup = Setup::new(Program::fixture("hangs-in-drain"));
    let segue = shelf::start(setup.flags(["--stop-timeout", "60s"]));
    let pid = segue.process().pid();
    shelf::put(&segue, Next::Impostor("hangs"));
    let asked = segue.begin("upgrade", &[]);
    segue.process().wait_for_line("upgrade asked for by pid");
    segue.wait_until("it is checked", |_| proc::children(pid).len() == 2);
    segue.signal(Signal::SIGTERM);
    let done = asked.finish();
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(
        done.stderr.contains("upgrade failed: the instance is stopping"),
        "{done:?}"
    );
    segue.wait_until("the check is gone", |_| proc::children(pid).len() == 1);
    shelf::put(&segue, Next::Same);
    let late = segue.run("upgrade", &[]);
    assert!(
        late.stderr.contains("upgrade failed: the instance is stopping"),
        "{late:?}"
    );
    segue.signal(Signal::SIGTERM);
    segue.ended();
}
