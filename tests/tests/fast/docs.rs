//! The documents are kept true: what they show is compared with what the programs and the sources say.

use std::process::Command;

use segue_tests::binaries::Binary;
use segue_tests::segue::{Setup, directory};
use segue_tests::tree::{files, root};
use serde_json::Value;

#[track_caller]
fn read(path: &str) -> String {
    let text = std::fs::read_to_string(root().join(path));
    text.unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The code blocks of a document: the line before the fence (a comment may name a file), the language, the content.
fn blocks(text: &str) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    let mut before = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let content: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            found.push((before.clone(), language.to_owned(), content.join("\n")));
        }
        line.clone_into(&mut before);
    }
    found
}

#[test]
fn the_rust_of_the_docs_is_that_of_the_examples() {
    let mut compared = 0;
    for (before, language, content) in blocks(&read("docs/rust.md")) {
        if language != "rust" {
            continue;
        }
        let file = before.trim_start_matches("<!-- ").trim_end_matches(" -->");
        assert!(
            read(file).contains(&content),
            "docs/rust.md shows what is not in {file}:\n{content}"
        );
        compared += 1;
    }
    assert!(compared >= 2, "a hyper and an axum server");
}

#[test]
fn the_segue_toml_of_the_reference_is_accepted_and_serves() {
    let toml = blocks(&read("docs/reference.md"))
        .into_iter()
        .find(|(_, language, _)| language == "toml");
    let (_, _, toml) = toml.unwrap_or_else(|| panic!("docs/reference.md has no toml"));
    let place = directory();
    let at = |name: &str| place.path().join(name);
    std::os::unix::fs::symlink(Binary::App.path(), at("app")).unwrap();
    std::fs::write(at("segue.toml"), &toml).unwrap();
    let checked = Command::new(Binary::Segue.path())
        .args(["check", "--config", "segue.toml"])
        .current_dir(place.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success() && said.is_empty(), "segue check: {said}");

    // The same with a port and a probe that do not depend on the machine: both listeners are handed over.
    let poll = Binary::SeguePoll.path();
    let toml = toml
        .replace("127.0.0.1:1234", "127.0.0.1:0")
        .replace("segue-poll", &poll.to_string_lossy());
    let setup = Setup::from_config().flags(["--config", "segue.toml"]);
    std::os::unix::fs::symlink(Binary::App.path(), setup.path("app")).unwrap();
    std::fs::write(setup.path("segue.toml"), toml).unwrap();
    let segue = setup.start();
    segue.reload_ok(&["--drained"]);
    let status = segue.run("status", &["--json"]).stdout;
    let status: Value = serde_json::from_str(&status).unwrap();
    let names: Vec<_> = status["listeners"]
        .as_array()
        .unwrap()
        .iter()
        .map(|listener| &listener["name"])
        .collect();
    assert_eq!(names, ["http", "admin"]);
    assert_eq!(status["generations"][0]["workers"].as_array().unwrap().len(), 2);
    segue.stop();
}

#[test]
fn the_architecture_names_every_room() {
    let document = read("docs/ARCHITECTURE.md");
    let main = read("supervisor/src/main.rs");
    let rooms = main.lines().filter_map(|line| line.strip_prefix("mod "));
    for room in rooms.map(|line| line.trim_end_matches(';')) {
        let named = document
            .split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
            .any(|word| word == room);
        assert!(named, "docs/ARCHITECTURE.md does not name the room {room}");
    }
    // Each file that the ten steps name is there.
    let steps = document.split("## How a reload flows").nth(1).unwrap();
    let steps = steps.split("\n## ").next().unwrap();
    for name in steps.split('`').skip(1).step_by(2) {
        if !(name.ends_with(".rs") || name.ends_with('/')) {
            continue;
        }
        let places = ["supervisor/src", "supervisor", "supervisor/lifecycle/src"];
        let there = places.iter().any(|place| root().join(place).join(name).exists());
        assert!(there, "docs/ARCHITECTURE.md: there is no {name}");
    }
}

/// The first condition of a source in which an `if let` or a `while let` has a second condition behind `&&`.
fn let_chain(source: &str) -> Option<String> {
    let starts = ["if let ", "while let ", "&& let "].map(|start| source.match_indices(start));
    starts.into_iter().flatten().find_map(|(at, start)| {
        let (mut depth, mut condition) = (0, String::new());
        for letter in source[at..].chars() {
            match letter {
                '(' | '[' => depth += 1,
                ')' | ']' => depth -= 1,
                '{' if depth == 0 => break,
                _ if depth == 0 => condition.push(letter),
                _ => {}
            }
        }
        (start == "&& let " || condition.contains("&&")).then_some(condition)
    })
}

/// Clippy knows what of the standard library is newer than the `rust-version` of a package, and nothing of the language: let
/// chains came with 1.88, and segue-app is for 1.85.
#[test]
fn segue_app_has_no_let_chain() {
    for (source, found) in [
        ("if let Some(a) = b && a > 1 {", true),
        ("if a && let Some(b) = c {", true),
        ("if let Some(a) = b.filter(|b| *b > 1 && c) {", false),
        ("if let Some(a) = b { a && c }", false),
    ] {
        assert_eq!(let_chain(source).is_some(), found, "{source}");
    }
    let sources = files(&root().join("app"), "rs");
    for source in &sources {
        let found = let_chain(&std::fs::read_to_string(source).unwrap());
        assert_eq!(found, None, "{}", source.display());
    }
    assert!(sources.len() > 20, "only {} sources", sources.len());
}

/// Nobody reads a longer one to its end.
#[test]
fn the_readme_fits_on_a_few_screens() {
    let readme = read("README.md");
    assert!(readme.lines().count() <= 150, "{} lines", readme.lines().count());
}
