//! A service manager above a supervisor, as far as it listens: a socket for `NOTIFY_SOCKET`, and all that arrives.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

use tempfile::TempDir;

/// What a test says into the socket itself, to tell what came before it from what came after.
const MARK: &str = "X_MARK=1";

/// What ends the listening thread.
const END: &str = "X_END=1";

#[derive(Default)]
struct Heard {
    messages: Mutex<Vec<String>>,
    changed: Condvar,
}

/// The listening side.
pub struct Manager {
    _directory: TempDir,
    path: PathBuf,
    heard: Arc<Heard>,
}

impl Manager {
    /// Listens in a directory of its own.
    ///
    /// # Panics
    /// When the socket cannot be made.
    #[must_use]
    #[track_caller]
    pub fn listen() -> Self {
        let directory = crate::segue::directory();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path);
        let socket = socket.unwrap_or_else(|error| panic!("bind {}: {error}", path.display()));
        let heard = Arc::new(Heard::default());
        let thread = Arc::clone(&heard);
        std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(length) = receive(&socket, &mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                if text == END {
                    return;
                }
                let mut messages = thread.messages.lock().unwrap_or_else(PoisonError::into_inner);
                messages.push(text);
                thread.changed.notify_all();
            }
        });
        Self {
            _directory: directory,
            path,
            heard,
        }
    }

    /// The value of `NOTIFY_SOCKET`.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Every datagram so far, oldest first.
    #[must_use]
    pub fn heard(&self) -> Vec<String> {
        let messages = self.heard.messages.lock();
        messages.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many datagrams have come so far, and all that were sent before this call are among them.
    ///
    /// # Panics
    /// When the mark does not arrive.
    #[track_caller]
    pub fn mark(&self) -> usize {
        let before = self.heard().len();
        self.say(MARK);
        let marked = |messages: &[String]| {
            let found = messages.iter().skip(before).position(|text| text == MARK);
            found.map(|index| before + index + 1)
        };
        self.wait("the mark", marked)
    }

    /// Waits until what has come satisfies a condition, and returns what it finds.
    ///
    /// # Panics
    /// When that does not happen in time.
    #[track_caller]
    pub fn wait<T>(&self, what: &str, condition: impl Fn(&[String]) -> Option<T>) -> T {
        let end = Instant::now() + crate::patience();
        let mut messages = self.heard.messages.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(found) = condition(&messages) {
                return found;
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "not in time: {what}; heard: {messages:#?}");
            let waited = self.heard.changed.wait_timeout(messages, left);
            messages = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for a datagram behind a mark that contains a text; returns its place.
    ///
    /// # Panics
    /// When it does not come in time.
    #[track_caller]
    pub fn wait_for(&self, mark: usize, text: &str) -> usize {
        self.wait(text, |messages| {
            let found = messages
                .iter()
                .skip(mark)
                .position(|message| message.contains(text));
            found.map(|index| mark + index)
        })
    }

    /// The states behind a mark, in the first word of each: `RELOADING`, `READY`, `STOPPING`.
    #[must_use]
    pub fn states(&self, mark: usize) -> Vec<String> {
        let messages = self.heard();
        let words = messages.iter().skip(mark).filter_map(|text| text.split_once('='));
        words
            .map(|(word, _)| word.to_owned())
            .filter(|word| ["RELOADING", "READY", "STOPPING"].contains(&word.as_str()))
            .collect()
    }

    /// The last status.
    #[must_use]
    pub fn status(&self) -> String {
        let messages = self.heard();
        let last = messages.iter().rev().find_map(|message| status_of(message));
        last.unwrap_or_default().to_owned()
    }

    fn say(&self, text: &str) {
        let socket = UnixDatagram::unbound();
        let sent = socket.and_then(|socket| socket.send_to(text.as_bytes(), &self.path));
        sent.unwrap_or_else(|error| panic!("send to {}: {error}", self.path.display()));
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        if let Ok(socket) = UnixDatagram::unbound() {
            // Without its directory the socket is out of reach, and the thread ends with the test.
            let _ = socket.send_to(END.as_bytes(), &self.path);
        }
    }
}

/// Receives one datagram, and again if that was interrupted: a process that is frozen and goes on wakes up so.
///
/// # Errors
/// As recv(2), and when the time of the socket has passed.
pub fn receive(socket: &UnixDatagram, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match socket.recv(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

/// The `STATUS=` of a datagram.
#[must_use]
pub fn status_of(message: &str) -> Option<&str> {
    message.lines().find_map(|line| line.strip_prefix("STATUS="))
}

/// The `MONOTONIC_USEC=` of a datagram.
#[must_use]
pub fn time_of(message: &str) -> Option<u64> {
    let time = message
        .lines()
        .find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
    time.and_then(|text| text.parse().ok())
}

/// CLOCK_MONOTONIC in microseconds.
///
/// # Panics
/// When there is no such clock.
#[must_use]
pub fn monotonic_micros() -> u64 {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    let time = time.unwrap_or_else(|errno| panic!("clock_gettime: {errno}"));
    u64::try_from(std::time::Duration::from(time).as_micros()).unwrap_or(u64::MAX)
}
