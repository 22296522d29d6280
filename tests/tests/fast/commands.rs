//! The commands and signals as a person or a script uses them: what they print, how they exit, what they change.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot look at its subject has failed"
)]

use nix::sys::signal::Signal;
use segue_tests::binaries::Binary;
use segue_tests::process::{Finished, Process};
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};
use segue_tests::version;

fn good() -> Setup {
    Setup::new(Program::fixture("good"))
}

/// The lines of `reload --flat` that say how it ended.
#[track_caller]
fn codes(done: &Finished) -> Vec<&str> {
    let told = |line: &&str| {
        ["cause=", "generation=", "outcome=", "probation=", "reason="]
            .iter()
            .any(|key| line.starts_with(key))
    };
    done.stdout.lines().filter(told).collect()
}

/// The first word behind `--unix` is its PATH.
#[test]
fn a_url_behind_the_unix_flag_of_segue_poll_is_no_path() {
    let mut command = std::process::Command::new(Binary::SeguePoll.path());
    let done = Process::start(command.args(["--unix", "http://localhost/ping"])).finish();
    assert_eq!(done.code, Some(2), "{done:?}");
    let said = "segue-poll: --unix http://localhost/ping: a PATH is expected behind --unix; write the URL before it: \
                http://localhost/ping --unix\n";
    assert_eq!(done.stderr, said);
}

#[test]
fn reload_tells_its_outcome_in_codes() {
    let setup = Setup::new(Program::new("./app")).trusted_at_once();
    setup.deploy("app", &Program::fixture("good"));
    let segue = setup.start();
    segue.distrust();
    let done = segue.reload(&["--flat"]);
    assert_eq!(done.code, Some(0));
    assert_eq!(
        codes(&done),
        [
            "cause=",
            "generation=2",
            "outcome=ok",
            "probation=running",
            "reason="
        ]
    );
    assert!(
        done.stderr.starts_with("reload ok: generation 2 serves"),
        "{done:?}"
    );
    segue.trust();
    let done = segue.reload(&["--flat", "--settled"]);
    assert_eq!(codes(&done)[2..4], ["outcome=ok", "probation=passed"]);
    segue.wait_until("the others are gone", |status| {
        status.in_role("retired").is_empty()
    });
    let shown = segue.run("status", &["--flat"]).stdout;
    assert!(shown.contains("\ngenerations.0.probation=passed\n"), "{shown}");
    segue.deploy("app", &Program::fixture("crash-at-start status=7"));
    let done = segue.reload(&["--flat"]);
    assert_eq!(done.code, Some(1));
    let failed = [
        "cause=exited",
        "generation=4",
        "outcome=failed",
        "probation=not-reached",
    ];
    assert_eq!(codes(&done)[..4], failed, "{done:?}");
    let shown = segue.run("status", &["--flat"]).stdout;
    assert!(shown.contains("\nlast_reload.cause=exited\n"), "{shown}");
    segue.distrust();
    segue.deploy(
        "app",
        &Program::fixture("ready-then-dies once=serving after=10ms"),
    );
    let done = segue.reload(&["--flat", "--settled"]);
    assert_eq!(
        codes(&done)[2..4],
        ["outcome=rolled-back", "probation=not-passed"],
        "{done:?}"
    );
    segue.stop();
}

#[test]
fn reload_says_who_serves_and_how_long_it_took() {
    let segue = good().flags(["--probation", "10ms"]).start();
    let done = segue.reload(&[]);
    assert_eq!(done.code, Some(0));
    assert!(
        done.stdout.starts_with("reload ok: generation 2 serves (pid "),
        "{done:?}"
    );
    let done = segue.reload(&["--settled"]);
    assert!(
        done.stdout.contains("generation 3") && done.stdout.contains("probation"),
        "{done:?}"
    );
    let done = segue.reload(&["--drained"]);
    assert!(
        done.stdout.contains("generation 4") && done.stdout.contains("gone"),
        "{done:?}"
    );
    let done = segue.reload(&["--no-wait"]);
    assert_eq!((done.code, done.stdout.as_str()), (Some(0), "reload accepted\n"));
    segue.wait_until("the accepted reload took over", |status| status.generation() == 5);
    segue.stop();
}

