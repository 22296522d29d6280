//! What to say when there is nothing to do.

use crate::protocol::push_tame;
use std::io::Write as _;
use std::process::ExitCode;

/// The exit code of usage errors, as of most programs (and clap's own).
const USAGE: u8 = 2;

/// A text to print instead of doing anything, and the exit code that goes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Where the text goes.
    pub(crate) stream: Stream,
    /// The text, lines with their newlines. The first line of a usage error says all that matters.
    pub(crate) text: String,
}

/// Where an answer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// It was asked for, as help or version: exit code 0.
    Stdout,
    /// It is a usage error: exit code 2.
    Stderr,
}

impl Answer {
    /// Prints the answer and returns the exit code. A reader that has gone away (`segue --help | head -1`) is no error.
    pub(crate) fn print(&self) -> ExitCode {
        match self.stream {
            Stream::Stdout => {
                let _ = std::io::stdout().write_all(self.text.as_bytes());
                ExitCode::SUCCESS
            }
            Stream::Stderr => {
                let _ = std::io::stderr().write_all(self.text.as_bytes());
                ExitCode::from(USAGE)
            }
        }
    }
}

/// Clap's text in our shape: the error proper is one line (clap breaks some, and the first part alone says little),
/// control characters of repeated arguments are escaped, and no line ends in blanks. A tip of ours takes the place of clap's.
pub(super) fn from_clap(error: &clap::Error, tip: Option<String>) -> Answer {
    let stream = if error.use_stderr() {
        Stream::Stderr
    } else {
        Stream::Stdout
    };
    let rendered = escaped(&error.render().to_string());
    let mut lines: Vec<String> = rendered.lines().map(|line| line.trim_end().to_owned()).collect();
    if rendered.starts_with("error: ") {
        let end = lines.iter().position(String::is_empty).unwrap_or(lines.len());
        let whole = lines[..end]
            .iter()
            .map(|line| line.trim())
            .collect::<Vec<_>>()
            .join(" ");
        lines.splice(..end, [whole]);
    }
    // Neither a name nor a command begins with a dash, so that this would never help.
    lines.retain(|line| !line.starts_with("  tip: to pass '"));
    lines.dedup_by(|next, before| next.is_empty() && before.is_empty());
    if let Some(tip) = tip {
        lines.retain(|line| !line.starts_with("  tip: "));
        lines.splice(1..1, [String::new(), format!("  tip: {}", escaped(&tip))]);
        lines.dedup();
    }
    Answer {
        stream,
        text: lines.join("\n") + "\n",
    }
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => escaped.push('\n'),
            other => push_tame(&mut escaped, other),
        }
    }
    escaped
}
