//! The partial settings: what one source, the command line or segue.toml, says. Each value is read from text by one
//! function here, whichever source it comes from, so that a flag and its key cannot drift apart.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::apps::App;
use super::defaults::{MAX_WORKERS, MOST_GENERATIONS};
use super::duration::{self, Limit};
use super::glob::Glob;
use super::text::quoted;
use crate::activation::Protocol;
use crate::address::ListenSpec;
use crate::place;
use crate::sys;

/// What was given for `segue run` or `segue check`: nothing is resolved, no file has been read.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Invocation {
    /// `--config`: the segue.toml to read, relative to the directory that segue was started in.
    pub(crate) config: Option<PathBuf>,
    /// The flags, and COMMAND with its ARGs.
    pub(crate) settings: Settings,
}

/// The file that is read where neither `--config` nor COMMAND is given.
pub(crate) const FOUND_FILE: &str = "segue.toml";

/// Why a segue.toml or an env file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Somebody named it.
    Named,
    /// It lies in the directory in which segue was started, where somebody else may have put it.
    Found,
}

impl Invocation {
    /// The segue.toml to read, if there is one to read.
    pub(crate) fn file(&self) -> Option<(&Path, Reason)> {
        match &self.config {
            Some(path) => Some((path, Reason::Named)),
            None if self.settings.command.is_empty() => Some((Path::new(FOUND_FILE), Reason::Found)),
            None => None,
        }
    }
}

/// The settings that one source gave; what it did not mention is `None` or empty. The meaning of each is that of the
/// field of [`super::Config`] with the same name.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Settings {
    pub(crate) name: Option<String>,
    pub(crate) control: Option<PathBuf>,
    pub(crate) control_group: Option<String>,
    pub(crate) pid_file: Option<PathBuf>,
    pub(crate) log_format: Option<LogFormat>,
    pub(crate) log_time: Option<LogTime>,
    pub(crate) listen: Vec<ListenSpec>,
    pub(crate) command: Vec<OsString>,
    pub(crate) steer: Option<Steer>,
    pub(crate) workers: Option<u16>,
    pub(crate) mode: Option<Mode>,
    pub(crate) ready: Option<Ready>,
    pub(crate) ready_after: Option<Duration>,
    pub(crate) start_timeout: Option<Limit>,
    pub(crate) drain_timeout: Option<Limit>,
    pub(crate) stop_timeout: Option<Limit>,
    pub(crate) extend_limit: Option<Limit>,
    pub(crate) accept_timeout: Option<Limit>,
    pub(crate) probation: Option<Limit>,
    pub(crate) probe: Option<String>,
    pub(crate) probe_timeout: Option<Limit>,
    pub(crate) before_reload: Option<String>,
    pub(crate) on: Vec<Hook>,
    pub(crate) hook_timeout: Option<Duration>,
    pub(crate) soak: Option<Duration>,
    pub(crate) linger: Option<Duration>,
    pub(crate) watchdog: Option<Limit>,
    pub(crate) max_generations: Option<u16>,
    pub(crate) rolling: Option<u16>,
    pub(crate) min_free_memory: Option<u64>,
    pub(crate) app: Option<App>,
    pub(crate) protocol: Option<Protocol>,
    pub(crate) stop_signal: Option<Signal>,
    pub(crate) stop_signal_to: Option<StopSignalTo>,
    /// `--env`, or the `[env]` table.
    pub(crate) env: Vec<Variable>,
    /// `--env-file`; read when the settings are resolved.
    pub(crate) env_file: Vec<PathBuf>,
    pub(crate) chdir: Option<PathBuf>,
    pub(crate) umask: Option<u32>,
    pub(crate) stderr: Option<PathBuf>,
    pub(crate) oom_score_adj: Option<i16>,
    pub(crate) user: Option<String>,
    pub(crate) group: Option<String>,
    pub(crate) listen_pid: Option<ListenPid>,
    pub(crate) orphaned: Option<Orphaned>,
    pub(crate) watch: Vec<PathBuf>,
    pub(crate) watch_ignore: Vec<String>,
    pub(crate) build: Option<String>,
    pub(crate) build_timeout: Option<Limit>,
    pub(crate) rest: Option<Duration>,
    pub(crate) rest_limit: Option<Duration>,
}

/// One variable of the app's environment: name and value.
pub(crate) type Variable = (OsString, OsString);

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum LogFormat {
    /// One line for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Whether log lines in text begin with the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum LogTime {
    /// Where nobody else is going to put one before them.
    #[default]
    Auto,
    /// They do, but in the journal, which has it.
    Always,
    /// They do not.
    Never,
}

