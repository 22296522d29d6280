//! What the shell knows of a worker that the core does not: its pid, its sockets, its words, how it ended.

use std::time::{Duration, Instant, SystemTime};

use nix::unistd::Pid;

use crate::children::ExitStatus;
use crate::clock;
use crate::launch::{Report, ReportPipe};
use crate::readiness::NotifySocket;

/// One worker that was started.
#[derive(Debug)]
pub(super) struct WorkerInfo {
    /// Its main process; none if it could not be created.
    pub(super) pid: Option<Pid>,
    /// Where it says READY=1. Removed with the worker.
    pub(super) notify: Option<NotifySocket>,
    /// Where the launch reports; none once exec has happened or failed.
    pub(super) report: Option<ReportPipe>,
    /// The uid of the app, once the launch has reported it.
    pub(super) uid: Option<u32>,
    /// Why the launch failed, or why the process could not be created.
    pub(super) failure: Option<String>,
    /// How the main process ended, and how long after its start.
    pub(super) exit: Option<(ExitStatus, Duration)>,
    /// When it was started.
    pub(super) started: Instant,
    /// How long after its start it was ready.
    pub(super) ready_after: Option<Duration>,
    /// Since when it is in its present state, for people.
    pub(super) since: SystemTime,
    /// Its last `STATUS=`.
    pub(super) status: Option<String>,
    /// Its last `ERRNO=`.
    pub(super) errno: Option<i32>,
    /// How much time it has asked for with the `EXTEND_TIMEOUT_USEC=` that is being dealt with.
    pub(super) more_time: Option<Duration>,
    /// Whether it has said `WATCHDOG=trigger`.
    pub(super) gave_up: bool,
    /// Whether people were told of messages that were ignored.
    pub(super) ignored_told: u64,
}

impl WorkerInfo {
    pub(super) fn new(notify: Option<NotifySocket>) -> Self {
        Self {
            pid: None,
            notify,
            report: None,
            uid: None,
            failure: None,
            exit: None,
            started: clock::now(),
            ready_after: None,
            since: clock::wall(),
            status: None,
            errno: None,
            more_time: None,
            gave_up: false,
            ignored_told: 0,
        }
    }

    /// Take in what the launch has reported. Returns whether exec has happened just now.
    pub(super) fn read_report(&mut self) -> Launched {
        let Some(pipe) = &mut self.report else {
            return Launched::Pending;
        };
        match pipe.read() {
            Report::Pending => Launched::Pending,
            Report::Executed { uid } => {
                self.uid = Some(uid);
                Launched::Executed
            }
            Report::Failed { text } => {
                self.failure = Some(text);
                Launched::Failed
            }
        }
    }

    /// How it ended, in words: why it could not be launched, or `exited with status 101 after 12 ms`, and its last words.
    pub(super) fn end_in_words(&self) -> String {
        let mut text = match (&self.failure, &self.exit) {
            (Some(failure), _) => failure.clone(),
            (None, Some((status, after))) => format!("{status} after {}", crate::protocol::elapsed(*after)),
            (None, None) => "ended".to_owned(),
        };
        text.push_str(&self.last_words());
        text
    }

    /// `; its last words: "no database" (errno 111: connection refused)`, or nothing.
    pub(super) fn last_words(&self) -> String {
        let errno = self.errno.map(|errno| {
            let text = crate::sys::errno_text(nix::errno::Errno::from_raw(errno));
            format!("errno {errno}: {text}")
        });
        match (&self.status, errno) {
            (None, None) => String::new(),
            (Some(status), None) => format!("; its last words: \"{status}\""),
            (None, Some(errno)) => format!("; it said {errno}"),
            (Some(status), Some(errno)) => format!("; its last words: \"{status}\" ({errno})"),
        }
    }
}

/// How far a launch has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Launched {
    /// The child prepares itself.
    Pending,
    /// It is the app now.
    Executed,
    /// It cannot become the app, and exits.
    Failed,
}
