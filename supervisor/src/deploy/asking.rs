//! How the supervisor is asked: by its control socket or, where that is not to be reached from here, by a command (`--segue`), as
//! in `docker exec app segue`. No sentence is read: what came of it is told by codes.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::interruption::Interruption;
use super::running::{ASKS_AT_TERMINAL, Finish, Running, Streams, Why};
use crate::client::{self, Came, Conversation, Exit, Heard, ReloadOutcome, Target};
use crate::clock;
use crate::job::Ended;
use crate::protocol::{Status, Until, setting};

/// How long the status may take by a command: 5 s for the supervisor, 5 s for digests, and what it runs through.
const STATUS_TIME: Duration = Duration::from_secs(30);

/// How much longer than its own `--timeout` a command may take for a reload.
const RELOAD_SLACK: Duration = Duration::from_secs(30);

/// How often somebody who waits for the outcome of a reload looks up.
pub(super) const TICK: Duration = Duration::from_secs(1);

/// How the supervisor is asked.
#[derive(Debug, Clone)]
pub(super) enum Supervisor {
    /// By its control socket.
    Here(Target),
    /// By a command with its first arguments.
    Through { command: Vec<String>, target: Target },
}

/// What a supervisor tells of itself.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Answer {
    /// The status, and whether its pids are those of our processes.
    Told(Box<Status>, Pids),
    Silence(Silence, String),
}

/// Whose pids are in a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pids {
    /// Those of processes that we see, as far as is known.
    Ours,
    /// Those of another pid namespace.
    Foreign,
}

/// Why there is no status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Silence {
    /// No supervisor answers.
    NoSupervisor,
    /// It is not said which of several is meant.
    Ambiguous,
    /// The command cannot be run.
    NotRun,
    /// The command asks at a terminal where nobody hears it.
    AsksAtTerminal,
}

/// A reload that is waited for.
pub(super) enum Reloading {
    Here(Conversation),
    Through { running: Running, last_words: String },
    Over(Option<Box<Came>>),
}

impl Supervisor {
    pub(super) fn new(segue: Option<&str>, target: Target) -> Self {
        match segue {
            None => Self::Here(target),
            Some(segue) => Self::Through {
                command: words(segue),
                target,
            },
        }
    }

    /// The flags by which people name it.
    pub(super) fn flags(&self) -> Vec<String> {
        let (Self::Here(target) | Self::Through { target, .. }) = self;
        match (&target.control, &target.name) {
            (Some(control), _) => vec!["--control".to_owned(), control.display().to_string()],
            (None, Some(name)) => vec!["--name".to_owned(), name.clone()],
            (None, None) => Vec::new(),
        }
    }

    /// Asks how it is.
    pub(super) fn status(&self) -> Answer {
        let Self::Through { command, .. } = self else {
            return self.status_here();
        };
        let shown = command.join(" ");
        let said = Running::follow(
            self.command(&["status", "--json"]),
            Streams::Apart,
            STATUS_TIME,
            // Whoever interrupts a deploy wants to know who serves all the same.
            &mut Interruption::of_nobody(),
            &mut |_| {},
        );
        let said = match said {
            Ok(said) => said,
            Err(cause) => return Answer::Silence(Silence::NotRun, cause),
        };
        let words = said
            .last_words
            .strip_prefix("segue: ")
            .unwrap_or(&said.last_words);
        let words = words.to_owned();
        match said.finish {
            Finish::Ended(Ended::Exited(0 | 1)) => match serde_json::from_slice::<Status>(&said.answer) {
                Ok(status) => {
                    let pids = pids_of(&status);
                    Answer::Told(Box::new(status), pids)
                }
                // What it runs through has failed, not segue: there is no container, no host.
                Err(_) if words.is_empty() => {
                    Answer::Silence(Silence::NoSupervisor, format!("{shown} gave no status"))
                }
                Err(_) => Answer::Silence(Silence::NoSupervisor, words),
            },
            Finish::Ended(Ended::Exited(2)) => Answer::Silence(Silence::Ambiguous, words),
            Finish::Ended(Ended::Exited(126 | 127)) => Answer::Silence(Silence::NotRun, words),
            Finish::Ended(_) => Answer::Silence(Silence::NoSupervisor, words),
            Finish::TimedOut | Finish::Interrupted => {
                let text = format!("{shown} did not answer within {} s", STATUS_TIME.as_secs());
                Answer::Silence(Silence::NoSupervisor, text)
            }
            Finish::AsksAtTerminal => {
                Answer::Silence(Silence::AsksAtTerminal, format!("{shown}: {ASKS_AT_TERMINAL}"))
            }
        }
    }

    fn status_here(&self) -> Answer {
        let (Self::Here(target) | Self::Through { target, .. }) = self;
        match client::look(target) {
            Ok(seen) => {
                let pids = if seen.supervisor == Some(seen.status.pid) {
                    Pids::Ours
                } else {
                    Pids::Foreign
                };
                Answer::Told(Box::new(seen.status), pids)
            }
            Err(absence) => {
                let why = match absence.exit {
                    Exit::Usage => Silence::Ambiguous,
                    Exit::Done | Exit::Failed | Exit::NoSupervisor | Exit::TimedOut => Silence::NoSupervisor,
                };
                Answer::Silence(why, absence.text)
            }
        }
    }

