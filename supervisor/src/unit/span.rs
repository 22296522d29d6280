//! Time spans as systemd writes and reads them (systemd.time(7)).

use std::fmt;
use std::time::Duration;

/// The units in microseconds, as people write them.
const UNITS: [(&[&str], u64); 9] = [
    (&["us", "usec", "µs", "μs"], 1),
    (&["ms", "msec"], 1_000),
    (&["s", "sec", "second", "seconds", ""], 1_000_000),
    (&["m", "min", "minute", "minutes"], 60_000_000),
    (&["h", "hr", "hour", "hours"], 3_600_000_000),
    (&["d", "day", "days"], 86_400_000_000),
    (&["w", "week", "weeks"], 604_800_000_000),
    // Not `m`, which is a minute.
    (&["M", "month", "months"], 2_629_800_000_000),
    (&["y", "year", "years"], 31_557_600_000_000),
];

/// A time, or no end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Span {
    Of(Duration),
    Endless,
}

impl Span {
    /// Reads `1min 30s`, `1.5h`, `+90s`, `90`, `infinity`.
    ///
    /// # Errors
    /// One line.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut rest = text.trim();
        if rest == "infinity" {
            return Ok(Self::Endless);
        }
        let wrong = || format!("not a time span: {text:?}");
        let mut micros: u64 = 0;
        if rest.is_empty() {
            return Err(wrong());
        }
        while !rest.is_empty() {
            let number = rest.strip_prefix('+').unwrap_or(rest);
            let (number, after) = split_where(number, |c| !c.is_ascii_digit() && c != '.');
            let ends_unit = |c: char| c.is_ascii_digit() || c.is_whitespace() || matches!(c, '+' | '.');
            let (unit, after) = split_where(after.trim_start(), ends_unit);
            let found = UNITS.iter().find(|(names, _)| names.contains(&unit));
            let part = found.and_then(|(_, scale)| times(number, *scale));
            micros = part.and_then(|part| micros.checked_add(part)).ok_or_else(wrong)?;
            rest = after.trim_start();
        }
        Ok(Self::Of(Duration::from_micros(micros)))
    }

    /// Whether it leaves room for something that may take this long.
    pub(super) fn is_above(self, time: Option<Duration>) -> bool {
        match (self, time) {
            (Self::Endless, _) => true,
            (Self::Of(_), None) => false,
            (Self::Of(span), Some(time)) => span > time,
        }
    }
}

impl From<Option<Duration>> for Span {
    fn from(time: Option<Duration>) -> Self {
        time.map_or(Self::Endless, Self::Of)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endless => f.write_str("infinity"),
            Self::Of(time) if time.subsec_millis() == 0 => write!(f, "{}s", time.as_secs()),
            Self::Of(time) => write!(f, "{}ms", time.as_millis()),
        }
    }
}

/// A number, with or without a fraction, times a whole one. More than six digits behind the point are cut off: they are less
/// than a microsecond of the units that people give a fraction of.
fn times(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if fraction.is_empty() || !is_digits(fraction) {
        return None;
    }
    let fraction = &fraction[..fraction.len().min(6)];
    let digits = u32::try_from(fraction.len()).ok()?;
    let whole = match whole {
        "" if number.starts_with('.') => 0,
        whole => whole.parse::<u64>().ok()?.checked_mul(scale)?,
    };
    let fraction = fraction.parse::<u64>().ok()?.checked_mul(scale)? / 10_u64.pow(digits);
    whole.checked_add(fraction)
}

fn split_where(text: &str, end: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(end).unwrap_or(text.len()))
}
