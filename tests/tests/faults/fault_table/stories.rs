//! The moments that take more than a deploy and a reload.

use nix::sys::signal::Signal;
use segue_tests::process::Finished;
use segue_tests::program::Program;
use segue_tests::segue::Setup;

use super::scene::{SOURCE, Scene, matches, own_words};

/// Somebody writes to the new binary as long as the reload lasts.
pub(super) fn while_written(scene: &Scene) -> Finished {
    scene.deploy();
    let path = scene.segue.path("app");
    let writer = std::fs::OpenOptions::new().append(true).open(path).unwrap();
    let done = scene.reload();
    drop(writer);
    done
}

/// Where `segue dev` builds from. It is renamed into its place from outside of what is watched: one change, one build.
fn put_source(scene: &Scene) {
    let next = scene.segue.path("next");
    scene.deploy_at(&next);
    std::fs::rename(next, scene.segue.path(SOURCE)).unwrap();
}

/// A change cannot be built, and the next one is good.
pub(super) fn built_in_vain_first(scene: &Scene) -> Finished {
    std::fs::remove_file(scene.segue.path(SOURCE)).unwrap();
    let told = "segue dev: the build has failed …";
    scene.logged(told);
    scene.answered_by(1);
    put_source(scene);
    scene.answered_by(2);
    said(scene, told, 0)
}

/// What was built dies at its start.
pub(super) fn built_and_bad(scene: &Scene) -> Finished {
    put_source(scene);
    let told = "reload failed: …";
    scene.logged(told);
    said(scene, told, 1)
}

/// There is no command whose answer it would be: `segue dev` has said it.
fn said(scene: &Scene, pattern: &str, code: i32) -> Finished {
    let log = scene.segue.process().log();
    let mut lines = log.iter().map(|line| own_words(&line.text));
    let line = lines.find(|line| matches(pattern, line));
    Finished {
        code: Some(code),
        stdout: line.unwrap_or_default().to_owned(),
        stderr: String::new(),
    }
}

/// The candidate is killed before it is ready.
pub(super) fn candidate_killed_while_starting(scene: &Scene) -> Finished {
    scene.deploy();
    let reload = scene.segue.begin("reload", &[]);
    scene.kill(2, Signal::SIGKILL);
    reload.finish()
}

/// The candidate is killed when it is ready but has not taken over.
pub(super) fn candidate_killed_when_ready(scene: &Scene) -> Finished {
    scene.deploy();
    let reload = scene.segue.begin("reload", &[]);
    scene.logged("generation 2, worker 0 (pid …) is ready after …");
    scene.kill(2, Signal::SIGKILL);
    reload.finish()
}

/// The reload comes when the incumbent is the last good.
pub(super) fn after_probation(scene: &Scene) -> Finished {
    scene.distrust();
    scene.deploy_and_reload()
}

/// A good version comes while the bad one waits for its back-off.
pub(super) fn mended_while_backing_off(scene: &Scene) -> Finished {
    scene.deploy_and_reload();
    scene.logged("generation 2, worker 0 (pid …) crashed: … it is started again in …");
    scene.deploy_app("good");
    scene.reload()
}

/// The incumbent is killed in quiet times.
pub(super) fn incumbent_killed_before(scene: &Scene) -> Finished {
    scene.kill(1, Signal::SIGKILL);
    scene.logged("generation 1, worker 0… started again");
    scene.segue.wait_until("generation 1 serves again", |status| {
        status.state() == "serving" && status.count("restarts") == 1
    });
    scene.answered_by(1);
    scene.deploy_and_reload()
}

/// One reload waits for the end of probation when the next one comes.
pub(super) fn superseded(scene: &Scene) -> Finished {
    let settled = scene.segue.begin("reload", &["--settled"]);
    scene.answered_by(2);
    scene.segue.reload_ok(&[]);
    settled.finish()
}

/// Generation 2 is on probation and crashes while generation 3 starts.
pub(super) fn crash_while_superseded(scene: &Scene) -> Finished {
    scene.distrust();
    scene.deploy_and_reload();
    scene.deploy_app("stopped");
    let reload = scene.segue.begin("reload", &[]);
    scene.held(3);
    scene.kill(2, Signal::SIGKILL);
    scene.answered_by(4);
    scene.kill(3, Signal::SIGCONT);
    reload.finish()
}

/// The row's version takes over, and then a good one.
pub(super) fn served_and_replaced(scene: &Scene) -> Finished {
    scene.deploy();
    scene.segue.reload_ok(&[]);
    scene.answered_by(2);
    scene.deploy_app("good");
    scene.reload()
}

/// The row's version takes over, and then asks itself for the reload that the row is about; its answer is in the file `said`.
pub(super) fn asked_from_below(scene: &Scene) -> Finished {
    scene.deploy();
    scene.segue.reload_ok(&[]);
    scene.answered_by(2);
    scene.deploy_app("good");
    std::fs::write(scene.segue.path("go"), "").unwrap();
    let said = scene.segue.path("said");
    let read = || std::fs::read_to_string(&said).unwrap_or_default();
    segue_tests::wait_until("it is answered", || read().ends_with('\n'));
    Finished {
        code: Some(0),
        stdout: read(),
        stderr: String::new(),
    }
}

