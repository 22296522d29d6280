//! The command lines in EXAMPLES, in units too, are understood by the program.

use std::process::Command;

use segue_tests::binaries::Binary;
use segue_tests::segue::directory;

use super::pages::{ALL, assert_none, page, root};

/// The programs whose command lines are looked at.
const PROGRAMS: [&str; 3] = ["segue", "segue-poll", "segue-deploy"];

/// Every command line of ours in an example as words, up to a pipe, a redirection or the next command.
fn command_lines(example: &str) -> Vec<Vec<String>> {
    let command = |line: &str| {
        let line = line.trim();
        let unit = ["ExecStart=", "ExecReload="];
        let line = unit.iter().find_map(|key| line.strip_prefix(key)).unwrap_or(line);
        let words = words_of(line);
        let parts = words.split(|word| ["|", "&&", ";", "&"].contains(&word.as_str()));
        let unredirected = |part: &[String]| part.iter().take_while(|word| *word != ">").cloned().collect();
        parts.map(unredirected).collect::<Vec<Vec<String>>>()
    };
    let ours = |words: &Vec<String>| {
        words.first().is_some_and(|word| {
            word.rsplit('/')
                .next()
                .is_some_and(|name| PROGRAMS.contains(&name))
        })
    };
    let joined = example.replace("\\\n", " ");
    joined.lines().flat_map(command).filter(ours).collect()
}

/// Words as a shell splits them: blanks, single quotes; nothing else is needed.
fn words_of(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for letter in line.chars() {
        match letter {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            other => words.last_mut().unwrap().push(other),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Lets the program understand a command line without doing what it says: `run` becomes `check`, which binds and starts
/// nothing; the others get `--help`, so that no instance of this machine is ever asked for anything.
fn misunderstood(place: &std::path::Path, words: &[String]) -> Option<String> {
    let program = words[0].rsplit('/').next().unwrap_or_default().to_owned();
    let mut words: Vec<String> = words[1..].to_vec();
    let checks = words.first().is_some_and(|word| word == "run" || word == "check");
    if checks {
        words[0] = "check".to_owned();
    } else if words.first().is_some_and(|word| word != "completions") {
        words.push("--help".to_owned());
    }
    let place_text = place.to_string_lossy();
    let words: Vec<String> = words
        .iter()
        .map(|word| word.replace("/srv/", &format!("{place_text}/srv/")))
        .collect();
    let mut command = match program.as_str() {
        "segue-poll" => Command::new(Binary::SeguePoll.path()),
        "segue-deploy" => Command::new(root().join("deploy.sh")),
        _ => Command::new(Binary::Segue.path()),
    };
    let done = command
        .args(&words)
        .current_dir(place)
        .env("SEGUE", Binary::Segue.path())
        .env(
            "PATH",
            format!("{place_text}/bin:{}", std::env::var("PATH").unwrap()),
        )
        .output()
        .unwrap();
    (!done.status.success())
        .then(|| format!("{program} {words:?}: {}", String::from_utf8_lossy(&done.stderr)))
}

/// A place with what the examples name.
fn prepared() -> tempfile::TempDir {
    let place = directory();
    let release = place.path().join("srv/site/current");
    std::fs::create_dir_all(&release).unwrap();
    std::fs::create_dir(place.path().join("bin")).unwrap();
    for app in ["app", "srv/app", "srv/site/current/app", "bin/uv"] {
        std::os::unix::fs::symlink(Binary::App.path(), place.path().join(app)).unwrap();
    }
    std::fs::write(place.path().join("srv/site/env"), "A=1\n").unwrap();
    std::fs::write(
        place.path().join("segue.toml"),
        "command = [\"./app\"]\nlisten = [\"8080\"]\n",
    )
    .unwrap();
    place
}

#[test]
fn every_example_is_understood() {
    let place = prepared();
    let mut complaints = Vec::new();
    let mut count = 0;
    for name in ALL {
        let page = page(name);
        for example in page.literals_of("EXAMPLES") {
            for words in command_lines(example) {
                count += 1;
                complaints.extend(misunderstood(place.path(), &words).map(|why| format!("{name}: {why}")));
            }
        }
    }
    assert_none(&complaints);
    assert!(count >= 22, "only {count} examples were found");
}

#[test]
fn an_example_that_is_wrong_is_found() {
    let place = prepared();
    let wrong = |line: &str| misunderstood(place.path(), &command_lines(line)[0]).is_some();
    assert!(wrong("segue reload --setled"));
    assert!(wrong("segue-poll --quite http://localhost/"));
    assert!(wrong("segue-deploy --rolback"));
    assert!(wrong("segue run --listen 8080 --soap 1s -- ./app"));
    assert!(wrong(
        "ExecStart=/usr/local/bin/segue run --listen 8080 -- /srv/nothing"
    ));
    assert!(wrong("x && segue stop --timeout 5 | cat"));
    assert!(wrong("segue run --listen 8080 \\\n    --soap 1s -- ./app"));
    assert!(!wrong("segue run --listen 8080 --probe 'a | b' -- ./app"));
}