/// Whether two generations may run at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Mode {
    /// The candidate starts beside the incumbent.
    #[default]
    Overlap,
    /// The incumbent drains and is gone before the candidate starts; connections wait in the backlog.
    Queue,
}

/// Who of a worker gets the stop signal from us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum StopSignalTo {
    /// Its main process; the others only where that cannot tell them.
    #[default]
    Main,
    /// Everything that it has started, at once.
    All,
}

/// How a worker is known to be ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Ready {
    /// By its own `READY=1`, or by waiting for clients for a while without it; the word alone where those before it have said it.
    #[default]
    Auto,
    /// By its own `READY=1` (sd_notify(3)).
    Notify,
    /// By being alive that long after exec, for apps that cannot notify.
    Exec(Duration),
    /// By waiting for clients on each of its listeners, as seen from outside, whatever it says.
    Accepting,
}

/// Whether the app's environment says `LISTEN_PID`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum ListenPid {
    /// It is the pid of the worker, as sd_listen_fds(3) demands.
    #[default]
    Set,
    /// It is left out, for wrappers that fork: the pid of the real app is not known in advance.
    LeftOut,
}

/// Whether each generation has a socket of its own where a listener does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Steer {
    /// Only where it is asked for.
    #[default]
    WhereAsked,
    /// On every TCP listener that does not say no.
    Everywhere,
}

/// What becomes of a worker whose supervisor dies, as by `kill -9`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Orphaned {
    /// It serves on.
    #[default]
    ServesOn,
    /// The kernel sends it the stop signal, and it drains.
    Stops,
}

/// A setting that is one of a few words.
pub(crate) trait Word: Copy + PartialEq + 'static {
    /// The words, each with what it stands for.
    const ALL: &'static [(&'static str, Self)];

    /// The word for it.
    fn word(self) -> &'static str {
        let found = Self::ALL.iter().find(|(_, value)| *value == self);
        found.map_or("", |(word, _)| word)
    }

    /// The words in quotes: `text` or `json`.
    fn choice(quote: char) -> String {
        let words: Vec<_> = Self::ALL
            .iter()
            .map(|(word, _)| format!("{quote}{word}{quote}"))
            .collect();
        words.join(" or ")
    }

    /// Reads one of the words.
    ///
    /// # Errors
    ///
    /// One line.
    fn parse(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(word, _)| *word == text);
        let refused = || format!("expected {}, got {}", Self::choice('`'), quoted(text));
        found.map(|(_, value)| *value).ok_or_else(refused)
    }
}

/// What a command can be run at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// A generation serves.
    Takeover,
    /// A reload has failed, and the old generation serves on.
    Failure,
    /// The last good version was started again.
    Rollback,
    /// A retired generation is gone.
    Drained,
}

/// A command, and what it is run at.
pub(crate) type Hook = (Moment, String);

impl Word for Moment {
    const ALL: &'static [(&'static str, Self)] = &[
        ("takeover", Moment::Takeover),
        ("failure", Moment::Failure),
        ("rollback", Moment::Rollback),
        ("drained", Moment::Drained),
    ];
}

/// Reads `EVENT=COMMAND`.
///
/// # Errors
///
/// One line.
pub(crate) fn parse_hook(text: &str) -> Result<Hook, String> {
    let (moment, command) = text
        .split_once('=')
        .ok_or_else(|| format!("expected EVENT=COMMAND, got {}", quoted(text)))?;
    Ok((Moment::parse(moment)?, parse_shell_command(command)?))
}

impl Word for LogFormat {
    const ALL: &'static [(&'static str, Self)] = &[("text", LogFormat::Text), ("json", LogFormat::Json)];
}

impl Word for LogTime {
    const ALL: &'static [(&'static str, Self)] = &[
        ("auto", LogTime::Auto),
        ("always", LogTime::Always),
        ("never", LogTime::Never),
    ];
}

impl Word for StopSignalTo {
    const ALL: &'static [(&'static str, Self)] = &[("main", StopSignalTo::Main), ("all", StopSignalTo::All)];
}

impl Word for Protocol {
    const ALL: &'static [(&'static str, Self)] = &[
        ("systemd", Protocol::Systemd),
        ("server-starter", Protocol::ServerStarter),
        ("einhorn", Protocol::Einhorn),
        ("nginx", Protocol::Nginx),
        ("php-fpm", Protocol::PhpFpm),
    ];
}

impl Word for Mode {
    const ALL: &'static [(&'static str, Self)] = &[("overlap", Mode::Overlap), ("queue", Mode::Queue)];
}

