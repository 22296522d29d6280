//! `segue deploy` as a user runs it, and deploy.sh with SEGUE_TEST_DEPLOY=script: a good deploy loses nothing, a bad one changes nothing, and both say so.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot look at its subject has failed"
)]

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use segue_tests::binaries::Binary;
use segue_tests::deployed::{Deployed, Tool, tree, write_program};
use segue_tests::executable;
use segue_tests::load::{Kind, Load};
use segue_tests::needs;
use segue_tests::process::{Finished, Process};
use segue_tests::program::Program;
use segue_tests::segue::Setup;

/// Probation that has passed before anybody looks.
const TRUSTING: [&str; 2] = ["--probation", "10ms"];

/// There is a last good generation, and what is deployed from now on is on probation for as long as it lives.
fn distrusting() -> Deployed {
    let setup = Setup::new(Program::new("./srv/current/app")).trusted_at_once();
    let deployed = Deployed::start_setup(setup);
    deployed.segue.distrust();
    deployed
}

#[track_caller]
fn one_line(done: &Finished, code: i32, text: &str) {
    assert_eq!(done.code, Some(code), "{done:?}");
    assert_eq!(done.stdout, "", "{done:?}");
    let lines: Vec<_> = done.stderr.lines().collect();
    assert_eq!(lines.len(), 1, "{done:?}");
    assert!(
        lines[0].starts_with("deploy: ") && lines[0].to_lowercase().contains(&text.to_lowercase()),
        "{text}: {done:?}"
    );
}

#[test]
fn a_deploy_under_load_loses_nothing_and_the_new_version_serves() {
    let deployed = Deployed::start(TRUSTING);
    let load = Load::start(Kind::KeepAlive, &deployed.segue.target(), 4);
    let fresh = Load::start(Kind::Fresh, &deployed.segue.target(), 4);
    for number in 2..=4 {
        let done = deployed.deploy(&format!("good message=new-{number}"));
        assert_eq!(done.code, Some(0), "{done:?}");
        let line = done.stdout.trim_end();
        assert_eq!(line.lines().count(), 1, "{done:?}");
        assert!(
            line.starts_with(&format!("app: {} serves since 20", deployed.current()))
                && line.contains(&format!(" UTC (generation {number}, switched in "))
                && line.ends_with(" ms, probation passed)"),
            "{done:?}"
        );
        deployed.wait_for_message(&format!("new-{number}"));
        load.wait_for_generation(number);
        fresh.wait_for_generation(number);
    }
    load.stop().assert_nothing_lost();
    fresh.stop().assert_nothing_lost();
    deployed.assert_serves_alone("new-4");
    deployed.assert_consistent();
    deployed.assert_tidy();
    deployed.stop();
}

