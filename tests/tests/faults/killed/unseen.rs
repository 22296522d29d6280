//! What the next start can know of an app, and what not: without /proc, and where the directory of an instance that lives was removed.

use segue_tests::http;
use segue_tests::needs;
use segue_tests::program::Program;
use segue_tests::segue::Setup;

use super::{kill_process, wait_for_death};
use nix::sys::signal::Signal;

/// Hides /proc from the program that is executed, once the file `hidden` is there.
const HIDES_PROC: &str = "[ -e hidden ] && mount -t tmpfs none /proc; exec \"$@\"";

/// An app of which nothing is shown is neither forgotten nor declared dead: the start is refused, and the next one that sees it adopts.
#[test]
fn without_proc_nothing_is_said_of_an_app_that_may_live() {
    let name = "without_proc_nothing_is_said_of_an_app_that_may_live";
    if needs::or_skip(name, needs::root()).is_none() {
        return;
    }
    let mut segue = Setup::new(Program::app())
        .opened_by(["unshare", "--mount", "sh", "-c", HIDES_PROC, "sh"])
        .start();
    let app = segue.status().pids(1)[0];
    let target = segue.target();
    segue.kill();
    std::fs::write(segue.path("hidden"), "").unwrap();
    for _ in 0..2 {
        segue.start_again();
        let refused = segue.process().finish();
        assert_eq!(refused.code, Some(1), "{refused:?}");
        let expected = format!(
            "and it cannot be told whether its app lives on (pid {app}): /proc does not show these processes"
        );
        assert!(refused.stderr.contains(&expected), "{refused:?}");
    }
    let answer = target.connect().unwrap().ask(&http::get_and_close("/ping"));
    assert_eq!(answer.unwrap().status, 200);
    std::fs::remove_file(segue.path("hidden")).unwrap();
    segue.resume();
    assert_eq!(segue.status().pids(1), [app]);
    segue.stop();
}

/// Of a process that is gone it is certain, with /proc or without. One that was started without it is proved by its notify socket.
#[test]
fn without_proc_what_is_gone_is_gone_and_what_was_born_is_found_later() {
    let name = "without_proc_what_is_gone_is_gone_and_what_was_born_is_found_later";
    if needs::or_skip(name, needs::root()).is_none() {
        return;
    }
    let setup = Setup::new(Program::app()).opened_by(["unshare", "--mount", "sh", "-c", HIDES_PROC, "sh"]);
    let hidden = setup.path("hidden");
    std::fs::write(&hidden, "").unwrap();
    let mut segue = setup.start();
    let app = segue.status().pids(1)[0];
    segue.kill();
    std::fs::remove_file(&hidden).unwrap();
    segue.resume();
    assert_eq!(segue.status().pids(1), [app]);
    segue.kill();
    std::fs::write(&hidden, "").unwrap();
    kill_process(app, Signal::SIGKILL);
    wait_for_death(app);
    segue.resume();
    segue.process().wait_for_line("nothing of its app is left");
    assert_ne!(segue.status().pids(1)[0], app);
    segue.stop();
}

/// The supervisor lives, and nobody is told that it was killed, nor to kill its app.
#[test]
fn where_the_directory_was_removed_the_one_that_lives_is_named() {
    let setup = Setup::new(Program::app());
    let segue = setup.start();
    let pid = segue.process().pid();
    let app = segue.status().pids(1);
    for name in ["control", "control.lock", "control.state-a", "control.state-b"] {
        std::fs::remove_file(segue.path(name)).unwrap();
    }
    let second = segue.run("run", &["--listen", "127.0.0.1:0", "--", "/bin/true"]);
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(
        second.stderr.contains(&format!(
            "is already running (pid {pid}), but somebody has removed"
        )),
        "{second:?}"
    );
    assert!(!second.stderr.contains("was killed"), "{second:?}");
    segue.signal(Signal::SIGHUP);
    segue
        .process()
        .wait_for_line("no command reaches this segue any more");
    segue.process().wait_for_line("generation 2 serves");
    wait_for_death(app[0]);
    segue.signal(Signal::SIGTERM);
    segue.ended();
}
