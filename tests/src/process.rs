//! A child process whose output is read line by line and whose every wait has a deadline.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

/// A line of output with the instant at which it was read.
#[derive(Clone, Debug)]
pub struct Line {
    /// When.
    pub at: Instant,
    /// Without the line end; invalid UTF-8 replaced.
    pub text: String,
}

#[derive(Default)]
struct Seen {
    out: Vec<Line>,
    err: Vec<Line>,
    open_streams: usize,
    exit: Option<ExitStatus>,
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Seen>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a command ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// A running (or ended) child.
pub struct Process {
    pid: Pid,
    name: String,
    shared: Arc<Shared>,
}

impl Process {
    /// Starts a command with stdin from /dev/null (unless `command` says otherwise) and both outputs read.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    #[track_caller]
    pub fn start(command: &mut Command) -> Self {
        let name = format!("{:?}", command.get_program());
        let spawned = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.unwrap_or_else(|error| panic!("start {name}: {error}"));
        let pid = Pid::from_raw(child.id().cast_signed());
        let shared = Arc::new(Shared::default());
        shared.lock().open_streams = 2;
        if let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) {
            read_lines(&shared, out, |seen| &mut seen.out);
            read_lines(&shared, err, |seen| &mut seen.err);
        }
        reap(&shared, pid, child);
        Self { pid, name, shared }
    }

    /// Its process id. Valid as a name of this process only while it has not been reaped; [`Process::signal`] knows.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Sends a signal, unless it has ended.
    pub fn signal(&self, signal: Signal) {
        let seen = self.shared.lock();
        // The reaper takes this lock before it reaps, so the number is still ours.
        if seen.exit.is_none() {
            let _ = kill(self.pid, signal);
        }
    }

    /// Waits until a SIGSTOP has taken effect.
    ///
    /// # Panics
    /// When that does not happen in time.
    #[track_caller]
    pub fn wait_until_stopped(&self) {
        let end = Instant::now() + crate::patience();
        // A parent hears of it by wait(2), which the thread that reaps does not ask for.
        while crate::proc::look(self.pid()).is_some_and(|seen| seen.state != 'T') {
            assert!(Instant::now() < end, "{} was not stopped in time", self.name);
            std::thread::sleep(crate::LOOK);
        }
    }

