//! Env files: `NAME=VALUE` lines as in `EnvironmentFile=` of systemd.exec(5).
//!
//! - Blank lines and lines that start with `#` or `;` are passed over. A `#` later in a line belongs to the value.
//! - Blanks around the name and around an unquoted value are dropped.
//! - In an unquoted value, a backslash takes the next character as it is; before the end of the line it joins the
//!   next line.
//! - In `'...'` every character stands for itself. In `"..."` a backslash does so for `"`, `\`, `` ` `` and `$`, and
//!   before the end of a line it joins the next line. Both may span lines.
//! - A line ends with LF, CR LF or CR.
//! - Nothing is expanded, and a name given twice has its last value.
//!
//! Where systemd drops a line with a warning in a log, this file refuses: a reload that starts the app with half of its
//! environment would be a lie. So are text after a closing quote, which systemd joins in ways of its own (`'it'\''s'` is
//! `it''s` to it), a backslash before CR LF, which joins no lines there, and a quote that never closes.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use super::environment::check_variable;
use super::read::{self, Unread};
use super::rest::Rest;
use super::settings::{Reason, Variable};

/// Reads an env file, without ever blocking (see [`read::regular_file`]).
///
/// A path with `-` before it may be missing, as for systemd; it then counts as empty.
///
/// # Errors
///
/// One line: `read app.env: permission denied` or `app.env:3: expected NAME=VALUE`. Values are never shown.
pub(crate) fn load(path: &Path, rest: &mut Rest) -> Result<Vec<Variable>, String> {
    let (path, may_be_missing) = split(path);
    let content = match read::regular_file(path, Reason::Named, rest) {
        Ok(content) => content,
        Err(Unread::Missing) if may_be_missing => return Ok(Vec::new()),
        Err(unread) => return Err(unread.text(path)),
    };
    parse(&content).map_err(|error| format!("{}:{}: {}", path.display(), error.line, error.message))
}

/// The path as it was given, without the `-` before it.
pub(super) fn plain_path(given: &Path) -> PathBuf {
    split(given).0.to_owned()
}

/// The path, and whether it may be missing.
fn split(given: &Path) -> (&Path, bool) {
    match given.to_str().and_then(|text| text.strip_prefix('-')) {
        Some(rest) if !rest.is_empty() => (Path::new(rest), true),
        Some(_) | None => (given, false),
    }
}

/// What is wrong with an env file, and where.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct EnvFileError {
    /// The line, counted from 1.
    pub(crate) line: usize,
    /// The reason, one line.
    pub(crate) message: String,
}

/// Reads the content of an env file; the variables come in the order of the file.
///
/// # Errors
///
/// [`EnvFileError`] for the first line that is wrong.
pub(crate) fn parse(content: &[u8]) -> Result<Vec<Variable>, EnvFileError> {
    let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
    let mut reader = Reader {
        content,
        at: 0,
        line: 1,
    };
    let mut variables = Vec::new();
    while reader.find_assignment() {
        let line = reader.line;
        let wrong_at = |line| move |message| EnvFileError { line, message };
        let name = reader.name().map_err(wrong_at(line))?;
        let value = reader
            .value()
            .map_err(|(line, message)| EnvFileError { line, message })?;
        let variable = (OsString::from(name), OsString::from_vec(value));
        check_variable(&variable.0, &variable.1).map_err(wrong_at(line))?;
        variables.push(variable);
    }
    Ok(variables)
}

struct Reader<'a> {
    content: &'a [u8],
    at: usize,
    line: usize,
}

