//! The files of the project.

use std::path::{Path, PathBuf};

/// The directory of the whole project.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All files below a directory whose name ends so, in no order.
///
/// # Panics
/// When it cannot be read.
#[must_use]
#[track_caller]
pub fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let mut places = vec![directory.to_owned()];
    let mut found = Vec::new();
    while let Some(place) = places.pop() {
        if place.is_dir() {
            let entries =
                std::fs::read_dir(&place).unwrap_or_else(|error| panic!("{}: {error}", place.display()));
            places.extend(entries.map(|entry| entry.unwrap_or_else(|error| panic!("{error}")).path()));
        } else if place.extension().is_some_and(|found| found == extension) {
            found.push(place);
        }
    }
    found
}
