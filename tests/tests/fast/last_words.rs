//! Why a version failed: the outcome names what it said at last on its standard error, wherever that goes.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use segue_tests::needs;
use segue_tests::process::Finished;
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};

/// A version that says on its standard error why it cannot start, in the way of Gunicorn, and by STATUS= something else.
const DYING: &str = "printf \"Traceback (most recent call last):\\n  File app.py, line 1\\nModuleNotFoundError: No module named \\047x\\047\\n\
                     [7] [ERROR] Reason: Worker failed to boot.\\n\" >&2; exit 3";

const REASON: &str = "says \"ModuleNotFoundError: No module named 'x'\" and ends: \"[7] [ERROR] Reason: Worker failed to boot.\"";

fn shell(script: &str) -> Program {
    Program::new("/bin/sh").args(["-c", script])
}

/// The first version is good, and what is deployed next is what is at `./app`.
fn good() -> Setup {
    let setup = Setup::new(Program::new("./app"));
    setup.deploy("app", &Program::fixture("good"));
    setup
}

#[track_caller]
fn refused(segue: &Segue, version: &Program) -> Finished {
    segue.deploy("app", version);
    let done = segue.reload(&[]);
    assert_eq!(done.code, Some(1), "{done:?}");
    done
}

#[track_caller]
fn assert_says(done: &Finished, text: &str) {
    assert!(done.stderr.contains(text), "not there: {text}\n{}", done.stderr);
}

/// A tool that the app runs tells of its own failure, as systemctl(1) does: it is not why the app fails.
#[test]
fn an_errno_of_a_tool_that_the_app_runs_is_not_the_apps() {
    let segue = good().start();
    let fixture = Program::fixture("say text=ERRNO=2");
    let words: Vec<_> = fixture
        .words()
        .iter()
        .map(|word| word.to_string_lossy())
        .collect();
    let done = refused(&segue, &shell(&format!("{}; exit 3", words.join(" "))));
    assert_says(&done, "exited with status 3");
    assert!(!done.stderr.contains("errno 2"), "{done:?}");
    // Its own is told.
    let done = refused(
        &segue,
        &Program::fixture("status-then-dies text=no-database errno=2 status=3"),
    );
    assert_says(
        &done,
        "its last STATUS: \"no-database\" (errno 2: no such file or directory)",
    );
    segue.stop();
}

/// `--stderr`: appended to, made for its owner and group, opened afresh at each start.
#[test]
fn the_file_that_stderr_names_is_read_back() {
    let segue = good().flags(["--stderr", "app.err"]).start();
    let file = segue.path("app.err");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o7137, 0);
    let done = refused(&segue, &shell(DYING));
    assert_says(&done, &format!("stderr (also of generation 1) {REASON}"));
    let log = std::fs::read_to_string(&file).unwrap();
    assert!(
        log.contains("ModuleNotFoundError") && !log.contains("segue["),
        "{log}"
    );
    // As logrotate does it: the next start is in a file of its own.
    std::fs::rename(&file, segue.path("app.err.1")).unwrap();
    let done = refused(&segue, &shell("echo no database >&2; exit 4"));
    assert_says(&done, "; its stderr ends: \"no database\"; generation 1 serves");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "no database\n");
    let done = refused(&segue, &shell("exit 5"));
    assert_says(&done, "; nothing on its stderr; generation 1 serves");
    segue.stop();
}

