//! A command at a terminal of its own: a pseudo-terminal (pty(7)) of 80 columns and 24 rows, whose foreground it is.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The terminal and the command.
pub struct Terminal {
    master: File,
    line: OwnedFd,
    child: Child,
    seen: Arc<Mutex<Vec<u8>>>,
    /// How the terminal was before.
    settings: String,
}

impl Terminal {
    /// What a command is started by, so that the terminal is its own (setsid(1)), and its signals are as in a login, whatever the
    /// tests were started by: a shell ignores SIGINT for what it starts in the background.
    pub const OPENER: [&'static str; 4] = ["env", "--default-signal", "setsid", "--ctty"];

    /// Starts it.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    #[track_caller]
    pub fn start(command: &mut Command) -> Self {
        let size = Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let ends = openpty(&size, None).expect("a pseudo-terminal");
        let (master, line) = (File::from(ends.master), ends.slave);
        let settings = stty(&line, &["-a"]);
        let end = || Stdio::from(line.try_clone().expect("its line"));
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn();
        let child = child.expect("start it");
        // It holds more of them.
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (mut reader, shared) = (master.try_clone().expect("its other end"), Arc::clone(&seen));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                let mut seen = shared.lock().unwrap_or_else(PoisonError::into_inner);
                seen.extend_from_slice(&buffer[..count]);
            }
        });
        Self {
            master,
            line,
            child,
            seen,
            settings,
        }
    }

    /// All that was written to it.
    #[must_use]
    pub fn seen(&self) -> String {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&seen).into_owned()
    }

    /// Waits until the text was written behind the first `mark` bytes of all that was, and tells how many bytes those are now.
    ///
    /// # Panics
    /// When it is not in time.
    #[track_caller]
    pub fn wait_for(&self, mark: usize, text: &str) -> usize {
        self.wait_until(text, || {
            let seen = self.seen();
            seen.get(mark..)
                .is_some_and(|rest| rest.contains(text))
                .then_some(seen.len())
        })
    }

    /// Types it.
    ///
    /// # Panics
    /// When there is no terminal any more.
    #[track_caller]
    pub fn type_in(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).expect("type");
    }

    /// Makes it so large; the kernel tells the command (SIGWINCH).
    pub fn resize(&self, columns: u16, rows: u16) {
        stty(
            &self.line,
            &["cols", &columns.to_string(), "rows", &rows.to_string()],
        );
    }

    /// Whether its settings are those that it had before the command (stty(1)), but for its size.
    #[must_use]
    pub fn is_as_before(&self) -> bool {
        let modes = |text: &str| {
            text.split_once(';').map(|(_, rest)| {
                rest.split_once("columns")
                    .map(|(_, rest)| rest.split_once(';').map(|(_, rest)| rest.to_owned()))
            })
        };
        modes(&stty(&self.line, &["-a"])) == modes(&self.settings)
    }

    /// Sends the command a signal.
    pub fn signal(&self, signal: Signal) {
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), signal);
    }

    /// Waits for its end: the exit code, or the signal that ended it.
    ///
    /// # Panics
    /// When it does not end in time.
    #[track_caller]
    pub fn end(&mut self) -> Result<i32, i32> {
        let end = Instant::now() + crate::patience();
        let status: ExitStatus = loop {
            if let Some(status) = self.child.try_wait().expect("its end") {
                break status;
            }
            assert!(Instant::now() < end, "it did not end:\n{}", self.seen());
            std::thread::sleep(crate::LOOK);
        };
        status.code().ok_or_else(|| status.signal().unwrap_or_default())
    }

    #[track_caller]
    fn wait_until<T>(&self, what: &str, found: impl Fn() -> Option<T>) -> T {
        let end = Instant::now() + crate::patience();
        loop {
            if let Some(found) = found() {
                return found;
            }
            assert!(Instant::now() < end, "{what:?} did not come:\n{:?}", self.seen());
            std::thread::sleep(crate::LOOK);
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn stty(line: &OwnedFd, words: &[&str]) -> String {
    let line = Stdio::from(line.try_clone().expect("its line"));
    let done = Command::new("stty")
        .args(words)
        .stdin(line)
        .output()
        .expect("stty");
    String::from_utf8_lossy(&done.stdout).into_owned()
}
