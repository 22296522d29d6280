//! A child process whose output is read line by line and whose every wait has a deadline.

use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{Pid, read};

/// A line of output with the instant at which it was read.
#[derive(Clone, Debug)]
pub struct Line {
    /// When.
    pub at: Instant,
    /// Without the line end; invalid UTF-8 replaced.
    pub text: String,
}

impl Line {
    fn now(text: &[u8]) -> Self {
        Self {
            at: Instant::now(),
            text: String::from_utf8_lossy(text).into_owned(),
        }
    }
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

/// More than a pipe holds.
const PIPE: usize = 1 << 20;

/// The end of a pipe that a thread reads.
struct Stream {
    pipe: OwnedFd,
    /// Locked from before the bytes leave the pipe until their lines are in [`Seen`].
    progress: Mutex<Progress>,
}

#[derive(Clone, Copy, Default)]
struct Progress {
    bytes: usize,
    ended: bool,
}

impl Stream {
    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self, timeout: PollTimeout) -> PollFlags {
        let mut polled = [PollFd::new(self.pipe.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut polled, timeout);
        polled[0].revents().unwrap_or(PollFlags::empty())
    }

    /// Waits until all that had been written when this was called has been read: the thread that reads may be late.
    fn catch_up(&self) {
        let begun = self.lock().bytes;
        loop {
            let progress = self.lock();
            let state = self.state(PollTimeout::ZERO);
            if progress.ended || state.is_empty() || progress.bytes - begun > PIPE {
                return;
            }
            drop(progress);
            std::thread::sleep(crate::LOOK);
        }
    }
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
    streams: Vec<Arc<Stream>>,
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
        let mut streams = Vec::new();
        if let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) {
            streams.push(read_lines(&shared, out.into(), |seen| &mut seen.out));
            streams.push(read_lines(&shared, err.into(), |seen| &mut seen.err));
        }
        reap(&shared, pid, child);
        Self {
            pid,
            name,
            shared,
            streams,
        }
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

    /// What it has printed so far, all of it.
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.streams.iter().for_each(|stream| stream.catch_up());
        self.shared.lock()
    }

    /// The lines of stderr so far.
    #[must_use]
    pub fn log(&self) -> Vec<Line> {
        self.seen().err.clone()
    }

    /// How many lines stderr has so far: a mark for [`Process::wait_for_line_after`].
    #[must_use]
    pub fn mark(&self) -> usize {
        self.seen().err.len()
    }

    /// The whole of stderr so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        joined(&self.seen().err)
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

    /// The whole of stdout so far.
    #[must_use]
    pub fn output(&self) -> String {
        joined(&self.seen().out)
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

fn read_lines(shared: &Arc<Shared>, pipe: OwnedFd, side: fn(&mut Seen) -> &mut Vec<Line>) -> Arc<Stream> {
    let stream = Arc::new(Stream {
        pipe,
        progress: Mutex::default(),
    });
    let (reader, shared) = (Arc::clone(&stream), Arc::clone(shared));
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let mut bytes = [0; 4096];
        loop {
            // Interrupted: a read would wait with the lock.
            if reader.state(PollTimeout::NONE).is_empty() {
                continue;
            }
            let mut progress = reader.lock();
            let length = read(&reader.pipe, &mut bytes).unwrap_or(0);
            text.extend_from_slice(&bytes[..length]);
            progress.bytes += length;
            progress.ended = length == 0;
            let ended = progress.ended;
            let mut seen = shared.lock();
            take_lines(&mut text, ended, side(&mut seen));
            seen.open_streams -= usize::from(ended);
            drop(seen);
            drop(progress);
            shared.changed.notify_all();
            if ended {
                return;
            }
        }
    });
    stream
}

/// Moves the whole lines to the others; at the end of a stream also what has no line end.
fn take_lines(text: &mut Vec<u8>, ended: bool, lines: &mut Vec<Line>) {
    let mut rest = text.as_slice();
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        lines.push(Line::now(&rest[..end]));
        rest = &rest[end + 1..];
    }
    if ended && !rest.is_empty() {
        lines.push(Line::now(rest));
        rest = &[];
    }
    *text = rest.to_vec();
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
