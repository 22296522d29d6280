//! What the shell knows of a worker that the core does not: its pid, its sockets, its words, how it ended.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};

use nix::unistd::Pid;
use segue_lifecycle::{Number, Worker};

use crate::children::ExitStatus;
use crate::clock;
use crate::launch::{End, Report, ReportSocket};
use crate::memory::Verdict;
use crate::readiness::NotifySocket;
use crate::state::{Field, Fields as _, Flaw, Row, Rows, Whole as _, fields, whole, words};
use crate::stderr::{LastLines, Stderr};

/// Who of a worker was told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// Nobody.
    Nobody,
    /// Its main process.
    Main,
    /// Its whole process group.
    Group,
    /// Its main process, which has ended since and had the others to tell.
    ByMain,
}

words!(Told { "main" Main; "group" Group; "by-main" ByMain; } or Nobody);

/// One worker that was started.
#[derive(Debug)]
pub(crate) struct WorkerInfo {
    /// Its main process; none if it could not be created.
    pub(crate) pid: Option<Pid>,
    /// Where it says READY=1. Removed with the worker.
    pub(crate) notify: Option<NotifySocket>,
    /// Where the launch reports; none once exec has happened or failed.
    pub(crate) report: Option<ReportSocket>,
    /// The uid of the app, once the launch has reported it.
    pub(crate) uid: Option<u32>,
    /// What its standard error is, once the launch has reported it.
    pub(crate) stderr: Option<Stderr>,
    /// Generations that had the same file for their standard error while it ran, and are gone.
    pub(crate) shared_with: BTreeSet<Number>,
    /// The last lines of that, once they were asked for; none if they cannot be read.
    pub(crate) last_lines: OnceCell<Option<LastLines>>,
    /// Why the launch failed, or why the process could not be created.
    pub(crate) failure: Option<String>,
    /// How the main process ended, and how long after its start.
    pub(crate) exit: Option<(ExitStatus, Duration)>,
    /// When it was started.
    pub(crate) started: Instant,
    /// How long after its start it was ready.
    pub(crate) ready_after: Option<Duration>,
    /// Since when it is in its present state, for people.
    pub(crate) since: SystemTime,
    /// Its last `STATUS=`.
    pub(crate) status: Option<String>,
    /// Its last `ERRNO=`.
    pub(crate) errno: Option<i32>,
    /// How much time it has asked for with the `EXTEND_TIMEOUT_USEC=` that is being dealt with.
    pub(crate) more_time: Option<Duration>,
    /// Whether it was given more time than its settings say.
    pub(crate) extended: bool,
    /// Whether people were told that it asks for more than there is.
    pub(crate) limit_told: bool,
    /// Whether it has said `WATCHDOG=trigger`.
    pub(crate) gave_up: bool,
    /// Whether we have sent it SIGKILL.
    pub(crate) killed: bool,
    /// Who of it has had the stop signal from us.
    pub(crate) told: Told,
    /// Whether its main process had a handler for the stop signal when it was told.
    pub(crate) catches: bool,
    /// When its main process was started, in the kernel's own count.
    pub(crate) began: Option<u64>,
    /// Whether another supervisor had started it, which was killed.
    pub(crate) adopted: bool,
    /// Whether the kernel has killed it for memory.
    pub(crate) verdict: Verdict,
    /// How many looks in a row have seen it serve, if its word may be lost.
    pub(crate) seen_serving: u8,
    /// Whether people were told of messages that were ignored.
    pub(crate) ignored_told: u64,
}

impl WorkerInfo {
    pub(crate) fn new(notify: Option<NotifySocket>) -> Self {
        Self {
            pid: None,
            notify,
            report: None,
            uid: None,
            stderr: None,
            shared_with: BTreeSet::new(),
            last_lines: OnceCell::new(),
            failure: None,
            exit: None,
            started: clock::now(),
            ready_after: None,
            since: clock::wall(),
            status: None,
            errno: None,
            more_time: None,
            extended: false,
            limit_told: false,
            gave_up: false,
            killed: false,
            told: Told::Nobody,
            catches: false,
            began: None,
            adopted: false,
            verdict: Verdict::Innocent,
            seen_serving: 0,
            ignored_told: 0,
        }
    }

    /// Write the row `worker`. Its notify socket and its report are rows of their own rooms.
    pub(crate) fn save(&self, worker: Worker, rows: &mut Rows) {
        worker.save_fields(rows.begin("worker"));
        self.save_fields(rows);
    }

    /// The worker of a row, without its sockets.
    pub(crate) fn restore(row: Row<'_>) -> Result<(Worker, Self), Flaw> {
        let mut info = Self::new(None);
        info.restore_fields(row)?;
        Ok((Worker::of_row(row)?, info))
    }

    /// Take in what the launch has reported. Returns whether exec has happened just now.
    pub(crate) fn read_report(&mut self, end: End) -> Launched {
        let Some(pipe) = &mut self.report else {
            return Launched::Pending;
        };
        match pipe.read(end) {
            Report::Pending => Launched::Pending,
            Report::Executed { uid, stderr } => {
                self.uid = Some(uid);
                self.stderr = stderr;
                Launched::Executed
            }
            Report::Failed { text } => {
                // What was known before is why: a child that could not be told to begin only knows that it was not.
                self.failure.get_or_insert(text);
                Launched::Failed
            }
        }
    }

