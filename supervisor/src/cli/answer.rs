//! What to say when there is nothing to do.

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

/// Clap's text, which repeats arguments as they are: their control characters are escaped.
pub(super) fn from_clap(error: &clap::Error) -> Answer {
    let stream = if error.use_stderr() {
        Stream::Stderr
    } else {
        Stream::Stdout
    };
    let mut text = String::new();
    for character in error.render().to_string().chars() {
        match character {
            '\n' => text.push('\n'),
            other if other.is_control() => text.extend(other.escape_default()),
            other => text.push(other),
        }
    }
    Answer { stream, text }
}
