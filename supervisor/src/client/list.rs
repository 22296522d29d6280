//! `segue list`: every instance that can be found, a row each.

use std::time::Duration;

use serde::Serialize;

use super::find::{ask_statuses, look_at, places};
use super::stranger::user_name;
use super::{Client, Exit, Failure, Form, written};
use crate::paint::Paint;
use crate::place::{Candidate, candidates, of_others};
use crate::protocol::{Side, Status, align, flat, one_line};

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
    /// That of its status, or one of the words below.
    state: &'static str,
    /// That of the incumbent.
    generation: Option<u64>,
    since: Option<String>,
    version: Option<String>,
    control: String,
    /// Why it does not answer.
    reason: Option<String>,
}

/// Words for an instance that says nothing of itself: it lives, and is stopped or hangs.
const NO_ANSWER: &str = "no-answer";

/// It may not be asked, or cannot be.
const NOT_REACHED: &str = "not-reached";

/// It was killed; its app may serve on.
const KILLED: &str = "killed";

impl Client<'_> {
    /// Writes the list to stdout. That there is none is said on stderr, and is no failure.
    pub(super) fn list(&mut self, paint: Paint) -> Result<Exit, Failure> {
        let all = candidates(&self.around)
            .into_iter()
            .chain(of_others(|_| true, &self.around));
        let mut found = look_at(all.collect());
        let statuses = ask_statuses(&mut found.running, ANSWER_TIME);
        let answered = found.running.iter().zip(statuses);
        let mut instances: Vec<Row> = answered
            .map(|(instance, status)| match status {
                Some(status) => Row::told(&instance.candidate, status),
                None => Row::silent(&instance.candidate, NO_ANSWER, None),
            })
            .collect();
        instances.extend(found.killed.iter().map(|candidate| {
            let next = "start segue run again as before to adopt its app";
            Row::silent(candidate, KILLED, Some(next))
        }));
        instances.extend(
            found
                .closed
                .iter()
                .map(|(candidate, why)| Row::silent(candidate, NOT_REACHED, Some(why))),
        );
        if instances.is_empty() {
            let places = places(&self.around);
            self.complain(&format!("nothing runs (looked in {places})"));
        }
        let text = match self.form {
            Form::Words => table(&instances, paint),
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
            pid: Some(status.pid),
            generation: status.generation,
            since: Some(status.since),
            version: Some(status.version),
            ..Self::bare(candidate, &status.name, status.state.word())
        }
    }

    fn silent(candidate: &Candidate, state: &'static str, reason: Option<&str>) -> Self {
        Self {
            reason: reason.map(str::to_owned),
            ..Self::bare(candidate, &candidate.directory, state)
        }
    }

    /// What is known of any. A command asks it by this name.
    fn bare(candidate: &Candidate, name: &str, state: &'static str) -> Self {
        let (name, user) = (one_line(name, NAME_SHOWN), owner(candidate));
        Self {
            name: match (candidate.stranger, &user) {
                (Some(_), Some(user)) => format!("{user}/{name}"),
                (Some(_) | None, _) => name,
            },
            user,
            pid: None,
            state,
            generation: None,
            since: None,
            version: None,
            control: candidate.control.display().to_string(),
            reason: None,
        }
    }

    fn cells(&self) -> [String; 6] {
        let or_nothing = |cell: Option<String>| cell.unwrap_or_else(|| NOTHING.to_owned());
        [
            self.name.clone(),
            or_nothing(self.user.clone()),
            or_nothing(self.pid.map(|pid| pid.to_string())),
            self.state.to_owned(),
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

fn codes(list: List, form: Form) -> String {
    match form {
        Form::Flat => flat(&list),
        // Our own types have string keys, so that serialising them cannot fail.
        Form::Words | Form::Json => serde_json::to_string_pretty(&list).unwrap_or_default() + "\n",
    }
}

fn table(instances: &[Row], paint: Paint) -> String {
    if instances.is_empty() {
        return String::new();
    }
    let head = ["NAME", "USER", "PID", "STATE", "GENERATION", "CONTROL"].map(str::to_owned);
    let rows = std::iter::once(head).chain(instances.iter().map(Row::cells));
    let mut lines = align([Side::Left; 6], rows.collect());
    paint.column(&mut lines);
    let lines = lines.iter().map(|line| line.trim_end());
    lines.map(|line| format!("{line}\n")).collect()
}
