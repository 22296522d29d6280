//! What people at a terminal see and may do there, and that nobody else gets any of it.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot look at its subject has failed"
)]

use std::fs;
use std::io::{Read as _, Write as _};

use nix::sys::signal::Signal;
use segue_tests::http::Target;
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};
use segue_tests::terminal::Terminal;

const XTERM: (&str, &str) = ("TERM", "xterm");
const TAKEN: &str = "\x1b[?1049h\x1b[?25l";
const GIVEN_BACK: &str = "\x1b[?25h\x1b[?1049l";

fn good() -> Segue {
    Setup::new(Program::fixture("good")).start()
}

/// `segue status --watch`, once it has drawn a status.
fn watching(segue: &Segue) -> Terminal {
    let terminal = segue.at_terminal("status", &["--watch"], &[XTERM, ("NO_COLOR", "1")]);
    terminal.wait_for(0, "q quits, space pauses");
    terminal
}

/// The frames that were drawn whole, without the sequences that move the cursor.
fn frames(seen: &str) -> Vec<Vec<String>> {
    let frames = seen.split("\x1b[H").skip(1);
    let whole = frames.filter_map(|frame| frame.split_once("\x1b[J"));
    whole
        .map(|(lines, _)| {
            lines
                .split("\r\n")
                .map(|line| line.replace("\x1b[K", "").replace('\r', ""))
                .collect()
        })
        .collect()
}

#[test]
fn a_watched_status_has_the_screen_until_q_and_leaves_the_terminal_as_it_was() {
    let segue = good();
    let mut terminal = watching(&segue);
    let seen = terminal.seen();
    assert!(seen.starts_with(TAKEN), "{seen:?}");
    assert!(!terminal.is_as_before(), "keys come one by one");
    let first = frames(&seen).remove(0);
    assert!(first[0].contains("serving, generation 1 serves"), "{first:?}");
    assert!(first.iter().all(|line| line.chars().count() <= 80), "{first:?}");
    assert!(first.len() <= 24, "{first:?}");
    terminal.type_in("xq");
    assert_eq!(terminal.end(), Ok(0));
    terminal.wait_for(0, GIVEN_BACK);
    assert!(terminal.seen().ends_with(GIVEN_BACK), "{:?}", terminal.seen());
    assert!(terminal.is_as_before());
    segue.stop();
}

#[test]
fn a_watched_status_fits_a_screen_that_becomes_smaller_and_waits_while_it_is_paused() {
    let segue = good();
    let mut terminal = watching(&segue);
    terminal.type_in(" ");
    let mark = terminal.wait_for(0, "paused");
    terminal.resize(40, 7);
    // Columns and rows change one after the other.
    let end = terminal.wait_for(mark, "\x1b[7;1Hq quits, space goes on; paused");
    let seen = terminal.seen();
    let small = frames(&seen[mark..end]).pop().unwrap();
    assert!(small.iter().all(|line| line.chars().count() <= 40), "{small:?}");
    assert!(small[5].ends_with("more lines") && small.len() == 7, "{small:?}");
    segue.reload_ok(&[]);
    terminal.resize(80, 24);
    let mark = terminal.wait_for(end, "\x1b[24;1Hq quits, space goes on; paused");
    assert!(
        !terminal.seen()[end..].contains("generation 2 serves"),
        "it is paused"
    );
    terminal.type_in("p");
    terminal.wait_for(mark, "generation 2 serves");
    terminal.type_in("q");
    assert_eq!(terminal.end(), Ok(0));
    segue.stop();
}

#[test]
fn a_signal_ends_a_watched_status_as_it_ends_anybody_and_the_screen_comes_back() {
    let segue = good();
    for (typed, signal) in [
        (Some("\x03"), Signal::SIGINT),
        (None, Signal::SIGTERM),
        (None, Signal::SIGHUP),
    ] {
        let mut terminal = watching(&segue);
        match typed {
            Some(keys) => terminal.type_in(keys),
            None => terminal.signal(signal),
        }
        assert_eq!(terminal.end(), Err(signal as i32));
        terminal.wait_for(0, GIVEN_BACK);
        assert!(terminal.is_as_before(), "{signal}");
    }
    segue.stop();
}

