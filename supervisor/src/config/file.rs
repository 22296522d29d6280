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
use super::item::{ACCOUNT, Item, Wrong, unknown};
use super::listen;
use super::read;
use super::rest::Rest;
use super::settings::{self, ListenPid, Orphaned, Settings};
use super::text::one_line;
use super::{duration, signal};

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
/// Everything that is wrong with it, in the order of the lines; at least one error.
pub(super) fn load(path: &Path, rest: &mut Rest) -> Result<File, Vec<ConfigError>> {
    let content =
        read::regular_file(path, rest).map_err(|unread| vec![ConfigError::plain(unread.text(path))])?;
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
        if let Err(wrong) = walk.key(&item) {
            walk.refuse(wrong);
        }
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
        format!(" (octal: write \"{digits}\")")
    } else {
        " (a number does not begin with 0)".to_owned()
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
    fn key(&mut self, item: &Item<'_>) -> Result<(), Wrong> {
        let Some(key) = KEYS.iter().find(|key| **key == item.key) else {
            return Err(unknown(item, &KEYS));
        };
        self.file.lines.push((key, line_of(self.text, item.span.start)));
        let settings = &mut self.file.settings;
        match *key {
            "accept-timeout" => settings.accept_timeout = Some(item.duration(str::parse)?),
            "chdir" => settings.chdir = Some(item.path()?),
            "command" => settings.command = item.command()?,
            "control" => settings.control = Some(item.path()?),
            "control-group" => settings.control_group = Some(item.parsed(ACCOUNT, settings::parse_account)?),
            "die-with-supervisor" => {
                settings.orphaned = Some(if item.flag()? {
                    Orphaned::Stops
                } else {
                    Orphaned::ServesOn
                });
            }
            "drain-timeout" => settings.drain_timeout = Some(item.duration(str::parse)?),
            "env" => settings.env = item.variables()?,
            "env-file" => settings.env_file = item.paths()?,
            "extend-limit" => settings.extend_limit = Some(item.duration(str::parse)?),
            "group" => settings.group = Some(item.parsed(ACCOUNT, settings::parse_account)?),
            "log-format" => settings.log_format = Some(item.parsed("\"text\" or \"json\"", str::parse)?),
            "max-generations" => settings.max_generations = Some(item.integer(settings::parse_generations)?),
            "min-free-memory" => settings.min_free_memory = Some(item.size()?),
            "mode" => settings.mode = Some(item.parsed("\"overlap\" or \"queue\"", str::parse)?),
            "name" => settings.name = Some(item.parsed("a string", settings::parse_name)?),
            "no-listen-pid" => {
                settings.listen_pid = Some(if item.flag()? {
                    ListenPid::LeftOut
                } else {
                    ListenPid::Set
                });
            }
            "oom-score-adj" => settings.oom_score_adj = Some(item.integer(settings::parse_oom_score)?),
            "pid-file" => settings.pid_file = Some(item.path()?),
            "probation" => settings.probation = Some(item.duration(str::parse)?),
            "probe" => settings.probe = Some(item.parsed("a shell command", settings::parse_shell_command)?),
            "probe-timeout" => settings.probe_timeout = Some(item.duration(str::parse)?),
            "ready" => settings.ready = Some(item.parsed("\"notify\" or \"exec:2s\"", str::parse)?),
            "rolling" => settings.rolling = Some(item.integer(settings::parse_workers)?),
            "soak" => settings.soak = Some(item.duration(duration::parse)?),
            "start-timeout" => settings.start_timeout = Some(item.duration(str::parse)?),
            "stderr" => settings.stderr = Some(item.path()?),
            "stop-signal" => settings.stop_signal = Some(item.parsed("a name", signal::parse_stop_signal)?),
            "stop-signal-to" => {
                settings.stop_signal_to = Some(item.parsed("\"main\" or \"all\"", str::parse)?);
            }
            "stop-timeout" => settings.stop_timeout = Some(item.duration(str::parse)?),
            "umask" => settings.umask = Some(item.umask()?),
            "user" => settings.user = Some(item.parsed(ACCOUNT, settings::parse_account)?),
            "watch" => settings.watch = Some(item.path()?),
            "watchdog" => settings.watchdog = Some(item.duration(str::parse)?),
            "workers" => settings.workers = Some(item.integer(settings::parse_workers)?),
            "listen" => return self.listeners(item),
            _ => return Err(unknown(item, &KEYS)),
        }
        Ok(())
    }

    /// Reads the listeners one by one, so that each mistake is told.
    fn listeners(&mut self, item: &Item<'_>) -> Result<(), Wrong> {
        for listener in item.items("[[listen]] tables or an array of strings")? {
            match listen::read(&listener) {
                Ok(spec) => self.file.settings.listen.push(spec),
                Err(wrong) => wrong.into_iter().for_each(|wrong| self.refuse(wrong)),
            }
        }
        Ok(())
    }
}

/// All keys, which are the flags of `segue run` less `--config`; a test of the `cli` room compares the two.
pub(crate) const KEYS: [&str; 36] = [
    "accept-timeout",
    "chdir",
    "command",
    "control",
    "control-group",
    "die-with-supervisor",
    "drain-timeout",
    "env",
    "env-file",
    "extend-limit",
    "group",
    "listen",
    "log-format",
    "max-generations",
    "min-free-memory",
    "mode",
    "name",
    "no-listen-pid",
    "oom-score-adj",
    "pid-file",
    "probation",
    "probe",
    "probe-timeout",
    "ready",
    "rolling",
    "soak",
    "start-timeout",
    "stderr",
    "stop-signal",
    "stop-signal-to",
    "stop-timeout",
    "umask",
    "user",
    "watch",
    "watchdog",
    "workers",
];