impl FromStr for Ready {
    type Err = String;

    fn from_str(text: &str) -> Result<Ready, String> {
        match text.strip_prefix("exec:") {
            Some(rest) => duration::parse(rest).map(Ready::Exec),
            None if text == "auto" => Ok(Ready::Auto),
            None if text == "notify" => Ok(Ready::Notify),
            None if text == "accepting" => Ok(Ready::Accepting),
            None => Err(format!(
                "expected `auto`, `notify`, `accepting` or `exec:DURATION`, such as `exec:2s`, got {}",
                quoted(text)
            )),
        }
    }
}

/// Reads a number of workers: 1 to [`MAX_WORKERS`].
///
/// # Errors
///
/// One line.
pub(crate) fn parse_workers(text: &str) -> Result<u16, String> {
    count(text, MAX_WORKERS)
}

/// Reads a number of generations: 1 to [`MOST_GENERATIONS`]. That overlap mode needs two is seen only when all
/// settings are known.
///
/// # Errors
///
/// One line.
pub(crate) fn parse_generations(text: &str) -> Result<u16, String> {
    count(text, MOST_GENERATIONS)
}

fn count(text: &str, most: u16) -> Result<u16, String> {
    let refused = || format!("expected a number from 1 to {most}, got {}", quoted(text));
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(refused());
    }
    text.parse()
        .ok()
        .filter(|count| (1..=most).contains(count))
        .ok_or_else(refused)
}

/// Reads a size in bytes, above 0.
///
/// # Errors
///
/// One line.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let units = [('K', 10), ('M', 20), ('G', 30)];
    let (digits, shift) = units
        .iter()
        .find_map(|(unit, shift)| Some((text.strip_suffix(*unit)?, *shift)))
        .unwrap_or((text, 0));
    let digits = Some(digits).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    digits
        .and_then(|digits| digits.parse::<u64>().ok())
        .and_then(|number| number.checked_mul(1 << shift))
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| {
            format!(
                "expected a size such as 512M (K, M, G are powers of 1024), got {}",
                quoted(text)
            )
        })
}

/// Reads an oom_score_adj.
///
/// # Errors
///
/// One line.
pub(crate) fn parse_oom_score(text: &str) -> Result<i16, String> {
    let (least, most) = (sys::LEAST_OOM_SCORE, sys::MOST_OOM_SCORE);
    text.parse()
        .ok()
        .filter(|score| (least..=most).contains(score) && !text.starts_with('+'))
        .ok_or_else(|| format!("expected a number from {least} to {most}, got {}", quoted(text)))
}

/// Reads a umask: an octal number up to 777, as umask(1) takes it, with or without `0o`. Circus once read it as
/// decimal; here `9` and `0x12` are refused.
///
/// # Errors
///
/// One line.
pub(crate) fn parse_umask(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let octal = !digits.is_empty() && digits.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    u32::from_str_radix(digits, 8)
        .ok()
        .filter(|mask| octal && *mask <= 0o777)
        .ok_or_else(|| {
            format!(
                "expected an octal mask from 000 to 777, such as 027, got {}",
                quoted(text)
            )
        })
}

/// Reads the name of an instance; [`place::flaw_of_name`] has the grammar.
///
/// # Errors
///
/// One line.
pub(crate) fn parse_name(text: &str) -> Result<String, String> {
    match place::flaw_of_name(text) {
        Some(flaw) => Err(format!("{flaw}, got {}", quoted(text))),
        None => Ok(text.to_owned()),
    }
}

/// Reads the name or number of a user or group. Whether it exists is seen when the app is launched.
///
/// # Errors
///
/// One line.
pub(crate) fn parse_account(text: &str) -> Result<String, String> {
    let fits =
        |character: char| !character.is_control() && !character.is_whitespace() && !":,/".contains(character);
    if text.is_empty() || text.starts_with('-') || !text.chars().all(fits) {
        return Err(format!("expected a name or a number, got {}", quoted(text)));
    }
    Ok(text.to_owned())
}

/// A line of a .gitignore.
pub(crate) fn parse_glob(text: &str) -> Result<String, String> {
    Glob::of_flag(text).map(|_| text.to_owned())
}

/// Reads a command for `/bin/sh -c`.
///
/// # Errors
///
/// One line: it is empty, or holds a NUL, which no argument can (execve(2)).
pub(crate) fn parse_shell_command(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("expected a shell command, got nothing".to_owned());
    }
    if text.contains('\0') {
        return Err("a command cannot hold a NUL character".to_owned());
    }
    Ok(text.to_owned())
}
