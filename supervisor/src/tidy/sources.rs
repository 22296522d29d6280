//! The sources as text: files, and what they import.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

pub(super) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

pub(super) fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// A file of the supervisor: its path below `src/`, and its text up to its tests.
pub(super) struct File {
    pub(super) path: String,
    pub(super) text: String,
}

impl File {
    pub(super) fn all(below: &str) -> Vec<Self> {
        let base = root().join(below);
        let is_test = |path: &str| {
            let parts = ["tests", "harness", "samples", "trials", "tidy"];
            path.split(['/', '.']).any(|part| parts.contains(&part))
        };
        let file = |path: PathBuf| {
            let name = path.strip_prefix(&base).unwrap().to_str().unwrap().to_owned();
            let text = fs::read_to_string(&path).unwrap();
            let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
            let text = text[..end].to_owned();
            (!is_test(&name)).then_some(Self { path: name, text })
        };
        sources(&base).into_iter().filter_map(file).collect()
    }

    /// The first part of its path, without `.rs`.
    pub(super) fn room(&self) -> &str {
        let first = self.path.split('/').next().unwrap();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// What follows each `prefix` in the code, up to the end of the path.
    pub(super) fn named<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        let lines = self
            .text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        lines.flat_map(move |line| {
            line.match_indices(prefix).map(move |(at, _)| {
                let rest = &line[at + prefix.len()..];
                let end = rest.find(|sign: char| !(sign.is_alphanumeric() || sign == '_' || sign == ':'));
                &rest[..end.unwrap_or(rest.len())]
            })
        })
    }
}

/// The names behind `use ` statements and in paths, each from the root of the crate.
pub(super) fn imports(file: &File) -> BTreeSet<String> {
    let own = module(&file.path);
    let code: Vec<&str> = file
        .text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect();
    let code = code.join(" ");
    let mut names = Vec::new();
    for (at, _) in code.match_indices("use ") {
        let statement = code[at + 4..].split(';').next().unwrap_or_default();
        spread("", statement.trim(), &mut names);
    }
    for root in ["crate::", "super::"] {
        names.extend(file.named(root).map(|rest| format!("{root}{rest}")));
    }
    let absolute = |name: String| {
        let (mut above, mut rest) = (own.clone(), name.as_str());
        if let Some(name) = rest.strip_prefix("crate::") {
            return Some(name.to_owned());
        }
        while let Some(name) = rest.strip_prefix("super::") {
            above = above
                .rsplit_once("::")
                .map_or_else(String::new, |(above, _)| above.to_owned());
            rest = name;
        }
        (rest != name).then(|| format!("{above}::{rest}"))
    };
    names.into_iter().filter_map(absolute).collect()
}

/// `a::{b, c::{d, e}}` is `a::b`, `a::c::d` and `a::c::e`.
fn spread(before: &str, tree: &str, names: &mut Vec<String>) {
    let Some((path, inner)) = tree.split_once('{') else {
        names.push(format!("{before}{tree}"));
        return;
    };
    let before = format!("{before}{path}");
    let (mut depth, mut begin) = (0_usize, 0);
    for (at, sign) in inner.char_indices() {
        match sign {
            '{' => depth += 1,
            ',' | '}' if depth == 0 => {
                spread(&before, inner[begin..at].trim(), names);
                begin = at + 1;
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
}

/// `shell/run/mod.rs` is `shell::run`.
pub(super) fn module(path: &str) -> String {
    let path = path.strip_suffix(".rs").unwrap_or(path);
    path.strip_suffix("/mod").unwrap_or(path).replace('/', "::")
}
