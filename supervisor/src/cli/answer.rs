//! What to say when there is nothing to do.

use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::process::ExitCode;

use super::Form;
use crate::protocol::push_tame;

/// The exit code of usage errors, as of most programs (and clap's own).
const USAGE: u8 = 2;

/// A text to print instead of doing anything, and the exit code that goes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Where the text goes.
    pub(crate) stream: Stream,
    /// The text, lines with their newlines. The first line of a usage error says all that matters.
    pub(crate) text: String,
    /// In which codes a usage error is told as well, on standard output; none if no codes were asked for.
    pub(crate) codes: Option<Codes>,
}

/// What a command tells programs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codes {
    /// The outcome of a reload, or what there is in the place of a status or a list.
    Outcome(Form),
    /// The outcome of a deploy.
    Deploy,
}

impl Codes {
    /// Those that were asked for, if they were. The rest of the command line makes no sense, so it is looked at by words.
    pub(super) fn asked_for(arguments: &[OsString]) -> Option<Self> {
        let mut words = arguments.iter().skip(1).map(OsString::as_os_str);
        let command = words.next()?.to_str()?;
        let given: Vec<&OsStr> = words.take_while(|word| *word != "--").collect();
        let has = |flag: &str| given.iter().any(|word| *word == flag);
        match command {
            "deploy" if has("--json") => Some(Self::Deploy),
            "reload" | "status" | "list" if has("--json") => Some(Self::Outcome(Form::Json)),
            "reload" | "status" | "list" if has("--flat") => Some(Self::Outcome(Form::Flat)),
            _ => None,
        }
    }
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
    /// A usage error in one line.
    pub(crate) fn reason(&self) -> &str {
        let first = self.text.lines().next().unwrap_or_default();
        first.strip_prefix("error: ").unwrap_or(first)
    }

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
pub(super) fn from_clap(error: &clap::Error, tip: Option<String>, codes: Option<Codes>) -> Answer {
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
        codes: codes.filter(|_| stream == Stream::Stderr),
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
