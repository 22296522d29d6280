//! What a deploy is asked for, as plain data.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::ending::{Ending, Form, Step};

/// How long `--wait` waits for another deploy, unless it says how long: several deploys with a long probation.
pub(crate) const LOCK_WAIT: Duration = Duration::from_secs(600);

/// How long a preflight may take: as long as segue gives an app to be ready.
pub(crate) const PREFLIGHT_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the outcome of a reload is waited for: more than start, probe and probation with segue's defaults.
pub(crate) const RELOAD_TIMEOUT: Duration = Duration::from_secs(600);

/// How long a supervisor that went away is given to come back: a unit with RestartSec=30s, and its start.
pub(crate) const SUPERVISOR_TIMEOUT: Duration = Duration::from_secs(60);

/// How many releases are kept.
pub(crate) const KEEP: usize = 5;

/// What a preflight runs the program with, unless it says what.
pub(crate) const PREFLIGHT_ARGUMENTS: &str = "--check";

/// `segue deploy`, as the command line has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// What is to be done.
    pub(crate) action: Action,
    /// The app: its instance, and its file in a release. Taken from what is deployed if it is not given.
    pub(crate) name: Option<String>,
    /// Where the releases are; `/srv/NAME` if it is not given.
    pub(crate) root: Option<PathBuf>,
    /// The control socket of the supervisor.
    pub(crate) control: Option<PathBuf>,
    /// The command by which the supervisor is asked, if not by its control socket.
    pub(crate) segue: Option<String>,
    /// The path of the executable in a release, if that is a directory.
    pub(crate) entry: Option<String>,
    /// How podman is called, split at spaces.
    pub(crate) engine: String,
    /// The digest that the source must have.
    pub(crate) sha256: Option<String>,
    /// How far the reload must have come.
    pub(crate) reload: Reload,
    /// How long its outcome is waited for; `None` waits without end.
    pub(crate) timeout: Option<Duration>,
    /// How long a supervisor that went away is given to come back.
    pub(crate) supervisor_timeout: Duration,
    /// How long another deploy is waited for.
    pub(crate) lock_wait: Duration,
    /// How many releases are kept.
    pub(crate) keep: usize,
    /// Whether it is deployed even if it serves already, or if who serves does not run from the root.
    pub(crate) force: Force,
    /// Whether anything is changed.
    pub(crate) rehearsal: Rehearsal,
    /// What is run before the release gets its name.
    pub(crate) preflight: Option<Preflight>,
    /// How long that may take.
    pub(crate) preflight_timeout: Duration,
    /// How the outcome is printed.
    pub(crate) form: Form,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Put this in place: a program, or the directory of an entry.
    Deploy(PathBuf),
    /// Put an image in place.
    DeployImage(Image),
    /// Go back to this release, or to the one before.
    Rollback(Option<String>),
    /// List the releases.
    List,
}

/// An image of podman.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Image {
    /// A name, a tag, a digest, an ID.
    pub(crate) reference: String,
    /// A directory that becomes part of the release.
    pub(crate) code: Option<PathBuf>,
    /// Where that is in a container; `/srv/NAME` if it is not given.
    pub(crate) code_at: Option<String>,
    /// Further options of `podman run`, split at spaces.
    pub(crate) run_options: String,
    /// How podman is called, split at spaces.
    pub(crate) engine: String,
}

/// How far the reload must have come before the command returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reload {
    /// Nothing is reloaded: the service has not been started yet.
    No,
    /// The new version has taken over.
    Takeover,
    /// It has passed probation.
    Settled,
}

/// Whether it is deployed in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Force {
    No,
    Yes,
}

/// Whether anything is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rehearsal {
    /// It is done.
    No,
    /// Every check is made, and nothing is changed.
    Yes,
}

/// What is run before the release gets its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Preflight {
    /// The program of the release, with these arguments, split at spaces.
    Program(String),
    /// A command for the shell, in the directory of the release.
    Shell(String),
}

impl Wanted {
    /// The name that is given, or that of what is deployed.
    pub(super) fn app(&self) -> Step<String> {
        let name = match (&self.name, &self.action) {
            (Some(name), _) => name.clone(),
            (None, Action::Deploy(source)) => source
                .file_name()
                .map(OsStr::to_string_lossy)
                .unwrap_or_default()
                .into_owned(),
            (None, Action::DeployImage(image)) => image.name().to_owned(),
            (None, Action::Rollback(_) | Action::List) => {
                return Err(Ending::misused("which app? Say it with --name"));
            }
        };
        crate::config::parse_name(&name).map_err(|_| {
            Ending::misused(format_args!(
                "{name} cannot be the name of an app (letters, digits, . _ @ + -); say one with --name"
            ))
        })
    }

    /// The path of the program within a release.
    pub(super) fn program_in_release(&self, app: &str) -> PathBuf {
        Path::new(self.entry.as_deref().unwrap_or(app)).to_owned()
    }
}

impl Image {
    /// Without the digest and the tag, and the registry, which may have a port.
    fn name(&self) -> &str {
        let name = self.reference.split('@').next().unwrap_or_default();
        let name = name.rsplit('/').next().unwrap_or_default();
        name.split(':').next().unwrap_or_default()
    }
}

impl Action {
    /// The word in the lock and in the journal.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Deploy(_) | Self::DeployImage(_) => "deploy",
            Self::Rollback(_) => "rollback",
            Self::List => "list",
        }
    }

    /// What it is done with, for the lock.
    pub(super) fn object(&self) -> String {
        match self {
            Self::Deploy(source) => source.display().to_string(),
            Self::DeployImage(image) => image.reference.clone(),
            Self::Rollback(release) => release.clone().unwrap_or_default(),
            Self::List => String::new(),
        }
    }
}
