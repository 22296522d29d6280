//! The pages are clean for mandoc and groff, and refer to pages that are there.

use std::process::Command;

use segue_tests::mdoc::Page;
use segue_tests::needs;

use super::pages::{ALL, page, root, source};

/// What a formatter complains about. It must say nothing; what it renders goes to stdout and is not looked at.
fn complaints(program: &str, arguments: &[&str], file: &std::path::Path) -> String {
    let done = Command::new(program).args(arguments).arg(file).output().unwrap();
    let mut said = String::from_utf8_lossy(&done.stderr).into_owned();
    if program == "mandoc" {
        // Its lint goes to stdout.
        said.push_str(&String::from_utf8_lossy(&done.stdout));
    }
    said
}

fn lint(test: &str, program: &str, arguments: &[&str]) {
    if needs::or_skip(test, needs::program(program)).is_none() {
        return;
    }
    for name in ALL {
        let said = complaints(program, arguments, &root().join("docs/man").join(name));
        assert_eq!(said, "", "{program} on docs/man/{name}");
    }
    let broken = segue_tests::segue::directory();
    let broken = broken.path().join("broken.1");
    std::fs::write(&broken, source("segue.1").replace(".El\n", "")).unwrap();
    assert_ne!(
        complaints(program, arguments, &broken),
        "",
        "{program} finds nothing"
    );
}

#[test]
fn mandoc_finds_nothing_to_warn_of() {
    lint(
        "mandoc_finds_nothing_to_warn_of",
        "mandoc",
        &["-T", "lint", "-W", "warning"],
    );
}

#[test]
fn groff_finds_nothing_to_warn_of() {
    lint(
        "groff_finds_nothing_to_warn_of",
        "groff",
        &["-ww", "-mdoc", "-Tutf8"],
    );
}

/// The pages that are referred to and would be ours, but are not there; and those that nobody is led to.
fn lost_references(pages: &[(String, Page)]) -> Vec<String> {
    let file = |reference: &str| reference.replace('(', ".").replace(')', "");
    let mut complaints = Vec::new();
    for (name, page) in pages {
        for reference in page.references.iter().filter(|name| name.starts_with("segue")) {
            if !ALL.contains(&file(reference).as_str()) {
                complaints.push(format!("{name}: there is no {reference}"));
            }
        }
        for other in ALL.iter().filter(|other| *other != name) {
            if !page.references.iter().any(|reference| file(reference) == *other) {
                complaints.push(format!("{name} does not lead to {other}"));
            }
        }
    }
    complaints
}

#[test]
fn the_pages_lead_to_each_other() {
    let pages = || ALL.map(|name| (name.to_owned(), page(name))).to_vec();
    let lost = lost_references(&pages());
    assert!(lost.is_empty(), "{lost:?}");
    let mut broken = pages();
    broken[0].1.references.insert("segue-upgrade(1)".to_owned());
    broken[1].1.references.remove("segue(1)");
    assert_eq!(lost_references(&broken).len(), 2);
}

#[test]
fn every_page_has_the_title_of_its_file() {
    for name in ALL {
        let (title, chapter) = name.rsplit_once('.').unwrap();
        let line = format!(".Dt {} {chapter}", title.to_uppercase());
        assert!(
            source(name).lines().any(|found| found == line),
            "{name}: no {line}"
        );
    }
    let there = std::fs::read_dir(root().join("docs/man")).unwrap();
    let there = there.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    let unknown: Vec<_> = there.filter(|name| !ALL.contains(&name.as_str())).collect();
    assert!(unknown.is_empty(), "no test looks at docs/man/{unknown:?}");
}
