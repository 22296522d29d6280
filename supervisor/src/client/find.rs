//! Which instance a command means: the one it names, or the only one that runs.

use std::borrow::Borrow;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::unistd::{User, geteuid};

use super::connection::{Connection, ask_all};
use super::stranger::{as_user, become_user, user_name};
use super::{ANSWER_TIME, Exit, Failure, Target};
use crate::clock;
use crate::place::{Candidate, Surroundings, candidates, has_left_state, of_others, others_with, searched};
use crate::protocol::{Status, one_line};
use crate::sys::errno_text;

/// How long supervisors may take to tell their names. One that hangs is known by its directory's name instead.
const NAME_TIME: Duration = Duration::from_secs(1);

/// The longest name that is printed, in characters.
const NAME_SHOWN: usize = 64;

/// What is told of a supervisor that was killed, behind its name.
const KILLED: &str =
    "was killed, and its app may still be serving: start segue run again as before to adopt it";

/// Whether nobody listens where a supervisor was, and it has not ended by itself.
fn was_killed(error: &io::Error, control: &Path) -> bool {
    error.kind() == io::ErrorKind::ConnectionRefused && has_left_state(control)
}

/// Connects to the instance that the target means. Only that one is waited for: any others are asked for their names where an
/// error lists them, side by side.
pub(super) fn connect(
    target: &Target,
    around: &Surroundings,
    deadline: Option<Instant>,
) -> Result<Connection, Failure> {
    if let Some(path) = &target.control {
        return open(path, deadline);
    }
    match target.name.as_deref().map(|name| (name, name.split_once('/'))) {
        None => only(look_at(candidates(around)), around, deadline),
        Some((_, Some((user, name)))) => named(name, of_owner(user, around)?, around, deadline),
        Some((name, None)) => named(name, candidates(around), around, deadline)
            .map_err(|failure| with_others_in_sight(failure, name, around)),
    }
}

/// Root is told who has an instance of the name that it asked for, if nobody of its own has.
fn with_others_in_sight(mut failure: Failure, name: &str, around: &Surroundings) -> Failure {
    if failure.exit == Exit::NoSupervisor
        && let Some(uid) = others_with(name, around).first()
    {
        let user = user_name(*uid);
        failure.text += &format!("; {user} has one: ask for {user}/{name}");
    }
    failure
}

/// The instances of a user who is named: our own, or as root another's.
fn of_owner(user: &str, around: &Surroundings) -> Result<Vec<Candidate>, Failure> {
    let failed = |why: String| Failure::new(Exit::Failed, format!("user {}: {why}", quoted(user)));
    let known = User::from_name(user).map_err(|errno| failed(errno_text(errno)))?;
    let uid = known.map_or_else(|| user.parse().ok(), |known| Some(known.uid.as_raw()));
    let uid = uid.ok_or_else(|| failed("there is none of this name".to_owned()))?;
    let own = geteuid();
    if uid == own.as_raw() {
        Ok(candidates(around))
    } else if own.is_root() {
        Ok(of_others(|other| other == uid, around))
    } else {
        Err(failed("only root asks the instances of other users".to_owned()))
    }
}

/// The only instance that runs. Nobody is asked anything as long as there is no more than one.
fn only(mut found: Found, around: &Surroundings, deadline: Option<Instant>) -> Result<Connection, Failure> {
    if found.running.len() > 1 {
        let names = ask_names(&mut found.running, deadline);
        return Err(several(&found.running, &names));
    }
    match found.running.pop() {
        Some(only) => only.connected(deadline),
        None => Err(nobody(None, &[], &found, around)),
    }
}

