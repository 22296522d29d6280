//! Clients of a Unix path, one after the other: how often nothing is there (ENOENT), and for how many times on end.
//!
//! A client that finds no path was never connected, so nothing of it is in an account of requests.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::http::get_and_close;

/// The pause between two clients.
const PACE: Duration = Duration::from_micros(500);

/// What one client does once it is connected. `Err` tells that it was not served.
pub type Ask = fn(UnixStream) -> io::Result<()>;

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Knocked {
    /// Clients that were served.
    pub served: usize,
    /// Clients that found nothing at the path.
    pub missed: usize,
    /// How often the path was missed, however many found it missing on end.
    pub gaps: usize,
    /// Why others were not served, and how many each time.
    pub others: BTreeMap<String, usize>,
}

impl Knocked {
    /// Clients that found the path and were not served.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.others.values().sum()
    }

    fn clients(&self) -> usize {
        self.served + self.missed + self.lost()
    }
}

impl fmt::Display for Knocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} connections met ENOENT, in {} gaps, {} lost",
            self.missed,
            self.clients(),
            self.gaps,
            self.lost()
        )?;
        let mut others = self.others.iter();
        others.try_for_each(|(why, count)| write!(f, "; {count}: {why}"))
    }
}

/// A client after the other, until it is stopped.
pub struct Knocks {
    stop: Arc<AtomicBool>,
    missed: Arc<AtomicUsize>,
    known: Arc<Mutex<Knocked>>,
    thread: Option<JoinHandle<()>>,
}

impl Knocks {
    /// Clients that ask for `/ping` and want to be answered.
    #[must_use]
    pub fn start(path: &Path) -> Self {
        Self::asking(path, ping)
    }

    /// Clients that do something else.
    #[must_use]
    pub fn asking(path: &Path, ask: Ask) -> Self {
        let (stop, missed, known) = <(Arc<AtomicBool>, Arc<AtomicUsize>, Arc<Mutex<Knocked>>)>::default();
        let run = (Arc::clone(&stop), Arc::clone(&missed), Arc::clone(&known));
        let path: PathBuf = path.to_owned();
        let thread = std::thread::spawn(move || {
            let (stop, missed, known) = run;
            let mut was_missed = false;
            while !stop.load(Ordering::Relaxed) {
                let came = UnixStream::connect(&path).and_then(ask);
                let is_missed = matches!(&came, Err(error) if error.kind() == io::ErrorKind::NotFound);
                let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
                match came {
                    Ok(()) => known.served += 1,
                    Err(_) if is_missed => {
                        known.missed += 1;
                        known.gaps += usize::from(!was_missed);
                        missed.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(error) => *known.others.entry(error.to_string()).or_default() += 1,
                }
                drop(known);
                was_missed = is_missed;
                std::thread::sleep(PACE);
            }
        });
        Self {
            stop,
            missed,
            known,
            thread: Some(thread),
        }
    }

    /// Waits until one more client has found nothing at the path.
    pub fn wait_until_missed(&self) {
        let before = self.missed.load(Ordering::Relaxed);
        crate::wait_until("a client misses the path", || {
            self.missed.load(Ordering::Relaxed) > before
        });
    }

    /// Waits until so many more clients have come.
    pub fn wait_for_more(&self, count: usize) {
        let before = self.came();
        crate::wait_until("more clients come", || self.came() >= before + count);
    }

    fn came(&self) -> usize {
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clients()
    }

    /// Ends it, once the client that is at it is done.
    #[must_use]
    pub fn stop(mut self) -> Knocked {
        self.end();
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Knocks {
    fn drop(&mut self) {
        self.end();
    }
}

fn ping(mut client: UnixStream) -> io::Result<()> {
    client.set_read_timeout(Some(crate::patience()))?;
    client.write_all(&get_and_close("/ping"))?;
    let mut answer = String::new();
    client.read_to_string(&mut answer)?;
    if answer.starts_with("HTTP/1.1 200 ") {
        return Ok(());
    }
    Err(io::Error::other(format!("answered {answer:?}")))
}