#[test]
fn status_exits_1_where_nobody_serves_and_3_where_no_supervisor_answers() {
    let segue = Setup::new(Program::fixture("never-ready")).spawn();
    segue.process().wait_for_line("serving without READY=1");
    assert_eq!(segue.run("status", &[]).code, Some(1));
    segue.signal(Signal::SIGTERM);
    let _ = segue.process().wait_for_exit();
    for word in ["status", "reload", "stop", "metrics"] {
        let done = segue.run(word, &[]);
        assert_eq!(done.code, Some(3), "{word}: {done:?}");
        assert_eq!(done.stderr.lines().count(), 1, "{word}: one line: {done:?}");
    }
    segue.ended();
}

#[test]
fn a_client_that_runs_out_of_patience_exits_4_and_the_reload_goes_on() {
    let setup = Setup::new(Program::new("./app"));
    setup.deploy("app", &Program::fixture("good"));
    let segue = setup.start();
    segue.deploy("app", &Program::fixture("slow-start after=500ms"));
    assert_eq!(segue.reload(&["--timeout", "20ms"]).code, Some(4));
    segue.wait_until("the reload took over all the same", |status| {
        status.generation() == 2
    });
    segue.stop();
}

#[test]
fn usage_errors_exit_2_with_the_reason_first() {
    let segue = good().start();
    for (word, flags) in [
        ("reload", &["--untill"][..]),
        ("workers", &["0"]),
        ("run", &["--listen", "nonsense:99999", "x"]),
    ] {
        let done = segue.run(word, flags);
        assert_eq!(done.code, Some(2), "{word} {flags:?}: {done:?}");
    }
    segue.stop();
}

#[test]
fn run_and_check_refuse_a_name_that_notify_directories_have() {
    let segue = good().start();
    let config = segue.path("segue.toml");
    std::fs::write(&config, "name = \"x.notify\"\ncommand = [\"true\"]\n").unwrap();
    let config = config.to_str().unwrap();
    for (word, flags, code) in [
        ("run", &["--name", "x.notify", "true"][..], 2),
        ("check", &["--name", "x.notify", "true"], 2),
        ("run", &["--config", config], 2),
        ("check", &["--config", config], 1),
        ("check", &["x.notify"], 1),
    ] {
        let done = segue.run(word, flags);
        assert_eq!(done.code, Some(code), "{word} {flags:?}: {done:?}");
        assert!(done.stderr.contains(".notify"), "{word} {flags:?}: {done:?}");
    }
    segue.stop();
}

#[test]
fn a_second_supervisor_of_the_same_name_is_refused_with_the_pid_of_the_first() {
    let segue = good().start();
    let control = segue.control().display().to_string();
    let second = segue.begin("run", &["--listen", "127.0.0.1:0", "true"]).finish();
    assert_eq!(second.code, Some(1), "{second:?}");
    let pid = segue.process().pid();
    assert!(
        second.stderr.contains(&format!("is already running (pid {pid})")),
        "{control}: {second:?}"
    );
    segue.stop();
}

#[test]
fn hup_reloads() {
    let segue = good().start();
    segue.signal(Signal::SIGHUP);
    segue.wait_until("generation 2 serves", |status| status.generation() == 2);
    segue.stop();
}

#[test]
fn a_second_term_kills_what_does_not_drain() {
    let segue = Setup::new(Program::fixture("ignores-term")).start();
    segue.signal(Signal::SIGTERM);
    segue.process().wait_for_line("stopping");
    segue.signal(Signal::SIGTERM);
    segue.process().wait_for_line("it is killed");
    segue.ended();
}

