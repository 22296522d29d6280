//! The systemd unit that runs an instance, as far as its values must fit those of the instance (`segue check --unit`).
//!
//! systemd has deadlines of its own: for the start and each reload (`TimeoutStartSec=`), and for the stop
//! (`TimeoutStopSec=`). Where they are shorter than what the settings allow, systemd kills in the midst of a drain.

mod file;
mod show;
mod span;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::Duration;

use span::Span;

/// `DefaultTimeoutStartSec=` and `DefaultTimeoutStopSec=`, unless the administrator has changed them.
const DEFAULT_TIMEOUT: Span = Span::Of(Duration::from_secs(90));

/// `DefaultStartLimitIntervalSec=`, likewise.
const DEFAULT_START_LIMIT: Span = Span::Of(Duration::from_secs(10));

/// What the settings of an instance ask of its unit. `None` is a time without end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Needs {
    /// The longest that a start or a reload may take.
    pub(crate) reload: Option<Duration>,
    /// The longest that a stop may take before what is left is killed.
    pub(crate) stop: Option<Duration>,
}

/// The values of a unit that matter here.
#[derive(Debug, PartialEq)]
struct Values {
    kind: String,
    access: String,
    start: Span,
    stop: Span,
    start_limit: Span,
}

impl Values {
    /// Those of a unit that says nothing.
    fn unset() -> Self {
        Self {
            kind: "simple".to_owned(),
            access: String::new(),
            start: DEFAULT_TIMEOUT,
            stop: DEFAULT_TIMEOUT,
            start_limit: DEFAULT_START_LIMIT,
        }
    }
}

/// Look at a unit: by its name, as systemd has loaded it, or, if there is a slash in it, at a file and its drop-ins.
/// Returns what does not fit, a line each.
///
/// # Errors
/// One line, if the unit cannot be read or a value of it cannot be understood.
pub(crate) fn check(unit: &str, needs: Needs) -> Result<Vec<String>, String> {
    let values = if unit.contains('/') {
        file::read(Path::new(unit))
    } else {
        show::ask(unit)
    };
    let values = values.map_err(|why| format!("unit {unit}: {why}"))?;
    let notes = notes(&values, needs);
    Ok(notes
        .into_iter()
        .map(|note| format!("unit {unit}: {note}"))
        .collect())
}

fn notes(values: &Values, needs: Needs) -> Vec<String> {
    let mut notes = Vec::new();
    match values.kind.as_str() {
        "notify" | "notify-reload" => {}
        other => notes.push(format!(
            "Type={other}: systemd does not wait until the app is ready and hears of no reload (Type=notify does)"
        )),
    }
    if values.access == "none" {
        notes.push(
            "NotifyAccess=none: systemd takes no messages from segue (NotifyAccess=main does)".to_owned(),
        );
    }
    if !values.start.is_above(needs.reload) {
        notes.push(format!(
            "TimeoutStartSec={} ends reloads that may take {} (drain in queue mode, start, probe and soak together)",
            values.start,
            Span::from(needs.reload)
        ));
    }
    if !values.stop.is_above(needs.stop) {
        notes.push(format!(
            "TimeoutStopSec={} kills an app that may drain for {} (the stop timeout)",
            values.stop,
            Span::from(needs.stop)
        ));
    }
    if values.start_limit != Span::Of(Duration::ZERO) {
        notes.push(format!(
            "StartLimitIntervalSec={}: after some quick restarts systemd gives up, and closes the sockets of a socket unit \
             (StartLimitIntervalSec=0 never does)",
            values.start_limit
        ));
    }
    notes
}
