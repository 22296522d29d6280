//! Every public item has an example, which `cargo test --doc` compiles.

use std::fs;
use std::path::{Path, PathBuf};

/// Constants are shown together in the example of their module.
const KINDS: [&str; 6] = [
    "pub fn ",
    "pub async fn ",
    "pub struct ",
    "pub enum ",
    "pub trait ",
    "pub type ",
];

/// It lies in a module that is not public, so nobody can name it.
const UNREACHABLE: &str = "pub struct TrackedBody";

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if !path.ends_with("bin") {
                sources(&path, found);
            }
        } else {
            found.push(path);
        }
    }
}

/// The lines of doc comment and attributes right above a line.
fn above<'a>(lines: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
    let lines = lines.iter().rev().map(|line| line.trim());
    lines.take_while(|line| line.starts_with("///") || line.starts_with("#["))
}

#[test]
fn every_public_item_has_an_example() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let (mut items, mut bare) = (0, Vec::new());
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            let line = line.trim();
            if !KINDS.iter().any(|kind| line.starts_with(kind)) || line.starts_with(UNREACHABLE) {
                continue;
            }
            items += 1;
            if !above(&lines[..number]).any(|line| line.contains("```")) {
                bare.push(format!("{}:{}: {line}", file.display(), number + 1));
            }
        }
    }
    assert!(items > 40, "only {items} public items were found");
    assert!(bare.is_empty(), "without an example:\n{}", bare.join("\n"));
}
