//! Text from files and people, made fit for one line of a terminal or a log.

use crate::protocol::push_tame;

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
        push_tame(&mut quoted, character);
    }
    quoted.push('"');
    quoted
}

/// Makes a text one line without control characters: each is escaped.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        push_tame(&mut line, character);
    }
    line
}
