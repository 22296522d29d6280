//! docs/coming-from.md: every command of Segue that stands there is played, each `segue run` and `segue dev` with a stand-in for its app.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot look at its subject has failed"
)]

use std::process::Command;

use nix::sys::signal::Signal;
use segue_tests::executable;
use segue_tests::http::get_and_close;
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};
use segue_tests::tree;

/// What stands on the page for the port. Each line is started on one that is free.
const PORT: &str = "8080";

/// Tools of others, which the page calls: each becomes a fixture that serves and drains.
const STAND_INS: [&str; 7] = [
    "app",
    "bin/app",
    "target/debug/app",
    "tools/starman",
    "tools/gunicorn",
    "tools/node",
    "src/server.js",
];

/// What builds: nothing is built.
const BUILDERS: [&str; 3] = ["tools/cargo", "tools/go", "tools/npm"];

/// The commands of the page that begin so.
fn commands(begin: &str) -> Vec<String> {
    let page = std::fs::read_to_string(tree::root().join("docs/coming-from.md")).unwrap();
    let in_tables = page.split('`').skip(1).step_by(2).map(str::to_owned);
    let in_blocks = page.lines().map(str::to_owned);
    let all = in_tables.chain(in_blocks);
    all.filter(|text| text.starts_with(begin)).collect()
}

/// Bytes of `segue run`, and of `segue dev`.
const BEGIN: usize = 9;

/// The words as a shell splits them.
fn words(line: &str) -> Vec<String> {
    let script = format!("{line}\n");
    let print = Command::new("sh")
        .args(["-c", &script.replacen(&line[..BEGIN], "printf '%s\\n'", 1)])
        .output()
        .unwrap();
    let text = String::from_utf8(print.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// An instance with this command line.
fn start(line: &str) -> Segue {
    let words = words(line);
    let end = words.iter().position(|word| word == "--").unwrap();
    let (flags, command) = (&words[..end], &words[end + 1..]);
    let setup = Setup::from_config();
    for name in STAND_INS {
        let path = setup.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let fixture = Program::fixture("good").shell_words();
        // It makes nothing of its arguments, and under every protocol has its socket at fd 3.
        let script = format!("#!/bin/sh\nexport LISTEN_FDS=1 LISTEN_PID=$$\nexec {fixture}\n");
        executable::write(&path, script.as_bytes());
    }
    for name in BUILDERS {
        executable::write(&setup.path(name), b"#!/bin/sh\nexit 0\n");
    }
    std::fs::write(setup.path("server.js"), "").unwrap();
    let mut flags = flags.to_vec();
    let place = flags.iter().position(|word| word == "--listen").unwrap();
    let listen = flags.remove(place + 1).replace(PORT, "127.0.0.1:0");
    flags.remove(place);
    let tools = setup.path("tools");
    let search = format!(
        "{}:{}",
        tools.display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let program = Program::new(command[0].clone()).args(command[1..].iter().cloned());
    let setup = setup.program(program).env("PATH", search);
    let setup = setup.listen(listen).flags(flags);
    if line.starts_with("segue dev") {
        setup.developed().start()
    } else {
        setup.start()
    }
}

#[test]
fn every_command_line_starts_and_reloads() {
    let lines = commands("segue run ");
    assert!(lines.len() >= 7, "{lines:#?}");
    for line in lines {
        let segue = start(&line);
        let answer = segue.target().connect().unwrap().ask(&get_and_close("/ping"));
        answer.unwrap().ok().unwrap();
        segue.reload_ok(&[]);
        segue.stop();
    }
}

#[test]
fn every_command_line_for_development_starts_and_ends() {
    let lines = commands("segue dev ");
    assert!(lines.len() >= 4, "{lines:#?}");
    for line in lines {
        let segue = start(&line);
        let answer = segue.target().connect().unwrap().ask(&get_and_close("/ping"));
        answer.unwrap().ok().unwrap();
        segue.signal(Signal::SIGINT);
        segue.ended();
    }
}

#[test]
fn every_other_command_does_what_it_is_there_for() {
    let segue = Setup::new(Program::fixture("good")).start();
    let mut lines = commands("segue ");
    lines.sort();
    lines.dedup();
    let starts = ["segue run", "segue dev", "segue stop"];
    lines.retain(|line| !starts.iter().any(|start| line.starts_with(start)));
    assert!(lines.len() >= 5, "{lines:#?}");
    for line in lines {
        let words: Vec<&str> = line.split(' ').skip(1).collect();
        let done = segue.run(words[0], &words[1..]);
        assert_eq!(done.code, Some(0), "{line}: {done:?}");
    }
    segue.stop();
}
