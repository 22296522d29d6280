//! The variables of the app's environment: which names may be given, and which are the supervisor's own.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use super::defaults::LONGEST_ENV_STRING;
use super::settings::Variable;
use super::text::quoted;

/// What the supervisor says to the app itself, or keeps from it. Given by hand they would be lies: an app that
/// believes a foreign `NOTIFY_SOCKET` is never ready, and one that believes a foreign `LISTEN_FDS` serves nothing.
const OURS: [&str; 20] = [
    "LISTEN_FDNAMES",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "MAINPID",
    "MANAGERPID",
    "NOTIFY_SOCKET",
    "SEGUE_DRAIN_TIMEOUT_MS",
    "SEGUE_EVENT",
    "SEGUE_FAILED_GENERATION",
    "SEGUE_GENERATION",
    "SEGUE_NAME",
    "SEGUE_OLD_GENERATION",
    "SEGUE_PROBE",
    "SEGUE_PROBE_ADDRESS",
    "SEGUE_PROBE_SOURCE",
    "SEGUE_REASON",
    "SEGUE_WORKER",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
];

/// Reads one `NAME=VALUE`, as env(1) takes it.
///
/// # Errors
///
/// One line. It names the variable but never shows its value, which may be a secret.
pub(crate) fn parse_variable(text: &OsStr) -> Result<Variable, String> {
    let bytes = text.as_bytes();
    let Some(at) = bytes.iter().position(|byte| *byte == b'=') else {
        return Err(format!(
            "expected NAME=VALUE, got {} without `=`",
            quoted(&text.to_string_lossy())
        ));
    };
    let name = OsString::from_vec(bytes[..at].to_vec());
    let value = OsString::from_vec(bytes[at + 1..].to_vec());
    check_variable(&name, &value)?;
    Ok((name, value))
}

/// Checks that a variable can be passed to a program and is not one of the supervisor's own.
///
/// # Errors
///
/// One line, without the value.
pub(crate) fn check_variable(name: &OsStr, value: &OsStr) -> Result<(), String> {
    let shown = quoted(&name.to_string_lossy());
    if name.is_empty() {
        return Err("the name of the variable is empty".to_owned());
    }
    if name.as_bytes().iter().any(|byte| *byte == b'=' || *byte == 0) {
        return Err(format!("the name {shown} cannot hold `=` or NUL"));
    }
    if value.as_bytes().contains(&0) {
        return Err(format!("the value of {shown} cannot hold a NUL"));
    }
    if name.len() + 1 + value.len() > LONGEST_ENV_STRING {
        return Err(format!(
            "{shown} is longer than the {LONGEST_ENV_STRING} bytes that the kernel passes on"
        ));
    }
    if name.to_str().is_some_and(|name| OURS.contains(&name)) {
        return Err(format!("{shown} is set by segue itself and cannot be given"));
    }
    Ok(())
}

/// Joins variables of several sources, the weakest first: a later value replaces an earlier one of the same name.
/// The result is in the order of the names.
pub(crate) fn join(layers: impl IntoIterator<Item = Variable>) -> Vec<Variable> {
    let mut joined = BTreeMap::new();
    joined.extend(layers);
    joined.into_iter().collect()
}
