//! Text that is safe to print and short enough to read.

use std::time::Duration;

/// Makes one printable line of any text: control characters (and the Unicode ones that move or hide text)
/// become escapes like `\n` or `\u{1b}`, and what goes beyond `max` characters becomes `...`. For everything
/// that an app or a stranger wrote, so that nobody can forge a second line or drive a terminal.
pub(crate) fn one_line(text: &str, max: usize) -> String {
    let mut line = String::with_capacity(text.len().min(max));
    let mut width = 0;
    for character in text.chars() {
        let mut escaped = String::new();
        push_tame(&mut escaped, character);
        width += escaped.chars().count();
        if width > max {
            while line.chars().count() + 3 > max && line.pop().is_some() {}
            line.push_str(&"..."[..max.min(3)]);
            break;
        }
        line.push_str(&escaped);
    }
    line
}

/// Whether a character could forge a line, drive a terminal, or show a text other than it is: control characters, and those of
/// Unicode that break lines, reverse the order of what follows (UAX #9), or are not seen. There is one such set, for text of all
/// origins.
pub(crate) fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Adds a character of somebody's text to a line of ours, escaped if it is [unsafe](is_unsafe).
pub(crate) fn push_tame(line: &mut String, character: char) {
    if is_unsafe(character) {
        line.extend(character.escape_default());
    } else {
        line.push(character);
    }
}

/// A duration in the words of an outcome: `41 ms`, `12.3 s`, `2 min 5 s`.
pub(crate) fn elapsed(duration: Duration) -> String {
    let ms = duration.as_millis();
    match ms {
        0..10_000 => format!("{ms} ms"),
        10_000..60_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        60_000.. => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1000),
    }
}

/// The units of a duration in flags, the largest first, in milliseconds.
pub(crate) const DURATION_UNITS: [(&str, u64); 4] =
    [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// A duration that somebody has set, as it is written in flags, in whole milliseconds: `250ms`, `30s`, `1m30s`, `0s`.
pub(crate) fn setting(duration: Duration) -> String {
    let mut left = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, millis) in DURATION_UNITS {
        if left >= millis {
            text.push_str(&format!("{}{unit}", left / millis));
            left %= millis;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}
/// On which side of its column a cell stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Left,
    Right,
}

/// Between two columns.
pub(crate) const GAP: &str = "  ";

/// Columns as wide as their widest cell.
pub(crate) fn align<const N: usize>(sides: [Side; N], rows: Vec<[String; N]>) -> Vec<String> {
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: [String; N]| {
        let cells = row
            .into_iter()
            .zip(sides)
            .zip(widths)
            .map(|((cell, side), width)| match side {
                Side::Left => format!("{cell:<width$}"),
                Side::Right => format!("{cell:>width$}"),
            });
        cells.collect::<Vec<_>>().join(GAP)
    };
    rows.into_iter().map(line).collect()
}
