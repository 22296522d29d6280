//! The static checks behind `segue check`: what would go wrong, found without binding or starting anything.
//!
//! It runs in a process of its own, so it may look up users and files, which the supervisor's loop never does.

use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::time::Duration;

use nix::unistd::{Gid, Group, Uid, User};

use super::Config;
use super::defaults::LONGEST_SOCKET_PATH;
use super::duration::text as duration_text;
use super::resolve::resolve_all;
use super::rest::patiently;
use super::settings::{Invocation, Mode};
use super::text::one_line;
use crate::activation;

/// The library `segue-app` keeps a second of the drain timeout for itself, so less than this leaves nothing to drain in.
const SHORT_DRAIN: Duration = Duration::from_secs(2);

/// What `segue check` found. Each entry is one line without control characters.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// What would make `segue run` or a reload fail: exit code 1.
    pub(crate) problems: Vec<String>,
    /// What is allowed but probably not meant: exit code 0.
    pub(crate) notes: Vec<String>,
}

/// Reads flags and files as `segue run` would, and says what is wrong.
///
/// `find_command` resolves the program as the launch does, on which this room must not depend; its error is one line such
/// as `exec ./app: no such file or directory`.
pub(crate) fn check(
    invocation: &Invocation,
    find_command: impl FnOnce(&Config) -> Result<(), String>,
) -> Findings {
    let mut findings = Findings::default();
    match patiently(|rest| resolve_all(invocation, rest)).unwrap_or_else(|error| Err(vec![error])) {
        Ok(config) => findings.examine(&config, find_command),
        Err(errors) => errors
            .iter()
            .for_each(|error| findings.problem(error.to_string())),
    }
    findings
}

impl Config {
    /// The longest that a start or a reload may take: in queue mode the drain comes first. `None` is without end.
    pub(crate) fn longest_reload(&self) -> Option<Duration> {
        let drain = match self.mode {
            Mode::Overlap => Some(Duration::ZERO),
            Mode::Queue => self.drain_timeout,
        };
        let probe = match &self.probe {
            Some(_) => self.probe_timeout,
            None => Some(Duration::ZERO),
        };
        // A start that waits for memory waits no longer than that.
        let memory = match self.min_free_memory {
            Some(_) => self.start_timeout,
            None => Some(Duration::ZERO),
        };
        let hook = match &self.before_reload {
            Some(_) => self.hook_timeout,
            None => Duration::ZERO,
        };
        Some(hook + drain? + memory? + self.start_timeout? + probe? + self.soak)
    }
}

impl Findings {
    /// Once: the look at the directory and the launch may both find that it is missing.
    fn problem(&mut self, text: impl AsRef<str>) {
        let text = one_line(text.as_ref());
        if !self.problems.contains(&text) {
            self.problems.push(text);
        }
    }

    fn note(&mut self, text: impl AsRef<str>) {
        self.notes.push(one_line(text.as_ref()));
    }

    fn examine(&mut self, config: &Config, find_command: impl FnOnce(&Config) -> Result<(), String>) {
        if let Err(why) = find_command(config) {
            self.problem(why);
        }
        self.directories(config);
        self.accounts(config);
        self.placeholders(config);
        self.settings_without_effect(config);
        self.times(config);
    }

    /// Where nothing is listened on, it all depends on what is inherited.
    fn placeholders(&mut self, config: &Config) {
        if config.listen.is_empty() {
            return;
        }
        let known = config.known_listeners();
        for why in activation::problems(&config.command, &config.env, &config.templates, &known) {
            self.problem(why);
        }
    }

    fn directories(&mut self, config: &Config) {
        if let Some(path) = &config.chdir
            && let Err(why) = directory(path)
        {
            self.problem(format!("chdir {}: {why}", path.display()));
        }
        if let Some(path) = &config.pid_file
            && let Err(why) = room_for_pid_file(path)
        {
            self.problem(format!("pid-file {}: {why}", path.display()));
        }
        if let Some(path) = &config.control
            && let Err(why) = room_for_socket(path)
        {
            self.problem(format!("control {}: {why}", path.display()));
        }
        if let Some(path) = &config.control
            && path.as_os_str().len() > LONGEST_SOCKET_PATH
        {
            self.problem(format!(
                "control {}: longer than {LONGEST_SOCKET_PATH} bytes",
                path.display()
            ));
        }
    }

