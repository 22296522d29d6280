//! systemd's units: which files make one up, what they say, and whether one fits an instance (`segue check --unit`).
//!
//! systemd has deadlines of its own: for the start and each reload (`TimeoutStartSec=`), and for the stop
//! (`TimeoutStopSec=`). Where they are shorter than what the settings allow, systemd kills in the midst of a drain.
//! Who has a unit written for segue is no concern of this room.

mod exec;
mod name;
mod notes;
mod show;
mod sources;
mod span;
mod syntax;
#[cfg(test)]
mod tests;
mod text;
mod values;

use std::path::Path;
use std::time::Duration;

pub(crate) use exec::Exec;
pub(crate) use name::UnitName;
pub(crate) use sources::Sources;
pub(crate) use span::Span;
pub(crate) use text::{UnitText, boolean};
pub(crate) use values::Times;

use values::Values;

/// What the settings of an instance ask of its unit. `None` is a time without end.
#[derive(Clone, Debug)]
pub(crate) struct Needs {
    /// Its name.
    pub(crate) name: String,
    /// Whether its control socket has a path of its own.
    pub(crate) has_own_control: bool,
    /// The longest that a start or a reload may take.
    pub(crate) reload: Option<Duration>,
    /// The longest that a stop may take before what is left is killed.
    pub(crate) stop: Option<Duration>,
}

/// Look at a unit: by its name, as systemd has loaded it, or, if there is a slash in it, at a file and its drop-ins.
/// Returns what does not fit, a line each.
///
/// # Errors
/// One line, if the unit cannot be read or a value of it cannot be understood.
pub(crate) fn check(unit: &str, needs: &Needs) -> Result<Vec<String>, String> {
    let values = values(unit)?;
    let notes = notes::notes(&values, needs).into_iter();
    let notes = notes.map(|note| format!("unit {unit}: {note}"));
    Ok(foreign_note(unit, &values).into_iter().chain(notes).collect())
}

/// That a unit starts something else than segue, in one line, if it can be read and that is seen.
pub(crate) fn foreign(unit: &str) -> Option<String> {
    foreign_note(unit, &values(unit).ok()?)
}

/// A script may start segue under any name: so a unit whose command names it anywhere is taken for one of segue's.
fn foreign_note(unit: &str, values: &Values) -> Option<String> {
    let start = &values.commands.start;
    let is_foreign = !start.is_empty() && !start.contains("segue");
    is_foreign.then(|| {
        format!(
            "unit {unit}: its ExecStart= does not start segue; `segue init --unit {unit}` shows what takes it below segue"
        )
    })
}

fn values(unit: &str) -> Result<Values, String> {
    let values = if unit.contains('/') {
        of_file(unit)
    } else {
        show::ask(unit)
    };
    values.map_err(|why| format!("unit {unit}: {why}"))
}

fn of_file(path: &str) -> Result<Values, String> {
    let sources = Sources::find(path, Path::new("/"))?;
    Values::of_text(&UnitText::read(sources.files())?)
}
