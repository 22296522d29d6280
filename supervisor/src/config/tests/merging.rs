use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::super::duration::Limit;
use super::super::fixed::changes_refused;
use super::super::rest::Rest;
use super::super::settings::{
    Invocation, ListenPid, LogFormat, LogTime, Mode, Orphaned, Ready, Settings, Steer, StopSignalTo,
};
use super::super::{Config, ConfigError, NameOrigin, differences, resolve, resolve_again};
use super::{directory, invocation, line, refused, resolved, write};
use crate::address::{Key, ListenSpec};

const SECOND: Duration = Duration::from_secs(1);

fn listeners(texts: &[&str]) -> Vec<ListenSpec> {
    texts
        .iter()
        .map(|text| text.parse().expect("a listen address"))
        .collect()
}

fn variables(config: &Config) -> Vec<(&str, &str)> {
    config
        .env
        .iter()
        .map(|(name, value)| (name.to_str().expect("text"), value.to_str().expect("text")))
        .collect()
}

fn with_file(directory: &Path, content: &str, settings: Settings) -> Result<Config, ConfigError> {
    let config = Some(write(directory, "segue.toml", content));
    resolve(&Invocation { config, settings })
}

#[test]
fn the_defaults_are_those_of_the_design() {
    let config = resolved(Settings::default());
    assert_eq!(
        (config.name.as_str(), config.name_origin),
        ("app", NameOrigin::Command)
    );
    assert_eq!(
        (config.workers, config.max_generations, config.rolling),
        (1, 8, None)
    );
    assert_eq!((config.mode, config.ready), (Mode::Overlap, Ready::Auto));
    assert_eq!(config.ready_after, SECOND);
    let half_a_minute = Some(30 * SECOND);
    assert_eq!(config.start_timeout, half_a_minute);
    assert_eq!(
        (config.drain_timeout, config.stop_timeout),
        (half_a_minute, half_a_minute)
    );
    assert_eq!(config.extend_limit, Some(600 * SECOND));
    assert_eq!(
        (config.accept_timeout, config.probation),
        (Some(5 * SECOND), half_a_minute)
    );
    assert_eq!(
        (config.probe_timeout, config.soak),
        (Some(10 * SECOND), Duration::ZERO)
    );
    assert_eq!((config.watchdog, config.min_free_memory), (None, None));
    assert_eq!(
        (config.stop_signal, config.stop_signal_to),
        (Signal::SIGTERM, StopSignalTo::Main)
    );
    assert_eq!(
        (config.listen_pid, config.orphaned),
        (ListenPid::Set, Orphaned::ServesOn)
    );
    assert_eq!(config.steer, Steer::WhereAsked);
    assert_eq!(
        (config.log_format, config.listen.len(), config.env.len()),
        (LogFormat::Text, 0, 0)
    );
}

#[test]
fn the_stop_timeout_follows_the_drain_timeout() {
    let drain = Settings {
        drain_timeout: Some(Limit(Some(SECOND))),
        ..Settings::default()
    };
    assert_eq!(resolved(drain.clone()).stop_timeout, Some(SECOND));
    let both = Settings {
        stop_timeout: Some(Limit(None)),
        ..drain
    };
    assert_eq!(resolved(both).stop_timeout, None);
}

#[test]
fn a_flag_wins_over_the_file() {
    let directory = directory();
    let file = "command = ['./old', 'x']\nworkers = 2\nsoak = '1s'\nlisten = ['8080', '8081']\ndrain-timeout = '1s'\n";
    let config = with_file(directory.path(), file, Settings::default()).expect("valid");
    assert_eq!((config.workers, config.soak, config.listen.len()), (2, SECOND, 2));
    let flags = Settings {
        workers: Some(3),
        listen: listeners(&["9090"]),
        command: vec!["./new".into()],
        drain_timeout: Some(Limit(None)),
        ..Settings::default()
    };
    let config = with_file(directory.path(), file, flags).expect("valid");
    assert_eq!((config.workers, config.soak), (3, SECOND));
    assert_eq!(config.listen, listeners(&["9090"]));
    assert_eq!(config.command, ["./new"]);
    assert_eq!((config.drain_timeout, config.stop_timeout), (None, None));
}

#[test]
fn the_environment_is_joined_variable_by_variable() {
    let directory = directory();
    let weak = write(directory.path(), "weak.env", "A=weak\nB=weak\nC=weak\nD=weak\n");
    let strong = write(directory.path(), "strong.env", "C=strong\nD=strong\n");
    let file = format!(
        "command = ['a']\nenv-file = '{}'\n[env]\nB = 'table'\nC = 'table'\nD = 'table'\n",
        weak.display()
    );
    let flags = Settings {
        env_file: vec![strong],
        env: vec![("D".into(), "flag".into())],
        ..Settings::default()
    };
    let config = with_file(directory.path(), &file, flags).expect("valid");
    assert_eq!(
        variables(&config),
        [("A", "weak"), ("B", "table"), ("C", "strong"), ("D", "flag")]
    );
}