#[test]
fn nobody_puts_off_the_end_of_a_stop() {
    let setup = Setup::new(Program::new("./app")).flags([
        "--drain-timeout",
        "1h",
        "--stop-timeout",
        "500ms",
        "--extend-limit",
        "none",
    ]);
    setup.deploy("app", &Program::fixture("asks-in-drain"));
    let segue = setup.start();
    // Who drains already, and who is told to by the stop: both ask without end.
    segue.reload_ok(&[]);
    let done = segue.run("stop", &["--timeout", "2m"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    for generation in [1, 2] {
        let line = format!("generation {generation}, worker 0 (pid ");
        let log = segue.process().stderr();
        let killed = |text: &str| text.contains(&line) && text.ends_with("did not end in time: it is killed");
        assert!(log.lines().any(killed), "{generation}: {log}");
    }
    segue.ended();
}

#[test]
fn reloads_are_refused_once_a_stop_was_asked_for() {
    let segue = Setup::new(Program::fixture("ignores-term"))
        .flags(["--stop-timeout", "1h"])
        .start();
    let stopping = segue.begin("stop", &[]);
    segue.process().wait_for_line("stopping");
    let done = segue.reload(&[]);
    assert_eq!(done.code, Some(1));
    assert!(done.stderr.contains("stopping"), "{done:?}");
    segue.signal(Signal::SIGTERM);
    assert_eq!(stopping.finish().code, Some(0));
    segue.ended();
}

#[test]
fn workers_come_and_go_by_command_and_by_signal() {
    let segue = good().flags(["--workers", "2"]).start();
    let count = |segue: &Segue, wanted: usize| {
        segue.wait_until(&format!("{wanted} workers"), |status| {
            status.pids(status.generation()).len() == wanted
        });
    };
    count(&segue, 2);
    assert_eq!(segue.run("workers", &["+2"]).code, Some(0));
    count(&segue, 4);
    assert_eq!(segue.run("workers", &["1"]).code, Some(0));
    count(&segue, 1);
    segue.signal(Signal::SIGTTIN);
    count(&segue, 2);
    segue.signal(Signal::SIGTTOU);
    count(&segue, 1);
    let done = segue.run("workers", &["-1"]);
    assert_eq!(done.code, Some(1), "the last one stays: {done:?}");
    segue.reload_ok(&[]);
    count(&segue, 1);
    segue.stop();
}

#[test]
fn usr1_reaches_only_an_app_that_catches_it() {
    let segue = good().start();
    segue.signal(Signal::SIGUSR1);
    segue.process().wait_for_line("does not catch it");
    assert_eq!(segue.status().generation(), 1);
    segue.stop();
}

#[test]
fn the_pid_file_names_the_supervisor_and_goes_with_it() {
    let setup = good();
    let path = setup.path("app.pid");
    let segue = setup.flags(["--pid-file", "app.pid"]).start();
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        format!("{}\n", segue.process().pid())
    );
    segue.stop();
    assert!(!path.exists());
}

/// A program that has asked for JSON reads JSON, whatever it has asked for beside that.
#[test]
fn a_wrong_command_line_is_told_in_codes_as_well() {
    let run = |words: &[&str]| {
        let mut command = std::process::Command::new(Binary::Segue.path());
        Process::start(command.args(words)).finish()
    };
    let wrong: [(&[&str], &str); 8] = [
        (
            &["reload", "--json", "--nonsense"],
            "unexpected argument '--nonsense' found",
        ),
        (&["reload", "--flat", "--json"], "cannot be used with"),
        (&["status", "--json", "--watch"], "cannot be used with"),
        (&["status", "--json", "-1"], "a number is no name"),
        (&["list", "--json", "shop"], "unexpected argument 'shop' found"),
        (&["deploy", "--json"], "required arguments were not provided"),
        (
            &["deploy", "--json", "--keep", "none", "app"],
            "expected a number",
        ),
        (&["deploy", "--json", "--rollback"], "which app?"),
    ];
    for (words, why) in wrong {
        let done = run(words);
        assert_eq!(done.code, Some(2), "{done:?}");
        let told: serde_json::Value =
            serde_json::from_str(&done.stdout).unwrap_or_else(|error| panic!("{words:?}: {error}: {done:?}"));
        assert_eq!(told["outcome"], "misused", "{words:?}: {told}");
        let sentence = ["reason", "message"].map(|key| told[key].as_str().unwrap_or_default().to_owned());
        assert!(
            sentence.iter().any(|text| text.contains(why)),
            "{words:?}: {told}"
        );
        assert!(done.stderr.contains(why), "people are told, too: {done:?}");
    }
    let flat = run(&["status", "--flat", "--nonsense"]);
    assert!(flat.stdout.contains("outcome=misused\n"), "{flat:?}");
    // The app's own words are nobody's options.
    let words = run(&["reload", "--nonsense", "--", "--json"]);
    assert_eq!((words.code, words.stdout.as_str()), (Some(2), ""), "{words:?}");
    let nobody = run(&["status", "--json", "--control", "/nonexistent/control"]);
    let told: serde_json::Value = serde_json::from_str(&nobody.stdout).unwrap();
    assert_eq!(
        (nobody.code, &told["outcome"]),
        (Some(3), &"no-supervisor".into())
    );
    assert_eq!(told["reason"], told["message"]);
}

#[test]
fn json_lines_are_json() {
    let segue = good().flags(["--log-format", "json"]).start();
    let log = segue.process().stderr();
    for line in log.lines().filter(|line| line.starts_with('{')) {
        let value: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert!(value["message"].is_string() && value["level"].is_string() && value["time"].is_string());
    }
    assert!(log.contains("\"message\":\"generation 1 serves"), "{log}");
    segue.stop();
}

#[test]
fn a_claim_on_sockets_by_a_process_that_has_ended_is_left_out_of_account() {
    let mut ended = std::process::Command::new("true").spawn().unwrap();
    ended.wait().unwrap();
    let claim = |pid: u32, count: &str| good().env("LISTEN_PID", pid.to_string()).env("LISTEN_FDS", count);
    let segue = claim(ended.id(), "1").start();
    segue.process().wait_for_line("LISTEN_FDS is ignored");
    segue.stop();
    // No socket at all is a claim on nothing.
    claim(std::process::id(), "0").start().stop();
    let refused = claim(std::process::id(), "1").start_in_vain();
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("a wrapper forked"), "{refused:?}");
}

