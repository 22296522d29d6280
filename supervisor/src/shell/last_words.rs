//! What an app that has failed said at last: on its standard error, and by STATUS= and ERRNO=.

use segue_lifecycle::{Number, Worker};
use std::collections::BTreeSet;

use super::Shell;
use crate::protocol::one_line;
use crate::stderr::{LastLines, Stderr, StderrFile, last_lines};

/// The longest line that an outcome quotes, in characters. `--verbose` and `status` show more of it.
const QUOTED: usize = 200;

impl Shell {
    /// `; its stderr ends: "no database"; its last STATUS: "booted" (errno 111: connection refused)`, as far as it is known.
    pub(super) fn last_words(&self, worker: Worker) -> String {
        let Some(info) = self.workers.get(&worker) else {
            return String::new();
        };
        let status = info.last_status();
        match self.last_lines(worker) {
            Some(last) if !last.lines.is_empty() => quote(last, &self.others_in(worker)) + &status,
            Some(_) if status.is_empty() => "; nothing on its stderr".to_owned(),
            Some(_) | None => status,
        }
    }

    /// The same of the first worker of a generation, for what no single one is to blame for.
    pub(super) fn last_words_of_first(&self, number: Number) -> String {
        let mut workers = self.workers.keys().filter(|worker| worker.generation == number);
        workers
            .next()
            .map(|worker| self.last_words(*worker))
            .unwrap_or_default()
    }

    /// The last lines of a worker's standard error, if that is a file that can be read. They are read when they are asked for first,
    /// which is when the worker has failed.
    pub(super) fn last_lines(&self, worker: Worker) -> Option<&LastLines> {
        let info = self.workers.get(&worker)?;
        let Some(Stderr::File(file)) = &info.stderr else {
            return None;
        };
        let read = || last_lines(file, |line| self.log.is_ours(line));
        info.last_lines.get_or_init(read).as_ref()
    }

    /// Who else writes to the file that is a worker's standard error: `generation 1`, `other workers`. Empty if nobody does.
    fn others_in(&self, worker: Worker) -> String {
        let others: BTreeSet<Number> = match self.workers.get(&worker).and_then(|info| info.stderr.as_ref()) {
            Some(Stderr::File(file)) => self.writers_of(file, worker),
            Some(_) | None => BTreeSet::new(),
        };
        let numbers: Vec<String> = others
            .iter()
            .filter(|number| **number != worker.generation)
            .map(|number| format!("generation {number}"))
            .collect();
        match (numbers.is_empty(), others.contains(&worker.generation)) {
            (true, true) => "other workers".to_owned(),
            (true, false) => String::new(),
            (false, true | false) => numbers.join(", "),
        }
    }

    fn writers_of(&self, file: &StderrFile, but: Worker) -> BTreeSet<Number> {
        let writes = |stderr: &Option<Stderr>| match stderr {
            Some(Stderr::File(other)) => other.id == file.id,
            Some(_) | None => false,
        };
        let mut numbers = BTreeSet::new();
        for (worker, info) in &self.workers {
            if *worker != but && writes(&info.stderr) {
                numbers.insert(worker.generation);
            }
        }
        numbers
    }
}

/// What an outcome says of them. The last line is not always the reason; where another one looks like it, both are there.
fn quote(last: &LastLines, others: &str) -> String {
    let whose = if others.is_empty() {
        "its stderr".to_owned()
    } else {
        format!("stderr (also of {others})")
    };
    let quoted = |line: &str| format!("\"{}\"", one_line(line, QUOTED));
    let end = last.lines.last().map(|line| quoted(line)).unwrap_or_default();
    match &last.telling {
        Some(telling) => format!("; {whose} says {} and ends: {end}", quoted(telling)),
        None => format!("; {whose} ends: {end}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_and_the_last_line_are_quoted_and_whoever_else_writes_there_is_named() {
        let last = |text: &str| LastLines::of(text, |_| false);
        for (text, others, quoted) in [
            ("no database\n", "", "; its stderr ends: \"no database\""),
            (
                "no database\n",
                "generation 1",
                "; stderr (also of generation 1) ends: \"no database\"",
            ),
            (
                "ValueError: x\nbye\n",
                "",
                "; its stderr says \"ValueError: x\" and ends: \"bye\"",
            ),
        ] {
            assert_eq!(quote(&last(text), others), quoted);
        }
        let long = quote(&last(&"x".repeat(1000)), "");
        assert!(long.len() < QUOTED + 30, "{long}");
    }
}