#[test]
fn a_reload_never_takes_the_last_listener_away() {
    let directory = directory();
    let file = write(directory.path(), "segue.toml", "listen = [\"8080\"]\n");
    let invocation = Invocation {
        config: Some(file),
        ..invocation(Settings::default())
    };
    let old = resolve(&invocation).expect("valid");
    write(directory.path(), "segue.toml", "");
    let error = resolve_again(&invocation, &old, &mut Rest::default()).expect_err("a refusal");
    assert_eq!(
        line(&error),
        "listen: no listener is left; to serve without one takes a new start of segue"
    );
}

#[test]
fn env_files_are_read_again() {
    let directory = directory();
    let path = write(directory.path(), "app.env", "A=1\nB=1\n");
    let invocation = invocation(Settings {
        env_file: vec![path],
        ..Settings::default()
    });
    let old = resolve(&invocation).expect("valid");
    assert_eq!(variables(&old), [("A", "1"), ("B", "1")]);
    write(directory.path(), "app.env", "B=2\n");
    let new = resolve_again(&invocation, &old, &mut Rest::default()).expect("valid");
    assert_eq!(variables(&new), [("B", "2")]);
    let path = write(directory.path(), "app.env", "B\n");
    let error = resolve_again(&invocation, &old, &mut Rest::default()).expect_err("a refusal");
    assert_eq!(
        line(&error),
        format!(
            "--env-file: {}:1: expected NAME=VALUE, found no `=`",
            path.display()
        )
    );
}

#[test]
fn an_env_file_of_the_file_is_blamed_on_its_line() {
    let directory = directory();
    let error = with_file(
        directory.path(),
        "command = ['a']\nenv-file = '/nowhere/x'\n",
        Settings::default(),
    );
    let toml = directory.path().join("segue.toml");
    assert_eq!(
        line(&error.expect_err("a refusal")),
        format!(
            "{}:2: env-file: read /nowhere/x: no such file or directory",
            toml.display()
        )
    );
}

#[test]
fn words_of_the_command_are_no_settings() {
    let config = |words: &[&str], workers| {
        let command = words.iter().map(OsString::from).collect();
        let settings = Settings {
            command,
            workers,
            ..Settings::default()
        };
        resolve(&Invocation {
            config: None,
            settings,
        })
        .unwrap()
    };
    let one = config(&["./app", "--port=80", "run"], None);
    let other = config(&["./app", "run", "--port=81", "--workers=2"], None);
    assert_eq!(differences(&one, &other), ["command"]);
    let other = config(&["./app", "--port=80", "run"], Some(2));
    assert_eq!(differences(&one, &other), ["workers"]);
    let other = config(&["./app", "run", "--port=80"], None);
    assert_eq!(differences(&one, &other), ["command"], "its order counts");
}

#[test]
fn the_name_comes_from_the_command() {
    let name = |command: &str| {
        let settings = Settings {
            command: vec![OsString::from(command)],
            ..Settings::default()
        };
        resolve(&Invocation {
            config: None,
            settings,
        })
        .map(|config| config.name)
        .map_err(|error| line(&error))
    };
    assert_eq!(name("/srv/releases/7/web.bin"), Ok("web.bin".to_owned()));
    let text = name("./my app").expect_err("a refusal");
    assert!(text.ends_with("got \"my app\"); give it by --name"), "{text}");
    assert!(name("..").is_err());
    let text = name("").expect_err("a refusal");
    assert_eq!(
        text,
        "no command is given: `segue run -- COMMAND [ARG]...`, or a segue.toml (`segue init` begins one)"
    );
}

