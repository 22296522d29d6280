//! `segue list`: every instance that can be found, a row each.

use std::time::Duration;

use serde::Serialize;

use super::find::{ask_statuses, look_at};
use super::stranger::user_name;
use super::{Client, Exit, Failure, Form, written};
use crate::place::{Candidate, candidates, of_others, searched};
use crate::protocol::{State, Status, flat, one_line};

/// How long the instances may take to answer, all together; one that hangs is listed as `no-answer`.
const ANSWER_TIME: Duration = Duration::from_secs(2);

/// The longest name that is printed, in characters.
const NAME_SHOWN: usize = 64;

/// What a cell shows that has nothing to say.
const NOTHING: &str = "-";

/// The number in `schema`, which changes as that of the status does.
const SCHEMA: u32 = 1;

/// What `--json` and `--flat` print.
#[derive(Debug, Serialize)]
struct List {
    schema: u32,
    instances: Vec<Row>,
}

/// One instance.
#[derive(Debug, Serialize)]
struct Row {
    /// As it says itself; that of its directory if it does not. Behind `USER/` if it is another user's.
    name: String,
    /// The user who owns its control socket, by name if there is one.
    user: Option<String>,
    /// The supervisor's, as it says itself.
    pid: Option<i32>,
    state: Condition,
    /// That of the incumbent.
    generation: Option<u64>,
    since: Option<String>,
    version: Option<String>,
    control: String,
    /// Why it does not answer.
    reason: Option<String>,
}

/// How an instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(untagged)]
enum Condition {
    Answers(State),
    Silent(Silence),
}

/// Why an instance says nothing of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Silence {
    /// It lives, and is stopped or hangs.
    NoAnswer,
    /// It may not be asked, or cannot be.
    NotReached,
    /// It was killed; its app may serve on.
    Killed,
}

impl Client<'_> {
    /// Writes the list to stdout. That there is none is said on stderr, and is no failure.
    pub(super) fn list(&mut self) -> Result<Exit, Failure> {
        let all = candidates(&self.around)
            .into_iter()
            .chain(of_others(&self.around));
        let mut found = look_at(all.collect());
        let statuses = ask_statuses(&mut found.running, ANSWER_TIME);
        let answered = found.running.iter().zip(statuses);
        let mut instances: Vec<Row> = answered
            .map(|(instance, status)| match status {
                Some(status) => Row::told(&instance.candidate, status),
                None => Row::silent(&instance.candidate, Silence::NoAnswer, None),
            })
            .collect();
        instances.extend(found.killed.iter().map(|candidate| {
            let next = "start segue run again as before to adopt its app";
            Row::silent(candidate, Silence::Killed, Some(next))
        }));
        instances.extend(
            found
                .closed
                .iter()
                .map(|(candidate, why)| Row::silent(candidate, Silence::NotReached, Some(why))),
        );
        if instances.is_empty() {
            let places: Vec<_> = searched(&self.around)
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            self.complain(&format!("nothing runs (looked in {})", places.join(", ")));
        }
        let text = match self.form {
            Form::Words => table(&instances),
            Form::Json | Form::Flat => codes(
                List {
                    schema: SCHEMA,
                    instances,
                },
                self.form,
            ),
        };
        written(self.out.write_all(text.as_bytes()))?;
        Ok(Exit::Done)
    }
}

impl Row {
    fn told(candidate: &Candidate, status: Status) -> Self {
        Self {
            name: full_name(candidate, &status.name),
            pid: Some(status.pid),
            state: Condition::Answers(status.state),
            generation: status.generation,
            since: Some(status.since),
            version: Some(status.version),
            ..Self::silent(candidate, Silence::NoAnswer, None)
        }
    }

    fn silent(candidate: &Candidate, silence: Silence, reason: Option<&str>) -> Self {
        Self {
            name: full_name(candidate, &candidate.directory),
            user: owner(candidate),
            pid: None,
            state: Condition::Silent(silence),
            generation: None,
            since: None,
            version: None,
            control: candidate.control.display().to_string(),
            reason: reason.map(str::to_owned),
        }
    }

    fn cells(&self) -> [String; 6] {
        let or_nothing = |cell: Option<String>| cell.unwrap_or_else(|| NOTHING.to_owned());
        let state = match self.state {
            Condition::Answers(state) => word(&state),
            Condition::Silent(silence) => word(&silence),
        };
        [
            self.name.clone(),
            or_nothing(self.user.clone()),
            or_nothing(self.pid.map(|pid| pid.to_string())),
            state,
            or_nothing(self.generation.map(|number| number.to_string())),
            one_line(&self.control, usize::MAX),
        ]
    }
}

/// Who owns the socket.
fn owner(candidate: &Candidate) -> Option<String> {
    use std::os::unix::fs::MetadataExt as _;
    let uid = match candidate.stranger {
        Some(stranger) => stranger.uid,
        None => std::fs::symlink_metadata(&candidate.control).ok()?.uid(),
    };
    Some(user_name(uid))
}

/// The name by which a command asks it.
fn full_name(candidate: &Candidate, name: &str) -> String {
    let name = one_line(name, NAME_SHOWN);
    match candidate.stranger {
        Some(stranger) => format!("{}/{name}", user_name(stranger.uid)),
        None => name,
    }
}

/// The word of the JSON.
fn word(state: &impl Serialize) -> String {
    match serde_json::to_value(state) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(_) | Err(_) => NOTHING.to_owned(),
    }
}

fn codes(list: List, form: Form) -> String {
    match form {
        Form::Flat => flat(&list),
        // Our own types have string keys, so that serialising them cannot fail.
        Form::Words | Form::Json => serde_json::to_string_pretty(&list).unwrap_or_default() + "\n",
    }
}

/// Columns as wide as their widest cell.
fn table(instances: &[Row]) -> String {
    if instances.is_empty() {
        return String::new();
    }
    let head = ["NAME", "USER", "PID", "STATE", "GENERATION", "CONTROL"].map(str::to_owned);
    let rows: Vec<[String; 6]> = std::iter::once(head)
        .chain(instances.iter().map(Row::cells))
        .collect();
    let widths: [usize; 6] = std::array::from_fn(|column| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    });
    let line = |row: &[String; 6]| {
        let cells = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}
