//! Text from files and people, made fit for one line of a terminal or a log.

use std::fmt::Write as _;

/// The most characters of somebody's text that an error repeats. A longer text would bury the reason.
const LONGEST_QUOTE: usize = 60;

/// Puts a text in quotes for an error: control characters escaped, long texts cut.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for (count, character) in text.chars().enumerate() {
        if count == LONGEST_QUOTE {
            quoted.push_str("...");
            break;
        }
        push_visible(&mut quoted, character);
    }
    quoted.push('"');
    quoted
}

/// Makes a text one line without control characters: each is escaped.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        push_visible(&mut line, character);
    }
    line
}

/// Besides the control characters, those that reorder or hide what a terminal shows are escaped too: an error
/// must look like what it says.
fn push_visible(line: &mut String, character: char) {
    let hidden = matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    if character.is_control() || hidden {
        let _ = write!(line, "{}", character.escape_default());
    } else {
        line.push(character);
    }
}