#[test]
fn a_file_that_cannot_be_appended_to_fails_the_start_and_says_why() {
    for (path, why) in [
        ("/nowhere/at/all", "no such file or directory"),
        ("fifo", "neither a regular file nor a device"),
        (".", "is a directory"),
    ] {
        let setup = good().flags(["--stderr", path]);
        nix::unistd::mkfifo(&setup.path("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let done = setup.start_in_vain();
        assert_eq!(done.code, Some(1), "{done:?}");
        let said = done
            .stderr
            .lines()
            .find(|line| line.contains("the first start failed: stderr /"));
        assert!(
            said.is_some_and(|line| line.ends_with(why)),
            "{path}: {}",
            done.stderr
        );
    }
}

/// It is the app's user who opens it: a path is not followed to where that user could not go.
#[test]
fn the_file_is_opened_as_the_user_of_the_app() {
    if needs::or_skip("the user of --stderr", needs::root()).is_none() {
        return;
    }
    let setup = good().flags(["--user", "nobody", "--stderr", "logs/app.err"]);
    setup.deploy("app", &setup.own_copy(&Program::fixture("good")));
    let logs = setup.path("logs");
    std::fs::create_dir(&logs).unwrap();
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    nix::unistd::chown(&logs, Some(nobody.uid), None).unwrap();
    std::fs::write(setup.path("secret"), "root's\n").unwrap();
    std::fs::set_permissions(setup.path("secret"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let segue = setup.start();
    assert_eq!(
        logs.join("app.err").metadata().unwrap().uid(),
        nobody.uid.as_raw()
    );
    std::fs::remove_file(logs.join("app.err")).unwrap();
    std::os::unix::fs::symlink("../secret", logs.join("app.err")).unwrap();
    let done = refused(&segue, &shell("echo from the app >&2; exit 6"));
    assert_says(&done, "logs/app.err: permission denied; generation 1 serves");
    assert_eq!(std::fs::read_to_string(segue.path("secret")).unwrap(), "root's\n");
    segue.stop();
}

/// Without `--stderr`, where the standard error of segue is a file, in which its own lines lie beside the app's.
fn logged_to(path: &Path) -> Setup {
    let log = path.display().to_string();
    good().opened_by(["sh", "-c", "log=$1; shift; exec \"$@\" 2>>\"$log\"", "sh", &log])
}

#[test]
fn the_file_that_is_segues_own_stderr_is_read_back() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("segue.log");
    for format in ["text", "json"] {
        let segue = logged_to(&log).flags(["--log-format", format]).start();
        let done = refused(&segue, &shell(DYING));
        assert_says(
            &done,
            &format!("stderr (also of generation 1) {REASON}; generation 1 serves"),
        );
        // The last line comes a moment after the answer.
        segue_tests::wait_until("generation 2 is gone", || {
            let text = std::fs::read_to_string(&log).unwrap();
            text.lines().last().unwrap().contains("generation 2 is gone")
        });
        // It may have been moved away: segue and the app still write there.
        std::fs::rename(&log, directory.path().join("elsewhere")).unwrap();
        let done = refused(&segue, &shell("echo no database >&2; exit 4"));
        assert_says(
            &done,
            "stderr (also of generation 1) ends: \"no database\"; generation 1 serves",
        );
        segue.stop();
    }
}

/// What the app said by STATUS= is called so, and does not hide the reason.
#[test]
fn the_last_status_is_labelled_and_does_not_hide_the_reason() {
    let segue = good().flags(["--stderr", "app.err"]).start();
    let done = refused(&segue, &Program::fixture("status-then-dies errno=111"));
    assert_says(
        &done,
        "; its last STATUS: \"cannot reach the database\" (errno 111: connection refused); generation 1",
    );
    let both = "echo giving up >&2; exec ";
    let fixture = Program::fixture("status-then-dies errno=111");
    let words: Vec<_> = fixture
        .words()
        .iter()
        .map(|word| word.to_string_lossy())
        .collect();
    let done = refused(&segue, &shell(&format!("{both}{}", words.join(" "))));
    assert_says(
        &done,
        "ends: \"giving up\"; its last STATUS: \"cannot reach the database\" (errno 111: ",
    );
    segue.stop();
}

/// A version that is never ready, and one whose probe fails, have said why as well.
#[test]
fn a_version_that_is_late_or_fails_its_probe_is_quoted_too() {
    let segue = good()
        .flags(["--stderr", "app.err", "--start-timeout", "10s"])
        .flags(["--probe", "[ ! -e broken ]", "--probe-timeout", "3s"])
        .start();
    let late = shell("echo waiting for the lock >&2; exec sleep 3600");
    assert_says(
        &refused(&segue, &late),
        "ends: \"waiting for the lock\"; generation 1",
    );
    std::fs::write(segue.path("broken"), "").unwrap();
    let done = refused(&segue, &Program::fixture("good"));
    assert_says(
        &done,
        "the probe did not pass within 3s (last run: exited with status 1)",
    );
    assert_says(&done, "stderr (also of generation 1) ends: \"");
    segue.stop();
}

/// A crash, too, and after the supervisor was killed as well: where the standard error went is in its state.
#[test]
fn a_crash_is_quoted_and_after_an_adoption_as_well() {
    let words = "echo the disk is full >&2; exec sleep 3600";
    let mut segue = Setup::new(shell(&format!("(sleep 0.1); {words}")))
        .flags(["--stderr", "app.err", "--ready", "exec:2s"])
        .start();
    let crash = |segue: &Segue, number: u64| {
        let pid = segue.status().pids(1)[0];
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        let line = segue
            .process()
            .wait_for_line(&format!("worker 0 (pid {pid}) crashed"));
        assert!(
            line.text
                .contains("; its stderr ends: \"the disk is full\"; it is started again"),
            "{line:?}"
        );
        segue.wait_until("it is started again", |status| {
            status.state() == "serving"
                && status.0["restarts"] == number
                && status.pids(1).first().is_some_and(|new| *new != pid)
        });
    };
    crash(&segue, 1);
    segue.kill();
    segue.resume();
    crash(&segue, 2);
    segue.stop();
}

/// What a generation has written that is gone by now is not put into the mouth of the one that failed.
#[test]
fn the_words_of_a_generation_that_is_gone_are_not_the_others() {
    let farewell = "trap \"echo farewell >&2; exit 0\" TERM; while :; do sleep 0.05; done";
    let setup = Setup::new(Program::new("./app")).flags(["--stderr", "app.err", "--ready", "exec:2s"]);
    setup.deploy("app", &shell(farewell));
    let mut segue = setup.start();
    segue.deploy("app", &shell("exec sleep 3600"));
    segue.reload_ok(&["--drained"]);
    segue.kill();
    segue.resume();
    let pid = segue.status().pids(2)[0];
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    let line = segue.process().wait_for_line(&format!("(pid {pid}) crashed"));
    assert!(
        line.text
            .contains("stderr (also of generation 1) ends: \"farewell\""),
        "{line:?}"
    );
    segue.stop();
}

/// Where nothing can be read back the place is told, for the next look.
#[test]
fn a_stderr_that_nobody_can_read_back_is_named() {
    for (opener, place) in [
        // The harness reads it, so that it is a pipe.
        (&[][..], "a pipe"),
        (&["sh", "-c", "exec \"$@\" 2>/dev/null", "sh"], "/dev/null"),
        (
            &[
                "python3",
                "-c",
                "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)",
            ],
            "the terminal /dev/pts/",
        ),
    ] {
        let segue = good().opened_by(opener.iter().copied()).start();
        let done = refused(&segue, &shell("echo no database >&2; exit 4"));
        assert_says(&done, "exited with status 4 after ");
        assert_says(&done, &format!("; the stderr of generation 2 is {place}"));
        assert_says(&done, "; generation 1 serves (pid ");
        let table = segue.run("status", &[]).stdout;
        assert!(table.contains(&format!("; its stderr is {place}")), "{table}");
        segue.stop();
    }
}

/// For programs, and for people who want more of it.
#[test]
fn the_last_ten_lines_are_in_the_answer_and_in_the_status() {
    let segue = good().flags(["--stderr", "app.err"]).start();
    segue.deploy(
        "app",
        &shell("for n in 1 2 3 4 5 6 7 8 9 10 11; do echo line $n >&2; done; exit 4"),
    );
    let lines: Vec<String> = (2..=11).map(|number| format!("line {number}")).collect();
    let indented: String = lines.iter().map(|line| format!("  | {line}\n")).collect();

    let done = segue.reload(&["--verbose"]);
    assert!(done.stderr.ends_with(&indented), "{done:?}");
    assert_eq!(segue.reload(&[]).stderr.lines().count(), 1);

    let done = segue.reload(&["--json"]);
    let codes: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(codes["last_lines"], serde_json::json!(lines), "{codes}");
    assert_eq!(codes["stderr"]["kind"], "shared-file", "{codes}");
    assert!(
        codes["stderr"]["path"].as_str().unwrap().ends_with("/app.err"),
        "{codes}"
    );
    let reason = codes["reason"].as_str().unwrap();
    assert!(
        reason.ends_with("; stderr (also of generation 1) ends: \"line 11\""),
        "{codes}"
    );
    let flat = segue.reload(&["--flat", "--verbose"]);
    for line in [
        "last_lines.0=line 2",
        "last_lines.9=line 11",
        "stderr.kind=shared-file",
    ] {
        assert!(flat.stdout.lines().any(|said| said == line), "{line}: {flat:?}");
    }
    assert!(flat.stderr.ends_with(&indented), "{flat:?}");

    let status = segue.status();
    assert_eq!(status.0["last_reload"]["last_lines"], codes["last_lines"]);
    assert_eq!(status.0["last_reload"]["stderr"], codes["stderr"]);
    let table = segue.run("status", &[]).stdout;
    let below: String = lines.iter().map(|line| format!("    | {line}\n")).collect();
    assert!(table.contains(&format!("ends: \"line 11\"\n{below}")), "{table}");

    segue.deploy("app", &Program::fixture("good"));
    segue.reload_ok(&["--verbose"]);
    let status = segue.status();
    assert_eq!(status.0["last_reload"]["last_lines"], serde_json::json!([]));
    assert!(status.0["last_reload"]["stderr"].is_null(), "{}", status.0);
    segue.stop();
}

/// While it crashes and crashes the status tells the last reason; and again after a supervisor has taken over from a killed one.
#[test]
fn a_crash_loop_shows_its_last_reason_in_the_status() {
    let script = "[ -e broken ] && { echo no database >&2; exit 4; }; exec sleep 3600";
    let mut segue = Setup::new(shell(script))
        .flags(["--stderr", "app.err", "--ready", "exec:50ms", "--probation", "0s"])
        .start();
    assert!(segue.status().0["last_crash"].is_null());
    std::fs::write(segue.path("broken"), "").unwrap();
    let pid = segue.status().pids(1)[0];
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    let is_told = |status: &segue_tests::segue::Status| {
        let crash = &status.0["last_crash"];
        crash["last_lines"] == serde_json::json!(["no database"])
            && crash["generation"] == 1
            && crash["reason"].as_str().is_some_and(|reason| {
                reason.starts_with("exited with status 4 after ")
                    && reason.ends_with("; its stderr ends: \"no database\"")
            })
    };
    segue.wait_until("the crash is told", is_told);
    let table = segue.run("status", &[]).stdout;
    assert!(
        table.contains("\nlast crash: generation 1, worker 0 (pid "),
        "{table}"
    );
    assert!(
        table.contains("ends: \"no database\"\n    | no database\n"),
        "{table}"
    );
    std::fs::remove_file(segue.path("broken")).unwrap();
    segue.wait_until("it serves again", |status| status.state() == "serving");
    segue.kill();
    segue.resume();
    assert!(is_told(&segue.status()), "the next supervisor knows it as well");
    segue.reload_ok(&[]);
    assert!(
        segue.status().0["last_crash"].is_null(),
        "the next version has not crashed"
    );
    segue.stop();
}
