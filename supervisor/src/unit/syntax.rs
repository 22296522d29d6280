//! The text of a unit file, taken apart as systemd does it (systemd.syntax(7)).
//!
//! Where systemd warns and passes over a line, this refuses: whoever asks wants to know what the unit does, and a line that
//! does nothing is not what its author meant.

/// A byte order mark, which systemd passes over at the begin of a file.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// `Key=Value` in a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Assignment {
    /// The section, without its brackets.
    pub(crate) section: String,
    pub(crate) key: String,
    /// The value without the blanks around it; lines that were continued are one.
    pub(crate) value: String,
}

/// Take a unit file apart. Sections and keys that begin with `X-` are for other programs, and left out.
///
/// # Errors
/// One line that names the line of the file: it is no assignment, stands in no section, or a section's head is not closed.
pub(super) fn parse(text: &str) -> Result<Vec<Assignment>, String> {
    let mut found = Vec::new();
    let mut section = None;
    for Joined { number, text } in join(text) {
        let line = text.trim();
        let refused = |why: &str| format!("line {number}: {why}");
        if line.is_empty() {
        } else if let Some(rest) = line.strip_prefix('[') {
            let name = rest
                .strip_suffix(']')
                .ok_or_else(|| refused("the head of a section has no ]"))?;
            section = Some(name.to_owned());
        } else {
            let (key, value) = line.split_once('=').ok_or_else(|| refused("there is no ="))?;
            let section = section
                .clone()
                .ok_or_else(|| refused("it stands before the first section"))?;
            if !section.starts_with("X-") && !key.starts_with("X-") {
                found.push(Assignment {
                    section,
                    key: key.trim_end().to_owned(),
                    value: value.trim_start().to_owned(),
                });
            }
        }
    }
    Ok(found)
}

/// Lines that were continued, as one.
struct Joined {
    /// The number of its first line, from 1.
    number: usize,
    text: String,
}

/// A backslash at the end of a line becomes a space, and the next line follows. Lines of comments are passed over, also between
/// two that belong together.
fn join(text: &str) -> Vec<Joined> {
    let mut lines: Vec<Joined> = Vec::new();
    let mut is_continued = false;
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    for (number, line) in (1..).zip(text.split('\n')) {
        if line.trim_start().starts_with(['#', ';']) {
            continue;
        }
        let line = line.strip_suffix('\r').unwrap_or(line);
        match lines.last_mut() {
            Some(last) if is_continued => last.text.push_str(line),
            Some(_) | None => lines.push(Joined {
                number,
                text: line.to_owned(),
            }),
        }
        let Some(last) = lines.last_mut() else { continue };
        // An even number of them is a backslash each.
        let backslashes = last.text.len() - last.text.trim_end_matches('\\').len();
        is_continued = backslashes % 2 == 1;
        if is_continued {
            last.text.pop();
            last.text.push(' ');
        }
    }
    lines
}
