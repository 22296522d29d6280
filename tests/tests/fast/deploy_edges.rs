//! Corners of `segue deploy`: a preflight that writes, a command that asks for a password, releases that an app has made deep, a
//! supervisor whose pids are not ours, an engine that cannot be asked.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot look at its subject has failed"
)]

use std::fs;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, mkdirat};
use segue_tests::binaries::Binary;
use segue_tests::deployed::Deployed;
use segue_tests::executable;
use segue_tests::process::{Finished, Process};
use segue_tests::terminal::Terminal;

/// Probation that has passed before anybody looks.
const TRUSTING: [&str; 2] = ["--probation", "10ms"];

#[track_caller]
fn last_line(done: &Finished) -> &str {
    done.stderr.lines().last().unwrap_or_default()
}

/// A tree whose preflight writes into it, as Python does.
#[test]
fn what_a_preflight_writes_becomes_part_of_the_release() {
    let deployed = Deployed::start(TRUSTING);
    fs::create_dir(deployed.path("tree")).unwrap();
    deployed.write("good message=new");
    fs::rename(deployed.path("app"), deployed.path("tree/app")).unwrap();
    let deploy = |command: &str| deployed.run(&["--entry", "app", "--preflight-command", command, "tree"]);
    // It can neither vouch for its release nor have the mark written elsewhere.
    let done = deploy("mkdir cache && echo compiled >cache/app.pyc && ln -sf ../../victim .unproven");
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(
        done.stderr
            .contains("deploy: the preflight has changed the copy: "),
        "{done:?}"
    );
    assert!(!deployed.root("victim").exists());
    let release = deployed.current();
    assert_eq!(
        fs::read_to_string(deployed.root("current/cache/app.pyc")).unwrap(),
        "compiled\n"
    );
    deployed.wait_for_message("new");
    // The name is that of what was copied; what serves is more than that, and so not the same.
    let again = deploy("true");
    assert_eq!(again.code, Some(0), "{again:?}");
    assert_ne!(deployed.current(), release);
    assert!(deployed.current().ends_with(release.rsplit('-').next().unwrap()));
    assert!(!again.stderr.contains("has changed the copy"), "{again:?}");
    assert!(deploy("true").stdout.contains("already serves, nothing to do"));
    // One that leads out of its release is refused, as one that is deployed so.
    let before = deployed.current();
    let refused = deployed.run(&[
        "--force",
        "--entry",
        "app",
        "--preflight-command",
        "ln -sf /bin/true app",
        "tree",
    ]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(
        last_line(&refused).contains("leads out of it, to "),
        "{refused:?}"
    );
    assert_eq!(deployed.current(), before);
    deployed.assert_tidy();
    deployed.stop();
}

/// Asks at the terminal as sudo(8) does, and then is segue.
fn write_asking(deployed: &Deployed) {
    let text = format!(
        "#!/bin/sh\nif [ ! -e answered ]; then\n    printf 'Password: ' >/dev/tty\n    read -r word </dev/tty\n    \
         [ \"$word\" = open ] || exit 1\n    : >answered\nfi\nexec '{}' \"$@\"\n",
        Binary::Segue.path().display()
    );
    executable::write(&deployed.path("asks"), text.as_bytes());
}

/// A deploy that is started by a shell, itself started by these words.
fn by_shell(deployed: &Deployed, opener: &[&str], shell: &str, args: &[&str]) -> Command {
    let deploy = deployed.command(args);
    let mut command = Command::new("env");
    command
        .args(opener)
        .args(["sh", "-c", shell, "sh"])
        .arg(deploy.get_program());
    command.args(deploy.get_args()).current_dir(deployed.path("."));
    for (key, value) in deploy.get_envs() {
        match value {
            Some(value) => command.env(key, value),
            None => command.env_remove(key),
        };
    }
    command
}

/// A deploy at a terminal of its own.
fn at_terminal(deployed: &Deployed, shell: &str) -> Terminal {
    let opener = &Terminal::OPENER[1..];
    Terminal::start(&mut by_shell(
        deployed,
        opener,
        shell,
        &["--segue", "./asks", "app"],
    ))
}

#[test]
fn a_supervisor_behind_a_password_is_asked_in_the_foreground() {
    let deployed = Deployed::start(TRUSTING);
    deployed.write("good message=new");
    write_asking(&deployed);
    let mut terminal = at_terminal(&deployed, "exec \"$@\"");
    terminal.wait_for(0, "Password: ");
    terminal.type_in("open\n");
    assert_eq!(terminal.end(), Ok(0), "{}", terminal.seen());
    deployed.wait_for_message("new");
    assert!(terminal.is_as_before());
    deployed.stop();
}

#[test]
fn a_password_that_is_refused_by_ctrl_c_ends_the_deploy() {
    let deployed = Deployed::start(TRUSTING);
    let before = deployed.current();
    deployed.write("good message=new");
    write_asking(&deployed);
    let mut terminal = at_terminal(&deployed, "exec \"$@\"");
    terminal.wait_for(0, "Password: ");
    terminal.type_in("\u{3}");
    assert_eq!(terminal.end(), Ok(130), "{}", terminal.seen());
    terminal.wait_for(0, "interrupted by SIGINT: nothing was changed");
    assert_eq!(deployed.current(), before);
    deployed.assert_tidy();
    deployed.stop();
}

#[test]
fn a_supervisor_behind_a_password_is_not_waited_for_in_the_background() {
    let deployed = Deployed::start(TRUSTING);
    let before = deployed.current();
    deployed.write("good message=new");
    write_asking(&deployed);
    let mut terminal = at_terminal(&deployed, "set -m\n\"$@\" &\nwait $!");
    assert_eq!(terminal.end(), Ok(1), "{}", terminal.seen());
    // All of it has been written by now, and may not have been read.
    terminal.wait_for(0, "ask who serves: ./asks: stopped, for it asks at the terminal");
    assert_eq!(deployed.current(), before);
    deployed.stop();
}

/// Directories in each other, deeper than paths and tables of descriptors reach.
fn dig(mut directory: OwnedFd, depth: usize) {
    for _ in 0..depth {
        mkdirat(&directory, "d", Mode::S_IRWXU).unwrap();
        directory = openat(&directory, "d", OFlag::O_DIRECTORY, Mode::empty()).unwrap();
    }
}

#[test]
fn a_release_goes_however_deep_its_app_has_made_it() {
    let deployed = Deployed::start(TRUSTING);
    let first = deployed.current();
    let directory = deployed.root("releases").join(&first);
    dig(
        open(&directory, OFlag::O_DIRECTORY, Mode::empty()).unwrap(),
        3_000,
    );
    // With as few descriptors as some systems give.
    let deploy = || {
        let mut command = by_shell(
            &deployed,
            &[],
            "ulimit -n 256 && exec \"$@\"",
            &["--keep", "1", "app"],
        );
        Process::start(command.stdin(Stdio::null())).finish()
    };
    for message in ["two", "three"] {
        deployed.write(&format!("good message={message}"));
        let done = deploy();
        assert_eq!(done.code, Some(0), "{done:?}");
        // A generation that still drains keeps its release.
        deployed.assert_serves_alone(message);
    }
    deployed.write("good message=four");
    let done = deploy();
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(!directory.exists(), "{done:?}");
    assert!(!done.stderr.contains("deploy: remove "), "{done:?}");
    deployed.assert_tidy();
    deployed.stop();
}

/// A supervisor in a container tells the pids that it sees there. Number 1 lives everywhere.
#[test]
fn pids_of_another_namespace_do_not_keep_a_release() {
    let deployed = Deployed::start(TRUSTING);
    let before = deployed.current();
    deployed.write("good message=new");
    let text = format!(
        "#!/bin/sh\n[ ! -e gone ] || exit 3\ncase $1 in reload) : >gone; exit 1 ;; esac\n\
         '{}' \"$@\" | sed -E 's/\"pid\": [0-9]+/\"pid\": 1/'\n",
        Binary::Segue.path().display()
    );
    executable::write(&deployed.path("contained"), text.as_bytes());
    let done = deployed.run(&["--segue", "./contained", "--supervisor-timeout", "1", "app"]);
    assert_eq!(done.code, Some(4), "{done:?}");
    assert!(
        last_line(&done).contains("nothing of the app runs any more, and current leads to "),
        "{done:?}"
    );
    assert_eq!(deployed.current(), before);
    assert_eq!(deployed.run(&["--no-reload", "--list"]).code, Some(0));
    deployed.stop();
}

/// Exit status 1 says that there is no such image; any other one that podman could not look.
#[test]
fn an_engine_that_cannot_be_asked_has_not_lost_its_images() {
    let deployed = Deployed::start(TRUSTING);
    let id = "0123456789abcdef".repeat(4);
    let text = format!(
        "#!/bin/sh\ncase \"$1 $2\" in\n'image exists') code=$(cat exists); [ \"$code\" -lt 2 ] || echo 'Error: database is locked' >&2; exit \"$code\" ;;\n\
         'image inspect') echo {id} ;;\npull*) echo >pulled ;;\nesac\n"
    );
    executable::write(&deployed.path("podman"), text.as_bytes());
    let run = |exists: &str, args: &[&str]| {
        fs::write(deployed.path("exists"), exists).unwrap();
        let fixed = ["--engine", "./podman", "--no-reload"];
        deployed.run(&[&fixed, args].concat())
    };
    let locked = run("125", &["--image", "shop:1"]);
    assert_eq!(locked.code, Some(1), "{locked:?}");
    assert_eq!(
        last_line(&locked),
        "deploy: look for image shop:1: database is locked"
    );
    assert!(!deployed.path("pulled").exists());
    let pulled = run("1", &["--image", "shop:1"]);
    assert_eq!(pulled.code, Some(0), "{pulled:?}");
    assert!(deployed.path("pulled").exists());
    let release = deployed.current();
    deployed.write("good message=new");
    assert_eq!(run("0", &["app"]).code, Some(0));
    let back = format!("--rollback={release}");
    for (exists, why) in [("125", ": database is locked"), ("1", " is gone")] {
        let done = run(exists, &[&back]);
        assert_eq!(done.code, Some(1), "{done:?}");
        assert!(
            last_line(&done).starts_with("deploy: roll back: ") && last_line(&done).ends_with(why),
            "{done:?}"
        );
    }
    assert_eq!(run("0", &[&back]).code, Some(0));
    assert_eq!(deployed.current(), release);
    deployed.stop();
}