    /// How it ended, in words: why it could not be launched, or `exited with status 101 after 12 ms`.
    pub(crate) fn end_in_words(&self) -> String {
        let mut text = match (&self.failure, &self.exit) {
            (Some(failure), _) => failure.clone(),
            (None, Some((status, after))) => format!("{status} after {}", crate::protocol::elapsed(*after)),
            (None, None) => "ended".to_owned(),
        };
        text.push_str(match self.verdict {
            Verdict::Innocent => "",
            Verdict::Certain => " (out of memory: the kernel's OOM killer)",
            Verdict::Probable => {
                " (probably out of memory: the kernel's OOM killer has killed on this machine)"
            }
        });
        text
    }

    /// `; its last STATUS: "no database" (errno 111: connection refused)`, or nothing.
    pub(crate) fn last_status(&self) -> String {
        let errno = self.errno.map(|errno| {
            let text = crate::sys::errno_text(nix::errno::Errno::from_raw(errno));
            format!("errno {errno}: {text}")
        });
        match (&self.status, errno) {
            (None, None) => String::new(),
            (Some(status), None) => format!("; its last STATUS: \"{status}\""),
            (None, Some(errno)) => format!("; it said {errno}"),
            (Some(status), Some(errno)) => format!("; its last STATUS: \"{status}\" ({errno})"),
        }
    }
}

fields!(WorkerInfo {
    "started" started;
    "since" since;
    "ignored-told" ignored_told or 0;
    "pid" pid;
    "uid" uid;
    "exit" exit;
    "ready-after" ready_after;
    "errno" errno;
    "extended" extended;
    "limit-told" limit_told;
    "gave-up" gave_up;
    "killed" killed;
    "catches" catches;
    "began" began;
    "adopted" adopted;
    "out-of-memory" verdict;
    "failure" failure;
    "status" status;
    "stderr" stderr;
    "shared-with" shared_with;
    "told" told;
});

words!(Verdict { "certain" Certain; "probable" Probable; } or Innocent);

// A worker is three fields of the row that is about it, and one word where another row names it.
whole!(Worker { "generation" generation; "slot" slot; "start" start; });

/// `code:1:5000`, `signal:9:5000`, `core:11:5000` or `unknown:0:5000`: the number, and the nanoseconds since its start.
impl Field for (ExitStatus, Duration) {
    fn write(&self, key: &str, rows: &mut Rows) {
        let (kind, number) = match self.0 {
            ExitStatus::Code(code) => ("code", code),
            ExitStatus::Signal {
                number,
                core_dumped: false,
            } => ("signal", number),
            ExitStatus::Signal {
                number,
                core_dumped: true,
            } => ("core", number),
            ExitStatus::Unknown => ("unknown", 0),
        };
        rows.text(key, &format!("{kind}:{number}:{}", self.1.as_nanos()));
    }

    fn read_if_any(key: &str, row: Row<'_>) -> Result<Option<Self>, Flaw> {
        let Some(text) = row.text_if_any(key)? else {
            return Ok(None);
        };
        exit(&text).map(Some).ok_or_else(|| row.lacks(key))
    }
}

fn exit(text: &str) -> Option<(ExitStatus, Duration)> {
    let (kind, numbers) = text.split_once(':')?;
    let (number, after) = numbers.split_once(':')?;
    let number = number.parse().ok()?;
    let signal = |core_dumped| ExitStatus::Signal { number, core_dumped };
    let status = match kind {
        "code" => ExitStatus::Code(number),
        "signal" => signal(false),
        "core" => signal(true),
        "unknown" => ExitStatus::Unknown,
        _ => return None,
    };
    Some((status, Duration::from_nanos(after.parse().ok()?)))
}

/// How far a launch has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Launched {
    /// The child prepares itself.
    Pending,
    /// It is the app now.
    Executed,
    /// It cannot become the app, and exits.
    Failed,
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKER: Worker = Worker {
        generation: 7,
        slot: 65_535,
        start: 3,
    };

    fn text(info: &WorkerInfo) -> Vec<u8> {
        let mut rows = Rows::default();
        info.save(WORKER, &mut rows);
        rows.finish()
    }

    fn assert_passed_on(info: &WorkerInfo) {
        let saved = text(info);
        let (worker, restored) = WorkerInfo::restore(Row::all(&saved).unwrap()[0]).unwrap();
        assert_eq!(worker, WORKER);
        assert_eq!(format!("{restored:?}"), format!("{info:?}"));
        assert_eq!(text(&restored), saved);
    }

    #[test]
    fn what_is_known_of_a_worker_is_passed_on() {
        let mut info = WorkerInfo::new(None);
        assert_passed_on(&info);
        info.pid = Some(Pid::from_raw(812));
        info.uid = Some(u32::MAX - 1);
        info.ready_after = Some(Duration::from_micros(1_234));
        info.status = Some("serving 127.0.0.1:80 \u{1b}[2J = %".to_owned());
        info.errno = Some(111);
        info.stderr = Some(Stderr::Terminal("/dev/pts/1".into()));
        info.gave_up = true;
        info.extended = true;
        info.limit_told = true;
        info.ignored_told = 4;
        info.catches = true;
        info.began = Some(99);
        info.adopted = true;
        for told in [Told::Main, Told::Group, Told::ByMain] {
            info.told = told;
            assert_passed_on(&info);
        }
        assert_passed_on(&info);
        let signal = |core_dumped| ExitStatus::Signal {
            number: 64,
            core_dumped,
        };
        for status in [
            ExitStatus::Code(-1),
            ExitStatus::Code(101),
            signal(true),
            signal(false),
            ExitStatus::Unknown,
        ] {
            info.exit = Some((status, Duration::from_nanos(5)));
            assert_passed_on(&info);
        }
        info.failure = Some("exec ./app: no such file or directory".to_owned());
        assert_passed_on(&info);
    }
}
