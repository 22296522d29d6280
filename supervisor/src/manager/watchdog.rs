//! Whether the manager wants to hear that the loop goes round (sd_watchdog_enabled(3)).

use std::ffi::OsStr;
use std::time::Duration;

use super::shown;

/// The shortest pause between two words: a timer cannot be finer, and a loop without any pause would do nothing else.
const SHORTEST_BEAT: Duration = Duration::from_millis(1);

/// `WATCHDOG_USEC`, if it is meant for the process with this pid.
///
/// # Errors
/// One line about a value that is no number, or no time.
pub(super) fn asked(usec: Option<&OsStr>, pid: Option<&OsStr>, own: u32) -> Result<Option<Duration>, String> {
    let Some(usec) = usec else { return Ok(None) };
    if let Some(pid) = pid
        && number("WATCHDOG_PID", pid)? != u64::from(own)
    {
        return Ok(None);
    }
    Ok(Some(Duration::from_micros(number("WATCHDOG_USEC", usec)?)))
}

/// The pause between two words.
pub(super) fn beat(watchdog: Duration) -> Duration {
    (watchdog / 2).max(SHORTEST_BEAT)
}

fn number(key: &str, value: &OsStr) -> Result<u64, String> {
    let digits = value
        .to_str()
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let parsed = digits
        .and_then(|text| text.parse().ok())
        .filter(|number| *number > 0);
    parsed.ok_or_else(|| format!("{}: not a number; no watchdog is fed", shown(key, value)))
}