    /// The words of `segue reload` for this, as people would type them.
    pub(super) fn reload_words(until: Until, timeout: Option<Duration>) -> Vec<String> {
        let timeout = timeout.map_or_else(|| "none".to_owned(), setting);
        let mut words = vec!["reload".to_owned(), "--timeout".to_owned(), timeout];
        if until == Until::Settled {
            words.push("--settled".to_owned());
        }
        words
    }

    /// Asks for a reload.
    pub(super) fn reload(&self, until: Until, timeout: Option<Duration>) -> Reloading {
        match self {
            Self::Here(target) => match Conversation::begin(target, until, timeout) {
                Ok(conversation) => Reloading::Here(conversation),
                Err(came) => Reloading::Over(Some(Box::new(came))),
            },
            Self::Through { .. } => {
                let words = Self::reload_words(until, timeout);
                let mut command = self.command(&["reload", "--json"]);
                command.args(&words[1..]);
                let time = timeout.and_then(|timeout| timeout.checked_add(RELOAD_SLACK));
                match Running::start(command, Streams::Apart, time) {
                    Ok(running) => Reloading::Through {
                        running,
                        last_words: String::new(),
                    },
                    Err(cause) => Reloading::Over(Some(Box::new(Came::bare(ReloadOutcome::Refused, cause)))),
                }
            }
        }
    }

    fn command(&self, words: &[&str]) -> Command {
        let given: &[String] = match self {
            Self::Here(_) => &[],
            Self::Through { command, .. } => command,
        };
        let (program, first) = given
            .split_first()
            .map_or(("segue", given), |(program, first)| (program.as_str(), first));
        let mut command = Command::new(program);
        command.args(first).args(words).args(self.flags());
        command
    }
}

/// Whose pids a status has that a command told. It may have come out of a container or from another machine, where they are those
/// of other processes: they are ours if its supervisor is one here.
fn pids_of(status: &Status) -> Pids {
    let line = fs::read(format!("/proc/{}/cmdline", status.pid)).unwrap_or_default();
    let mut words = line.split(|byte| *byte == 0);
    let program = Path::new(OsStr::from_bytes(words.next().unwrap_or_default()));
    let is_segue = program
        .file_name()
        .is_some_and(|name| name.as_bytes().starts_with(b"segue"));
    if is_segue && words.next() == Some(b"run") {
        Pids::Ours
    } else {
        Pids::Foreign
    }
}

/// A command with its first arguments, split at spaces unless it is one file.
fn words(command: &str) -> Vec<String> {
    let is_program = |path: &Path| {
        path.metadata()
            .is_ok_and(|status| status.is_file() && status.permissions().mode() & 0o111 != 0)
    };
    if is_program(command.as_ref()) {
        return vec![command.to_owned()];
    }
    command.split_whitespace().map(str::to_owned).collect()
}

impl Reloading {
    /// What has come by now.
    pub(super) fn listen(&mut self) -> Heard {
        match self {
            Self::Here(conversation) => match conversation.listen() {
                Heard::Came(came) => {
                    *self = Self::Over(None);
                    Heard::Came(came)
                }
                heard @ (Heard::Nothing | Heard::Line(_)) => heard,
            },
            Self::Through { running, last_words } => {
                let ended = running.ended();
                let lines = running.lines();
                if let Some(last) = lines.last() {
                    last_words.clone_from(last);
                }
                let came = ended.map(|ended| Box::new(came_of(ended, running, last_words)));
                if lines.is_empty() {
                    return came.map_or(Heard::Nothing, |came| {
                        *self = Self::Over(None);
                        Heard::Came(came)
                    });
                }
                if came.is_some() {
                    *self = Self::Over(came);
                }
                Heard::Line(lines.join("\n"))
            }
            Self::Over(came) => came.take().map_or(Heard::Nothing, Heard::Came),
        }
    }

    /// Waits until there is something to hear, a signal comes, or a second has passed.
    pub(super) fn wait(&self, interruption: &Interruption) {
        match self {
            Self::Here(conversation) => {
                let left = conversation
                    .deadline()
                    .map_or(TICK, |deadline| deadline.saturating_duration_since(clock::now()));
                interruption.wait(&[conversation.as_fd()], left.min(TICK) + Duration::from_millis(1));
            }
            Self::Through { running, .. } => interruption.wait(&running.fds(), running.patience().min(TICK)),
            Self::Over(_) => {}
        }
    }

    /// Nobody waits for it any more; the reload goes on.
    pub(super) fn leave(self, interruption: &Interruption) {
        if let Self::Through { mut running, .. } = self {
            running.end();
            while running.ended().is_none() {
                interruption.wait(&running.fds()[..0], Duration::from_millis(50));
            }
        }
    }
}

/// What a command for a reload has told.
fn came_of(ended: Ended, running: &mut Running, last_words: &str) -> Came {
    let words = last_words
        .strip_prefix("segue: ")
        .unwrap_or(last_words)
        .to_owned();
    match running.why_told() {
        Some(Why::Time) => {
            let text = "the command for the reload did not end in time";
            return Came::bare(ReloadOutcome::TimedOut, text.to_owned());
        }
        // Whether it had asked before is not known.
        Some(Why::Terminal) => return Came::bare(ReloadOutcome::Lost, ASKS_AT_TERMINAL.to_owned()),
        None => {}
    }
    serde_json::from_slice(&running.answer()).unwrap_or_else(|_| {
        let word = match ended {
            // Nothing was asked for.
            Ended::Exited(2 | 126 | 127) => ReloadOutcome::Refused,
            Ended::Exited(_) | Ended::BySignal(_) => ReloadOutcome::Lost,
        };
        Came::bare(word, words)
    })
}
