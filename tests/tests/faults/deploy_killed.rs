//! `deploy.sh` while the supervisor is killed and comes back, as a service manager does it: the exit code, `current`, the
//! journal and the last line agree with who serves.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot look at its subject has failed"
)]

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use segue_tests::deployed::{Deployed, write_program};
use segue_tests::executable;
use segue_tests::load::{Kind, Load};
use segue_tests::process::{Finished, Process};
use segue_tests::program::Program;
use segue_tests::segue::Setup;

/// The new version is on probation for an hour, the old one is trusted.
fn distrustful() -> Deployed {
    let deployed = Deployed::start_setup(Setup::new(Program::new("./srv/current/app")).trusted_at_once());
    deployed.segue.distrust();
    deployed
}

/// A deploy of a version that is not ready before `go` is written.
fn while_starting(deployed: &Deployed, args: &[&str]) -> Process {
    deployed.write_held("good message=new");
    let deploy = Process::start(&mut deployed.command(&[args, &["app"]].concat()));
    deployed
        .segue
        .wait_until("it starts", |status| !status.in_role("candidate").is_empty());
    deploy
}

/// The supervisor begins again and goes on with the candidate. (What an app says while there is none is another matter.)
fn come_back(deployed: &mut Deployed) {
    deployed.segue.start_again();
    deployed
        .segue
        .wait_until("it is adopted", |status| !status.in_role("candidate").is_empty());
}

/// A deploy of a good version, which serves and is on probation.
fn in_probation(deployed: &Deployed, args: &[&str]) -> Process {
    deployed.write("good message=new");
    let deploy = Process::start(&mut deployed.command(&[args, &["app"]].concat()));
    deploy.wait_for_line("generation 2 serves");
    deploy
}

fn kill_app(deployed: &Deployed, generation: u64) {
    for pid in deployed.segue.status().pids(generation) {
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    }
}

#[track_caller]
fn last_line(done: &Finished) -> &str {
    done.stderr.lines().last().unwrap_or_default()
}

#[test]
fn killed_while_the_new_version_starts() {
    let mut deployed = Deployed::start(["--probation", "10ms"]);
    let load = Load::start(Kind::Fresh, &deployed.segue.target(), 2);
    let deploy = while_starting(&deployed, &[]);
    deployed.segue.kill();
    deploy.wait_for_line("deploy: no supervisor answers; waiting up to 60 s");
    come_back(&mut deployed);
    deployed.let_go();
    let done = deploy.finish();
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(
        done.stdout
            .starts_with(&format!("app: {} serves since 20", deployed.current()))
            && done.stdout.contains("(generation 2, ")
            && done.stdout.ends_with("probation passed)\n"),
        "{done:?}"
    );
    deployed.wait_for_message("new");
    load.stop().assert_nothing_lost();
    deployed.assert_consistent();
    deployed.assert_tidy();
    deployed.stop();
}

/// The version with this message serves, `current` leads to what serves, and nothing is left of the deploy.
#[track_caller]
fn ends_with(deployed: Deployed, message: &str) {
    deployed.wait_for_message(message);
    deployed.assert_consistent();
    deployed.assert_tidy();
    deployed.stop();
}

#[test]
fn killed_while_a_version_starts_that_fails_then() {
    let mut deployed = Deployed::start(["--probation", "10ms", "--stderr", "app.log"]);
    let before = deployed.current();
    let deploy = while_starting(&deployed, &[]);
    let candidate = deployed.segue.status().pids(2);
    deployed.segue.kill();
    deploy.wait_for_line("deploy: no supervisor answers");
    deployed.segue.start_again();
    kill(Pid::from_raw(candidate[0]), Signal::SIGKILL).unwrap();
    let done = deploy.finish();
    assert_eq!((done.code, done.stdout.as_str()), (Some(1), ""), "{done:?}");
    assert!(
        done.stderr
            .contains("deploy: what it said at last:\n  | it begins\n"),
        "{done:?}"
    );
    let last = last_line(&done);
    assert!(
        last.starts_with("deploy: reload: generation 2: ")
            && last.contains(&format!("app: {before} serves since "))
            && last.ends_with("current leads to it again"),
        "{done:?}"
    );
    assert_eq!(deployed.current(), before);
    ends_with(deployed, "old");
}

#[test]
fn killed_in_a_probation_that_passes_then() {
    let mut deployed = Deployed::start(["--probation", "10s"]);
    let deploy = in_probation(&deployed, &[]);
    deployed.segue.kill();
    deployed.segue.start_again();
    let done = deploy.finish();
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.stdout.ends_with("probation passed)\n"), "{done:?}");
    ends_with(deployed, "new");
}

