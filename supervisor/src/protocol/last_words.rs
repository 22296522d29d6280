//! What a worker that failed said at last on its standard error, and where that went.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The last words of a worker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LastWords {
    /// Its last lines, at most ten, oldest first. None if nothing was written, or where the supervisor cannot read it.
    #[serde(default)]
    pub(crate) last_lines: Vec<String>,
    /// Where its standard error went; null where nobody failed, or nothing was started.
    pub(crate) stderr: Option<StderrPlace>,
}

/// What the standard error of a worker is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StderrPlace {
    /// What kind of thing it is.
    pub(crate) kind: StderrKind,
    /// Its path, for a file, a terminal and a device.
    pub(crate) path: Option<String>,
    /// How the journal calls the lines, if it is that.
    pub(crate) identifier: Option<String>,
    /// Whose lines they are in the journal.
    pub(crate) pid: Option<i32>,
    /// When the worker was started: earlier lines in the journal are of another process with this pid.
    pub(crate) since: Option<String>,
}

/// Kinds of places for a standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum StderrKind {
    /// A file, which was read.
    File,
    /// The same, but another worker or generation writes there, too.
    SharedFile,
    /// A file that cannot be read, or not without the danger of waiting.
    UnreadFile,
    /// The journal, which the client may read.
    Journal,
    /// A terminal.
    Terminal,
    /// `/dev/null`.
    Null,
    /// Another device.
    Device,
    /// A pipe or a FIFO.
    Pipe,
    /// A socket.
    Socket,
    /// Something else, or nothing.
    Other,
}

impl StderrPlace {
    /// A place of this kind, of which nothing else is known.
    pub(crate) const fn new(kind: StderrKind) -> Self {
        Self {
            kind,
            path: None,
            identifier: None,
            pid: None,
            since: None,
        }
    }
}

/// Where to look for the lines that could not be quoted: `a pipe`, `the journal (journalctl _PID=812 -t app.7)`.
impl fmt::Display for StderrPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.as_deref().unwrap_or("?");
        match self.kind {
            StderrKind::File | StderrKind::SharedFile => write!(f, "the file {path}"),
            StderrKind::UnreadFile => write!(f, "the file {path}, which segue cannot read"),
            StderrKind::Journal => {
                let identifier = self.identifier.as_deref().unwrap_or("?");
                let pid = self.pid.unwrap_or_default();
                write!(f, "the journal (journalctl _PID={pid} -t {identifier})")
            }
            StderrKind::Terminal => write!(f, "the terminal {path}"),
            StderrKind::Null => f.write_str("/dev/null"),
            StderrKind::Device => write!(f, "the device {path}"),
            StderrKind::Pipe => f.write_str("a pipe"),
            StderrKind::Socket => f.write_str("a socket"),
            StderrKind::Other => f.write_str("closed, or unknown"),
        }
    }
}

impl LastWords {
    /// Where the standard error went, if that is all that is known of it.
    pub(crate) fn place_alone(&self) -> Option<&StderrPlace> {
        let place = self.stderr.as_ref().filter(|_| self.last_lines.is_empty())?;
        match place.kind {
            // It was read, and nothing was there.
            StderrKind::File | StderrKind::SharedFile => None,
            StderrKind::UnreadFile
            | StderrKind::Journal
            | StderrKind::Terminal
            | StderrKind::Null
            | StderrKind::Device
            | StderrKind::Pipe
            | StderrKind::Socket
            | StderrKind::Other => Some(place),
        }
    }
}