/// The instance of this name. That of the directory of this name is meant if it has that name or does not say which; only if
/// it has another may a directory of any other name be meant (`$RUNTIME_DIRECTORY` leads to any).
fn named(
    name: &str,
    candidates: Vec<Candidate>,
    around: &Surroundings,
    deadline: Option<Instant>,
) -> Result<Connection, Failure> {
    let (own, others) = candidates
        .into_iter()
        .partition(|candidate| candidate.directory == name);
    let mut own = look_at(own);
    let mut names = ask_names(&mut own.running, deadline);
    if let Some(chosen) = choose(name, &own.running, &names, deadline) {
        return chosen;
    }
    let mut found = look_at(others);
    let others = ask_names(&mut found.running, deadline);
    if let Some(chosen) = choose(name, &found.running, &others, deadline) {
        return chosen;
    }
    names.extend(others);
    // One of another name that was killed, or may not be asked, has nothing to do with it.
    found.closed = own.closed;
    found.forbidden = own.forbidden;
    found.killed = own.killed;
    Err(nobody(Some(name), &names, &found, around))
}

/// The instance that has this name, if any has.
fn choose(
    name: &str,
    running: &[Instance],
    names: &[String],
    deadline: Option<Instant>,
) -> Option<Result<Connection, Failure>> {
    let of_that_name = running.iter().zip(names).filter(|(_, found)| *found == name);
    let chosen: Vec<&Instance> = of_that_name.map(|(instance, _)| instance).collect();
    match chosen[..] {
        [] => None,
        // Anew, because a connection is good for one request, and its name was the first.
        [only] => Some(only.opened(deadline)),
        [..] => {
            let names = vec![name.to_owned(); chosen.len()];
            Some(Err(several(&chosen, &names)))
        }
    }
}

/// A supervisor that lives.
pub(super) struct Instance {
    pub(super) candidate: Candidate,
    /// `None` if it accepts nobody just now: its backlog is full.
    connection: Option<Connection>,
}

impl Instance {
    /// The connection to it, which is waited for if it accepts nobody just now.
    fn connected(mut self, deadline: Option<Instant>) -> Result<Connection, Failure> {
        match self.connection.take() {
            Some(connection) => self.entered().map(|()| connection),
            None => self.opened(deadline),
        }
    }

    /// A new connection to it. It is the one that is meant.
    fn opened(&self, deadline: Option<Instant>) -> Result<Connection, Failure> {
        self.entered()?;
        open(&self.candidate.control, deadline)
    }

    /// From now on we are its owner.
    fn entered(&self) -> Result<(), Failure> {
        become_user(self.candidate.stranger).map_err(|errno| {
            let (path, why) = (self.candidate.control.display(), errno_text(errno));
            let text = format!("ask {path} as its owner: {why}; ask as the user of the supervisor");
            Failure::new(Exit::Failed, text)
        })
    }
}

/// What lies where instances lie.
#[derive(Default)]
pub(super) struct Found {
    /// Those that live.
    pub(super) running: Vec<Instance>,
    /// Those that may not be asked, and why.
    pub(super) closed: Vec<(Candidate, String)>,
    /// Whether it was a permission that one of those lacked.
    forbidden: bool,
    /// Those that were killed and have left their state.
    pub(super) killed: Vec<Candidate>,
}

/// Knocks at each of them, without waiting for any.
pub(super) fn look_at(candidates: Vec<Candidate>) -> Found {
    let mut found = Found::default();
    for candidate in candidates {
        let opened = as_user(candidate.stranger, || Connection::open_now(&candidate.control));
        let connection = match opened {
            Ok(connection) => Some(connection),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                if was_killed(&error, &candidate.control) {
                    found.killed.push(candidate);
                }
                continue;
            }
            Err(error) => {
                found.forbidden |= error.kind() == io::ErrorKind::PermissionDenied;
                found.closed.push((candidate, errno_text(&error)));
                continue;
            }
        };
        found.running.push(Instance {
            candidate,
            connection,
        });
    }
    found
}

/// The names that these supervisors have; the directory's name for one that does not say. At most half of the time is spent on that,
/// so that the command itself has some left.
fn ask_names(running: &mut [Instance], deadline: Option<Instant>) -> Vec<String> {
    let patience = deadline.map_or(NAME_TIME, |deadline| {
        NAME_TIME.min(deadline.saturating_duration_since(clock::now()) / 2)
    });
    let statuses = ask_statuses(running, patience);
    let name = |(instance, status): (&Instance, Option<Status>)| {
        status.map_or_else(|| instance.candidate.directory.clone(), |status| status.name)
    };
    running.iter().zip(statuses).map(name).collect()
}

