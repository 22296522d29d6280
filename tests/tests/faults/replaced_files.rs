//! An interpreter's script that was replaced in place: a rollback starts the new one again, and says so.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot look at its subject has failed"
)]

use std::os::unix::fs::symlink;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use segue_tests::deployed::{Deployed, command, write_program};
use segue_tests::process::Process;
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};

const ANSWER: &str = "; ./app.sh was replaced in place, so that a rollback cannot bring the old one back (release directories can)";
const LINE: &str = "generation 3 is started from the last good, but with ./app.sh as it is now: it was replaced in place \
                    (release directories keep the old one)";

/// `sh ./app.sh`, trusted; the versions to come are on probation for an hour.
fn start() -> Segue {
    let setup = Setup::new(Program::new("sh").args(["./app.sh"])).trusted_at_once();
    write_program(&setup.path("app.sh"), "good message=old");
    let segue = setup.start();
    segue.distrust();
    segue
}

/// What the status tells of the incumbent; an older generation may still drain.
fn replaced(segue: &Segue) -> String {
    let status = segue.status();
    let generations = status.0["generations"].as_array().unwrap();
    let incumbent = generations
        .iter()
        .find(|generation| generation["role"] == "incumbent");
    incumbent
        .and_then(|generation| generation["replaced"].as_str())
        .unwrap_or_default()
        .to_owned()
}

fn kill_app(segue: &Segue, generation: u64) {
    for pid in segue.status().pids(generation) {
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    }
}

/// The rollback from generation 2 says what it starts.
#[track_caller]
fn rolls_back_and_says_so(segue: Segue) {
    kill_app(&segue, 2);
    segue.process().wait_for_line(LINE);
    segue.wait_until("the rollback serves", |status| {
        status.generation() == 3 && status.state() == "serving"
    });
    assert_eq!(replaced(&segue), "./app.sh");
    segue.stop();
}

#[test]
fn the_answer_of_the_reload_and_the_line_of_the_rollback_say_so() {
    let segue = start();
    let done = segue.reload(&[]);
    assert!(!done.stdout.contains("replaced"), "nothing was: {done:?}");
    segue.stop();
    for by_rename in [false, true] {
        let segue = start();
        if by_rename {
            write_program(&segue.path("new"), "good message=new");
            std::fs::rename(segue.path("new"), segue.path("app.sh")).unwrap();
        } else {
            write_program(&segue.path("app.sh"), "good message=longer");
        }
        let done = segue.reload(&[]);
        assert!(done.stdout.trim_end().ends_with(ANSWER), "{done:?}");
        let settled = segue.begin("reload", &["--settled"]);
        segue.wait_until("generation 3 serves", |status| {
            status.generation() == 3 && status.state() == "serving"
        });
        kill_app(&segue, 3);
        let done = settled.finish();
        assert_eq!(done.code, Some(1), "{done:?}");
        assert!(
            done.stderr
                .contains("generation 4 was started from the last good, but with ./app.sh as it is now"),
            "{done:?}"
        );
        segue.stop();
    }
}

#[test]
fn a_successor_knows_it_after_kill_9() {
    let mut segue = start();
    write_program(&segue.path("app.sh"), "good message=longer");
    segue.reload_ok(&[]);
    segue.kill();
    segue.resume();
    assert_eq!(replaced(&segue), "./app.sh");
    rolls_back_and_says_so(segue);
}

/// What the files were is passed on as well, not only that they were replaced.
#[test]
fn a_successor_sees_what_is_replaced_after_an_upgrade_and_after_kill_9() {
    let mut segue = start();
    let done = segue.run("upgrade", &[]);
    assert_eq!(done.code, Some(0), "{done:?}");
    segue.kill();
    segue.resume();
    write_program(&segue.path("app.sh"), "good message=longer");
    let done = segue.reload(&[]);
    assert!(done.stdout.trim_end().ends_with(ANSWER), "{done:?}");
    rolls_back_and_says_so(segue);
}

#[test]
fn release_directories_and_files_that_the_app_writes_are_no_matter() {
    let setup = Setup::new(Program::new("sh").args(["./app.sh", "--log=app.log"])).trusted_at_once();
    let release = |name: &str| {
        let directory = setup.path(name);
        std::fs::create_dir(&directory).unwrap();
        write_program(&directory.join("app.sh"), &format!("good message={name}"));
        std::fs::write(directory.join("app.log"), "").unwrap();
        directory
    };
    let (one, two) = (release("one"), release("two"));
    let current = setup.path("current");
    symlink(&one, &current).unwrap();
    let segue = setup
        .flags(["--chdir".into(), current.clone().into_os_string()])
        .start();
    segue.distrust();
    std::fs::write(one.join("app.log"), "a line\n").unwrap();
    std::fs::remove_file(&current).unwrap();
    symlink(&two, &current).unwrap();
    let done = segue.reload(&[]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(!done.stdout.contains("replaced"), "{done:?}");
    kill_app(&segue, 2);
    let line = segue
        .process()
        .wait_for_line("generation 3 is started from the last good");
    assert!(line.text.ends_with("last good"), "{}", line.text);
    segue.stop();
}

/// deploy.sh flips `current`, which such a command line follows: the rollback starts the bad version again, and deploy.sh
/// brings the good one back with a second reload.
#[test]
fn a_deploy_of_a_script_through_current_is_brought_back_by_a_second_reload() {
    let setup = Setup::new(Program::new("bash")).trusted_at_once();
    let path = setup.path("srv/current/app");
    let setup = setup.arguments([path.clone()]);
    let write = |directory: &Path, fixture: &str| {
        write_program(&directory.join("app"), fixture);
        // The command line still names the file, as that of an interpreter does.
        let text = std::fs::read_to_string(directory.join("app")).unwrap();
        let text = text.replace("#!/bin/sh\nexec ", "#!/bin/bash\nexec -a \"$0\" ");
        std::fs::write(directory.join("app"), text).unwrap();
    };
    let directory = setup.path(".");
    write(&directory, "good message=old");
    let first = Process::start(&mut command(
        &directory,
        &setup.path("control"),
        &["--no-reload", "app"],
    ))
    .finish();
    assert_eq!(first.code, Some(0), "{first:?}");
    let deployed = Deployed { segue: setup.start() };
    deployed.segue.distrust();
    let before = deployed.current();
    write(&directory, "ready-then-dies once=serving after=10ms");
    let done = deployed.run(&["app"]);
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(
        done.stderr.contains("the rollback could not bring ")
            && done.stderr.contains("with a second reload")
            && done
                .stderr
                .trim_end()
                .ends_with(&format!("current leads to releases/{before} again")),
        "{done:?}"
    );
    assert_eq!(deployed.current(), before);
    deployed.wait_for_message("old");
    deployed.assert_tidy();
    deployed.stop();
}
