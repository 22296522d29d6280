//! What a supervisor has written down, replayed through the pure core.
//!
//! Its two state files hold, by turns, a snapshot of everything and the batch of events that led to the next one. Read while it runs, they
//! show whether the core of that run gives the same machine when it is stepped by itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use segue_lifecycle::{Event, Lifecycle};

/// One state file: a snapshot, and what was logged behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Written {
    number: u64,
    rows: String,
    log: Vec<String>,
}

/// The piece at the beginning: its number, its text, and what comes after it.
fn piece<'a>(kind: &str, text: &'a [u8]) -> Option<(u64, &'a str, &'a [u8])> {
    let end = text.iter().position(|byte| *byte == b'\n')?;
    let mut words = std::str::from_utf8(&text[..end]).ok()?.split(' ');
    if words.next()? != kind {
        return None;
    }
    let (number, length): (u64, usize) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let (body, after) = text[end + 1..].split_at_checked(length)?;
    Some((number, std::str::from_utf8(body).ok()?, after))
}

/// What is in a file that is not being written at this moment.
fn read(path: &Path) -> Option<Written> {
    let text = fs::read(path).ok()?;
    if fs::read(path).ok()? != text {
        return None;
    }
    let (number, rows, mut rest) = piece("segue-snapshot", &text)?;
    let mut log = Vec::new();
    while let Some((of, line, after)) = piece("segue-log", rest)
        && of == number
    {
        log.push(line.to_owned());
        rest = after;
    }
    Some(Written {
        number,
        rows: rows.to_owned(),
        log,
    })
}

/// Steps the older machine through the batch behind it. `None` if the files are not two snapshots in a row at this moment.
///
/// # Errors
/// The machine that comes of it is not the newer one; both are in the text.
fn replay(files: &[PathBuf; 2]) -> Option<Result<usize, String>> {
    let [one, other] = files.each_ref().map(|path| read(path));
    let (one, other) = (one?, other?);
    let (older, newer, older_file) = if one.number < other.number {
        (one, other, &files[0])
    } else {
        (other, one, &files[1])
    };
    // Something may have been logged between the two looks.
    if older.number + 1 != newer.number || read(older_file).as_ref() != Some(&older) {
        return None;
    }
    let mut machine = Lifecycle::load(&older.rows).ok()?;
    let expected = Lifecycle::load(&newer.rows).ok()?;
    let mut stepped = 0;
    for line in &older.log {
        let Some(batch) = line.strip_prefix("batch") else {
            continue;
        };
        for word in batch.split(' ').filter(|word| !word.is_empty()) {
            let event: Event = match word.parse() {
                Ok(event) => event,
                Err(_) => return Some(Err(format!("no event: {word}"))),
            };
            machine.step(event);
            stepped += 1;
        }
    }
    Some(if machine == expected {
        Ok(stepped)
    } else {
        Err(format!(
            "snapshot {} and {:?} give\n{}but there is\n{}",
            older.number,
            older.log,
            machine.save(),
            expected.save()
        ))
    })
}

/// Replays what a supervisor writes, again and again while it runs.
pub struct Replay {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<usize, String>>,
}

impl Replay {
    /// Begins with the state files beside this control socket, whoever writes them.
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
            let mut stepped = 0;
            while !stopped.load(Ordering::Relaxed) {
                if let Some(outcome) = replay(&files) {
                    stepped += outcome?;
                }
                std::thread::sleep(std::time::Duration::from_micros(200));
            }
            Ok(stepped)
        });
        Self { stop, thread }
    }

    /// How many events were stepped.
    ///
    /// # Panics
    /// When a machine has come of them that the supervisor did not have.
    #[track_caller]
    pub fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(Ok(stepped)) => stepped,
            Ok(Err(text)) => panic!("the core gives another machine than the supervisor had: {text}"),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}