#[test]
fn a_supervisor_that_hangs_does_not_keep_anybody_at_a_watched_status() {
    let segue = good();
    let watched = || segue.at_terminal("status", &["--watch", "--timeout", "1h"], &[XTERM]);
    let mut ways = [
        (Some("q"), Signal::SIGINT, Ok(0)),
        (Some("\x03"), Signal::SIGINT, Err(Signal::SIGINT as i32)),
        (None, Signal::SIGTERM, Err(Signal::SIGTERM as i32)),
        (None, Signal::SIGHUP, Err(Signal::SIGHUP as i32)),
    ]
    .map(|way| (watched(), way));
    for (terminal, _) in &ways {
        terminal.wait_for(0, "q quits, space pauses");
    }
    segue.signal(Signal::SIGSTOP);
    for (terminal, (typed, signal, end)) in &mut ways {
        terminal.wait_for(0, "no answer for 2 s; q quits, space pauses");
        match typed {
            Some(keys) => terminal.type_in(keys),
            None => terminal.signal(*signal),
        }
        assert_eq!(terminal.end(), *end);
        terminal.wait_for(0, GIVEN_BACK);
        assert!(terminal.is_as_before(), "{typed:?} {signal}");
    }
    segue.signal(Signal::SIGCONT);
    segue.stop();
}

#[test]
fn a_watched_status_may_be_stopped_and_taken_up_again() {
    let segue = good();
    let script = r#"set -m; "$@"; echo "(stopped $?)"; fg; echo "(over $?)""#;
    let mut terminal = segue.at_terminal_by(&["sh", "-c", script, "sh"], "status", &["--watch"], &[XTERM]);
    terminal.wait_for(0, "q quits");
    terminal.type_in("\x1a");
    terminal.wait_for(0, "(stopped ");
    let mark = terminal.seen().find("(stopped ").unwrap();
    assert!(terminal.seen()[..mark].ends_with(GIVEN_BACK));
    terminal.wait_for(mark, TAKEN);
    terminal.wait_for(mark, "q quits");
    terminal.type_in("q");
    terminal.wait_for(mark, "(over 0)");
    assert_eq!(terminal.end(), Ok(0));
    assert!(terminal.is_as_before());
    segue.stop();
}

#[test]
fn a_watched_status_tells_what_is_under_way_and_that_the_supervisor_has_gone() {
    let segue = Setup::new(Program::fixture("good"))
        .flags(["--drain-timeout", "1h"])
        .start();
    let client = parked(&segue);
    let mut terminal = watching(&segue);
    segue.reload_ok(&[]);
    terminal.wait_for(0, "draining: 1 connection, 59 min left");
    drop(client);
    let mark = terminal.wait_for(0, "generation 2 serves");
    assert_eq!(segue.run("stop", &[]).code, Some(0));
    terminal.wait_for(mark, "no supervisor answers");
    terminal.type_in("q");
    assert_eq!(terminal.end(), Ok(0));
    segue.ended();
}

#[test]
fn without_a_terminal_that_can_do_it_statuses_follow_each_other_as_plain_lines() {
    let segue = good();
    for variables in [[("TERM", "dumb")], [("TERM", "")]] {
        let mut terminal = segue.at_terminal("status", &["--watch"], &variables);
        let mark = terminal.wait_for(0, "restarts 0");
        terminal.wait_for(mark, "restarts 0");
        assert!(!terminal.seen().contains('\x1b'), "{:?}", terminal.seen());
        terminal.type_in("\x03");
        assert_eq!(terminal.end(), Err(Signal::SIGINT as i32));
    }
    segue.stop();
}

/// A connection that the app has accepted and waits for.
fn parked(segue: &Segue) -> std::net::TcpStream {
    let Target::Tcp(address) = segue.target() else {
        panic!("a TCP listener");
    };
    let mut client = std::net::TcpStream::connect(address).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = [0; 9];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 ");
    client.write_all(b"GET /").unwrap();
    client
}

