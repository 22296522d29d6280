//! Durations as people write them: `250ms`, `30s`, `5m`, `1h`, and combinations such as `1m30s`.
//!
//! A plain number is refused: whether `30` means seconds or milliseconds differs from program to program, and a
//! timeout that is wrong by a factor of a thousand is found out in the worst moment.

use std::str::FromStr;
use std::time::Duration;

use super::text::quoted;
use crate::protocol::DURATION_UNITS;
/// Writes a duration as [`parse`] reads it.
pub(crate) use crate::protocol::setting as text;

/// The longest duration: a year. A longer one is a typing error, and the sum of all timeouts stays far from
/// the limits of the clock.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// A duration where `none` is allowed too: a timeout that never passes, or a stage that is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit(pub(crate) Option<Duration>);

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Limit, String> {
        match text {
            "none" => Ok(Limit(None)),
            other => parse(other).map(|duration| Limit(Some(duration))),
        }
    }
}

/// Reads a duration: whole numbers, each with a unit of `h`, `m`, `s` or `ms`, from the largest unit to the
/// smallest, without blanks.
///
/// # Errors
///
/// One line that says what to write instead.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    if text == "none" {
        return Err("`none` is not allowed here; a duration is, such as `30s`".to_owned());
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(plain_number(text));
    }
    let mut rest = text;
    let mut units = DURATION_UNITS.iter();
    let mut total: u64 = 0;
    // At least one part: an empty text has none and is refused by the first turn.
    loop {
        let (count, unit, after) = part(rest).ok_or_else(|| not_a_duration(text))?;
        let (_, millis) = units
            .find(|(name, _)| *name == unit)
            .ok_or_else(|| wrong_order_or_unit(text, unit))?;
        total = count
            .checked_mul(*millis)
            .and_then(|part| total.checked_add(part))
            .filter(|total| u128::from(*total) <= LONGEST.as_millis())
            .ok_or_else(|| format!("{} is longer than a year", quoted(text)))?;
        rest = after;
        if rest.is_empty() {
            return Ok(Duration::from_millis(total));
        }
    }
}

/// Splits off one number and its unit: `1m30s` is 1, `m` and `30s`. A number too big to count counts as the
/// biggest, and is then refused as too long.
fn part(text: &str) -> Option<(u64, &str, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let letters = text[digits..].bytes().take_while(u8::is_ascii_alphabetic).count();
    if digits == 0 || letters == 0 {
        return None;
    }
    let count = text[..digits].parse().unwrap_or(u64::MAX);
    let (unit, rest) = text[digits..].split_at(letters);
    Some((count, unit, rest))
}

fn plain_number(text: &str) -> String {
    // Zeros and endless digits are not worth repeating; a number of a usual length makes the best example.
    let example = if text.len() <= 6 { text } else { "30" };
    format!("a duration needs a unit: `{example}s` (or ms, m, h)")
}

fn not_a_duration(text: &str) -> String {
    let hint = if text.contains('.') {
        "; for a fraction take a smaller unit, `1500ms`"
    } else {
        ""
    };
    format!(
        "expected a duration such as `30s`, `250ms` or `1m30s`, got {}{hint}",
        quoted(text)
    )
}

fn wrong_order_or_unit(text: &str, unit: &str) -> String {
    if DURATION_UNITS.iter().any(|(name, _)| *name == unit) {
        format!(
            "the units of a duration go from large to small, each once: `1m30s`, got {}",
            quoted(text)
        )
    } else {
        format!(
            "unknown unit {} in {}; the units are h, m, s and ms",
            quoted(unit),
            quoted(text)
        )
    }
}
