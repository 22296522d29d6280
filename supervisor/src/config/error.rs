//! Why a configuration is refused: one line that names the place.

use std::fmt;
use std::path::{Path, PathBuf};

use super::text::one_line;

/// Why settings are refused. Prints as one line without control characters:
/// `segue.toml:7: listen[1].backlog: expected a number, got "many"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConfigError {
    place: SettingPlace,
    message: String,
}

/// Where a setting was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SettingPlace {
    /// In a file; the key is missing when the line is no TOML, and the line when the file could not be read at all.
    File {
        path: PathBuf,
        line: Option<usize>,
        key: Option<String>,
    },
    /// By a flag, with its two hyphens, or as COMMAND.
    Flag(String),
    /// Nowhere: a default, or settings that contradict each other.
    Nowhere,
}

impl ConfigError {
    pub(super) fn at(place: SettingPlace, message: impl Into<String>) -> ConfigError {
        ConfigError {
            place,
            message: message.into(),
        }
    }

    /// An error that says everything itself.
    pub(super) fn plain(message: impl Into<String>) -> ConfigError {
        ConfigError::at(SettingPlace::Nowhere, message)
    }
}

impl SettingPlace {
    pub(super) fn line(path: &Path, line: usize, key: impl Into<String>) -> SettingPlace {
        SettingPlace::File {
            path: path.to_owned(),
            line: Some(line),
            key: Some(key.into()),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = match &self.place {
            SettingPlace::Nowhere => self.message.clone(),
            SettingPlace::Flag(flag) => format!("{flag}: {}", self.message),
            SettingPlace::File { path, line, key } => {
                let mut text = path.display().to_string();
                for part in [
                    line.map(|line| format!(":{line}")),
                    key.as_ref().map(|key| format!(": {key}")),
                ] {
                    text.push_str(part.as_deref().unwrap_or_default());
                }
                format!("{text}: {}", self.message)
            }
        };
        f.write_str(&one_line(&line))
    }
}

impl std::error::Error for ConfigError {}