    fn accounts(&mut self, config: &Config) {
        let group = config.group.as_deref();
        let user = config.user.as_deref();
        let user = user.map(|name| (name, find_user(name, group)));
        if let Some((name, Err(why))) = &user {
            self.problem(format!("user {name}: {why}"));
        }
        for (key, name) in [("group", &config.group), ("control-group", &config.control_group)] {
            if let Some(name) = name
                && let Err(why) = find_group(name)
            {
                self.problem(format!("{key} {name}: {why}"));
            }
        }
        let becomes_another = matches!(user, Some((_, Ok(uid))) if uid != Uid::effective());
        let changes = config.group.is_some() || becomes_another;
        if changes && !Uid::effective().is_root() {
            self.note("user and group take effect only if segue is started as root");
        }
    }

    fn settings_without_effect(&mut self, config: &Config) {
        if config.listen.is_empty() {
            self.note("no listener is given: segue serves only sockets inherited by LISTEN_FDS");
        }
        config.advice().iter().for_each(|line| self.note(line));
        if config.mode == Mode::Queue && !config.soak.is_zero() {
            self.note("soak has no effect in queue mode: there is nobody to serve beside the candidate");
        }
    }

    fn times(&mut self, config: &Config) {
        for (key, limit) in [
            ("drain-timeout", config.drain_timeout),
            ("stop-timeout", config.stop_timeout),
        ] {
            if let Some(limit) = limit.filter(|limit| *limit < SHORT_DRAIN) {
                self.note(format!(
                    "{key} of {} cuts requests that take longer",
                    duration_text(limit)
                ));
            }
        }
        let limits = [
            ("start-timeout", config.start_timeout),
            ("drain-timeout", config.drain_timeout),
            ("stop-timeout", config.stop_timeout),
        ];
        if config.extend_limit.is_none() {
            self.note(
                "extend-limit is none: an app that keeps asking for more time is waited for without end",
            );
        }
        for (key, _) in limits.iter().filter(|(_, limit)| limit.is_none()) {
            self.note(format!(
                "{key} is none: an app that hangs is waited for without end"
            ));
        }
        if config.probe.is_some() && config.probe_timeout.is_none() {
            self.note("probe-timeout is none: a probe that never succeeds is retried without end");
        }
    }
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    }
}

/// The file is renamed into its place, which replaces whatever is there but a directory.
fn room_for_pid_file(path: &Path) -> Result<(), String> {
    directory(parent(path)).map_err(|why| format!("its directory: {why}"))?;
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => Err("is a directory".to_owned()),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// The directories above the control socket are made if they are missing; what a dead supervisor has left is replaced.
fn room_for_socket(path: &Path) -> Result<(), String> {
    let there = parent(path).ancestors().find(|above| above.exists());
    directory(there.unwrap_or(Path::new("."))).map_err(|why| format!("its directory: {why}"))?;
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            Err("something that is no socket lies there".to_owned())
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

fn directory(path: &Path) -> Result<(), String> {
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err("not a directory".to_owned()),
        Err(error) => Err(crate::sys::errno_text(&error)),
    }
}

/// As the launch looks it up: a number that is in no user database has no group of its own.
fn find_user(name: &str, group: Option<&str>) -> Result<Uid, String> {
    let number = name.parse().map(Uid::from_raw);
    let found = match (User::from_name(name), &number) {
        (Ok(None), Ok(uid)) => User::from_uid(*uid),
        (found, _) => found,
    };
    match (found, number) {
        (Ok(Some(user)), _) => Ok(user.uid),
        (Ok(None), Ok(uid)) if group.is_some() => Ok(uid),
        (Ok(None), Ok(_)) => Err("not in the user database, so it needs a group, too".to_owned()),
        (Ok(None), Err(_)) => Err("no such user".to_owned()),
        (Err(errno), _) => Err(crate::sys::errno_text(errno)),
    }
}

fn find_group(name: &str) -> Result<Gid, String> {
    match Group::from_name(name) {
        Ok(Some(group)) => Ok(group.gid),
        Ok(None) => name
            .parse()
            .map(Gid::from_raw)
            .map_err(|_| "no such group".to_owned()),
        Err(errno) => Err(crate::sys::errno_text(errno)),
    }
}
