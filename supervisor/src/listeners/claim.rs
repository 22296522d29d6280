//! What `LISTEN_PID`, `LISTEN_FDS` and `LISTEN_FDNAMES` claim, read strictly before any fd is looked at.
//!
//! sd_listen_fds(3) is the rule, and is strict where the crate `listenfd` is not: that takes a missing or empty pid for ours,
//! takes any count for true, knows no names, and follows `LISTEN_FDS_FIRST_FD`.

use std::ffi::{OsStr, OsString};

use super::ListenError;
use crate::address::quoted;

/// The first fd that is handed over (SD_LISTEN_FDS_START).
pub(super) const FIRST_FD: i32 = 3;
/// The name of a socket that was given none, as sd_listen_fds_with_names(3) has it.
pub(super) const UNKNOWN: &str = "unknown";
/// Longest name in bytes, as FDNAME= of sd_notify(3).
const NAME_MAX: usize = 255;

/// Sockets that the environment claims to be there, as many as there are names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    /// How many fds, from [`FIRST_FD`] on; at least one.
    pub(super) count: i32,
    /// One name each, or none at all if `LISTEN_FDNAMES` is not set.
    pub(super) names: Option<Vec<String>>,
}

/// Reads the claim. `None` if there is no `LISTEN_FDS`, or if it says that there are none.
///
/// # Errors
/// One line: another process was meant, the count is no count, or names and sockets differ in number. Never a silent
/// "not for me": an app that then binds by itself would find the port busy, or worse, share it.
pub(super) fn read(env: &[(OsString, OsString)], pid: i32) -> Result<Option<Claim>, ListenError> {
    let Some(count) = value(env, "LISTEN_FDS").filter(|count| *count != "0") else {
        return Ok(None);
    };
    if let Some(meant) = value(env, "LISTEN_PID") {
        check_pid(meant, pid)?;
    }
    if let Some(first) = value(env, "LISTEN_FDS_FIRST_FD")
        && first != "3"
    {
        return refuse("LISTEN_FDS_FIRST_FD", first, "inherited sockets begin at fd 3");
    }
    let Some(number) = positive(count).filter(|number| *number <= i32::MAX - FIRST_FD) else {
        return refuse("LISTEN_FDS", count, "not a number of sockets");
    };
    let names = match value(env, "LISTEN_FDNAMES") {
        Some(names) => Some(read_names(names, number)?),
        None => None,
    };
    Ok(Some(Claim { count: number, names }))
}

fn value<'a>(env: &'a [(OsString, OsString)], key: &str) -> Option<&'a OsStr> {
    env.iter()
        .find(|(name, _)| name == key)
        .map(|(_, value)| value.as_os_str())
}

fn refuse<T>(variable: &str, value: &OsStr, why: &str) -> Result<T, ListenError> {
    Err(ListenError(format!(
        "{variable}={}: {why}",
        quoted(&value.to_string_lossy())
    )))
}

fn check_pid(meant: &OsStr, pid: i32) -> Result<(), ListenError> {
    match positive(meant) {
        Some(meant) if meant == pid => Ok(()),
        Some(_) => refuse(
            "LISTEN_PID",
            meant,
            &format!("it names another process than segue (pid {pid}): a wrapper forked, let it exec segue"),
        ),
        None => refuse("LISTEN_PID", meant, "not a pid"),
    }
}

/// The process that is meant, if it is another one than this.
pub(super) fn other_process(env: &[(OsString, OsString)], pid: i32) -> Option<i32> {
    value(env, "LISTEN_FDS")?;
    value(env, "LISTEN_PID")
        .and_then(positive)
        .filter(|meant| *meant != pid)
}

/// Digits only, above zero: `from_str` alone would take `+3`.
fn positive(text: &OsStr) -> Option<i32> {
    let text = text.to_str()?;
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits {
        text.parse().ok().filter(|number| *number > 0)
    } else {
        None
    }
}

/// Names are split without joining empty ones, as systemd does; an empty one stands for no name.
fn read_names(names: &OsStr, count: i32) -> Result<Vec<String>, ListenError> {
    let Some(text) = names.to_str() else {
        return refuse(
            "LISTEN_FDNAMES",
            names,
            "a name may have printable ascii characters only",
        );
    };
    let given = text.split(':').count();
    if i32::try_from(given) != Ok(count) {
        return refuse(
            "LISTEN_FDNAMES",
            names,
            &format!("{given} names for {count} sockets"),
        );
    }
    text.split(':').map(|name| check_name(name, names)).collect()
}

fn check_name(name: &str, names: &OsStr) -> Result<String, ListenError> {
    if name.is_empty() {
        return Ok(UNKNOWN.to_owned());
    }
    if name.len() > NAME_MAX {
        return refuse("LISTEN_FDNAMES", names, "a name is longer than 255 bytes");
    }
    if !name.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return refuse(
            "LISTEN_FDNAMES",
            names,
            "a name may have printable ascii characters only",
        );
    }
    Ok(name.to_owned())
}