#[test]
fn the_sample_app_itself_is_deployed_after_its_preflight() {
    let deployed = Deployed::start(TRUSTING);
    executable::write(&deployed.path("app"), &std::fs::read(Binary::App.path()).unwrap());
    let done = deployed.run(&["--preflight", "app"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(
        done.stderr.contains("deploy: preflight: app --check\n"),
        "{done:?}"
    );
    let ours = |line: &str| line.starts_with("deploy: ") || line.starts_with("  ");
    assert!(done.stderr.lines().all(ours), "no tool complains: {done:?}");
    deployed.wait_for_message("test");
    let again = deployed.run(&["app"]);
    assert_eq!(again.code, Some(0), "{again:?}");
    assert!(
        again.stdout.contains("already serves, nothing to do"),
        "{again:?}"
    );
    assert_eq!(deployed.segue.status().generation(), 2);
    assert_eq!(deployed.run(&["--force", "app"]).code, Some(0));
    assert_eq!(deployed.segue.status().generation(), 3);
    deployed.stop();
}

/// What the new version does, and what is said of it.
const BAD: [(&str, &str); 6] = [
    ("crash-at-start", "exited with status 101"),
    ("killed-at-start", "killed by SIGSEGV"),
    ("exit-0-at-once", "exited with status 0"),
    ("ready-and-exit status=5", "exited with status 5"),
    ("status-then-dies text=no-database", "no-database"),
    ("never-ready", "not ready after"),
];

#[test]
fn a_version_that_does_not_start_changes_nothing_and_the_reason_is_told() {
    let deployed = Deployed::start([
        "--probation",
        "10ms",
        "--start-timeout",
        "10s",
        "--drain-timeout",
        "1s",
    ]);
    let load = Load::start(Kind::KeepAlive, &deployed.segue.target(), 4);
    let before = deployed.current();
    for (vice, reason) in BAD {
        let done = deployed.deploy(vice);
        assert_eq!(
            (done.code, done.stdout.as_str()),
            (Some(1), ""),
            "{vice}: {done:?}"
        );
        let last = done.stderr.lines().last().unwrap();
        assert!(
            last.starts_with("deploy: reload: generation ") && last.contains(reason),
            "{vice}: {done:?}"
        );
        assert!(
            last.contains(&format!("app: {before} serves since "))
                && last.ends_with("current leads to it again"),
            "{vice}: {done:?}"
        );
        assert_eq!(deployed.current(), before);
        deployed.assert_consistent();
        deployed.assert_tidy();
    }
    deployed.assert_serves_alone("old");
    assert_eq!(deployed.segue.status().generation(), 1);
    load.stop().assert_nothing_lost();
    deployed.stop();
}

#[test]
fn what_a_failed_version_said_at_last_is_shown() {
    let deployed = Deployed::start(["--probation", "10ms", "--stderr", "app.log"]);
    let text = "#!/bin/sh\nprintf 'Traceback\\n  line 3\\nModuleNotFoundError: x\\n' >&2\nexit 3\n";
    executable::write(&deployed.path("app"), text.as_bytes());
    let done = deployed.run(&["app"]);
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(
        done.stderr
            .contains("deploy: what it said at last:\n  | Traceback\n  |   line 3\n  | ModuleNotFoundError: x\ndeploy: reload: "),
        "{done:?}"
    );
    let last = done.stderr.lines().last().unwrap();
    assert!(
        last.contains("exited with status 3") && last.contains("ModuleNotFoundError: x"),
        "{done:?}"
    );
    assert!(
        !deployed.deploy("good message=new").stderr.contains("at last"),
        "a good one"
    );
    deployed.stop();
}

#[test]
fn a_version_that_crashes_in_probation_is_rolled_back_and_so_is_current() {
    let deployed = distrusting();
    let before = deployed.current();
    let done = deployed.deploy("ready-then-dies once=serving after=20ms");
    assert_eq!(done.code, Some(1), "{done:?}");
    let last = done.stderr.lines().last().unwrap();
    assert!(
        last.contains("rolled back: generation 2: exited with status 3"),
        "{done:?}"
    );
    assert!(
        last.contains(&format!("app: {before} serves since ")) && last.contains("(generation 3)"),
        "{done:?}"
    );
    assert_eq!(deployed.current(), before);
    deployed.assert_consistent();
    deployed.assert_tidy();
    let list = deployed.run(&["--list"]).stdout;
    assert!(
        list.lines()
            .any(|line| line.starts_with(&before) && line.ends_with("current, serves (generation 3)")),
        "{list}"
    );
    assert!(
        list.lines()
            .any(|line| line.contains("rolled back: generation 2")),
        "{list}"
    );
    deployed.stop();
}

#[test]
fn a_crash_before_any_generation_is_trusted_is_mended_by_a_second_reload() {
    let deployed = Deployed::start(["--probation", "1h"]);
    let before = deployed.current();
    let done = deployed.deploy("ready-then-dies once=serving after=20ms");
    assert_eq!(done.code, Some(1), "{done:?}");
    let last = done.stderr.lines().last().unwrap();
    assert!(
        last.contains("no version has passed probation yet")
            && last.contains(&format!("app: {before} serves")),
        "{done:?}"
    );
    assert_eq!(deployed.current(), before);
    deployed.wait_for_message("old");
    deployed.assert_tidy();
    deployed.stop();
}

#[test]
fn without_settling_a_later_crash_is_noticed_by_the_next_run() {
    let deployed = distrusting();
    let before = deployed.current();
    deployed.write("good message=new");
    let done = deployed.run(&["--no-settle", "app"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.stdout.ends_with("probation not waited for)\n"), "{done:?}");
    let pid = nix::unistd::Pid::from_raw(deployed.segue.status().pids(2)[0]);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    deployed.segue.wait_until("the rollback serves", |status| {
        status.count("rollbacks") == 1 && status.state() == "serving"
    });
    assert_ne!(deployed.current(), before);
    // Any run resolves it, even one that has nothing to do in the end.
    write_program(&deployed.path("app"), "good message=old");
    let next = deployed.run(&["app"]);
    assert_eq!(next.code, Some(0), "{next:?}");
    assert!(
        next.stderr
            .contains(&format!("current leads to the one that does again: {before}")),
        "{next:?}"
    );
    assert_eq!(
        deployed.releases(),
        std::slice::from_ref(&before),
        "no good one any more"
    );
    assert!(next.stdout.contains("already serves"), "{next:?}");
    assert_eq!(deployed.current(), before);
    deployed.assert_consistent();
    deployed.assert_tidy();
    deployed.stop();
}

#[test]
fn a_supervisor_that_does_not_run_app_from_current_is_found_out() {
    let deployed = Deployed::start(TRUSTING);
    let other = Setup::new(Program::fixture("good message=other"))
        .flags(TRUSTING)
        .start();
    let before = deployed.current();
    deployed.write("good message=new");
    let done = deployed.run(&["--control", &other.control().display().to_string(), "app"]);
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(
        done.stderr.contains("what is the command of segue run?"),
        "{done:?}"
    );
    assert_eq!(deployed.current(), before);
    assert_eq!(other.status().generation(), 1, "nothing was reloaded");
    other.stop();
    deployed.stop();
}

/// Files that are refused before anything is done, each with the cause.
fn bad_files(directory: &Path) -> Vec<(&'static str, &'static str)> {
    let app = std::fs::read(Binary::App.path()).unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(directory.join(name), bytes).unwrap();
    write("empty", b"");
    write("text", b"hello\n");
    write("no-interpreter", b"#!/no/such/interpreter\n");
    write("windows", b"#!/bin/sh\r\nexit 0\r\n");
    write("bare", b"#!\n");
    write("half", &app[..app.len() / 2]);
    write("head", &app[..40]);
    let mut foreign = app.clone();
    foreign[18] = if foreign[18] == 62 { 183 } else { 62 };
    write("foreign", &foreign);
    let mut object = app;
    object[16] = 1;
    write("object", &object);
    std::fs::create_dir(directory.join("folder")).unwrap();
    symlink("nowhere", directory.join("dangling")).unwrap();
    nix::unistd::mkfifo(&directory.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    vec![
        ("missing", "no such file"),
        ("empty", "it is empty"),
        (
            "text",
            "neither a program for Linux (ELF) nor a script that starts with #!",
        ),
        (
            "no-interpreter",
            "its interpreter /no/such/interpreter does not exist",
        ),
        ("windows", "carriage return"),
        ("bare", "names no interpreter"),
        ("half", "truncated: "),
        ("head", "truncated: only 40 bytes"),
        ("foreign", "(64 bit), this machine is "),
        ("object", "it is an object file"),
        (
            "folder",
            "it is a directory; say which executable in it with --entry PATH",
        ),
        ("dangling", "a symlink that leads nowhere"),
        ("pipe", "it is no regular file"),
    ]
}

#[test]
fn a_file_that_cannot_run_is_refused_in_one_line_before_anything_is_done() {
    let deployed = Deployed::start(TRUSTING);
    let files = bad_files(&deployed.path("."));
    let before = tree(&deployed.root(""));
    for (file, cause) in files {
        one_line(&deployed.run(&[file]), 1, &format!("check {file}: "));
        one_line(&deployed.run(&[file]), 1, cause);
    }
    one_line(
        &deployed.run(&["--sha256", &"0".repeat(64), "app"]),
        1,
        "not the expected 0000",
    );
    assert_eq!(tree(&deployed.root("")), before);
    deployed.assert_consistent();
    deployed.stop();
}

/// Wrong arguments, and what is said of them.
const MISUSES: [(&[&str], &str); 16] = [
    (&[], "not provided: <BINARY>"),
    (&["app", "other"], "unexpected argument '"),
    (&["--untill", "app"], "unexpected argument '--untill'"),
    (&["--keep"], "a value is required for '--keep <N>'"),
    (
        &["--keep", "0", "app"],
        "invalid value '0' for '--keep <N>': expected a number from 1 on",
    ),
    (&["--keep=many", "app"], "invalid value 'many' for '--keep <N>'"),
    (&["--timeout", "30", "app"], "a duration needs a unit"),
    (&["--force=yes", "app"], "unexpected value 'yes' for '--force'"),
    (
        &["--rollback", "app"],
        "'--rollback[=<RELEASE>]' cannot be used with",
    ),
    (&["--rollback", "--image", "app:1"], "cannot be used with"),
    (
        &["--image", "app:1", "--code-at", "/srv"],
        "not provided: <BINARY>",
    ),
    (&["--image", "app:1 app:2"], "expected the name of an image"),
    (&["--run-options", "--tty", "app"], "not provided: --image <REF>"),
    (&["--rollback=../x"], "expected the name of a release"),
    (&["--entry", "../x", "app"], "a path within the directory"),
    (
        &["--name", "my app", "app"],
        "invalid value 'my app' for '--name <NAME>'",
    ),
];

#[test]
fn wrong_arguments_exit_2_with_the_reason() {
    let deployed = Deployed::start(TRUSTING);
    for (args, reason) in MISUSES {
        let done = deployed.run(args);
        assert_eq!((done.code, done.stdout.as_str()), (Some(2), ""), "{done:?}");
        let first = done.stderr.lines().next().unwrap_or_default();
        assert!(first.contains(reason), "{reason}: {done:?}");
    }
    write_program(&deployed.path("my app"), "good message=new");
    let mut unnamed = deployed.command_without_name(&["my app"]);
    one_line(
        &Process::start(&mut unnamed).finish(),
        2,
        "my app cannot be the name of an app",
    );
    let help = deployed.run(&["--help"]);
    assert_eq!(help.code, Some(0));
    assert!(help.stdout.contains("--preflight"), "{help:?}");
    deployed.stop();
}

#[test]
fn names_with_spaces_and_leading_dashes_are_files_like_others() {
    let deployed = Deployed::start(TRUSTING);
    write_program(&deployed.path("-my app"), "good message=dashed");
    let done = deployed.run(&["--", "-my app"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    deployed.wait_for_message("dashed");
    std::fs::create_dir(deployed.path("a b")).unwrap();
    write_program(&deployed.path("a b/it's"), "good message=quoted");
    // The root with a space in it is another place, that nobody runs from: found out after the reload, and taken back.
    let done = deployed.run(&["--root", "a b/-root $HOME", "--no-reload", "a b/it's"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(deployed.path("a b/-root $HOME/current/app").exists());
    deployed.stop();
}

#[test]
fn a_failed_preflight_is_told_with_its_last_words_and_changes_nothing() {
    let deployed = Deployed::start(TRUSTING);
    let write = |text: &str| executable::write(&deployed.path("app"), text.as_bytes());
    write("#!/bin/sh\necho no database at $2 >&2\nexit 7\n");
    let done = deployed.run(&["--preflight=--config there", "app"]);
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(
        done.stderr.ends_with("deploy: preflight app --config there: exited with status 7; its last words: \"no database at there\"\n"),
        "{done:?}"
    );
    write("#!/bin/sh\nprintf 'no end of line'\nexit 1\n");
    let done = deployed.run(&["--preflight=", "app"]);
    assert!(
        done.stderr
            .ends_with("exited with status 1; its last words: \"no end of line\"\n"),
        "{done:?}"
    );
    write("#!/bin/sh\nexec sleep 1000\n");
    let done = deployed.run(&["--preflight", "--preflight-timeout=1", "app"]);
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(
        done.stderr
            .ends_with("deploy: preflight app --check: not done within 1 s\n"),
        "{done:?}"
    );
    deployed.assert_consistent();
    deployed.assert_tidy();
    assert_eq!(deployed.releases().len(), 1);
    deployed.stop();
}

#[test]
fn rollback_goes_to_the_release_before_and_not_to_one_that_failed() {
    let deployed = Deployed::start(TRUSTING);
    let first = deployed.current();
    one_line_last(&deployed.run(&["--rollback"]), "there is no good release before");
    assert_eq!(deployed.deploy("good message=second").code, Some(0));
    let second = deployed.current();
    assert_eq!(deployed.deploy("crash-at-start").code, Some(1));
    assert_eq!(deployed.deploy("good message=third").code, Some(0));
    let third = deployed.current();
    let done = deployed.run(&["--rollback"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(
        done.stdout.starts_with(&format!("app: {second} serves since ")),
        "{done:?}"
    );
    assert_eq!(deployed.current(), second);
    deployed.wait_for_message("second");
    let done = deployed.run(&["--rollback"]);
    assert_eq!((done.code, deployed.current()), (Some(0), first), "{done:?}");
    deployed.wait_for_message("old");
    // The way forward, by name; and from there back again.
    let done = deployed.run(&[format!("--rollback={third}")]);
    assert_eq!(done.code, Some(0), "{done:?}");
    deployed.wait_for_message("third");
    one_line_last(
        &deployed.run(&["--rollback=20200101-000000-00000000"]),
        "there is no release 20200101-000000-00000000",
    );
    assert_eq!((deployed.current(), deployed.releases().len()), (third, 3));
    deployed.assert_consistent();
    deployed.assert_tidy();
    deployed.stop();
}

#[track_caller]
fn one_line_last(done: &Finished, text: &str) {
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(done.stderr.lines().last().unwrap().contains(text), "{done:?}");
}

#[test]
fn a_rollback_to_a_release_that_fails_now_changes_nothing() {
    let deployed = Deployed::start(TRUSTING);
    let first = deployed.current();
    assert_eq!(deployed.deploy("good message=second").code, Some(0));
    let second = deployed.current();
    write_program(
        &deployed.root("releases").join(&first).join("app"),
        "crash-at-start",
    );
    let done = deployed.run(&["--rollback"]);
    assert_eq!(done.code, Some(1), "{done:?}");
    assert_eq!(deployed.current(), second);
    deployed.wait_for_message("second");
    assert_eq!(deployed.deploy("good message=third").code, Some(0));
    assert!(
        deployed.releases().contains(&first),
        "it failed for once, and stays"
    );
    deployed.stop();
}

#[test]
fn a_rollback_brings_back_an_app_that_nobody_serves_any_more() {
    let deployed = Deployed::start(["--probation", "1h"]);
    let first = deployed.current();
    deployed.write("good message=new");
    let done = deployed.run(&["--no-settle", "app"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    // From now on it crashes at each start.
    write_program(&deployed.root("current/app"), "crash-at-start");
    let pid = nix::unistd::Pid::from_raw(deployed.segue.status().pids(2)[0]);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    deployed.segue.wait_until("it crashes again and again", |status| {
        status.count("restarts") > 3
    });
    let done = deployed.run(&["--rollback", "--no-settle"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(deployed.current(), first);
    deployed.wait_for_message("old");
    deployed.stop();
}

#[test]
fn a_current_that_is_no_symlink_is_left_alone() {
    let deployed = Deployed::start(TRUSTING);
    std::fs::create_dir_all(deployed.path("other/current")).unwrap();
    deployed.write("good message=new");
    let done = deployed.run(&["--root", "other", "--no-reload", "app"]);
    one_line_last(&done, "it is no symlink; move it away");
    assert!(deployed.path("other/current").is_dir());
    deployed.stop();
}

#[test]
fn old_releases_go_but_those_in_use_stay() {
    // The first generation drains for as long as somebody waits for its answer.
    let deployed = Deployed::start(["--probation", "10ms", "--drain-timeout", "1h"]);
    let first = deployed.current();
    let mut slow = deployed.segue.target().connect().unwrap();
    slow.write(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nha")
        .unwrap();
    deployed
        .segue
        .wait_until("it is in the app", |status| status.connections(1) == 1);
    let mut made = Vec::new();
    for number in 0..4 {
        deployed.write(&format!("good message=keep-{number}"));
        let done = deployed.run(&["--keep", "2", "app"]);
        assert_eq!(done.code, Some(0), "{done:?}");
        made.push(deployed.current());
    }
    assert_eq!(
        deployed.releases(),
        [first.clone(), made[2].clone(), made[3].clone()]
    );
    slow.write(b"lf").unwrap();
    assert_eq!(slow.response().unwrap().text(), "half");
    drop(slow);
    deployed
        .segue
        .wait_until("the first is gone", |status| status.in_role("retired").is_empty());
    deployed.write("good message=last");
    assert_eq!(deployed.run(&["--keep=1", "app"]).code, Some(0));
    assert_eq!(
        deployed.releases(),
        [made[3].clone(), deployed.current()],
        "the one before stays in any case"
    );
    deployed.stop();
}

#[test]
fn a_dry_run_checks_everything_and_leaves_no_trace() {
    let deployed = Deployed::start(TRUSTING);
    let before = tree(&deployed.path("srv"));
    deployed.write("good message=dry");
    let done = deployed.run(&["--dry-run", "app"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.stderr.contains("would flip current from "), "{done:?}");
    assert!(
        done.stdout.ends_with("dry run: nothing was changed\n"),
        "{done:?}"
    );
    write_program(&deployed.path("app"), "crash-at-start status=9");
    assert_eq!(deployed.run(&["--dry-run", "--preflight", "app"]).code, Some(1));
    assert_eq!(deployed.run(&["--dry-run", "text"]).code, Some(1));
    assert_eq!(tree(&deployed.path("srv")), before);
    assert_eq!(deployed.segue.status().generation(), 1);
    deployed.stop();
}

#[test]
fn without_a_supervisor_it_exits_3_and_makes_nothing() {
    let deployed = Deployed::start(TRUSTING);
    let before = tree(&deployed.path("srv"));
    deployed.write("good message=new");
    one_line(
        &deployed.run(&["--control", "/nonexistent/control", "app"]),
        3,
        "nothing was changed",
    );
    one_line(
        &deployed.run(&["--control", "/nonexistent/control", "--root", "elsewhere", "app"]),
        3,
        "nothing was changed",
    );
    one_line(
        &deployed.run(&["--segue", "/no/such/segue", "app"]),
        1,
        "cannot run /no/such/segue",
    );
    assert_eq!(tree(&deployed.path("srv")), before);
    assert!(!deployed.path("elsewhere").exists());
    deployed.stop();
}

#[test]
fn a_timeout_exits_4_and_the_next_run_resolves_it() {
    let deployed = Deployed::start(TRUSTING);
    deployed.write_held("good message=slow");
    let done = deployed.run(&["--timeout", "100ms", "app"]);
    assert_eq!(done.code, Some(4), "{done:?}");
    assert!(done.stderr.contains("which does not serve yet"), "{done:?}");
    if Tool::of_this_run() == Tool::Segue {
        let open = deployed.run(&["--timeout", "100ms", "app"]);
        assert_eq!(open.code, Some(4), "{open:?}");
        assert!(open.stderr.contains("is still under way after 100ms"), "{open:?}");
        assert!(deployed.root(".deploy").exists());
    }
    deployed.let_go();
    // Before probation has passed the run that comes next leaves the flip open, as it has to.
    deployed.segue.wait_until("the new version is trusted", |status| {
        let mut generations = status.0["generations"].as_array().into_iter().flatten();
        generations.any(|generation| generation["generation"] == 2 && generation["probation"] == "passed")
    });
    let next = deployed.run(&["app"]);
    assert_eq!(next.code, Some(0), "{next:?}");
    assert!(next.stdout.contains("already serves"), "{next:?}");
    deployed.wait_for_message("slow");
    deployed.assert_tidy();
    deployed.stop();
}

/// It served for weeks, and no deploy has looked meanwhile.
#[test]
fn without_reloads_a_rollback_finds_the_release_that_a_service_may_have_run() {
    let setup = Setup::new(Program::new("./srv/current/app"));
    let directory = setup.path(".");
    let run = |args: &[&str]| {
        let mut command = segue_tests::deployed::command(&directory, &setup.path("control"), args);
        Process::start(&mut command).finish()
    };
    let current = || std::fs::read_link(setup.path("srv/current")).unwrap();
    write_program(&setup.path("app"), "good message=good");
    assert_eq!(run(&["--no-reload", "app"]).code, Some(0));
    let good = current();
    write_program(&setup.path("app"), "crash-at-start");
    assert_eq!(run(&["--no-reload", "app"]).code, Some(0));
    assert_ne!(current(), good);
    let back = run(&["--no-reload", "--rollback"]);
    assert_eq!((back.code, current()), (Some(0), good), "{back:?}");
}

/// The supervisor goes between the two times that it is asked.
#[test]
fn an_open_flip_outlives_a_run_that_cannot_ask() {
    // The script would itself be run by the command that answers once.
    if Tool::of_this_run() == Tool::Script {
        return;
    }
    let deployed = Deployed::start(TRUSTING);
    let status = Process::start(
        Command::new(Binary::Segue.path())
            .args(["status", "--json", "--control"])
            .arg(deployed.segue.control()),
    )
    .finish();
    std::fs::write(deployed.path("status"), &status.stdout).unwrap();
    let once = "#!/bin/sh\nmv status gone 2>&- && exec cat gone\necho 'segue: nobody answers' >&2\nexit 3\n";
    executable::write(&deployed.path("once"), once.as_bytes());
    let flip = format!(
        "action=deploy\nfrom=releases/1-a\nto=releases/{}\n",
        deployed.current()
    );
    std::fs::write(deployed.root(".deploy"), &flip).unwrap();
    deployed.write("good message=new");
    let done = deployed.run(&["--segue", "./once", "app"]);
    assert_eq!(done.code, Some(3), "{done:?}");
    assert_eq!(std::fs::read_to_string(deployed.root(".deploy")).unwrap(), flip);
    let next = deployed.run(&["app"]);
    assert_eq!(next.code, Some(0), "{next:?}");
    deployed.assert_tidy();
    deployed.stop();
}

#[test]
fn one_deploy_at_a_time() {
    let deployed = Deployed::start(TRUSTING);
    // It starts when the second deploy waits, however slow the machine is.
    deployed.write_held("good message=first");
    let first = Process::start(&mut deployed.command(&["app"]));
    first.wait_for_line("deploy: reloading");
    write_program(&deployed.path("other"), "good message=second");
    let refused = deployed.run(&["other"]);
    one_line(&refused, 1, "another deploy is under way: pid ");
    assert!(
        refused.stderr.contains(&format!("pid {}, ", first.pid())),
        "{refused:?}"
    );
    one_line(
        &deployed.run(&["--dry-run", "other"]),
        1,
        "another deploy is under way: pid ",
    );
    let second = Process::start(&mut deployed.command(&["--wait", "other"]));
    second.wait_for_line("deploy: waiting for another deploy: pid ");
    deployed.let_go();
    assert_eq!(first.finish().code, Some(0));
    assert_eq!(second.finish().code, Some(0));
    deployed.wait_for_message("second");
    assert_eq!(deployed.segue.status().generation(), 3);
    deployed.assert_consistent();
    deployed.assert_tidy();
    deployed.stop();
}

#[test]
fn a_directory_is_deployed_with_its_entry() {
    let setup = Setup::new(Program::new("./srv/current/bin/run")).flags(TRUSTING);
    let site = |message: &str| {
        std::fs::create_dir_all(setup.path("site/bin")).unwrap();
        write_program(&setup.path("site/bin/real"), &format!("good message={message}"));
        let path = setup.path("site/bin/run");
        std::fs::write(
            &path,
            "#!/bin/sh\nexec \"$(dirname \"$(realpath \"$0\")\")/real\"\n",
        )
        .unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let _ = symlink("bin/run", setup.path("site/start"));
    };
    site("one");
    let run = |setup: &Path, args: &[&str]| {
        let all: Vec<_> = ["--entry", "bin/run", "site"]
            .iter()
            .chain(args)
            .copied()
            .collect();
        Process::start(&mut segue_tests::deployed::command(
            setup,
            &setup.join("control"),
            &all,
        ))
        .finish()
    };
    let directory = setup.path(".");
    let first = run(&directory, &["--no-reload"]);
    assert_eq!(first.code, Some(0), "{first:?}");
    assert!(
        first.stdout.contains("segue run --listen 8080 --name app -- '"),
        "{first:?}"
    );
    site("two");
    let deployed = Deployed { segue: setup.start() };
    deployed.wait_for_message("one");
    let second = run(&directory, &[]);
    assert_eq!(second.code, Some(0), "{second:?}");
    deployed.wait_for_message("two");
    let again = run(&directory, &[]);
    assert!(again.stdout.contains("already serves"), "{again:?}");
    deployed.assert_tidy();
    deployed.stop();
}

/// Mounts a file system on the root of an app for as long as it lives.
struct Mounted(std::path::PathBuf);

impl Mounted {
    fn tmpfs(path: &Path, options: &str) -> Result<Self, String> {
        needs::root()?;
        std::fs::create_dir_all(path).map_err(|error| error.to_string())?;
        Self::mount(&["-t", "tmpfs", "-o", options, "tmpfs"], path)?;
        Ok(Self(path.to_owned()))
    }

    fn mount(args: &[&str], path: &Path) -> Result<(), String> {
        let done = Command::new("mount")
            .args(args)
            .arg(path)
            .output()
            .map_err(|error| error.to_string())?;
        if done.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&done.stderr).into_owned())
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_changes_nothing_wherever_it_fills_up() {
    let setup = Setup::new(Program::new("./srv/current/app")).flags(TRUSTING);
    let mounted = Mounted::tmpfs(&setup.path("srv"), "size=256k,nr_inodes=64");
    let Some(mounted) = needs::or_skip("a full disk", mounted) else {
        return;
    };
    let deployed = Deployed::start_setup(setup);
    let before = deployed.current();
    // A program that is larger than what is left, by its padding.
    let padded = |kib: usize, message: &str| {
        deployed.write(&format!("good message={message}"));
        let text = std::fs::read_to_string(deployed.path("app")).unwrap();
        std::fs::write(deployed.path("app"), text + &"#\n".repeat(kib * 512)).unwrap();
    };
    padded(400, "large");
    one_line_last(&deployed.run(&["app"]), "copy app to ");
    deployed.assert_tidy();
    one_line_last(&deployed.run(&["--dry-run", "app"]), "KiB are free");
    // So few inodes are left that it fails at one step after the other, until it does not.
    let mut failed = 0;
    for spare in 0..16 {
        let fillers: Vec<_> = (0..64)
            .map(|number| deployed.root(&format!("fill-{number}")))
            .take_while(|path| std::fs::write(path, "").is_ok())
            .collect();
        for filler in fillers.iter().rev().take(spare) {
            std::fs::remove_file(filler).unwrap();
        }
        padded(1, &format!("spare-{spare}"));
        let done = deployed.run(&["app"]);
        for filler in &fillers {
            let _ = std::fs::remove_file(filler);
        }
        deployed.assert_consistent();
        deployed.assert_tidy();
        if done.code == Some(0) {
            break;
        }
        assert_eq!(
            (done.code, deployed.current()),
            (Some(1), before.clone()),
            "{done:?}"
        );
        assert!(
            done.stderr.to_lowercase().contains("no space left on device"),
            "{done:?}"
        );
        failed += 1;
    }
    println!("figures: a full disk stopped {failed} deploys, each at another step");
    assert!(failed >= 3, "{failed}");
    assert_ne!(deployed.current(), before);
    // First, for nothing can remove the directory of a mount.
    drop(mounted);
    deployed.stop();
}

#[test]
fn a_root_that_cannot_be_written_is_told_in_one_line() {
    let setup = Setup::new(Program::new("./srv/current/app")).flags(TRUSTING);
    let mounted = Mounted::tmpfs(&setup.path("srv"), "size=1m");
    let Some(mounted) = needs::or_skip("a read-only root", mounted) else {
        return;
    };
    let deployed = Deployed::start_setup(setup);
    Mounted::mount(&["-o", "remount,ro"], &mounted.0).unwrap();
    deployed.write("good message=new");
    one_line(&deployed.run(&["app"]), 1, ".lock: Read-only file system");
    one_line(&deployed.run(&["--dry-run", "app"]), 1, "read-only");
    deployed.wait_for_message("old");
    // First, for nothing can remove the directory of a mount.
    drop(mounted);
    deployed.stop();
}

#[test]
fn any_shell_runs_the_script() {
    let deployed = Deployed::start(TRUSTING);
    for (number, shell) in ["dash", "bash --posix", "bash", "busybox sh"].iter().enumerate() {
        let name = shell.split(' ').next().unwrap();
        if needs::or_skip(&format!("deploy.sh under {name}"), needs::program(name)).is_none() {
            continue;
        }
        deployed.write(&format!("good message=shell-{number}"));
        let mut command = Command::new("env");
        command.args(shell.split(' '));
        for argument in deployed.script(&["app"]).get_args().skip(1) {
            command.arg(argument);
        }
        command
            .current_dir(deployed.path("."))
            .env("SEGUE", Binary::Segue.path());
        let done = Process::start(&mut command).finish();
        assert_eq!(done.code, Some(0), "{shell}: {done:?}");
        deployed.wait_for_message(&format!("shell-{number}"));
        deployed.write("crash-at-start");
        let done = Process::start(&mut command).finish();
        assert_eq!(done.code, Some(1), "{shell}: {done:?}");
        deployed.assert_consistent();
        deployed.assert_tidy();
    }
    deployed.stop();
}

/// No sentence has to be read: outcome, release, generation and reason are told by codes, whatever became of it.
#[test]
fn programs_are_told_by_codes() {
    let deployed = Deployed::start(TRUSTING);
    let before = deployed.current();
    let told = |args: &[&str]| {
        let done = deployed.run(&[&["--json"], args].concat());
        let told: serde_json::Value =
            serde_json::from_str(&done.stdout).unwrap_or_else(|error| panic!("{error}: {done:?}"));
        if told.is_object() {
            assert_eq!(told["exit"].as_i64(), done.code.map(i64::from), "{done:?}");
            let last = done.stderr.lines().last().unwrap_or_default();
            assert_eq!(last, format!("deploy: {}", told["message"].as_str().unwrap()));
        }
        told
    };
    deployed.write("good message=new");
    let dry = told(&["--dry-run", "app"]);
    assert_eq!(
        (&dry["outcome"], &dry["current"]),
        (&"dry-run".into(), &before.as_str().into())
    );
    let ok = told(&["app"]);
    let new = deployed.current();
    assert_eq!(
        (&ok["outcome"], &ok["action"], &ok["release"], &ok["generation"]),
        (&"ok".into(), &"deploy".into(), &new.as_str().into(), &2.into()),
        "{ok}"
    );
    assert_eq!(
        (&ok["probation"], &ok["serving"]["release"]),
        (&"passed".into(), &new.as_str().into())
    );
    assert_eq!(told(&["app"])["outcome"], "already-serves");
    deployed.write("crash-at-start");
    let failed = told(&["app"]);
    assert_eq!(
        (
            &failed["outcome"],
            &failed["current"],
            &failed["cause"],
            &failed["generation"]
        ),
        (
            &"failed".into(),
            &new.as_str().into(),
            &"exited".into(),
            &3.into()
        ),
        "{failed}"
    );
    assert!(
        failed["reason"]
            .as_str()
            .unwrap()
            .starts_with("exited with status 101"),
        "{failed}"
    );
    assert_ne!(failed["release"], failed["serving"]["release"]);
    assert_eq!(told(&["--preflight", "app"])["outcome"], "preflight-failed");
    assert_eq!(told(&["nothing"])["outcome"], "refused");
    let control = ["--control", "/nonexistent/control", "app"];
    assert_eq!(told(&control)["outcome"], "no-supervisor");
    let list = told(&["--list"]);
    let row = |release: &str| {
        let rows = list.as_array().unwrap().iter();
        rows.clone()
            .find(|row| row["release"] == release)
            .cloned()
            .unwrap()
    };
    assert_eq!(
        (&row(&new)["serves"], &row(&new)["is_current"]),
        (&2.into(), &true.into())
    );
    assert_eq!(
        (&row(&before)["serves"], &row(&before)["unproven"]),
        (&().into(), &().into())
    );
    assert_eq!(told(&["--rollback"])["release"], before.as_str());
    deployed.stop();
}

/// The recipe of the guide for Django, with what stands in for it.
#[test]
fn a_preflight_command_runs_in_the_directory_of_the_copy() {
    let deployed = Deployed::start(TRUSTING);
    deployed.write("good message=new");
    let done = deployed.run(&["--preflight-command", "grep -q message=new app && pwd >&2", "app"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.stderr.contains("/srv/releases/.new\n"), "{done:?}");
    deployed.write("good message=bad");
    let command = "echo 'settings.DEBUG is on' >&2; exit 1";
    let done = deployed.run(&["--preflight-command", command, "app"]);
    assert!(
        done.code == Some(1)
            && done
                .stderr
                .ends_with("exited with status 1; its last words: \"settings.DEBUG is on\"\n"),
        "{done:?}"
    );
    deployed.wait_for_message("new");
    deployed.assert_tidy();
    deployed.stop();
}

#[test]
fn a_segue_without_deploy_is_told_in_one_line() {
    let deployed = Deployed::start(TRUSTING);
    deployed.write("good message=new");
    executable::write(
        &deployed.path("old-segue"),
        b"#!/bin/sh\necho \"error: unrecognized subcommand '$1'\" >&2\nexit 2\n",
    );
    let mut command = deployed.script(&["--segue", "./old-segue", "app"]);
    one_line(
        &Process::start(&mut command).finish(),
        1,
        "this version of segue has no deploy",
    );
    deployed.stop();
}