/// What these supervisors tell of themselves, asked for side by side; `None` for one that does not within this time.
pub(super) fn ask_statuses(running: &mut [Instance], patience: Duration) -> Vec<Option<Status>> {
    let connections = running.iter_mut().map(|instance| instance.connection.as_mut());
    ask_all(connections.collect(), clock::now() + patience)
}

/// A failure that lists them.
fn several<I: Borrow<Instance>>(instances: &[I], names: &[String]) -> Failure {
    let row = |(instance, name): (&I, &String)| {
        let Instance {
            candidate,
            connection,
        } = instance.borrow();
        let pid = connection.as_ref().and_then(Connection::supervisor);
        let pid = pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        let name = one_line(name, NAME_SHOWN);
        format!("  {name:<20} pid {pid:<8} {}", candidate.control.display())
    };
    let rows: Vec<_> = instances.iter().zip(names).map(row).collect();
    let head = "several instances run; say which by its name, as in segue status NAME, or with --control:";
    Failure::new(Exit::Usage, format!("{head}\n{}", rows.join("\n")))
}

/// Nobody is there: where it was looked, who runs in its place, and what to do.
fn nobody(name: Option<&str>, others: &[String], found: &Found, around: &Surroundings) -> Failure {
    let mut text = match name {
        Some(name) => format!("no supervisor named {} answers", quoted(name)),
        None => "no supervisor answers".to_owned(),
    };
    let listed = |names: &[String]| {
        let names: Vec<_> = names.iter().map(|name| one_line(name, NAME_SHOWN)).collect();
        names.join(", ")
    };
    if !found.closed.is_empty() {
        let line = |(candidate, why): &(Candidate, String)| {
            format!(
                "{} at {}: {why}",
                candidate.directory,
                candidate.control.display()
            )
        };
        let closed: Vec<_> = found.closed.iter().map(line).collect();
        text = format!("{text} ({})", closed.join("; "));
    } else if others.is_empty() {
        text = format!("{text} (looked in {})", places(around));
    }
    if !others.is_empty() {
        text = format!("{text} (running: {})", listed(others));
    }
    if found.forbidden {
        text = format!("{text}; ask as the user of the supervisor or as root");
    }
    if let Some(killed) = found.killed.first() {
        text = format!("{text}; {} {KILLED}", quoted(&killed.directory));
    } else if found.closed.is_empty() && others.is_empty() {
        text = format!("{text}; start one with segue run, or name its socket with --control");
    }
    Failure::new(Exit::NoSupervisor, text)
}

/// Where it was looked, for people.
pub(super) fn places(around: &Surroundings) -> String {
    let places: Vec<_> = searched(around)
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    places.join(", ")
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", one_line(name, NAME_SHOWN))
}

fn open(path: &Path, deadline: Option<Instant>) -> Result<Connection, Failure> {
    Connection::open(path, patience(deadline)).map_err(|error| nobody_there(path, error))
}

/// Nobody took the connection.
pub(super) fn nobody_there(path: &Path, error: io::Error) -> Failure {
    let hint = if was_killed(&error, path) {
        format!("; the supervisor there {KILLED}")
    } else {
        String::new()
    };
    let why = explain(error);
    Failure::new(
        Exit::NoSupervisor,
        format!("no supervisor answers at {}: {why}{hint}", path.display()),
    )
}

/// A supervisor accepts within milliseconds, whatever the user is ready to wait for the outcome.
fn patience(deadline: Option<Instant>) -> Duration {
    deadline.map_or(ANSWER_TIME, |deadline| {
        deadline.saturating_duration_since(clock::now()).min(ANSWER_TIME)
    })
}

fn explain(error: io::Error) -> String {
    if error.kind() == io::ErrorKind::WouldBlock {
        "it lives, but does not accept (is it stopped, or does it hang?); its app goes on without it"
            .to_owned()
    } else {
        errno_text(error)
    }
}
