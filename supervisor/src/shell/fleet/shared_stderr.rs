//! Generations that write to one file: whose last lines are in it?

use std::collections::BTreeSet;

use segue_lifecycle::{Number, Worker};

use crate::shell::fleet::Fleet;
use crate::stderr::{Stderr, StderrFile};

impl Fleet {
    /// Those who have written to that file, but for this worker.
    pub(crate) fn writers_of(&self, file: &StderrFile, but: Worker) -> BTreeSet<Number> {
        let gone = self.workers.get(&but).map(|info| info.shared_with.clone());
        let mut numbers = gone.unwrap_or_default();
        for (worker, info) in &self.workers {
            if *worker != but && writes_to(file, info.stderr.as_ref()) {
                numbers.insert(worker.generation);
            }
        }
        numbers
    }

    /// What a worker that is gone has written stays in the file, and may be taken for the last words of another generation.
    pub(super) fn note_who_shared(&mut self, gone: Worker) {
        let stderr = self.workers.get(&gone).and_then(|info| info.stderr.clone());
        let Some(Stderr::File(file)) = stderr else {
            return;
        };
        for (worker, info) in &mut self.workers {
            if worker.generation != gone.generation && writes_to(&file, info.stderr.as_ref()) {
                info.shared_with.insert(gone.generation);
            }
        }
    }
}

/// Whether that standard error is this file.
fn writes_to(file: &StderrFile, stderr: Option<&Stderr>) -> bool {
    match stderr {
        Some(Stderr::File(other)) => other.id == file.id,
        Some(
            Stderr::Journal(_)
            | Stderr::Terminal(_)
            | Stderr::Device(_)
            | Stderr::Null
            | Stderr::Pipe
            | Stderr::Socket
            | Stderr::Other,
        )
        | None => false,
    }
}
