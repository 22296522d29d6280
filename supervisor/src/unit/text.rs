//! All that a unit says, its drop-ins included: what comes later wins.

use std::fs;
use std::path::Path;

use super::syntax::{self, Assignment};
use crate::sys::errno_text;

/// Every assignment of a unit, in the order in which systemd reads them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct UnitText {
    assignments: Vec<Assignment>,
}

impl UnitText {
    /// Read the files of a unit, its own first.
    ///
    /// # Errors
    /// One line that names the file.
    pub(crate) fn read<'a>(files: impl IntoIterator<Item = &'a Path>) -> Result<Self, String> {
        let mut text = Self::default();
        for path in files {
            text.append(&read(path)?)
                .map_err(|why| format!("{}: {why}", path.display()))?;
        }
        Ok(text)
    }

    /// What a text says, behind all that is here.
    ///
    /// # Errors
    /// One line that names the line.
    pub(super) fn append(&mut self, text: &str) -> Result<(), String> {
        self.assignments.extend(syntax::parse(text)?);
        Ok(())
    }

    /// The last value of a setting that has one. Empty if it was taken back.
    pub(crate) fn last(&self, section: &str, key: &str) -> Option<&str> {
        self.last_of(&[(section, key)])
    }

    /// The same of a setting that has several names: `(section, key)` each.
    pub(crate) fn last_of(&self, names: &[(&str, &str)]) -> Option<&str> {
        self.all_of(names).next_back()
    }

    /// The values of a setting that can be given several times: those since the last empty one, which takes all back.
    pub(crate) fn list(&self, section: &str, key: &str) -> Vec<&str> {
        let mut values = Vec::new();
        for value in self.all_of(&[(section, key)]) {
            if value.is_empty() {
                values.clear();
            } else {
                values.push(value);
            }
        }
        values
    }

    fn all_of(&self, names: &[(&str, &str)]) -> impl DoubleEndedIterator<Item = &str> {
        self.assignments.iter().filter_map(move |assignment| {
            let name = (assignment.section.as_str(), assignment.key.as_str());
            names.contains(&name).then_some(assignment.value.as_str())
        })
    }
}

/// The text of a file; the error names it.
pub(super) fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {}", path.display(), errno_text(error)))
}

/// How systemd reads `yes` and `no`; `None` for anything else.
pub(crate) fn boolean(value: &str) -> Option<bool> {
    let is_any = |words: &[&str]| words.iter().any(|word| value.eq_ignore_ascii_case(word));
    if is_any(&["1", "yes", "y", "true", "t", "on"]) {
        Some(true)
    } else if is_any(&["0", "no", "n", "false", "f", "off"]) {
        Some(false)
    } else {
        None
    }
}
