use std::collections::BTreeSet;
use std::ffi::OsString;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::answer::Stream;
use super::*;
use crate::address::SocketOptions;
use crate::config::{self, Limit, ListenPid, LogFormat, Mode, Ready, Settings};
use crate::protocol::{Change, Until};
use crate::trials::cases;

fn line(words: &[&str]) -> Result<Command, Answer> {
    parse(
        std::iter::once("segue")
            .chain(words.iter().copied())
            .map(OsString::from),
    )
}

fn run(words: &[&str]) -> Invocation {
    match line(&[&["run"], words].concat()) {
        Ok(Command::Run(invocation)) => invocation,
        other => panic!("{words:?} gave {other:?}"),
    }
}

/// The text of a usage error: the first line says it all, and the hint at the usage follows.
fn usage_error(words: &[&str]) -> String {
    let answer = line(words).expect_err("a usage error");
    assert_eq!(answer.stream, Stream::Stderr, "{words:?}");
    assert!(
        answer.text.contains("For more information, try '--help'"),
        "{}",
        answer.text
    );
    let first = answer.text.lines().next().unwrap_or_default();
    assert!(
        first.starts_with("error: ") && first.len() > 10,
        "{}",
        answer.text
    );
    first.to_owned()
}

fn help(words: &[&str]) -> String {
    let answer = line(words).expect_err("a help text");
    assert_eq!(answer.stream, Stream::Stdout, "{words:?}");
    answer.text
}

#[test]
fn nothing_given_is_nothing_set() {
    let expected = Settings {
        command: vec!["./app".into()],
        ..Settings::default()
    };
    assert_eq!(
        run(&["./app"]),
        Invocation {
            config: None,
            settings: expected
        }
    );
    assert_eq!(run(&["--config", "x.toml"]).settings, Settings::default());
}

/// One flag of each type, in both ways to write it.
#[test]
fn flags_of_every_type_are_taken() {
    let words = "--name web --control /c --log-format json -l http=8080 --listen unix:/s --workers=2 --mode queue \
                 --ready exec:2s --start-timeout 1s --drain-timeout=none --probe true --soak 6s --stop-signal quit \
                 --env A=b --env C= --env-file=-x.env --umask 027 --min-free-memory 512M --oom-score-adj -5 --user u \
                 --no-listen-pid --config s.toml -- ./app --flag -l";
    let words: Vec<&str> = words.split_whitespace().collect();
    let settings = Settings {
        name: Some("web".to_owned()),
        control: Some("/c".into()),
        log_format: Some(LogFormat::Json),
        listen: ["http=8080", "unix:/s"]
            .map(|text| text.parse().expect("an address"))
            .to_vec(),
        command: ["./app", "--flag", "-l"].map(OsString::from).to_vec(),
        workers: Some(2),
        mode: Some(Mode::Queue),
        ready: Some(Ready::Exec(Duration::from_secs(2))),
        start_timeout: Some(Limit(Some(Duration::from_secs(1)))),
        drain_timeout: Some(Limit(None)),
        probe: Some("true".to_owned()),
        soak: Some(Duration::from_secs(6)),
        stop_signal: Some(Signal::SIGQUIT),
        env: vec![("A".into(), "b".into()), ("C".into(), "".into())],
        env_file: vec!["-x.env".into()],
        umask: Some(0o27),
        min_free_memory: Some(512 << 20),
        oom_score_adj: Some(-5),
        user: Some("u".to_owned()),
        listen_pid: Some(ListenPid::LeftOut),
        ..Settings::default()
    };
    let invocation = Invocation {
        config: Some("s.toml".into()),
        settings,
    };
    assert_eq!(run(&words), invocation);
    let checked = line(&[&["check"], words.as_slice()].concat());
    let check = |unit| {
        Ok(Command::Check(Check {
            invocation: invocation.clone(),
            unit,
        }))
    };
    assert_eq!(checked, check(None));
    let unit = [&["check", "--unit", "app"], words.as_slice()].concat();
    assert_eq!(line(&unit), check(Some("app".to_owned())));
}

#[test]
fn what_follows_the_command_is_the_apps() {
    let command = |words: &[&str]| run(words).settings.command;
    assert_eq!(
        command(&["./app", "--workers", "9", "-x"]),
        ["./app", "--workers", "9", "-x"]
    );
    assert_eq!(
        command(&["--workers", "2", "./app", "--help"]),
        ["./app", "--help"]
    );
    assert_eq!(command(&["--", "./app", "--", "-h"]), ["./app", "--", "-h"]);
    assert_eq!(command(&["./app", "--", "x"]), ["./app", "--", "x"]);
    assert_eq!(command(&["--", "--strange-app", "-1"]), ["--strange-app", "-1"]);
    assert_eq!(command(&["app", "", "-"]), ["app", "", "-"]);
    assert_eq!(run(&["./app", "--workers", "9"]).settings.workers, None);
}

