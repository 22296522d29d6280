//! Why something could not be started.

use std::ffi::OsStr;
use std::fmt;

/// One lower-case line, attempt then cause: `exec ./app: permission denied`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LaunchError(String);

impl LaunchError {
    pub(super) fn new(text: String) -> LaunchError {
        LaunchError(text)
    }

    pub(super) fn exec(command: &OsStr, cause: &str) -> LaunchError {
        LaunchError(format!("exec {}: {cause}", command.display()))
    }
}

impl fmt::Display for LaunchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            // A command or a path may hold anything; a reason stays one line.
            if letter.is_control() {
                write!(f, "{}", letter.escape_default())?
            } else {
                write!(f, "{letter}")?
            }
        }
        Ok(())
    }
}

impl std::error::Error for LaunchError {}
