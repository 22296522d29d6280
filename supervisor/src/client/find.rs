//! Which instance a command means: the one it names, or the only one that runs.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::connection::Connection;
use super::{ANSWER_TIME, Exit, Failure, Target};
use crate::place::{Candidate, Surroundings, candidates, has_left_state, searched};
use crate::protocol::one_line;
use crate::sys::errno_text;

/// How long a supervisor may take to tell its name. One that hangs is known by its directory's name instead.
const NAME_TIME: Duration = Duration::from_secs(1);

/// The longest name that is printed, in characters.
const NAME_SHOWN: usize = 64;

/// What is told of a supervisor that was killed.
const KILLED: &str = "; it was killed, and its app may serve on: segue run with the same name adopts it";

/// Whether nobody listens where a supervisor was, and it has not ended by itself.
fn was_killed(error: &io::Error, control: &Path) -> bool {
    error.kind() == io::ErrorKind::ConnectionRefused && has_left_state(control)
}

/// Connects to the instance that the target means.
pub(super) fn connect(
    target: &Target,
    around: &Surroundings,
    deadline: Option<Instant>,
) -> Result<Connection, Failure> {
    if let Some(path) = &target.control {
        return open(path, deadline).map_err(|error| {
            let why = explain(&error);
            let hint = if was_killed(&error, path) { KILLED } else { "" };
            Failure::new(
                Exit::NoSupervisor,
                format!("no supervisor answers at {}: {why}{hint}", path.display()),
            )
        });
    }
    let mut running = Vec::new();
    let mut closed = Vec::new();
    let mut killed = false;
    for candidate in candidates(around) {
        match open(&candidate.control, deadline) {
            Ok(connection) => running.push(Instance {
                candidate,
                connection,
            }),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                let is_meant = target
                    .name
                    .as_ref()
                    .is_none_or(|name| *name == candidate.directory);
                killed |= is_meant && was_killed(&error, &candidate.control);
            }
            Err(error) => {
                let why = explain(&error);
                closed.push(format!(
                    "{} at {}: {why}",
                    candidate.directory,
                    candidate.control.display()
                ));
            }
        }
    }
    choose(target.name.as_deref(), running).map_err(|choice| match choice {
        Choice::None { others } => {
            let hint = if killed { KILLED } else { "" };
            let text = nobody(target, &others, &closed, around);
            Failure::new(Exit::NoSupervisor, format!("{text}{hint}"))
        }
        Choice::Several { listed } => {
            let head = "several instances run; say which with --name or --control:";
            Failure::new(Exit::Usage, format!("{head}\n{listed}"))
        }
    })
}

/// A supervisor that accepts connections.
struct Instance {
    candidate: Candidate,
    connection: Connection,
}

/// Why no instance was chosen.
enum Choice {
    /// None, or none of that name; the names of those that run.
    None { others: Vec<String> },
    /// More than one; a table of them.
    Several { listed: String },
}

fn choose(name: Option<&str>, mut running: Vec<Instance>) -> Result<Connection, Choice> {
    if name.is_none() && running.len() == 1 {
        return running
            .pop()
            .map(|only| only.connection)
            .ok_or(Choice::None { others: Vec::new() });
    }
    let mut named: Vec<(String, Instance)> = Vec::new();
    for instance in running {
        named.push((instance.ask_name(), instance));
    }
    let others = named.iter().map(|(name, _)| name.clone()).collect();
    if let Some(name) = name {
        named.retain(|(found, _)| found == name);
    }
    match named.len() {
        0 => Err(Choice::None { others }),
        // Anew, because the first connection may have waited longer than a supervisor lets one be mute.
        1 => named
            .pop()
            .and_then(|(_, instance)| open(instance.connection.path(), None).ok())
            .ok_or(Choice::None { others }),
        _ => Err(Choice::Several { listed: list(&named) }),
    }
}

impl Instance {
    /// The name that the supervisor has; its directory's if it does not say. (`$RUNTIME_DIRECTORY` may lead
    /// to a directory of any name.)
    fn ask_name(&self) -> String {
        let status = open(&self.candidate.control, None)
            .ok()
            .and_then(|mut connection| connection.status(Some(Instant::now() + NAME_TIME)).ok());
        status.map_or_else(|| self.candidate.directory.clone(), |status| status.name)
    }
}

fn list(named: &[(String, Instance)]) -> String {
    let row = |(name, instance): &(String, Instance)| {
        let pid = instance
            .connection
            .supervisor()
            .map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        let name = one_line(name, NAME_SHOWN);
        format!(
            "  {name:<20} pid {pid:<8} {}",
            instance.candidate.control.display()
        )
    };
    named.iter().map(row).collect::<Vec<_>>().join("\n")
}

fn nobody(target: &Target, others: &[String], closed: &[String], around: &Surroundings) -> String {
    let mut text = match &target.name {
        Some(name) => format!("no supervisor named {} answers", one_line(name, NAME_SHOWN)),
        None => "no supervisor answers".to_owned(),
    };
    if !closed.is_empty() {
        text = format!("{text} ({})", closed.join("; "));
    } else if others.is_empty() {
        let places: Vec<_> = searched(around)
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        text = format!("{text} (looked in {})", places.join(", "));
    }
    if !others.is_empty() {
        let others: Vec<_> = others.iter().map(|name| one_line(name, NAME_SHOWN)).collect();
        text = format!("{text}; these run: {}", others.join(", "));
    }
    text
}

fn open(path: &Path, deadline: Option<Instant>) -> io::Result<Connection> {
    Connection::open(path, patience(deadline))
}

/// A supervisor accepts within milliseconds, whatever the user is ready to wait for the outcome.
fn patience(deadline: Option<Instant>) -> Duration {
    deadline.map_or(ANSWER_TIME, |deadline| {
        deadline
            .saturating_duration_since(Instant::now())
            .min(ANSWER_TIME)
    })
}

fn explain(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::WouldBlock {
        "it lives, but accepts nobody".to_owned()
    } else {
        errno_text(error)
    }
}