#[test]
fn a_reload_draws_a_line_on_a_terminal_while_it_drains_and_none_elsewhere() {
    let segue = Setup::new(Program::fixture("good"))
        .flags(["--drain-timeout", "1h"])
        .start();
    let client = parked(&segue);
    let mut terminal = segue.at_terminal("reload", &["--drained"], &[XTERM]);
    terminal.wait_for(0, "draining: 1 connection, 59 min left [--------------------]");
    let quiet = segue.at_terminal("reload", &["--drained"], &[("TERM", "dumb")]);
    let piped = segue.begin("reload", &["--drained"]);
    segue.wait_until("all have taken over", |status| status.generation() >= 3);
    drop(client);
    assert_eq!(terminal.end(), Ok(0));
    terminal.wait_for(
        0,
        "\nreload ok: generation 2 took over; every older generation is gone\r\n",
    );
    let seen = terminal.seen();
    let behind_the_last = seen.rsplit("\r\x1b[K").next().unwrap();
    assert!(
        !behind_the_last.contains("draining: "),
        "it was taken away: {seen:?}"
    );
    let mut quiet = quiet;
    assert_eq!(quiet.end(), Ok(0));
    quiet.wait_for(0, "reload ok: ");
    assert!(
        !quiet.seen().contains('\x1b') && !quiet.seen().contains("draining: "),
        "{:?}",
        quiet.seen()
    );
    let piped = piped.finish();
    assert_eq!(piped.code, Some(0));
    assert!(
        !piped.stderr.contains('\x1b') && !piped.stderr.contains("draining: "),
        "{piped:?}"
    );
    segue.stop();
}

#[test]
fn colours_are_for_terminals_and_for_those_who_ask_for_them() {
    let segue = good();
    let green = "app: \x1b[32mserving\x1b[0m, ";
    let in_colour = |done: &str| done.contains("\x1b[32mserving\x1b[0m");
    let name = segue.run("status", &[]).stdout;
    let green = green.replace("app", name.split(':').next().unwrap());
    assert!(!name.contains('\x1b'));
    assert!(
        segue
            .run("status", &["--color", "always"])
            .stdout
            .starts_with(&green)
    );
    let at_terminal = |args: &[&str], variables: &[(&str, &str)]| {
        let mut terminal = segue.at_terminal("status", args, variables);
        assert_eq!(terminal.end(), Ok(0));
        terminal.wait_for(0, "rollbacks");
        terminal.seen()
    };
    assert!(in_colour(&at_terminal(&[], &[XTERM])));
    assert!(!in_colour(&at_terminal(&["--color", "never"], &[XTERM])));
    assert!(!in_colour(&at_terminal(&[], &[XTERM, ("NO_COLOR", "1")])));
    assert!(!in_colour(&at_terminal(&[], &[("TERM", "dumb")])));
    assert!(
        !segue
            .run("status", &["--json", "--color", "always"])
            .stdout
            .contains('\x1b')
    );
    segue.stop();
}

#[test]
fn lines_of_the_log_begin_with_the_time_in_a_file_and_where_it_is_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let to_file = |flags: &[&str]| {
        let script = "log=$1; shift; exec \"$@\" 2>\"$log\"";
        let opener = ["sh", "-c", script, "sh", log.to_str().unwrap()];
        let setup = Setup::new(Program::fixture("good")).opened_by(opener);
        setup.flags(flags.iter().copied()).start().stop();
        fs::read_to_string(&log).unwrap()
    };
    let is_ours = |line: &&str| line.contains("segue[") && line.contains("]: ");
    let is_timed = |line: &str| {
        let (time, rest) = line.split_once(' ').unwrap_or_default();
        time.len() == "2026-11-30T12:00:00.000Z".len() && time.ends_with('Z') && rest.starts_with("segue[")
    };
    let all = |text: &str, timed: bool| {
        let mut lines = text.lines().filter(is_ours).peekable();
        lines.peek().is_some() && lines.all(|line| is_timed(line) == timed)
    };
    let text = to_file(&[]);
    assert!(all(&text, true), "{text}");
    let text = to_file(&["--log-time", "never"]);
    assert!(all(&text, false), "{text}");
    let piped = |flags: &[&str]| {
        let segue = Setup::new(Program::fixture("good"))
            .flags(flags.iter().copied())
            .start();
        let text = segue.process().stderr();
        segue.stop();
        text
    };
    assert!(all(&piped(&[]), false));
    assert!(all(&piped(&["--log-time", "always"]), true));
}
