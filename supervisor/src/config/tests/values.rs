use std::ffi::OsStr;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::super::environment::parse_variable;
use super::super::settings::{
    Ready, parse_account, parse_generations, parse_name, parse_oom_score, parse_shell_command, parse_size,
    parse_umask, parse_workers,
};
use super::super::signal::parse_stop_signal;
use super::super::text::{one_line, quoted};
use super::assert_one_line;

#[test]
fn signals_have_names() {
    for name in ["TERM", "SIGTERM", "term", "SigTerm"] {
        assert_eq!(parse_stop_signal(name), Ok(Signal::SIGTERM));
    }
    assert_eq!(parse_stop_signal("WINCH"), Ok(Signal::SIGWINCH));
    for refused in [
        "KILL",
        "SIGSTOP",
        "15",
        "",
        "SIG",
        "RTMIN+3",
        "TERM ",
        "SIGSIGTERM",
    ] {
        assert_one_line(&parse_stop_signal(refused).expect_err(refused));
    }
    let text = parse_stop_signal("KILL").expect_err("a refusal");
    assert_eq!(
        text,
        "\"KILL\" cannot be caught, so nothing could drain; TERM can"
    );
}

#[test]
fn a_umask_is_octal() {
    assert_eq!(parse_umask("027"), Ok(0o27));
    assert_eq!(parse_umask("0o77"), Ok(0o77));
    assert_eq!(parse_umask("0"), Ok(0));
    assert_eq!(parse_umask("00777"), Ok(0o777));
    for refused in ["", "9", "1000", "0x1f", "-1", "+7", "0o", "77777777777777777777"] {
        assert_one_line(&parse_umask(refused).expect_err(refused));
    }
}

#[test]
fn counts_have_bounds() {
    assert_eq!(parse_workers("1"), Ok(1));
    assert_eq!(parse_workers("1024"), Ok(1024));
    assert_eq!(parse_generations("0008"), Ok(8));
    for refused in ["0", "1025", "65536", "+1", "-1", "", "many", "1.0", "99999999999"] {
        assert_one_line(&parse_workers(refused).expect_err(refused));
    }
    assert_eq!(
        parse_workers("many"),
        Err("expected a number from 1 to 1024, got \"many\"".to_owned())
    );
}

#[test]
fn names_are_path_components() {
    for name in ["app", "app-1.2", "a", "web@eu_1", "c++", &"x".repeat(64)] {
        assert_eq!(parse_name(name).as_deref(), Ok(name));
    }
    for refused in [
        "",
        ".",
        "..",
        "-x",
        ".hidden",
        "a/b",
        "a b",
        "a\n",
        "\u{e4}",
        "a:b",
        "app.notify",
        &"x".repeat(65),
    ] {
        assert_one_line(&parse_name(refused).expect_err(refused));
    }
}

#[test]
fn accounts_are_names_or_numbers() {
    for account in ["www-data", "1000", "user.name@domain", "DOMAIN\\user"] {
        assert!(parse_account(account).is_ok(), "{account}");
    }
    for refused in ["", "-1", "a b", "a:b", "a\n", "a/b"] {
        assert_one_line(&parse_account(refused).expect_err(refused));
    }
}

#[test]
fn readiness_is_a_word_or_a_time() {
    assert_eq!("notify".parse(), Ok(Ready::Notify));
    assert_eq!("exec:2s".parse(), Ok(Ready::Exec(Duration::from_secs(2))));
    assert_eq!(
        "exec:2".parse::<Ready>(),
        Err("a duration needs a unit: `2s` (or ms, m, h)".to_owned())
    );
    for refused in ["", "exec", "exec:", "exec:none", "NOTIFY"] {
        assert_one_line(&refused.parse::<Ready>().expect_err(refused));
    }
}

#[test]
fn variables_are_checked() {
    assert_eq!(
        parse_variable(OsStr::new("A=b=c")),
        Ok(("A".into(), "b=c".into()))
    );
    assert_eq!(
        parse_variable(OsStr::new("my.key=")),
        Ok(("my.key".into(), "".into()))
    );
    for (refused, reason) in [
        ("A", "expected NAME=VALUE, got \"A\" without `=`"),
        ("=b", "the name of the variable is empty"),
        (
            "NOTIFY_SOCKET=/x",
            "\"NOTIFY_SOCKET\" is set by segue itself and cannot be given",
        ),
        (
            "SEGUE_NAME=x",
            "\"SEGUE_NAME\" is set by segue itself and cannot be given",
        ),
    ] {
        assert_eq!(parse_variable(OsStr::new(refused)), Err(reason.to_owned()));
    }
}

#[test]
fn a_probe_is_a_command() {
    assert!(parse_shell_command("curl x").is_ok());
    assert!(parse_shell_command(" ").is_err());
    assert!(parse_shell_command("a\0").is_err());
}

#[test]
fn other_peoples_text_cannot_disturb_a_terminal() {
    assert_eq!(quoted("a\x1b[2Jb\u{202e}c"), "\"a\\u{1b}[2Jb\\u{202e}c\"");
    assert_eq!(one_line("a\r\nb\tc\u{2028}"), "a\\r\\nb\\tc\\u{2028}");
    assert_eq!(quoted(&"x".repeat(100)), format!("\"{}...\"", "x".repeat(60)));
}

#[test]
fn sizes_have_units_of_1024() {
    assert_eq!(parse_size("512M"), Ok(512 << 20));
    assert_eq!(parse_size("1K"), Ok(1024));
    assert_eq!(parse_size("2G"), Ok(2 << 30));
    assert_eq!(parse_size("7"), Ok(7));
    for refused in [
        "",
        "0",
        "0M",
        "M",
        "-1M",
        "+1M",
        "1.5G",
        "1T",
        "1m",
        "99999999999G",
        "1 M",
    ] {
        assert_one_line(&parse_size(refused).expect_err(refused));
    }
}

#[test]
fn oom_scores_have_bounds() {
    assert_eq!(parse_oom_score("-1000"), Ok(-1000));
    assert_eq!(parse_oom_score("1000"), Ok(1000));
    for refused in ["", "-1001", "1001", "+5", "x", "70000", "1.0"] {
        assert_one_line(&parse_oom_score(refused).expect_err(refused));
    }
}
