//! Why an instance has no place.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::sys::errno_text;

/// Why an instance has no place. `Display` is one line: attempt, then cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PlaceError {
    /// The name cannot be a directory.
    BadName {
        /// The name, escaped.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// A socket address cannot hold the path.
    TooLong {
        /// The path.
        path: PathBuf,
        /// How long it may be, in bytes.
        max: usize,
    },
    /// No directory could be had.
    Nowhere {
        /// What went wrong in each, one line each.
        tried: Vec<String>,
    },
    /// Another supervisor has the place.
    Running {
        /// The instance.
        name: String,
        /// The other supervisor, if its lock file tells.
        pid: Option<i32>,
    },
    /// The supervisor that had the place has ended, but a process that it has started keeps what makes it unique.
    Held {
        /// The instance.
        name: String,
        /// The supervisor that has ended.
        pid: i32,
        /// The lock file or the control socket.
        what: PathBuf,
    },
    /// A directory is not safe.
    Unsafe {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The system said no.
    Io {
        /// What was tried, with its path.
        attempt: String,
        /// What it said, in lower case.
        cause: String,
    },
}

impl PlaceError {
    /// The system said no to this attempt.
    pub(super) fn io(attempt: String, error: &io::Error) -> Self {
        Self::Io {
            attempt,
            cause: errno_text(error),
        }
    }
}

/// What to do where an instance of that name runs already.
const ALREADY: &str = ": reload it with segue reload, or start another beside it with --name";

impl fmt::Display for PlaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadName { name, why } => {
                write!(f, "instance name \"{name}\": {why} (choose another with --name)")
            }
            Self::TooLong { path, max } => {
                let length = path.as_os_str().len();
                write!(
                    f,
                    "control socket: {} has {length} bytes, at most {max} fit (choose a shorter one with --control)",
                    path.display()
                )
            }
            Self::Nowhere { tried } => {
                write!(
                    f,
                    "control socket: no directory for it ({}); name one with --control",
                    tried.join("; ")
                )
            }
            Self::Running { name, pid: Some(pid) } => {
                write!(f, "instance {name} is already running (pid {pid}){ALREADY}")
            }
            Self::Running { name, pid: None } => write!(f, "instance {name} is already running{ALREADY}"),
            Self::Held { name, pid, what } => write!(
                f,
                "instance {name}: its supervisor (pid {pid}) has ended, but a process that it has started still has {} (`fuser -v {}` tells \
                 which)",
                what.display(),
                what.display()
            ),
            Self::Unsafe { path, why } => write!(f, "directory {}: {why}", path.display()),
            Self::Io { attempt, cause } => write!(f, "{attempt}: {cause}"),
        }
    }
}

impl std::error::Error for PlaceError {}
