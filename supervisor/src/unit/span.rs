//! Time spans as systemd writes and reads them (systemd.time(7)).

use std::fmt;
use std::time::Duration;

/// The units in microseconds, as people write them.
const UNITS: [(&[&str], f64); 8] = [
    (&["us", "usec", "µs", "μs"], 1.0),
    (&["ms", "msec"], 1e3),
    (&["s", "sec", "second", "seconds", ""], 1e6),
    (&["m", "min", "minute", "minutes"], 60e6),
    (&["h", "hr", "hour", "hours"], 3600e6),
    (&["d", "day", "days"], 86_400e6),
    (&["w", "week", "weeks"], 604_800e6),
    (&["y", "year", "years"], 31_557_600e6),
];

/// A time, or no end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Span {
    Of(Duration),
    Endless,
}

impl Span {
    /// Reads `1min 30s`, `1.5h`, `90`, `infinity`.
    ///
    /// # Errors
    /// One line.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text == "infinity" {
            return Ok(Self::Endless);
        }
        let wrong = || format!("not a time span: {text:?}");
        let mut micros = 0.0;
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(wrong());
        }
        while !rest.is_empty() {
            let (number, after) = split_where(rest, |c| !c.is_ascii_digit() && c != '.');
            let (unit, after) = split_where(after.trim_start(), |c| c.is_ascii_digit() || c.is_whitespace());
            let number: f64 = number.parse().map_err(|_| wrong())?;
            let found = UNITS.iter().find(|(names, _)| names.contains(&unit));
            let (_, scale) = found.ok_or_else(wrong)?;
            micros += number * scale;
            rest = after.trim_start();
        }
        Duration::try_from_secs_f64(micros / 1e6)
            .map(Self::Of)
            .map_err(|_| wrong())
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
            Self::Of(time) => write!(f, "{}s", time.as_secs_f64()),
        }
    }
}

fn split_where(text: &str, end: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(end).unwrap_or(text.len()))
}