#[test]
fn contradictions_are_refused() {
    let limit = |duration| Some(Limit(Some(duration)));
    for (settings, expected) in [
        (
            Settings {
                max_generations: Some(1),
                ..Settings::default()
            },
            "--max-generations: overlap mode needs at least 2, for incumbent and candidate live side by side",
        ),
        (
            Settings {
                rolling: Some(2),
                ..Settings::default()
            },
            "--rolling: there are fewer workers than that",
        ),
        (
            Settings {
                rolling: Some(1),
                mode: Some(Mode::Queue),
                ..Settings::default()
            },
            "--rolling: in queue mode no two workers of different generations run at once",
        ),
        (
            Settings {
                ready: Some(Ready::Exec(30 * SECOND)),
                ..Settings::default()
            },
            "--ready: exec:30s does not fit into the start timeout of 30s",
        ),
        (
            Settings {
                ready_after: Some(30 * SECOND),
                ..Settings::default()
            },
            "--ready-after: 30s does not fit into the start timeout of 30s",
        ),
        (
            Settings {
                start_timeout: limit(Duration::ZERO),
                ..Settings::default()
            },
            "--start-timeout: 0s would fail every candidate; `none` waits without end",
        ),
        (
            Settings {
                probe_timeout: limit(Duration::ZERO),
                ..Settings::default()
            },
            "--probe-timeout: 0s would fail every candidate; `none` waits without end",
        ),
        (
            Settings {
                watchdog: limit(Duration::from_millis(99)),
                ..Settings::default()
            },
            "--watchdog: 99ms is too short, at least 100ms is needed",
        ),
        (
            Settings {
                watchdog: limit(SECOND),
                ready: Some(Ready::Exec(SECOND)),
                ..Settings::default()
            },
            "--watchdog: an app that cannot notify (ready = exec) cannot say WATCHDOG=1 either",
        ),
        (
            Settings {
                listen: listeners(&["8080", "127.0.0.1:8080"]),
                ..Settings::default()
            },
            "--listen: 127.0.0.1:8080 is given twice",
        ),
    ] {
        assert_eq!(refused(settings), expected);
    }
    let queue = Settings {
        max_generations: Some(1),
        mode: Some(Mode::Queue),
        ..Settings::default()
    };
    assert_eq!(resolved(queue).max_generations, 1);
    let any_ports = Settings {
        listen: listeners(&["0", "0"]),
        ..Settings::default()
    };
    assert_eq!(resolved(any_ports).listen.len(), 2);
}

#[test]
fn a_contradiction_in_the_file_is_blamed_on_its_line() {
    let directory = directory();
    let error = with_file(
        directory.path(),
        "command = ['a']\n\nmax-generations = 1\n",
        Settings::default(),
    );
    let toml = directory.path().join("segue.toml");
    assert_eq!(
        line(&error.expect_err("a refusal")),
        format!(
            "{}:3: max-generations: overlap mode needs at least 2, for incumbent and candidate live side by side",
            toml.display()
        )
    );
}

#[test]
fn what_is_fixed_cannot_change_at_a_reload() {
    let old = resolved(Settings::default());
    for (settings, expected) in [
        (
            Settings {
                name: Some("other".to_owned()),
                ..Settings::default()
            },
            "name cannot change at a reload (from app to other); it takes a new start of segue",
        ),
        (
            Settings {
                control: Some("/x".into()),
                ..Settings::default()
            },
            "control cannot change at a reload (from the default to /x); it takes a new start of segue",
        ),
        (
            Settings {
                log_format: Some(LogFormat::Json),
                ..Settings::default()
            },
            "log-format cannot change at a reload (from text to json); it takes a new start of segue",
        ),
        (
            Settings {
                log_time: Some(LogTime::Never),
                ..Settings::default()
            },
            "log-time cannot change at a reload (from auto to never); it takes a new start of segue",
        ),
    ] {
        let new = resolved(settings);
        assert_eq!(
            changes_refused(&old, &new).map(|error| line(&error)).as_deref(),
            Some(expected)
        );
    }
    let same_name = resolved(Settings {
        name: Some("app".to_owned()),
        workers: Some(9),
        ..Settings::default()
    });
    assert_eq!(changes_refused(&old, &same_name), None);
}

#[test]
fn a_name_from_the_command_outlives_the_command() {
    let directory = directory();
    let config = Some(write(directory.path(), "segue.toml", "command = ['./app-1']"));
    let invocation = Invocation {
        config,
        settings: Settings::default(),
    };
    let old = resolve(&invocation).expect("valid");
    write(directory.path(), "segue.toml", "command = ['./app-2']");
    let new = resolve_again(&invocation, &old, &mut Rest::default()).expect("valid");
    assert_eq!(
        (new.name.as_str(), new.command[0].to_str()),
        ("app-1", Some("./app-2"))
    );
}

#[test]
fn steering_for_all_is_for_each_listener_that_can_be_steered_and_does_not_say_no() {
    let steered = |config: &Config| -> Vec<Option<bool>> {
        let listen = config.listen.iter();
        listen.map(|spec| spec.options.flag(Key::Steer)).collect()
    };
    let listen = listeners(&["8080", "8081,steer=no", "unix:/run/x", "udp:53", "8082,slots=3"]);
    let settings = Settings {
        listen,
        steer: Some(Steer::Everywhere),
        ..Settings::default()
    };
    let config = resolved(settings.clone());
    assert_eq!(
        steered(&config),
        [Some(true), Some(false), None, None, Some(true)]
    );
    let directory = directory();
    let by_file = with_file(
        directory.path(),
        "steer = true\nlisten = [\"8080\"]\n",
        Settings {
            command: vec!["./app".into()],
            ..Settings::default()
        },
    );
    assert_eq!(steered(&by_file.unwrap()), [Some(true)]);
}
