//! Why there is no control socket.

use std::fmt;
use std::io;

use crate::place::PlaceError;
use crate::sys::errno_text;

/// Why there is no control socket. `Display` is one line: attempt, then cause.
#[derive(Debug)]
pub(crate) enum ControlError {
    /// There is no place for it, or it is taken.
    Place(PlaceError),
    /// No group has this name or number.
    NoGroup(String),
    /// Something that Segue did not make is in the way.
    InTheWay {
        /// Where.
        path: String,
        /// What it is.
        what: &'static str,
    },
    /// The system said no.
    Io {
        /// What was tried, with its path.
        attempt: String,
        /// What it said.
        cause: io::Error,
    },
}

impl From<PlaceError> for ControlError {
    fn from(error: PlaceError) -> Self {
        Self::Place(error)
    }
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Place(error) => error.fmt(f),
            Self::NoGroup(group) => write!(f, "control group {group}: there is no such group"),
            Self::InTheWay { path, what } => write!(f, "control socket {path}: {what}"),
            Self::Io { attempt, cause } => write!(f, "{attempt}: {}", errno_text(cause)),
        }
    }
}

impl std::error::Error for ControlError {}
