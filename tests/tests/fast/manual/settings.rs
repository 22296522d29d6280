//! segue.toml(5): every key of a listener, and examples that `segue check` accepts. The other keys are written into the page
//! by the table in supervisor/src/config/options, whose own test compares them.

use std::path::Path;
use std::process::{Command, Output};

use segue_tests::binaries::Binary;
use segue_tests::mdoc::Page;
use segue_tests::segue::directory;

use super::help;
use super::pages::{assert_finds, assert_none, compare, names, page, source};

const TOML: &str = "segue.toml(5)";

/// The first word of a head: `workers` of `workers = integer`.
fn key(head: &str) -> String {
    head.split(' ').next().unwrap_or_default().to_owned()
}

fn keys_of_a_listener(page: &Page) -> Vec<String> {
    let documented = names(page.section("KEYS OF A LISTENER").map(|item| key(&item.head)));
    let mut real = help::listener_options();
    real.extend(names(["name", "address"]));
    compare(TOML, "the key of a listener {}", &documented, &real)
}

#[test]
fn every_key_of_a_listener_is_in_the_page() {
    assert_none(&keys_of_a_listener(&page("segue.toml.5")));
    let toml = source("segue.toml.5");
    assert_finds(&toml, ".It Ic free-bind ", ".It Ic freebind ", keys_of_a_listener);
}

fn check(directory: &Path, toml: &str) -> Output {
    std::fs::write(directory.join("segue.toml"), toml).unwrap();
    Command::new(Binary::Segue.path())
        .args(["check", "--config", "segue.toml"])
        .current_dir(directory)
        .output()
        .unwrap()
}

/// The program itself knows each key that the page has: whatever is wrong with the value, it is not the key.
#[test]
fn the_program_knows_every_key_of_a_listener() {
    let place = directory();
    let unknown = |key: &str| {
        let said = check(place.path(), &format!("[[listen]]\n{key} = 1979-05-27\n")).stderr;
        String::from_utf8_lossy(&said).contains("there is no such key")
    };
    for item in page("segue.toml.5").section("KEYS OF A LISTENER") {
        assert!(!unknown(&key(&item.head)), "{}", item.head);
    }
    assert!(unknown("soap"));
}

/// A directory in which the examples find what they name.
fn prepared() -> tempfile::TempDir {
    let place = directory();
    std::os::unix::fs::symlink(Binary::App.path(), place.path().join("app")).unwrap();
    std::fs::write(place.path().join("site.env"), "A=1\n").unwrap();
    place
}

#[test]
fn the_examples_are_accepted() {
    let place = prepared();
    let page = page("segue.toml.5");
    let examples: Vec<&str> = page.literals_of("EXAMPLES").collect();
    assert_eq!(examples.len(), 2);
    for example in &examples {
        let checked = check(place.path(), example);
        let said = String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.success(), "segue check: {said}\n{example}");
        let as_root = nix::unistd::geteuid().is_root();
        assert!(said.is_empty() || !as_root, "segue check: {said}\n{example}");
    }
    let broken = examples[1].replace("\nsoak", "\nsoap");
    assert!(!check(place.path(), &broken).status.success());
}
