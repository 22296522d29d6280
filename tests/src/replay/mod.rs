//! What a supervisor has written down, replayed through the pure core.
//!
//! Its two state files hold, by turns, a snapshot of everything and the changes of it, each behind the batch of events that led to it
//! and a mark for each signal and each fork. Read while it runs, they show whether the core of that run gives the same machine when it is stepped by itself,
//! and whether the supervisor did what that core says.

mod effects;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use effects::Step;
use segue_lifecycle::{Effect, Lifecycle};

#[path = "../../../supervisor/src/keeper/checksum.rs"]
mod checksum;

/// The supervisor's own reader of a state file. It knows a piece that is being written at this moment by its checksum.
#[path = "../../../supervisor/src/keeper/frame.rs"]
#[expect(dead_code, reason = "what writes such a file is not needed here")]
mod frame;

/// As it reads a change of a state.
#[path = "../../../supervisor/src/keeper/change.rs"]
#[expect(dead_code, reason = "what writes such a file is not needed here")]
mod change;

/// A file stands there for some ten reloads at least.
const BETWEEN_LOOKS: Duration = Duration::from_millis(2);

/// A state, and what was logged behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    rows: Vec<u8>,
    log: Vec<String>,
}

/// Which state of a supervisor it is: the number of the snapshot before it, and so many changes later.
type Place = (u64, usize);

/// A state as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Written {
    place: Place,
    rows: String,
    log: Vec<String>,
}

/// The states that a file tells of, if it is whole.
fn read(path: &Path) -> Option<Vec<Written>> {
    let bytes = fs::read(path).ok()?;
    let number = frame::number(&bytes)?;
    let states = frame::States::of(&bytes)?.enumerate();
    let written = states.map(|(nth, Kept { rows, log })| {
        let rows = String::from_utf8(rows).ok()?;
        let place = (number, nth);
        Some(Written { place, rows, log })
    });
    written.collect()
}

/// The states in a row that the files tell of at this moment.
fn in_a_row(files: &[PathBuf; 2]) -> Vec<Written> {
    let number = |states: &Option<Vec<Written>>| Some(states.as_ref()?.first()?.place.0);
    let [one, other] = files.each_ref().map(|path| read(path));
    let (older, newer, older_file) = if number(&one) < number(&other) {
        (one, other, &files[0])
    } else {
        (other, one, &files[1])
    };
    // Something may have been written between the two looks.
    let follow = number(&older).is_some_and(|older| number(&newer) == Some(older + 1));
    let before = older.filter(|older| follow && read(older_file).as_ref() == Some(older));
    before.into_iter().chain(newer).flatten().collect()
}

/// Steps the older machine through the batch behind it. Returns the number of events.
///
/// # Errors
/// The machine that comes of it is not the newer one, or its effects are not what was done; both are in the text.
fn replay(older: &Written, newer: &Written) -> Result<usize, String> {
    let load = |rows: &str| Lifecycle::load(rows).map_err(|flaw| flaw.to_string());
    let outcome = || {
        let mut machine = load(&older.rows)?;
        let step = Step::of(&older.log)?;
        let effects: Vec<Effect> = step.batch.iter().flat_map(|event| machine.step(*event)).collect();
        effects::compare(&older.rows, &step, &effects, &newer.rows)?;
        if machine == load(&newer.rows)? {
            Ok(step.batch.len())
        } else {
            Err(format!("another machine:\n{}", machine.save()))
        }
    };
    outcome().map_err(|text| {
        format!(
            "{text}\nstate {:?}\n{}\n{:?}\nthe next one\n{}",
            older.place, older.rows, older.log, newer.rows
        )
    })
}

/// What was replayed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Replayed {
    events: usize,
    steps: u64,
    /// The newest state of the last step.
    newest: Place,
}

impl fmt::Display for Replayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events, steps, .. } = self;
        write!(f, "{events} events in {steps} steps replayed through the core")
    }
}

/// Replays what a supervisor writes, again and again while it runs.
pub struct Replay {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Replayed, String>>,
}

impl Replay {
    /// Begins with the state files beside this control socket, no matter which process writes them.
    #[must_use]
    pub fn of(control: &Path) -> Self {
        let files = ["state-a", "state-b"].map(|name| {
            let mut path = control.as_os_str().to_owned();
            path.push(format!(".{name}"));
            PathBuf::from(path)
        });
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut replayed = Replayed::default();
            while !stopped.load(Ordering::Relaxed) {
                for step in in_a_row(&files).windows(2) {
                    // Each counts once, however long it stands there.
                    if let [older, newer] = step
                        && newer.place > replayed.newest
                    {
                        replayed.events += replay(older, newer)?;
                        replayed.steps += 1;
                        replayed.newest = newer.place;
                    }
                }
                std::thread::sleep(BETWEEN_LOOKS);
            }
            Ok(replayed)
        });
        Self { stop, thread }
    }

    /// What was replayed.
    ///
    /// # Panics
    /// When a machine has come of it that the supervisor did not have, or effects that it did not perform.
    #[track_caller]
    pub fn stop(self) -> Replayed {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(Ok(replayed)) => {
                assert!(replayed.events > 0, "{replayed}");
                replayed
            }
            Ok(Err(text)) => panic!("the supervisor did not do what the core says: {text}"),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}