/// Two reloads in a row; the second one is the row's.
pub(super) fn twice(scene: &Scene) -> Finished {
    scene.segue.reload_ok(&[]);
    scene.reload()
}

/// Two more reloads come during the first, and share one generation.
pub(super) fn reload_during_reload(scene: &Scene) -> Finished {
    scene.deploy();
    let first = scene.segue.begin("reload", &[]);
    scene.held(2);
    scene.deploy_app("good");
    let others = [scene.segue.begin("reload", &[]), scene.segue.begin("reload", &[])];
    scene.logged_times("reload asked for by pid …", 3);
    scene.kill(2, Signal::SIGCONT);
    let first = first.finish();
    assert!(first.stdout.starts_with("reload ok: generation 2 "), "{first:?}");
    let [second, third] = others.map(|other| other.finish());
    assert!(third.stdout.starts_with("reload ok: generation 3 "), "{third:?}");
    second
}

/// The command that waits for the first reload is killed.
pub(super) fn client_killed(scene: &Scene) -> Finished {
    scene.deploy();
    let first = scene.segue.begin("reload", &[]);
    scene.held(2);
    first.signal(Signal::SIGKILL);
    let _ = first.wait_for_exit();
    scene.kill(2, Signal::SIGCONT);
    scene.answered_by(2);
    scene.deploy_app("good");
    scene.reload()
}

/// The incumbent crashes before the candidate is ready, and serves again before the candidate does.
pub(super) fn incumbent_killed_during_handoff(scene: &Scene) -> Finished {
    scene.deploy();
    let reload = scene.segue.begin("reload", &[]);
    scene.held(2);
    scene.kill(1, Signal::SIGKILL);
    scene.logged("generation 1, worker 0… started again");
    scene.answered_by(1);
    scene.kill(2, Signal::SIGCONT);
    reload.finish()
}

/// The incumbent crashes when the candidate is ready.
pub(super) fn incumbent_killed_when_candidate_ready(scene: &Scene) -> Finished {
    scene.deploy();
    let reload = scene.segue.begin("reload", &[]);
    scene.logged("generation 2, worker 0 (pid …) is ready after …");
    scene.kill(1, Signal::SIGKILL);
    reload.finish()
}

/// A reload by SIGHUP, and one by the command.
pub(super) fn hangup_then_reload(scene: &Scene) -> Finished {
    scene.deploy();
    scene.segue.signal(Signal::SIGHUP);
    scene.logged("reload failed: generation 2: …");
    assert_eq!(scene.segue.status().last_outcome(), "failed");
    scene.reload()
}

/// A stop while the candidate starts.
pub(super) fn stop_during_handoff(scene: &Scene) -> Finished {
    scene.deploy();
    let reload = scene.segue.begin("reload", &[]);
    scene.logged("generation 2: handoff began");
    scene.segue.signal(Signal::SIGTERM);
    reload.finish()
}

/// A reload between the stop and its end.
pub(super) fn reload_while_stopping(scene: &Scene) -> Finished {
    scene.segue.signal(Signal::SIGTERM);
    scene.logged("stopping: every generation drains");
    scene.reload()
}

/// One stop, a reload, and another stop.
pub(super) fn second_stop(scene: &Scene) -> Finished {
    let done = reload_while_stopping(scene);
    scene.segue.signal(Signal::SIGTERM);
    done
}

/// A reload after whose failure no other socket than the control socket is left.
pub(super) fn reload_and_no_socket_left(scene: &Scene) -> Finished {
    let done = scene.deploy_and_reload();
    assert!(
        !scene.segue.path("more.sock").exists(),
        "the refused socket is left"
    );
    done
}

/// The command's own timeout is over before the candidate is ready.
pub(super) fn client_impatient(scene: &Scene) -> Finished {
    let done = scene.deploy_and_reload();
    scene.held(2);
    scene.kill(2, Signal::SIGCONT);
    done
}

/// The candidate that failed is killed before its drain is over.
pub(super) fn failed_candidate_killed(scene: &Scene) -> Finished {
    let done = scene.deploy_and_reload();
    scene.kill(2, Signal::SIGKILL);
    done
}

/// Another instance is started with the row's new version as its first.
pub(super) fn first_start(scene: &Scene) -> Finished {
    let setup = Setup::new(Program::new("./app")).flags(["--start-timeout", "1s"]);
    scene.deploy_at(&setup.path("app"));
    setup.start_in_vain()
}

/// Another instance wants the address of the one that serves.
pub(super) fn port_taken(scene: &Scene) -> Finished {
    let status = scene.segue.status();
    let address = status.0["listeners"][0]["address"].as_str().unwrap().to_owned();
    Setup::new(Program::fixture("good"))
        .listen(address)
        .start_in_vain()
}

/// Another instance wants the place of the one that serves.
pub(super) fn name_taken(scene: &Scene) -> Finished {
    let words = ["--listen", "127.0.0.1:0", "--", "./app"];
    scene.segue.run("run", &words)
}
