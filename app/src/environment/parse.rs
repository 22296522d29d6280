//! The words of the supervisor, checked. No fd is touched here.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::text;
use crate::error::{Error, Result, quoted};

/// Most sockets that are accepted; far above any real number, and far below what would hurt to count.
///
/// # Example
///
/// ```
/// use segue_app::environment::{MAX_SOCKETS, parse};
///
/// let many = (MAX_SOCKETS + 1).to_string();
/// let refused = parse(|name| (name == "LISTEN_FDS").then(|| many.clone().into()), 1);
/// assert!(refused.is_err());
/// ```
pub const MAX_SOCKETS: usize = 65_536;

/// Longest name of a socket in bytes (systemd.socket(5), FileDescriptorName=).
const MAX_NAME: usize = 255;

/// The longest timeout that is believed: about a year, so that no clock arithmetic can overflow.
const MAX_TIMEOUT: Duration = Duration::from_secs(366 * 24 * 3600);

/// What the variables say.
///
/// # Example
///
/// ```
/// # fn main() -> segue_app::Result<()> {
/// use segue_app::environment::Handed;
///
/// let variables = |name: &str| match name {
///     "LISTEN_FDS" => Some("2".into()),
///     "LISTEN_FDNAMES" => Some("http:admin".into()),
///     _ => None,
/// };
/// let handed: Handed = segue_app::environment::parse(variables, std::process::id())?;
/// assert_eq!(handed.notify, None);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Handed {
    /// One name for each socket, the first at fd 3. `unknown` where none was given (sd_listen_fds_with_names(3)).
    pub names: Vec<String>,
    /// `NOTIFY_SOCKET`: an absolute path, or `@` and an abstract name.
    pub notify: Option<PathBuf>,
    /// `WATCHDOG_USEC`, if it is meant for this process.
    pub watchdog: Option<Duration>,
    /// `SEGUE_NAME`.
    pub name: Option<String>,
    /// `SEGUE_GENERATION`.
    pub generation: Option<u64>,
    /// `SEGUE_WORKER`.
    pub worker: Option<u64>,
    /// `SEGUE_DRAIN_TIMEOUT_MS`.
    pub drain_timeout: Option<Duration>,
}

/// Reads the variables through `get` for the process `pid`.
///
/// # Errors
/// One line that names the variable, for everything that is not exactly as sd_listen_fds(3) describes it. A missing
/// `LISTEN_PID` is accepted (`segue run --no-listen-pid` leaves it out on purpose); one that names another process is not.
///
/// # Example
///
/// ```
/// # fn main() -> segue_app::Result<()> {
/// use segue_app::environment::parse;
///
/// let variables = |name: &str| match name {
///     "LISTEN_FDS" => Some("2".into()),
///     "LISTEN_FDNAMES" => Some("http:admin".into()),
///     _ => None,
/// };
/// assert_eq!(parse(variables, std::process::id())?.names, ["http", "admin"]);
/// # Ok(())
/// # }
/// ```
pub fn parse(get: impl Fn(&str) -> Option<OsString>, pid: u32) -> Result<Handed> {
    Ok(Handed {
        names: sockets(&get, pid)?,
        notify: notify(&get)?,
        watchdog: watchdog(&get, pid)?,
        name: get("SEGUE_NAME")
            .map(|value| text("SEGUE_NAME", value))
            .transpose()?,
        generation: number(&get, "SEGUE_GENERATION")?,
        worker: number(&get, "SEGUE_WORKER")?,
        drain_timeout: number(&get, "SEGUE_DRAIN_TIMEOUT_MS")?
            .map(|ms| Duration::from_millis(ms).min(MAX_TIMEOUT)),
    })
}

fn sockets(get: &impl Fn(&str) -> Option<OsString>, pid: u32) -> Result<Vec<String>> {
    let Some(count) = number(get, "LISTEN_FDS")? else {
        return Ok(Vec::new());
    };
    if let Some(meant) = number(get, "LISTEN_PID")?.filter(|meant| *meant != u64::from(pid)) {
        return Err(Error::new(format!(
            "take the sockets of LISTEN_FDS: LISTEN_PID={meant}, but this is process {pid}: a wrapper forked \
             (let it `exec` the app, or run `segue exec -- APP`)"
        )));
    }
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    if count == 0 || count > MAX_SOCKETS {
        return Err(Error::new(format!(
            "read LISTEN_FDS={count}: it must be a number from 1 to {MAX_SOCKETS}"
        )));
    }
    match get("LISTEN_FDNAMES") {
        None => Ok(vec!["unknown".to_owned(); count]),
        Some(value) => names(&text("LISTEN_FDNAMES", value)?, count),
    }
}

fn names(value: &str, count: usize) -> Result<Vec<String>> {
    let names: Vec<&str> = value.split(':').collect();
    if names.len() != count {
        return Err(Error::new(format!(
            "read LISTEN_FDNAMES: it holds {} names for the {count} sockets of LISTEN_FDS",
            names.len()
        )));
    }
    for name in &names {
        if name.len() > MAX_NAME || !name.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            return Err(Error::new(format!(
                "read LISTEN_FDNAMES: {} is no name: at most {MAX_NAME} printable ASCII characters",
                quoted(name.as_ref())
            )));
        }
    }
    Ok(names.into_iter().map(str::to_owned).collect())
}

fn notify(get: &impl Fn(&str) -> Option<OsString>) -> Result<Option<PathBuf>> {
    // Empty means unset to sd_notify(3) too.
    let Some(value) = get("NOTIFY_SOCKET").filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let bytes = value.as_encoded_bytes();
    if bytes.len() < 2 || !(bytes[0] == b'/' || bytes[0] == b'@') {
        return Err(Error::new(format!(
            "read NOTIFY_SOCKET={}: it must be an absolute path, or @ and a name",
            quoted(&value)
        )));
    }
    Ok(Some(PathBuf::from(value)))
}

fn watchdog(get: &impl Fn(&str) -> Option<OsString>, pid: u32) -> Result<Option<Duration>> {
    let Some(microseconds) = number(get, "WATCHDOG_USEC")? else {
        return Ok(None);
    };
    if microseconds == 0 {
        return Err(Error::new("read WATCHDOG_USEC=0: it must be above zero"));
    }
    // sd_watchdog_enabled(3): a watchdog that is meant for another process is none of ours, and no error.
    let meant = number(get, "WATCHDOG_PID")?;
    Ok(meant
        .is_none_or(|meant| meant == u64::from(pid))
        .then(|| Duration::from_micros(microseconds).min(MAX_TIMEOUT)))
}

/// A decimal number: digits and nothing else, as strict readers of the protocol demand.
fn number(get: &impl Fn(&str) -> Option<OsString>, name: &str) -> Result<Option<u64>> {
    let Some(value) = get(name) else {
        return Ok(None);
    };
    let digits = value
        .to_str()
        .filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
    match digits.and_then(|text| text.parse().ok()) {
        Some(number) => Ok(Some(number)),
        None => Err(Error::new(format!(
            "read {name}={}: it must be a decimal number",
            quoted(&value)
        ))),
    }
}