#[test]
fn a_command_need_not_be_text() {
    use std::os::unix::ffi::OsStringExt as _;
    let strange = OsString::from_vec(vec![b'.', b'/', 0xff]);
    let words = ["segue", "run", "--"]
        .map(OsString::from)
        .into_iter()
        .chain([strange.clone()]);
    let Ok(Command::Run(invocation)) = parse(words) else {
        panic!("refused")
    };
    assert_eq!(invocation.settings.command, [strange]);
}

#[test]
fn usage_errors_say_what_is_wrong_in_one_line() {
    for (words, expected) in [
        (
            &["run", "--soak", "30", "a"][..],
            "invalid value '30' for '--soak <DURATION>': a duration needs a unit: `30s` (or ms, m, h)",
        ),
        (
            &["run", "--soak", "none", "a"],
            "invalid value 'none' for '--soak <DURATION>': `none` is not allowed here; a duration is, such as `30s`",
        ),
        (
            &["run", "--workers", "0", "a"],
            "invalid value '0' for '--workers <N>': expected a number from 1 to 1024, got \"0\"",
        ),
        (&["run", "--bogus", "a"], "unexpected argument '--bogus' found"),
        (
            &["run", "--mode", "both", "a"],
            "invalid value 'both' for '--mode <MODE>' [possible values: overlap, queue]",
        ),
        (
            &["run", "--env", "A", "a"],
            "invalid value 'A' for '--env <NAME=VALUE>': expected NAME=VALUE, got \"A\" without `=`",
        ),
        (
            &["run", "--chdir", "", "a"],
            "a value is required for '--chdir <DIR>' but none was supplied",
        ),
        (
            &["run", "--name", "a", "--name", "b", "a"],
            "the argument '--name <NAME>' cannot be used multiple times",
        ),
        (
            &["workers", "many"],
            "invalid value 'many' for '<N|+N|-N>': expected a number from 1 to 1024, got \"many\"",
        ),
        (
            &["workers", "-0"],
            "invalid value '-0' for '<N|+N|-N>': expected a number from 1 to 1024, got \"0\"",
        ),
        (&["upgrad", "1"], "unrecognized subcommand 'upgrad'"),
        (&["check-state", "7"], "unrecognized subcommand 'check-state'"),
        (&["reload", "shop", "now"], "unexpected argument 'now' found"),
        (
            &["reload", "7"],
            "invalid value '7' for '[NAME]': a number is no name here; an instance that is called so is named by --name",
        ),
        (
            &["workers", "4", "shop"],
            "invalid value '4' for '[NAME]': a number is no name here",
        ),
        (
            &["stop", "shop", "--name", "shop"],
            "the argument '[NAME]' cannot be used with '--name <NAME>'",
        ),
        (
            &["status", "--json", "--watch"],
            "the argument '--json' cannot be used with '--watch'",
        ),
        (
            &["status", "--name", "../x"],
            "invalid value '../x' for '--name <NAME>'",
        ),
    ] {
        let first = usage_error(words);
        assert!(
            first.starts_with(&format!("error: {expected}")),
            "{words:?}: {first}"
        );
    }
    for words in [&["workers"], &["completions"]] {
        let missing = usage_error(words);
        let (_, what) = missing
            .split_once("required arguments were not provided: ")
            .expect("the reason");
        assert!(what.starts_with('<'), "{missing}");
    }
}

#[test]
fn words_of_other_tools_get_the_word_of_ours() {
    for (words, tip) in [
        (
            &["start"][..],
            "segue run --listen PORT -- COMMAND starts an app (under systemd: systemctl start UNIT)",
        ),
        (
            &["restart", "--name", "shop"],
            "segue reload starts the new version, and the old one ends when that serves",
        ),
        (&["ps"], "segue list lists the instances that run"),
        (
            &["rollback"],
            "a version that fails is rolled back without a command; segue deploy --rollback goes back to an earlier release",
        ),
        (&["./app"], "segue run --listen PORT -- ./app starts it"),
        (
            &["--listen", "80", "./app"],
            "the command comes first: segue run [OPTIONS] -- COMMAND",
        ),
        (&["statsu"], "a similar subcommand exists: 'status'"),
    ] {
        let answer = line(words).expect_err("a usage error");
        let tips: Vec<&str> = answer
            .text
            .lines()
            .filter_map(|line| line.strip_prefix("  tip: "))
            .collect();
        assert_eq!(tips, [tip], "{words:?}: {}", answer.text);
        assert!(answer.text.contains("\n\nUsage: "), "{}", answer.text);
        assert!(!answer.text.contains("\n\n\n"), "{}", answer.text);
    }
    let answer = line(&["reload", "--wrong"]).expect_err("a usage error");
    assert!(!answer.text.contains("tip: "), "{}", answer.text);
}