    /// Whether it has not ended.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.shared.lock().exit.is_none()
    }

    /// The lines of stderr so far.
    #[must_use]
    pub fn log(&self) -> Vec<Line> {
        self.shared.lock().err.clone()
    }

    /// How many lines stderr has so far: a mark for [`Process::wait_for_line_after`].
    #[must_use]
    pub fn mark(&self) -> usize {
        self.shared.lock().err.len()
    }

    /// The whole of stderr so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        joined(&self.shared.lock().err)
    }

    /// Waits for a line of stderr that contains a text, anywhere in the log.
    ///
    /// # Panics
    /// When it does not come.
    #[track_caller]
    pub fn wait_for_line(&self, text: &str) -> Line {
        self.wait_for_line_after(0, text)
    }

    /// The same, looking only at lines behind a [`Process::mark`].
    ///
    /// # Panics
    /// When it does not come in time, or the process ends without it.
    #[track_caller]
    pub fn wait_for_line_after(&self, mark: usize, text: &str) -> Line {
        let found = self.wait(|seen| {
            let line = seen
                .err
                .iter()
                .skip(mark)
                .find(|line| line.text.contains(text))
                .cloned();
            if line.is_none() && seen.exit.is_some() && seen.open_streams == 0 {
                return Some(None);
            }
            line.map(Some)
        });
        match found {
            Some(Some(line)) => line,
            Some(None) => panic!(
                "{} ended without {text:?}; its log:\n{}",
                self.name,
                self.stderr()
            ),
            None => panic!(
                "{} did not say {text:?} in time; its log:\n{}",
                self.name,
                self.stderr()
            ),
        }
    }

    /// Waits for the first line of stdout.
    ///
    /// # Panics
    /// When none comes.
    #[track_caller]
    pub fn first_output_line(&self) -> String {
        let line = self.wait(|seen| seen.out.first().cloned());
        line.unwrap_or_else(|| panic!("{} printed nothing; its log:\n{}", self.name, self.stderr()))
            .text
    }

    /// Waits for a line of stdout that contains a text.
    ///
    /// # Panics
    /// When none comes.
    #[track_caller]
    pub fn wait_for_output(&self, text: &str) {
        let line = self.wait(|seen| seen.out.iter().find(|line| line.text.contains(text)).cloned());
        assert!(line.is_some(), "{} did not print {text:?} in time", self.name);
    }

    /// Waits until stderr has more lines than `mark`, or a tenth of a second has passed: for conditions that are asked for
    /// elsewhere and usually change with a line.
    pub fn wait_for_news(&self, mark: usize) {
        let seen = self.shared.lock();
        if seen.err.len() <= mark && seen.exit.is_none() {
            let tenth = std::time::Duration::from_millis(100);
            drop(
                self.shared
                    .changed
                    .wait_timeout(seen, tenth)
                    .unwrap_or_else(PoisonError::into_inner),
            );
        }
    }

    /// Waits for the exit.
    ///
    /// # Panics
    /// When it does not come in time.
    #[track_caller]
    pub fn wait_for_exit(&self) -> ExitStatus {
        let exit = self.wait(|seen| seen.exit);
        exit.unwrap_or_else(|| panic!("{} did not end in time; its log:\n{}", self.name, self.stderr()))
    }

    /// Waits for the exit and for the end of both outputs. Do not use it on a process whose children outlive it.
    ///
    /// # Panics
    /// When that does not come in time.
    #[track_caller]
    pub fn finish(&self) -> Finished {
        let ended = self.wait(|seen| seen.exit.filter(|_| seen.open_streams == 0));
        let exit =
            ended.unwrap_or_else(|| panic!("{} did not end in time; its log:\n{}", self.name, self.stderr()));
        let seen = self.shared.lock();
        Finished {
            code: exit.code(),
            stdout: joined(&seen.out),
            stderr: joined(&seen.err),
        }
    }

    fn wait<T>(&self, mut look: impl FnMut(&Seen) -> Option<T>) -> Option<T> {
        let end = Instant::now() + crate::patience();
        let mut seen = self.shared.lock();
        loop {
            if let Some(found) = look(&seen) {
                return Some(found);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            seen = self
                .shared
                .changed
                .wait_timeout(seen, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}

fn joined(lines: &[Line]) -> String {
    lines.iter().flat_map(|line| [line.text.as_str(), "\n"]).collect()
}

fn read_lines(
    shared: &Arc<Shared>,
    stream: impl Read + Send + 'static,
    side: fn(&mut Seen) -> &mut Vec<Line>,
) {
    let shared = Arc::clone(shared);
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut bytes = Vec::new();
        while matches!(reader.read_until(b'\n', &mut bytes), Ok(length) if length > 0) {
            let text = String::from_utf8_lossy(&bytes).trim_end_matches('\n').to_owned();
            bytes.clear();
            side(&mut shared.lock()).push(Line {
                at: Instant::now(),
                text,
            });
            shared.changed.notify_all();
        }
        shared.lock().open_streams -= 1;
        shared.changed.notify_all();
    });
}

fn reap(shared: &Arc<Shared>, pid: Pid, mut child: Child) {
    let shared = Arc::clone(shared);
    std::thread::spawn(move || {
        // First without reaping, so that signal() can rule out a recycled number under the lock.
        while waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)
            == Err(nix::errno::Errno::EINTR)
        {}
        let mut seen = shared.lock();
        seen.exit = child.wait().ok();
        drop(seen);
        shared.changed.notify_all();
    });
}
