//! One error type: what was attempted, and why it did not work, in one line.

use std::fmt;
use std::io;

/// Why a server could not start or go on: one lower-case line, the attempt and then the cause.
///
/// # Example
///
/// ```
/// let error = segue_app::Listener::bind("*:http").unwrap_err();
/// assert_eq!(error.to_string(), "listen *:http: the port must be a number from 0 to 65535");
/// ```
#[derive(Debug)]
pub struct Error {
    attempt: String,
    cause: Option<io::Error>,
}

/// The short form for everything in this crate that can fail.
///
/// # Example
///
/// ```
/// fn main() -> segue_app::Result<()> {
///     let listener = segue_app::Listener::bind("127.0.0.1:0")?;
///     println!("{}", listener.address());
///     Ok(())
/// }
/// ```
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn new(text: impl Into<String>) -> Error {
        Error {
            attempt: text.into(),
            cause: None,
        }
    }

    pub(crate) fn io(attempt: impl Into<String>, cause: io::Error) -> Error {
        Error {
            attempt: attempt.into(),
            cause: Some(cause),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Some(cause) => write!(out, "{}: {}", self.attempt, errno_text(cause)),
            None => out.write_str(&self.attempt),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_ref().map(|cause| cause as _)
    }
}

/// An operating system error as people read it: lower case, without "(os error N)".
///
/// # Example
///
/// ```
/// let error = std::fs::read("/nowhere").unwrap_err();
/// assert_eq!(segue_app::errno_text(&error), "no such file or directory");
/// ```
pub fn errno_text(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first
            .to_lowercase()
            .chain(letters)
            .map(|letter| if letter.is_control() { ' ' } else { letter })
            .collect(),
        None => "unknown error".to_owned(),
    }
}

/// Puts text that comes from outside into a message: control characters escaped, cut at 200 characters.
pub(crate) fn quoted(text: &std::ffi::OsStr) -> String {
    let text = text.to_string_lossy();
    let mut out = String::from("'");
    for letter in text.chars().take(200) {
        if letter.is_control() || letter == '\u{2028}' || letter == '\u{2029}' {
            out.extend(letter.escape_default());
        } else {
            out.push(letter);
        }
    }
    out.push('\'');
    out
}