#[test]
fn usage_errors_cannot_disturb_a_terminal() {
    let answer = line(&["run", "--soak", "\x1b[2J", "a"]).expect_err("a usage error");
    assert!(
        !answer
            .text
            .chars()
            .any(|character| character != '\n' && character.is_control()),
        "{:?}",
        answer.text
    );
}

#[test]
fn alone_it_shows_the_help_as_a_usage_error() {
    let answer = line(&[]).expect_err("a help text");
    assert_eq!(answer.stream, Stream::Stderr);
    assert!(answer.text.contains("Usage: segue <COMMAND>"), "{}", answer.text);
}

#[test]
fn each_command_with_codes_tells_a_usage_error_in_them() {
    let mut grammar = grammar();
    grammar.build();
    for command in grammar.get_subcommands() {
        let has = |flag| {
            command
                .get_arguments()
                .any(|argument| argument.get_long() == Some(flag))
        };
        for flag in ["json", "flat"] {
            let words = ["segue", command.get_name(), &format!("--{flag}"), "--nonsense"].map(OsString::from);
            assert_eq!(
                Codes::asked_for(&words).is_some(),
                has(flag),
                "{} --{flag}",
                command.get_name()
            );
        }
    }
}

#[test]
fn a_reload_prints_its_outcome_as_asked() {
    for (words, form) in [
        (&["reload"][..], Form::Words),
        (&["reload", "--json"], Form::Json),
        (&["reload", "--settled", "--flat"], Form::Flat),
    ] {
        let Ok(Command::Reload(reload)) = line(words) else {
            panic!("{words:?}")
        };
        assert_eq!(reload.form, form);
    }
    usage_error(&["reload", "--json", "--flat"]);
    let Ok(Command::Reload(reload)) = line(&["reload", "--drained", "--verbose"]) else {
        panic!("--verbose")
    };
    assert_eq!(reload.detail, ReloadDetail::LastLines);
    usage_error(&["reload", "--no-wait", "--verbose"]);
}

#[test]
fn a_reload_waits_as_asked() {
    for (words, until) in [
        (&["reload"][..], Until::Takeover),
        (&["reload", "--settled"], Until::Settled),
        (&["reload", "--drained"], Until::Drained),
        (&["reload", "--no-wait"], Until::Accepted),
    ] {
        assert_eq!(
            line(words),
            Ok(Command::Reload(Reload {
                target: Target::default(),
                until,
                form: Form::Words,
                detail: ReloadDetail::Reason,
                when_changed: Vec::new(),
            }))
        );
    }
    for pair in [
        ["--settled", "--drained"],
        ["--no-wait", "--settled"],
        ["--drained", "--no-wait"],
    ] {
        usage_error(&["reload", pair[0], pair[1]]);
    }
}

#[test]
fn clients_choose_their_instance() {
    let target = Target {
        name: Some("web".to_owned()),
        control: None,
        timeout: Some(Duration::from_secs(5)),
    };
    let words = ["--name", "web", "--timeout", "5s"];
    assert_eq!(
        line(&[&["stop"][..], &words].concat()),
        Ok(Command::Stop(target.clone()))
    );
    assert_eq!(
        line(&[&["metrics"][..], &words].concat()),
        Ok(Command::Metrics(target.clone()))
    );
    let flat = Status {
        target: target.clone(),
        form: StatusForm::Flat,
        color: Color::Auto,
    };
    assert_eq!(
        line(&[&["status", "--flat"][..], &words].concat()),
        Ok(Command::Status(flat))
    );
    let status = Status {
        target,
        form: StatusForm::Json,
        color: Color::Auto,
    };
    assert_eq!(
        line(&[&["status", "--json"][..], &words].concat()),
        Ok(Command::Status(status))
    );
    let target = Target {
        control: Some("/c".into()),
        ..Target::default()
    };
    assert_eq!(
        line(&["stop", "--control", "/c", "--timeout", "none"]),
        Ok(Command::Stop(target))
    );
    usage_error(&["stop", "--control", "/c", "--name", "web"]);
}

