use std::time::Duration;

use super::super::check::{Findings, check};
use super::super::duration::Limit;
use super::super::settings::{Invocation, Mode, Settings};
use super::{assert_one_line, directory, invocation, write};

/// A configuration that nothing is wrong with.
fn sound() -> Settings {
    Settings {
        listen: vec!["8080".parse().expect("an address")],
        ..Settings::default()
    }
}

fn findings(settings: Settings) -> Findings {
    let findings = check(&invocation(settings), |_| Ok(()));
    findings
        .problems
        .iter()
        .chain(&findings.notes)
        .for_each(|text| assert_one_line(text));
    findings
}

#[test]
fn a_sound_configuration_has_no_findings() {
    assert_eq!(findings(sound()), Findings::default());
}

#[test]
fn all_errors_of_a_file_are_shown() {
    let directory = directory();
    let config = Some(write(directory.path(), "segue.toml", "workers = 0\nsoak = 1\n"));
    let found = check(
        &Invocation {
            config,
            settings: Settings::default(),
        },
        |_| Ok(()),
    );
    assert_eq!((found.problems.len(), found.notes.len()), (2, 0), "{found:?}");
}

#[test]
fn the_command_is_looked_up_as_the_launch_does() {
    let reason = "exec ./app: no such file or directory";
    let found = check(&invocation(sound()), |config| {
        assert_eq!(config.command, ["./app"]);
        Err(reason.to_owned())
    });
    assert_eq!(found.problems, [reason]);
}

#[test]
fn what_two_checks_find_is_told_once() {
    let reason = "chdir /nowhere: no such file or directory";
    let settings = Settings {
        chdir: Some("/nowhere".into()),
        ..sound()
    };
    let found = check(&invocation(settings), |_| Err(reason.to_owned()));
    assert_eq!(found.problems, [reason]);
}

#[test]
fn what_is_missing_is_a_problem() {
    let directory = directory();
    let file = write(directory.path(), "file", "");
    for (settings, expected) in [
        (
            Settings {
                user: Some("no-such-user".to_owned()),
                ..sound()
            },
            "user no-such-user: no such user".to_owned(),
        ),
        (
            Settings {
                user: Some("4711".to_owned()),
                ..sound()
            },
            "user 4711: not in the user database, so it needs a group, too".to_owned(),
        ),
        (
            Settings {
                group: Some("no-such-group".to_owned()),
                ..sound()
            },
            "group no-such-group: no such group".to_owned(),
        ),
        (
            Settings {
                control_group: Some("no-such-group".to_owned()),
                ..sound()
            },
            "control-group no-such-group: no such group".to_owned(),
        ),
        (
            Settings {
                chdir: Some("/nowhere".into()),
                ..sound()
            },
            "chdir /nowhere: no such file or directory".to_owned(),
        ),
        (
            Settings {
                chdir: Some(file.clone()),
                ..sound()
            },
            format!("chdir {}: not a directory", file.display()),
        ),
        (
            Settings {
                pid_file: Some("/nowhere/pid".into()),
                ..sound()
            },
            "pid-file /nowhere/pid: its directory: no such file or directory".to_owned(),
        ),
        (
            Settings {
                pid_file: Some(directory.path().into()),
                ..sound()
            },
            format!("pid-file {}: is a directory", directory.path().display()),
        ),
        (
            Settings {
                control: Some(file.join("control")),
                ..sound()
            },
            format!(
                "control {}/control: its directory: not a directory",
                file.display()
            ),
        ),
        (
            Settings {
                control: Some(file.clone()),
                ..sound()
            },
            format!(
                "control {}: something that is no socket lies there",
                file.display()
            ),
        ),
    ] {
        assert_eq!(findings(settings).problems, [expected]);
    }
    let long = Settings {
        control: Some(format!("/{}", "x".repeat(107)).into()),
        ..sound()
    };
    assert!(findings(long).problems[0].ends_with("longer than 107 bytes"));
    let made_by_run = Settings {
        control: Some(directory.path().join("not/yet/there/control")),
        ..sound()
    };
    assert_eq!(findings(made_by_run).problems, Vec::<String>::new());
    let number = Settings {
        user: Some("4711".to_owned()),
        group: Some("4711".to_owned()),
        ..sound()
    };
    assert_eq!(findings(number).problems, Vec::<String>::new());
    let known = Settings {
        user: Some("0".to_owned()),
        ..sound()
    };
    assert_eq!(findings(known).problems, Vec::<String>::new());
}

#[test]
fn what_is_probably_not_meant_is_a_note() {
    let limit = |duration| Some(Limit(duration));
    for (settings, expected) in [
        (
            Settings::default(),
            "no listener is given: segue serves only sockets inherited by LISTEN_FDS",
        ),
        (
            Settings {
                soak: Some(Duration::from_secs(1)),
                mode: Some(Mode::Queue),
                ..sound()
            },
            "soak has no effect in queue mode: there is nobody to serve beside the candidate",
        ),
        (
            Settings {
                linger: Some(Duration::from_secs(5)),
                ..sound()
            },
            "linger has no effect unless each listener is steered: an old generation takes new clients from one that is shared, and \
             is told to stop at the takeover",
        ),
        (
            Settings {
                stop_timeout: limit(Some(Duration::ZERO)),
                ..sound()
            },
            "stop-timeout of 0s cuts requests that take longer",
        ),
        (
            Settings {
                start_timeout: limit(None),
                ..sound()
            },
            "start-timeout is none: an app that hangs is waited for without end",
        ),
        (
            Settings {
                probe: Some("true".to_owned()),
                probe_timeout: limit(None),
                ..sound()
            },
            "probe-timeout is none: a probe that never succeeds is retried without end",
        ),
    ] {
        let found = findings(settings);
        assert_eq!(
            (found.problems, found.notes),
            (Vec::new(), vec![expected.to_owned()])
        );
    }
}
