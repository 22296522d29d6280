//! segue.toml: every flag of `segue run` is a key, in the same words and with the same meaning.
//!
//! ```toml
//! command = ["./app", "--verbose"]
//! workers = 2
//! drain-timeout = "1m"
//! env-file = "app.env"
//!
//! [[listen]]
//! name = "http"
//! address = "*:8080"
//! backlog = 1024
//!
//! [env]
//! LOG = "info"
//! ```
//!
//! The file is walked with the positions of its values at hand, so that every error names its line and key. All
//! errors of a file are found, not only the first: `segue check` shows them together.

use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::error::{ConfigError, SettingPlace};
use super::item::{Item, Wrong, unknown};
use super::read::Unread;
use super::rest::Rest;
use super::settings::{Reason, Settings};
use super::text::one_line;
use super::{options, read};

/// What a segue.toml says, and where it says it.
#[derive(Debug, Default)]
pub(super) struct File {
    pub(super) settings: Settings,
    pub(super) path: PathBuf,
    /// The line of each top-level key that was given, for errors that are seen only when all settings are known.
    lines: Vec<(&'static str, usize)>,
}

impl File {
    /// The place of a key, if the file has it.
    pub(super) fn place(&self, key: &str) -> Option<SettingPlace> {
        let (_, line) = self.lines.iter().find(|(name, _)| *name == key)?;
        Some(SettingPlace::line(&self.path, *line, key))
    }
}

/// Reads a segue.toml, without ever blocking (see [`read::regular_file`]).
///
/// # Errors
///
/// Everything that is wrong with it, in the order of the lines; at least one error. One that is only looked for may be missing.
pub(super) fn load(path: &Path, reason: Reason, rest: &mut Rest) -> Result<File, Vec<ConfigError>> {
    let content = match read::regular_file(path, reason, rest) {
        Ok(content) => content,
        Err(Unread::Missing) if reason == Reason::Found => return Ok(File::default()),
        Err(unread) => return Err(vec![ConfigError::plain(unread.text(path))]),
    };
    let text = String::from_utf8(content).map_err(|error| {
        let line = 1 + count_newlines(&error.as_bytes()[..error.utf8_error().valid_up_to()]);
        vec![in_line(path, line, "the file is not UTF-8")]
    })?;
    parse(path, &text)
}

/// Reads the text of a segue.toml. The path is for the errors alone.
///
/// # Errors
///
/// As for [`load`].
pub(super) fn parse(path: &Path, text: &str) -> Result<File, Vec<ConfigError>> {
    let table = DeTable::parse(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let hint = leading_zero(text, start).unwrap_or_default();
        let message = format!("{}{hint}", one_line(error.message()));
        vec![in_line(path, line_of(text, start), &message)]
    })?;
    let mut walk = Walk {
        path,
        text,
        file: File {
            path: path.to_owned(),
            ..File::default()
        },
        errors: Vec::new(),
    };
    for (key, value) in table.get_ref() {
        let item = Item {
            key: key.get_ref().to_string(),
            span: key.span(),
            value: value.get_ref(),
        };
        let wrong = walk.key(&item).err().unwrap_or_default();
        wrong.into_iter().for_each(|wrong| walk.refuse(wrong));
    }
    walk.finish()
}

/// What to write instead of `umask = 0027`: to TOML a number that begins with 0 is none.
fn leading_zero(text: &str, at: usize) -> Option<String> {
    let (before, after) = text.split_at_checked(at)?;
    let before = before.trim_end_matches(|c: char| c.is_ascii_digit());
    let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
    let digits = &text[before.len()..at + end];
    let key = before.trim_end().strip_suffix('=')?.trim_end();
    let key = key
        .rsplit(|c: char| !c.is_ascii_alphabetic() && c != '-')
        .next()?;
    if digits.len() < 2 || !digits.starts_with('0') {
        return None;
    }
    let is_octal =
        digits.bytes().all(|digit| digit < b'8') && matches!(key, "umask" | "mode" | "directory-mode");
    Some(if is_octal {
        format!(" (octal: write {key} = \"{digits}\")")
    } else {
        format!(" ({key}: a number does not begin with 0)")
    })
}

fn in_line(path: &Path, line: usize, message: &str) -> ConfigError {
    ConfigError::at(
        SettingPlace::File {
            path: path.to_owned(),
            line: Some(line),
            key: None,
        },
        message,
    )
}

/// The line of a byte, counted from 1.
fn line_of(text: &str, at: usize) -> usize {
    1 + count_newlines(&text.as_bytes()[..at.min(text.len())])
}

fn count_newlines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

struct Walk<'a> {
    path: &'a Path,
    text: &'a str,
    file: File,
    errors: Vec<(usize, ConfigError)>,
}

impl Walk<'_> {
    fn refuse(&mut self, wrong: Wrong) {
        let place = SettingPlace::line(self.path, line_of(self.text, wrong.span.start), wrong.key);
        self.errors
            .push((wrong.span.start, ConfigError::at(place, wrong.message)));
    }

    fn finish(mut self) -> Result<File, Vec<ConfigError>> {
        if self.errors.is_empty() {
            return Ok(self.file);
        }
        self.errors.sort_by_key(|(at, _)| *at);
        Err(self.errors.into_iter().map(|(_, error)| error).collect())
    }

    /// Reads one top-level key.
    fn key(&mut self, item: &Item<'_>) -> Result<(), Vec<Wrong>> {
        let Some(setting) = options::keys().find(|setting| setting.name == item.key) else {
            let names: Vec<_> = options::keys().map(|setting| setting.name).collect();
            return Err(vec![unknown(item, &names)]);
        };
        let line = line_of(self.text, item.span.start);
        self.file.lines.push((setting.name, line));
        setting.read(item, &mut self.file.settings)
    }
}
