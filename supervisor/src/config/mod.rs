//! Flags and file made one: everything that a generation is started with, as the user gave it.
//!
//! Floor 2. The room reads segue.toml and env files, and nothing else: it opens no socket, looks up no host, user or
//! program (only [`check`], which runs in a process of its own, does some of that), and does not know how the flags
//! were parsed. [`resolve`] is called at the start and, through [`resolve_again`], at every reload; each time the files
//! are read afresh, and the result is taken whole or refused whole.
//!
//! What wins over what: a flag over the same key of segue.toml, whole (one `--listen` replaces all listeners of the
//! file, COMMAND replaces `command`). Only the environment is joined, variable by variable; from the weakest to the
//! strongest: env files named in segue.toml, its `[env]`, env files given by flags, `--env`. All relative paths are
//! relative to the directory that segue was started in, wherever they are written; only a relative COMMAND is
//! relative to `chdir`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::activation::{Known, Protocol};
use crate::address::{self, Key, ListenSpec};

mod apps;
mod arguments;
mod check;
mod defaults;
pub(crate) mod duration;
mod env_file;
mod environment;
mod error;
mod file;
mod fixed;
pub(crate) mod glob;
mod item;
mod listen;
pub(crate) mod options;
mod read;
mod resolve;
mod rest;
mod settings;
mod signal;
mod text;

#[cfg(test)]
mod tests;

pub(crate) use apps::{App, list as list_apps};
pub(crate) use arguments::{differences, to_arguments};
pub(crate) use check::check;
pub(crate) use defaults::{MAX_WORKERS, REST, REST_LIMIT};
pub(crate) use duration::Limit;
pub(crate) use error::ConfigError;
pub(crate) use fixed::resolve_again;
#[cfg(test)]
pub(crate) use options::any_settings;
pub(crate) use resolve::resolve;
pub(crate) use rest::{PATIENCE, Rest};
pub(crate) use settings::{
    FOUND_FILE, Hook, Invocation, ListenPid, LogFormat, LogTime, Mode, Moment, Orphaned, Ready, Reason,
    Settings, Steer, StopSignalTo, Word, parse_name, parse_workers,
};
pub(crate) use signal::parse_stop_signal;

/// The settings of an instance, complete: flags, file, env files and defaults made one.
///
/// In every timeout, `None` stands for `none`: that wait has no end.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Config {
    /// The name of the instance. Fixed at the start.
    pub(crate) name: String,
    /// Where the name comes from: one that was not given stays what it was at the start.
    pub(crate) name_origin: NameOrigin,
    /// The path of the control socket, if it was given. Fixed at the start.
    pub(crate) control: Option<PathBuf>,
    /// The group that may use the control socket. Fixed at the start.
    pub(crate) control_group: Option<String>,
    /// Where the supervisor's pid is written. Fixed at the start.
    pub(crate) pid_file: Option<PathBuf>,
    /// How log lines are written. Fixed at the start.
    pub(crate) log_format: LogFormat,
    /// Whether they begin with the time. Fixed at the start.
    pub(crate) log_time: LogTime,
    /// The listeners to open, besides inherited ones. No two have the same address or the same given name.
    pub(crate) listen: Vec<ListenSpec>,
    /// The app: the program and its arguments, at least the program.
    pub(crate) command: Vec<OsString>,
    /// Workers of a generation, at least 1.
    pub(crate) workers: u16,
    /// Whether two generations may run at the same time.
    pub(crate) mode: Mode,
    /// How a worker is known to be ready.
    pub(crate) ready: Ready,
    /// With [`Ready::Auto`]: how long it waits for clients without a word until it is.
    pub(crate) ready_after: Duration,
    /// How long a candidate's worker may take until it is ready.
    pub(crate) start_timeout: Option<Duration>,
    /// How long a retired worker may drain before it is killed; zero kills at once.
    pub(crate) drain_timeout: Option<Duration>,
    /// The same when the whole instance stops; the drain timeout unless it was given.
    pub(crate) stop_timeout: Option<Duration>,
    /// How long a start or a drain may be in all if the app asks for more time; `None` grants whatever it asks for. It never
    /// shortens either.
    pub(crate) extend_limit: Option<Duration>,
    /// How long clients may wait in a queue that never goes down; `None` and zero leave the watch out.
    pub(crate) accept_timeout: Option<Duration>,
    /// How long after the takeover a crash means rollback; `None` and zero leave probation out.
    pub(crate) probation: Option<Duration>,
    /// The shell command that must succeed before the takeover.
    pub(crate) probe: Option<String>,
    /// How long the probe is retried before it fails the candidate.
    pub(crate) probe_timeout: Option<Duration>,
    /// The shell command that must succeed before a reload begins.
    pub(crate) before_reload: Option<String>,
    /// The shell commands that are run when something has happened.
    pub(crate) on: Vec<Hook>,
    /// How long each of these commands may run.
    pub(crate) hook_timeout: Duration,
    /// How long both generations serve before the takeover.
    pub(crate) soak: Duration,
    /// How long a generation that was replaced may keep its clients, where each has a slot of its own; zero leaves it out.
    pub(crate) linger: Duration,
    /// The interval in which the app must say `WATCHDOG=1`; `None` asks for no watchdog.
    pub(crate) watchdog: Option<Duration>,
    /// Generations that may live at once, the incumbent and the candidate included.
    pub(crate) max_generations: u16,
    /// How many workers a handoff replaces at a time; `None` for all of them.
    pub(crate) rolling: Option<u16>,
    /// The memory that must be free before a candidate is started, in bytes; `None` does not look.
    pub(crate) min_free_memory: Option<u64>,
    /// The preset that fills what was not given, if one was asked for.
    pub(crate) app: Option<App>,
    /// By which variables the app learns of its listeners.
    pub(crate) protocol: Protocol,
    /// The signal that tells a worker to drain and exit.
    pub(crate) stop_signal: Signal,
    /// Who of a worker gets it.
    pub(crate) stop_signal_to: StopSignalTo,
    /// Variables to set in the app's environment, each name once, in the order of the names.
    pub(crate) env: Vec<(OsString, OsString)>,
    /// Those of them in whose values placeholders count: what env files say is meant for the app alone.
    pub(crate) templates: Vec<OsString>,
    /// The app's working directory; the supervisor's own if it was not given.
    pub(crate) chdir: Option<PathBuf>,
    /// The app's umask; the one that the supervisor was started with if it was not given.
    pub(crate) umask: Option<u32>,
    /// The file that the app's standard error is appended to; the supervisor's own if it was not given.
    pub(crate) stderr: Option<PathBuf>,
    /// The app's oom_score_adj; if it was not given, the one that the supervisor was started with, but not below 0.
    pub(crate) oom_score_adj: Option<i16>,
    /// The user to run the app as, by name or number.
    pub(crate) user: Option<String>,
    /// The group to run the app as, by name or number; the user's own if it was not given.
    pub(crate) group: Option<String>,
    /// Whether the app's environment says `LISTEN_PID`.
    pub(crate) listen_pid: ListenPid,
    /// What becomes of a worker whose supervisor dies.
    pub(crate) orphaned: Orphaned,
    /// Whether listeners that do not say are steered; `listen` has it already.
    pub(crate) steer: Steer,
    /// What `segue dev` does beside it. `segue run` looks at none of it.
    pub(crate) development: Development,
}

