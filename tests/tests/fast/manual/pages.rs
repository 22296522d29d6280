//! The pages, and how two sets of names are compared.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use segue_tests::mdoc::Page;

/// The pages, by file name.
pub(crate) const ALL: [&str; 6] = [
    "segue.1",
    "segue-run.8",
    "segue.toml.5",
    "segue-protocol.7",
    "segue-poll.1",
    "segue-deploy.1",
];

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[track_caller]
pub(crate) fn read(path: &str) -> String {
    let text = std::fs::read_to_string(root().join(path));
    text.unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[track_caller]
pub(crate) fn source(name: &str) -> String {
    read(&format!("docs/man/{name}"))
}

#[track_caller]
pub(crate) fn page(name: &str) -> Page {
    Page::parse(&source(name))
}

pub(crate) fn names<S: AsRef<str>>(all: impl IntoIterator<Item = S>) -> BTreeSet<String> {
    all.into_iter().map(|name| name.as_ref().to_owned()).collect()
}

/// What the page lacks, and what it tells of that is not so, one line each. `what` is what the names are, with `{}` for
/// the name.
pub(crate) fn compare(
    page: &str,
    what: &str,
    documented: &BTreeSet<String>,
    real: &BTreeSet<String>,
) -> Vec<String> {
    let named = |name: &String| what.replace("{}", name);
    let missing = real.difference(documented);
    let missing = missing.map(|name| format!("{page} does not document {}", named(name)));
    let invented = documented.difference(real);
    let invented = invented.map(|name| format!("{page} documents {}, which does not exist", named(name)));
    missing.chain(invented).collect()
}

#[track_caller]
pub(crate) fn assert_none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// Takes one item out of a page and puts one in that is made up: the check must name both.
#[track_caller]
pub(crate) fn assert_finds(source: &str, item: &str, bogus: &str, check: impl Fn(&Page) -> Vec<String>) {
    assert!(source.contains(item), "the page has no {item:?}");
    assert_none(&check(&Page::parse(source)));
    let changed = check(&Page::parse(&source.replacen(item, bogus, 1)));
    assert!(
        changed.iter().any(|line| line.contains("does not document"))
            && changed.iter().any(|line| line.contains("does not exist")),
        "{item:?} was replaced by {bogus:?}, and all that was found is {changed:?}"
    );
}