#[test]
fn workers_are_set_added_and_removed() {
    for (word, change) in [
        ("4", Change::Set(4)),
        ("+1", Change::Add(1)),
        ("-1", Change::Remove(1)),
        ("-12", Change::Remove(12)),
    ] {
        let target = Target {
            name: Some("web".to_owned()),
            ..Target::default()
        };
        let expected = Ok(Command::Workers(Workers { target, change }));
        assert_eq!(line(&["workers", word, "--name", "web"]), expected);
        assert_eq!(line(&["workers", "--name", "web", word]), expected);
        assert_eq!(line(&["workers", "web", word]), expected);
    }
}

#[test]
fn an_instance_is_named_by_the_first_word_or_by_the_flag() {
    for word in ["reload", "status", "stop", "upgrade", "metrics"] {
        let by_word = line(&[word, "web-2", "--timeout", "3s"]);
        assert!(by_word.is_ok(), "{by_word:?}");
        assert_eq!(by_word, line(&[word, "--name", "web-2", "--timeout", "3s"]));
        assert!(line(&[word, "ann/web-2"]).is_ok());
        assert!(line(&[word, "/web-2"]).is_err());
    }
    let (form, color) = (Form::Json, Color::Never);
    assert_eq!(
        line(&["list", "--json", "--color", "never"]),
        Ok(Command::List(List { form, color }))
    );
    assert!(line(&["list", "--color", "sometimes"]).is_err());
}

#[test]
fn completions_are_there_for_every_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let Ok(Command::Completions(completions)) = line(&["completions", shell]) else {
            panic!("{shell}")
        };
        let script = String::from_utf8(completions.script()).expect("text");
        assert!(
            script.contains("drain-timeout") && script.contains("reload"),
            "{shell}"
        );
    }
    usage_error(&["completions", "tcsh"]);
}

/// The grammar with all its subcommands, which clap otherwise makes only when they are used.
fn whole_grammar() -> clap::Command {
    let mut grammar = grammar().disable_help_subcommand(true).disable_help_flag(true);
    grammar.build();
    grammar
}

#[test]
fn the_help_of_listen_names_every_option() {
    let text = help(&["run", "--help"]);
    let words: BTreeSet<&str> = text
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
        .collect();
    for option in SocketOptions::names() {
        assert!(words.contains(option), "{option} is not in the help");
    }
}

#[test]
fn the_help_of_each_command_begins_with_what_it_does() {
    let grammar = grammar();
    let mut seen = std::collections::HashSet::new();
    for command in grammar.get_subcommands() {
        let name = command.get_name();
        for flag in ["-h", "--help"] {
            let text = help(&[name, flag]);
            let first = text.lines().next().unwrap_or_default().to_owned();
            assert!(seen.insert((flag, first.clone())), "{name} {flag}: {first}");
            let listed = help(&["--help"]);
            let in_list =
                flag != "-h" || command.is_hide_set() || listed.lines().any(|line| line.ends_with(&first));
            assert!(in_list, "{name}: {first}");
        }
    }
}

#[test]
fn help_fits_a_terminal_and_nothing_lacks_one() {
    let grammar = whole_grammar();
    for command in grammar.get_subcommands() {
        let name = command.get_name();
        assert!(command.get_about().is_some(), "{name} has no help");
        for arg in command.get_arguments() {
            assert!(arg.get_help().is_some(), "{name}: {} has no help", arg.get_id());
        }
        let text = help(&[name, "--help"]);
        for line in text.lines() {
            assert!(
                line.chars().count() <= 80,
                "{name}: {line:?} is wider than 80 columns"
            );
        }
    }
    assert!(help(&["--help"]).lines().all(|line| line.chars().count() <= 80));
    assert!(help(&["--version"]).starts_with("segue "));
}

/// Every setting, left by one supervisor to the next as a command line.
#[test]
fn the_settings_that_were_left_are_those_that_come_back() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut dice = fastrand::Rng::with_seed(seed);
    for _ in 0..cases(3_000) {
        let invocation = Invocation {
            config: None,
            settings: config::any_settings(&mut dice),
        };
        let config = config::resolve(&invocation).unwrap();
        let arguments = config::to_arguments(&config);
        let mut again = settings(arguments.clone()).unwrap_or_else(|error| panic!("{error}: {arguments:?}"));
        // Whether the name was given does not matter any more once it is there.
        again.name_origin = config.name_origin;
        assert_eq!(again, config, "{arguments:?}");
    }
}

#[test]
fn what_this_version_does_not_know_is_named() {
    let error = settings(vec!["--from-tomorrow=1".into(), "--".into(), "./app".into()]).unwrap_err();
    assert!(error.contains("--from-tomorrow"), "{error}");
}
