//! Text that is safe to print and short enough to read.

use std::time::Duration;

/// Makes one printable line of any text: control characters (and the Unicode ones that move or hide text)
/// become escapes like `\n` or `\u{1b}`, and what goes beyond `max` characters becomes `...`. For everything
/// that an app or a stranger wrote, so that nobody can forge a second line or drive a terminal.
pub(crate) fn one_line(text: &str, max: usize) -> String {
    let mut line = String::with_capacity(text.len().min(max));
    let mut width = 0;
    for character in text.chars() {
        let escaped: String = if is_unsafe(character) {
            character.escape_default().collect()
        } else {
            character.into()
        };
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

/// Control characters, line and paragraph separators, and the bidirectional overrides.
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
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

/// A duration that somebody has set, as it is written in flags: `250ms`, `30s`, `5m`.
pub(crate) fn setting(duration: Duration) -> String {
    match duration.as_millis() {
        0 => "0s".to_owned(),
        ms if ms % 60_000 == 0 => format!("{}m", ms / 60_000),
        ms if ms % 1000 == 0 => format!("{}s", ms / 1000),
        ms => format!("{ms}ms"),
    }
}
