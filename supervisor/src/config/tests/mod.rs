mod checks;
mod durations;
mod env_files;
mod files;
mod merging;
mod properties;
mod values;

use std::path::{Path, PathBuf};

use super::settings::{Invocation, Settings};
use super::{Config, ConfigError, resolve};

/// An invocation with a command, as the least that `segue run` needs.
fn invocation(settings: Settings) -> Invocation {
    let command = vec!["./app".into()];
    Invocation {
        config: None,
        settings: Settings { command, ..settings },
    }
}

fn resolved(settings: Settings) -> Config {
    resolve(&invocation(settings)).expect("a valid configuration")
}

fn refused(settings: Settings) -> String {
    line(&resolve(&invocation(settings)).expect_err("a refusal"))
}

/// The text of an error, which must be one clear line.
fn line(error: &ConfigError) -> String {
    let text = error.to_string();
    assert_one_line(&text);
    text
}

fn assert_one_line(text: &str) {
    assert!(!text.trim().is_empty(), "an empty refusal");
    assert!(
        !text.chars().any(char::is_control),
        "control characters in {text:?}"
    );
}

fn write(directory: &Path, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, content).expect("a file in a temporary directory");
    path
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}