#[test]
fn a_reload_after_a_flip_says_once_that_segue_was_started_in_the_old_release() {
    let cd = ["sh", "-c", "cd current && exec \"$@\"", "sh"];
    let setup = good().opened_by(cd);
    let root = std::fs::canonicalize(setup.path(".")).unwrap();
    let flip = |release: &str| {
        std::os::unix::fs::symlink(release, root.join("next")).unwrap();
        std::fs::rename(root.join("next"), root.join("current")).unwrap();
    };
    for release in ["release-1", "release-2"] {
        std::fs::create_dir(root.join(release)).unwrap();
    }
    flip("release-1");
    let segue = setup.start();
    let reload = || {
        let done = segue.reload(&[]);
        assert_eq!(done.code, Some(0), "{done:?}");
        done.stdout
    };
    assert!(!reload().contains("started in"), "nothing has moved");
    flip("release-2");
    let root = root.display();
    let told = format!(
        "; the app is started in {root}/release-1, as segue was; {root}/current leads to {root}/release-2 now (--chdir {root}/current \
         follows it)"
    );
    let said = reload();
    assert!(said.contains(&told), "{told}: {said}");
    assert!(!reload().contains("started in"), "once");
    segue.stop();
}

#[test]
fn an_env_file_is_read_again_at_each_reload_and_what_vanished_from_it_is_gone() {
    let setup = good();
    std::fs::write(setup.path("env"), "FIXTURE_MESSAGE=first\n").unwrap();
    let segue = setup.flags(["--env-file", "env"]).start();
    version::assert_only(&segue, "first");
    std::fs::write(segue.path("env"), "FIXTURE_MESSAGE=second\n").unwrap();
    segue.reload_ok(&["--drained"]);
    version::assert_only(&segue, "second");
    std::fs::write(segue.path("env"), "").unwrap();
    segue.reload_ok(&["--drained"]);
    version::assert_only(&segue, "test");
    segue.stop();
}

#[test]
fn metrics_are_prometheus_text() {
    let segue = good().start();
    let metrics = segue.run("metrics", &[]);
    assert_eq!(metrics.code, Some(0));
    assert!(
        metrics.stdout.contains("\nsegue_serving{name=\"fixture\"} 1\n"),
        "{}",
        metrics.stdout
    );
    segue.stop();
}

#[test]
fn ending_before_anybody_served_is_exit_1_with_the_reason() {
    let done = Setup::new(Program::fixture("crash-at-start")).start_in_vain();
    assert_eq!(done.code, Some(1));
    assert!(
        done.stderr
            .contains("the first start failed: exited with status 101"),
        "{}",
        done.stderr
    );
    let done = Setup::new(Program::new("./nothing-here")).start_in_vain();
    assert_eq!(done.code, Some(1));
    assert!(
        done.stderr
            .contains("exec ./nothing-here: no such file or directory"),
        "{}",
        done.stderr
    );
}