/// What `segue dev` watches and builds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Development {
    /// The paths to watch; none for the directory that it was started in.
    pub(crate) watch: Vec<PathBuf>,
    /// What does not count, as lines of a .gitignore.
    pub(crate) ignore: Vec<String>,
    /// The files that settings are read from at each reload, besides segue.toml.
    pub(crate) env_files: Vec<PathBuf>,
    /// The shell command that builds the app.
    pub(crate) build: Option<String>,
    /// How long that may take.
    pub(crate) build_timeout: Option<Duration>,
    /// How long nothing may change until a round begins.
    pub(crate) rest: Duration,
    /// How long rest is waited for.
    pub(crate) rest_limit: Duration,
}

/// What is said where a probe cannot have a listener of its own.
const NO_SECOND_SOCKET: &str =
    "the app takes no second socket, so that its probe gets no SEGUE_PROBE: it must ask in another way";

/// What is said where an old generation that lingers would go on taking new clients.
const LINGERS_IN_VAIN: &str = "linger has no effect unless each listener is steered: an old generation takes new clients from one that \
     is shared, and is told to stop at the takeover";

impl Config {
    /// Whether the app may be given the probe's listener beside its own, as far as it is known.
    pub(crate) fn takes_second_socket(&self) -> bool {
        let preset = self.app.and_then(App::preset);
        let known = preset.or_else(|| apps::known(&self.command));
        known.is_none_or(apps::Preset::takes_second_socket)
    }

    /// Whether its listeners are to be non-blocking, those that it inherits as well.
    pub(crate) fn needs_non_blocking(&self) -> bool {
        let preset = self.app.and_then(App::preset);
        preset.is_some_and(apps::Preset::needs_non_blocking)
    }

    /// What a known program needs that it is not given, and what it cannot be given: one line each.
    pub(crate) fn advice(&self) -> Vec<String> {
        let as_it_is = self.app.is_none()
            && self.protocol == Protocol::default()
            && self.stop_signal == defaults::STOP_SIGNAL;
        let preset = as_it_is.then(|| apps::advice(&self.command)).flatten();
        let mut options = self.listen.iter().map(|spec| &spec.options);
        let steered = options.any(|options| options.flag(Key::Steer) == Some(true));
        let second = self.probe.is_some() && !self.takes_second_socket() && !steered;
        preset
            .into_iter()
            .chain(second.then(|| NO_SECOND_SOCKET.to_owned()))
            .chain(self.lingers_in_vain().then(|| LINGERS_IN_VAIN.to_owned()))
            .collect()
    }

    /// Whether it asks for what a shared listener makes impossible.
    fn lingers_in_vain(&self) -> bool {
        let asked = self.linger != defaults::LINGER && !self.linger.is_zero();
        let mut options = self.listen.iter().map(|spec| &spec.options);
        asked && !options.all(|options| options.flag(Key::Steer) == Some(true))
    }

    /// The listeners that are asked for, by which placeholders can be checked before any is opened.
    pub(crate) fn known_listeners(&self) -> Vec<Known> {
        let names = address::names(&self.listen, |_| false);
        let known = names.into_iter().zip(&self.listen).map(|(name, spec)| Known {
            name,
            has_port: spec.address.host_port().is_some(),
        });
        known.collect()
    }
}

/// Where the name of an instance comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NameOrigin {
    /// `--name`, or `name` in segue.toml.
    Given,
    /// The file name of COMMAND.
    Command,
}
