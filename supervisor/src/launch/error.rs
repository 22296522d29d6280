//! Why something could not be started.

use crate::protocol::one_line;
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
        // A command or a path may hold anything; a reason stays one line.
        f.write_str(&one_line(&self.0, usize::MAX))
    }
}

impl std::error::Error for LaunchError {}