#[test]
fn killed_in_a_probation_in_which_the_new_version_crashes_then() {
    let mut deployed = distrustful();
    let before = deployed.current();
    let deploy = in_probation(&deployed, &[]);
    deployed.segue.kill();
    deployed.segue.resume();
    kill_app(&deployed, 2);
    let done = deploy.finish();
    assert_eq!(done.code, Some(1), "{done:?}");
    let last = last_line(&done);
    assert!(
        last.starts_with("deploy: reload: rolled back: generation 2: ")
            && last.contains(&format!("app: {before} serves since "))
            && last.ends_with("(generation 3); current leads to it again"),
        "{done:?}"
    );
    assert_eq!(deployed.current(), before);
    ends_with(deployed, "old");
}

/// The whole service was killed, and begins anew with what `current` leads to.
#[test]
fn killed_with_its_app_and_begun_anew() {
    let mut deployed = Deployed::start(["--probation", "10s"]);
    let deploy = in_probation(&deployed, &[]);
    let status = deployed.segue.status();
    let pids: Vec<i32> = [1, 2]
        .into_iter()
        .flat_map(|number| status.pids(number))
        .collect();
    deployed.segue.kill();
    for pid in pids {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    deploy.wait_for_line("deploy: no supervisor answers");
    deployed.segue.start_again();
    let done = deploy.finish();
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(
        done.stdout.contains("(generation 1, ") && done.stdout.ends_with("probation passed)\n"),
        "{done:?}"
    );
    ends_with(deployed, "new");
}

/// It dies between the look at who serves and the reload: that is asked for again.
#[test]
fn killed_before_it_takes_the_reload() {
    let mut deployed = Deployed::start(["--probation", "10ms"]);
    deployed.write("good message=new");
    let segue = segue_tests::binaries::Binary::Segue.path();
    let text = format!(
        "#!/bin/sh\nif [ \"$1\" = reload ] && mkdir once 2>/dev/null; then\n  kill -9 {pid}\n  while kill -0 {pid} 2>/dev/null; do :; done\nfi\nexec '{}' \"$@\"\n",
        segue.display(),
        pid = deployed.segue.process().pid(),
    );
    executable::write(&deployed.path("segue"), text.as_bytes());
    let deploy = Process::start(&mut deployed.command(&["--segue", "./segue", "app"]));
    deploy.wait_for_line("deploy: no supervisor answers");
    deployed.segue.start_again();
    let done = deploy.finish();
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(
        done.stderr
            .contains("the supervisor has not taken the reload; asking again"),
        "{done:?}"
    );
    ends_with(deployed, "new");
}

#[test]
fn killed_and_not_back_in_time_while_its_app_serves_on() {
    let mut deployed = Deployed::start(["--probation", "10ms"]);
    let before = deployed.current();
    let deploy = while_starting(&deployed, &["--supervisor-timeout", "1"]);
    deployed.segue.kill();
    let done = deploy.finish();
    assert_eq!((done.code, done.stdout.as_str()), (Some(4), ""), "{done:?}");
    let current = deployed.current();
    assert_ne!(current, before);
    let last = last_line(&done);
    assert!(
        last.contains("no supervisor has come back within 1 s")
            && last.ends_with(&format!(
                "processes of the app still run, and current leads to {current}"
            )),
        "{done:?}"
    );
    assert!(deployed.root(".deploy").exists(), "the next run resolves it");
    // Nobody can deploy meanwhile, and nothing is forgotten by that.
    assert_eq!(deployed.run(&["app"]).code, Some(3));
    assert!(deployed.root(".deploy").exists());
    come_back(&mut deployed);
    deployed.let_go();
    deployed.segue.wait_until("the new one is trusted", |status| {
        status.generation() == 2 && status.state() == "serving"
    });
    let next = deployed.run(&["app"]);
    assert_eq!(next.code, Some(0), "{next:?}");
    assert!(
        next.stderr.contains(&format!("its release serves: {current}"))
            && next.stdout.contains("already serves"),
        "{next:?}"
    );
    deployed.assert_consistent();
    deployed.stop();
}

#[test]
fn killed_with_its_app_and_not_back_in_time() {
    let mut deployed = Deployed::start(["--probation", "1h"]);
    let before = deployed.current();
    let deploy = in_probation(&deployed, &["--supervisor-timeout=1"]);
    let status = deployed.segue.status();
    let pids: Vec<i32> = [1, 2]
        .into_iter()
        .flat_map(|number| status.pids(number))
        .collect();
    deployed.segue.kill();
    for pid in pids {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    let done = deploy.finish();
    assert_eq!(done.code, Some(4), "{done:?}");
    assert!(
        last_line(&done).contains("nothing of the app runs any more, and current leads to releases/"),
        "{done:?}"
    );
    assert_eq!(deployed.current(), before, "what was good is what starts next");
    deployed.segue.resume();
    write_program(&deployed.path("app"), "good message=old");
    let next = deployed.run(&["app"]);
    assert_eq!(next.code, Some(0), "{next:?}");
    assert!(next.stdout.contains("already serves"), "{next:?}");
    deployed.assert_consistent();
    deployed.assert_tidy();
    deployed.stop();
}
