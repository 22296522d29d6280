//! Reading a unit file and its drop-ins (systemd.unit(5)), as far as it matters here.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::span::Span;
use super::{DEFAULT_TIMEOUT, Values};
use crate::sys::errno_text;

/// The values of a unit file; those of its drop-ins `FILE.d/*.conf` win, in the order of their names.
pub(super) fn read(path: &Path) -> Result<Values, String> {
    let mut values = Values::unset();
    let text = fs::read_to_string(path).map_err(errno_text)?;
    apply(&text, &mut values)?;
    for path in drop_ins(path) {
        let text = fs::read_to_string(&path).map_err(|error| in_file(&path, errno_text(error)))?;
        apply(&text, &mut values).map_err(|why| in_file(&path, why))?;
    }
    Ok(values)
}

fn in_file(path: &Path, why: String) -> String {
    format!("{}: {why}", path.display())
}

fn drop_ins(path: &Path) -> Vec<PathBuf> {
    let mut directory = path.as_os_str().to_owned();
    directory.push(".d");
    // Most units have none.
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut left: Vec<_> = entries.map(|entry| entry.path()).collect();
    left.retain(|path| path.extension().is_some_and(|extension| extension == "conf"));
    // A handful, for which the binary need not carry another sort.
    let mut paths = Vec::new();
    while let Some(first) = (0..left.len()).min_by_key(|index| &left[*index]) {
        paths.push(left.swap_remove(first));
    }
    paths
}

/// The last assignment wins.
pub(super) fn apply(text: &str, values: &mut Values) -> Result<(), String> {
    let mut section = "";
    // A backslash at its end joins a line to the next one.
    let text = text.replace("\\\n", " ");
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = if name == "Unit" {
                "Unit"
            } else if name == "Service" {
                "Service"
            } else {
                ""
            };
        } else if let Some((key, value)) = line.split_once('=').filter(|_| !line.starts_with(['#', ';'])) {
            let (key, value) = (key.trim_end(), value.trim_start());
            assign(section, key, value, values).map_err(|why| format!("{key}: {why}"))?;
        }
    }
    Ok(())
}

fn assign(section: &str, key: &str, value: &str, values: &mut Values) -> Result<(), String> {
    match (section, key) {
        ("Service", "Type") => value.clone_into(&mut values.kind),
        ("Service", "NotifyAccess") => value.clone_into(&mut values.access),
        ("Service", "TimeoutStartSec") => values.start = timeout(value)?,
        ("Service", "TimeoutStopSec") => values.stop = timeout(value)?,
        ("Service", "TimeoutSec") => (values.start, values.stop) = (timeout(value)?, timeout(value)?),
        ("Unit", "StartLimitIntervalSec" | "StartLimitInterval") | ("Service", "StartLimitInterval") => {
            values.start_limit = Span::parse(value)?;
        }
        _ => {}
    }
    Ok(())
}

/// Nothing is the default here, and 0 is no limit.
fn timeout(value: &str) -> Result<Span, String> {
    if value.is_empty() {
        return Ok(DEFAULT_TIMEOUT);
    }
    let span = Span::parse(value)?;
    Ok(if span == Span::Of(Duration::ZERO) {
        Span::Endless
    } else {
        span
    })
}