/// The line of the mistake and the reason.
type Wrong = (usize, String);

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.content.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        if byte == b'\n' {
            self.line += 1;
        }
        Some(byte)
    }

    /// Goes to the start of the next assignment; false at the end of the file.
    fn find_assignment(&mut self) -> bool {
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => {
                    self.next();
                }
                b'#' | b';' => self.skip_line(),
                _ => return true,
            }
        }
        false
    }

    fn skip_line(&mut self) {
        while self.peek().is_some_and(|byte| byte != b'\n') {
            self.next();
        }
    }

    /// Reads the name up to and with the `=`.
    fn name(&mut self) -> Result<String, String> {
        let rest = &self.content[self.at..];
        let end = rest
            .iter()
            .position(|byte| matches!(byte, b'=' | b'\n' | b'\r'))
            .unwrap_or(rest.len());
        if rest.get(end) != Some(&b'=') {
            return Err("expected NAME=VALUE, found no `=`".to_owned());
        }
        self.at += end + 1;
        let name = String::from_utf8_lossy(rest[..end].trim_ascii());
        if name.split_ascii_whitespace().next() == Some("export") && name != "export" {
            return Err("expected NAME=VALUE; `export` is the shell's, leave it out".to_owned());
        }
        if !is_name(&name) {
            // The text is not repeated: it may be a line of somebody's private key, which often ends with `=`.
            return Err("a name has letters, digits and `_`, and no digit first".to_owned());
        }
        Ok(name.into_owned())
    }

    fn value(&mut self) -> Result<Vec<u8>, Wrong> {
        self.skip_blanks();
        match self.peek() {
            Some(quote @ (b'"' | b'\'')) => self.quoted_value(quote),
            Some(_) | None => self.plain_value(),
        }
    }

    fn skip_blanks(&mut self) {
        while self.peek().is_some_and(is_blank) {
            self.next();
        }
    }

    fn plain_value(&mut self) -> Result<Vec<u8>, Wrong> {
        let mut value = Vec::new();
        // Blanks at the end are dropped unless a backslash stands before them: this much is kept in any case.
        let mut kept = 0;
        while let Some(byte) = self.next() {
            match byte {
                b'\n' | b'\r' => break,
                b'\\' => {
                    self.refuse_joined_crlf()?;
                    value.extend(self.next().filter(|escaped| !matches!(escaped, b'\n' | b'\r')));
                    kept = value.len();
                }
                _ => value.push(byte),
            }
        }
        while value.len() > kept && value.last().is_some_and(|byte| is_blank(*byte)) {
            value.pop();
        }
        Ok(value)
    }

    /// Behind a backslash: an author who writes one at the end of a line means to join it with the next, and with CR LF it would not.
    fn refuse_joined_crlf(&self) -> Result<(), Wrong> {
        if self.content[self.at..].starts_with(b"\r\n") {
            let message = "a backslash before CR LF joins no lines; write the file with LF (`dos2unix`)";
            return Err((self.line, message.to_owned()));
        }
        Ok(())
    }

    fn quoted_value(&mut self, quote: u8) -> Result<Vec<u8>, Wrong> {
        let opened = self.line;
        self.next();
        let mut value = Vec::new();
        loop {
            match self.next() {
                None => return Err((opened, "the quote that opens here never closes".to_owned())),
                Some(byte) if byte == quote => break,
                Some(b'\\') if quote == b'"' => {
                    self.refuse_joined_crlf()?;
                    self.escaped(&mut value);
                }
                Some(byte) => value.push(byte),
            }
        }
        self.skip_blanks();
        match self.peek() {
            None | Some(b'\n' | b'\r') => Ok(value),
            Some(_) => Err((
                self.line,
                "there is text after the closing quote; quote the value as a whole (\"it's\", not 'it'\\''s'), and put a comment on a \
                 line of its own"
                    .to_owned(),
            )),
        }
    }

    /// What follows a backslash in double quotes.
    fn escaped(&mut self, value: &mut Vec<u8>) {
        match self.peek() {
            Some(byte @ (b'"' | b'\\' | b'`' | b'$')) => {
                self.next();
                value.push(byte);
            }
            Some(b'\n') => {
                self.next();
            }
            Some(_) | None => value.push(b'\\'),
        }
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// The names of POSIX (XBD 8.1), which are all that systemd takes from a file.
fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes
        .next()
        .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