/// Exit code 1 never comes without a reason on stderr.
#[test]
fn a_full_stdout_is_said() {
    for arguments in [
        &["completions", "bash"][..],
        &["check", "--listen", "0", "--", "/bin/true"],
    ] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let done = std::process::Command::new(segue_tests::binaries::Binary::Segue.path())
            .args(arguments)
            .stdout(full)
            .output()
            .unwrap();
        assert_eq!(done.status.code(), Some(1), "{arguments:?}");
        assert_eq!(
            String::from_utf8_lossy(&done.stderr),
            "segue: write to stdout: no space left on device\n",
            "{arguments:?}"
        );
    }
}

/// The lines of `segue events`, as their events.
fn kinds(process: &segue_tests::process::Process, last: &str) -> Vec<String> {
    process.wait_for_output(&format!("\"event\":\"{last}\""));
    let kind = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(value["at"].is_string() && value["state"].is_string(), "{line}");
        value["event"].as_str().unwrap().to_owned()
    };
    process.output().lines().map(kind).collect()
}

#[test]
fn all_that_happens_is_told_to_those_who_follow_until_the_end() {
    let setup = Setup::new(Program::new("./app")).flags(["--probation", "0s"]);
    setup.deploy("app", &Program::fixture("good"));
    let segue = setup.start();
    let events = segue.begin("events", &["--follow"]);
    events.wait_for_output("\"event\":\"now\"");
    segue.reload_ok(&["--drained"]);
    segue.deploy("app", &Program::fixture("crash-at-start"));
    assert_eq!(segue.reload(&[]).code, Some(1));
    let mut seen = kinds(&events, "failed");
    let end = seen.iter().position(|kind| kind == "failed").unwrap();
    seen.truncate(end + 1);
    let expected = [
        "now",
        "handoff-began",
        "worker-ready",
        "took-over",
        "gone",
        "failed",
    ];
    let order: Vec<_> = seen
        .iter()
        .filter(|kind| expected.contains(&kind.as_str()))
        .collect();
    let wanted = [
        "now",
        "handoff-began",
        "worker-ready",
        "took-over",
        "gone",
        "handoff-began",
        "failed",
    ];
    assert_eq!(order, wanted, "{seen:?}");
    let now = segue.run("events", &[]);
    assert_eq!(now.stdout.lines().count(), 1, "{now:?}");
    assert!(now.stdout.contains("\"event\":\"now\"") && now.stdout.contains("\"generation\":2"));
    segue.stop();
    let done = events.finish();
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.stdout.contains("\"event\":\"stopping\""), "{done:?}");
}

#[test]
fn those_who_follow_are_told_that_the_supervisor_was_killed() {
    let mut segue = good().start();
    let events = segue.begin("events", &["--follow"]);
    events.wait_for_output("\"event\":\"now\"");
    let pid = segue.process().pid();
    segue.kill();
    let told = events.finish();
    let why = format!("the supervisor (pid {pid}) has gone without a word");
    assert!(told.code == Some(3) && told.stderr.contains(&why), "{told:?}");
    segue.resume();
    segue.stop();
}

#[test]
fn the_lines_of_a_file_are_shown_and_followed_and_those_of_a_pipe_are_not_there() {
    let segue = good().flags(["--stderr", "app.log"]).start();
    let shown = segue.run("logs", &[]);
    assert!(
        shown.code == Some(0) && shown.stdout.contains("generation 1: serving"),
        "{shown:?}"
    );
    let follows = segue.begin("logs", &["--follow"]);
    follows.wait_for_output("generation 1: serving");
    segue.reload_ok(&[]);
    follows.wait_for_output("generation 2: serving");
    let of_one = segue.run("logs", &["-g", "1"]);
    assert_eq!(of_one.code, Some(1), "{of_one:?}");
    assert!(
        of_one.stderr.contains("does not say which generation"),
        "{of_one:?}"
    );
    follows.signal(Signal::SIGTERM);
    follows.wait_for_exit();
    std::fs::remove_file(segue.path("app.log")).unwrap();
    let removed = segue.run("logs", &[]);
    assert!(
        removed.code == Some(1)
            && removed.stderr.contains(" was removed")
            && !removed.stderr.contains("(deleted)"),
        "{removed:?}"
    );
    segue.stop();
    let segue = good().start();
    let lost = segue.run("logs", &[]);
    assert!(
        lost.code == Some(1) && lost.stderr.contains(" go to pipe:"),
        "{lost:?}"
    );
    segue.stop();
}
