//! `segue dev`: watches files, builds, and asks a supervisor of its own for a reload; `segue reload --when-changed` asks another's.
//!
//! The supervisor is a child, `segue run` as it is everywhere, so that nothing of this is in its loop. So are the build and
//! `segue reload`. This process waits for signals, for changes and for the time, in one poll(2), and never for a child.
//!
//! It must not know how a reload goes.

mod git;
mod look;
mod pace;
mod patience;
mod script;
mod wanted;
mod watches;

use std::collections::BTreeSet;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::clock;
use crate::job::{Ended, Job};
use crate::sys::errno_text;
use look::{Seen, Subject};
use pace::Pace;
use patience::Patience;
use wanted::App;
pub(crate) use wanted::Wanted;
use watches::{Followed, Room, Watches};

/// How long the app may drain, and a build may clean up, when all is to end: somebody waits at the terminal.
const END_TIME: Duration = Duration::from_secs(2);

/// How long what was killed may take to be gone.
const KILL_TIME: Duration = Duration::from_secs(10);

/// How long our own supervisor may take until it answers. Another's may come and go.
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);

/// How many files a line names.
const NAMED: usize = 3;

/// The exit status of `segue reload` if no supervisor answers.
const NO_SUPERVISOR: i32 = 3;

/// What is under way.
#[derive(Debug)]
enum Work {
    None,
    Build {
        job: Job,
        /// When its group gets a signal, and which one.
        limit: Option<(Instant, Signal)>,
    },
    Reload(Job),
    /// The supervisor did not answer yet.
    AskAgain(Instant),
}

/// All is to end: by then what is left is killed.
#[derive(Clone, Copy, Debug)]
enum End {
    NotAsked,
    Asked(Instant),
    Killed(Instant),
}

struct Dev {
    wanted: Wanted,
    signals: SignalFd,
    subject: Subject,
    watches: Watches,
    seen: Seen,
    pace: Pace,
    patience: Patience,
    supervisor: Option<Job>,
    work: Work,
    end: End,
    told_of_room: bool,
    told_of_brake: bool,
}

/// Watches, builds and reloads until a signal ends it.
///
/// # Errors
/// One line: what cannot be watched, started or ended.
pub(crate) fn run(wanted: Wanted) -> Result<(), String> {
    let mut dev = Dev::open(wanted)?;
    dev.look_at_first();
    match dev.wanted.app {
        App::Own(_) => dev.build(),
        App::Others => {}
    }
    loop {
        dev.wait()?;
        dev.read_signals();
        dev.reap();
        let now = clock::now();
        match dev.end {
            End::NotAsked => dev.go_on(now),
            End::Asked(deadline) if now >= deadline => dev.kill(now),
            End::Killed(deadline) if now >= deadline => {
                return Err("what was killed has not ended; it is left alone".to_owned());
            }
            End::Asked(_) | End::Killed(_) => {}
        }
        if dev.is_over() {
            return Ok(());
        }
    }
}

impl Dev {
    fn open(wanted: Wanted) -> Result<Self, String> {
        let mask: SigSet = [Signal::SIGCHLD, Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]
            .into_iter()
            .collect();
        let failed = |what: &str, errno: Errno| format!("{what}: {}", errno_text(errno));
        mask.thread_block().map_err(|errno| failed("signals", errno))?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .map_err(|errno| failed("signals", errno))?;
        Ok(Self {
            signals,
            subject: Subject::new(wanted.watch.clone(), &wanted.ignore, &wanted.ours)?,
            watches: Watches::open().map_err(|errno| failed("inotify", errno))?,
            seen: Seen::default(),
            pace: Pace::new(wanted.rest, wanted.rest_limit),
            patience: Patience::default(),
            supervisor: None,
            work: Work::None,
            end: End::NotAsked,
            told_of_room: false,
            told_of_brake: false,
            wanted,
        })
    }

    /// What changes from now on counts.
    fn look_at_first(&mut self) {
        self.seen = self.subject.look();
        self.follow();
    }

    /// Watch the directories that were seen.
    fn follow(&mut self) {
        let followed = self.watches.follow(&self.seen.directories);
        let now = clock::now();
        if followed == Followed::New {
            self.pace.note_word(now);
        }
        if self.watches.room() == Room::Lacking {
            self.pace.look_again_later(now);
            if !std::mem::replace(&mut self.told_of_room, true) {
                say(
                    "the kernel watches no more directories for this user (fs.inotify.max_user_watches): files are looked at every 2 s",
                );
            }
        }
    }

    /// Waits for a signal, a change, or until it is time.
    fn wait(&mut self) -> Result<(), String> {
        let deadline = self.deadline();
        let left = deadline.map(|deadline| deadline.saturating_duration_since(clock::now()));
        // Rounded up, lest it turns round and round in the last millisecond.
        let wait = left.map_or(PollTimeout::NONE, |left| {
            PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
        });
        let mut fds = [
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.watches.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, wait) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(format!("poll: {}", errno_text(errno))),
        }
        if self.watches.read() {
            self.pace.note_word(clock::now());
        }
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        match self.end {
            End::Asked(deadline) | End::Killed(deadline) => return Some(deadline),
            End::NotAsked => {}
        }
        let work = match &self.work {
            Work::Build { limit, .. } => limit.map(|(deadline, _)| deadline),
            Work::AskAgain(at) => Some(*at),
            Work::None | Work::Reload(_) => None,
        };
        work.into_iter().chain(self.pace.next_look(self.is_idle())).min()
    }

    fn is_idle(&self) -> bool {
        matches!(self.work, Work::None)
    }

    fn read_signals(&mut self) {
        while let Ok(Some(info)) = self.signals.read_signal() {
            if Signal::try_from(info.ssi_signo.cast_signed()) == Ok(Signal::SIGCHLD) {
                continue;
            }
            let now = clock::now();
            match self.end {
                End::NotAsked => self.stop(now),
                End::Asked(_) => self.kill(now),
                End::Killed(_) => {}
            }
        }
    }

    /// Ask everything to end.
    fn stop(&mut self, now: Instant) {
        self.end = End::Asked(now + END_TIME);
        match &self.work {
            Work::Build { job, .. } | Work::Reload(job) => job.signal_group(Signal::SIGTERM),
            Work::AskAgain(_) => self.work = Work::None,
            Work::None => {}
        }
        if let Some(supervisor) = &self.supervisor {
            supervisor.signal(Signal::SIGTERM);
        }
    }

    /// Let nothing take any more time.
    fn kill(&mut self, now: Instant) {
        self.end = End::Killed(now + KILL_TIME);
        match &self.work {
            Work::Build { job, .. } | Work::Reload(job) => job.signal_group(Signal::SIGKILL),
            Work::AskAgain(_) | Work::None => {}
        }
        // The second one has it kill its app.
        if let Some(supervisor) = &self.supervisor {
            supervisor.signal(Signal::SIGTERM);
        }
    }

    /// Whether all has ended that was asked to.
    fn is_over(&self) -> bool {
        match self.end {
            End::NotAsked => false,
            End::Asked(_) | End::Killed(_) => self.supervisor.is_none() && self.is_idle(),
        }
    }

    /// Take note of the children that have ended.
    fn reap(&mut self) {
        if let Some(ended) = self.supervisor.as_mut().and_then(Job::ended) {
            self.supervisor = None;
            if matches!(self.end, End::NotAsked) {
                say(&format!(
                    "the app does not run ({}); the next change starts it",
                    ended.text()
                ));
            }
        }
        match &mut self.work {
            Work::Build { job, .. } => {
                if let Some(ended) = job.ended() {
                    self.note_built(ended);
                }
            }
            Work::Reload(job) => {
                if let Some(ended) = job.ended() {
                    self.note_reloaded(ended);
                }
            }
            Work::AskAgain(_) | Work::None => {}
        }
    }

    /// Look, begin a round, end a build that takes too long: whatever it is time for.
    fn go_on(&mut self, now: Instant) {
        match &mut self.work {
            Work::Build { job, limit } => match *limit {
                Some((deadline, signal)) if now >= deadline => {
                    job.signal_group(signal);
                    *limit = (signal != Signal::SIGKILL).then_some((now + END_TIME, Signal::SIGKILL));
                }
                Some(_) | None => {}
            },
            Work::AskAgain(at) if now >= *at => self.reload(),
            Work::AskAgain(_) | Work::Reload(_) | Work::None => {}
        }
        if self.pace.next_look(self.is_idle()).is_some_and(|at| now >= at) {
            self.look(now);
        }
    }

    fn look(&mut self, now: Instant) {
        let seen = self.subject.look();
        let changed_since = seen.changes_since(&self.seen);
        self.seen = seen;
        self.pace.note_look(now, clock::now(), changed_since);
        self.follow();
        if !self.is_idle() {
            return;
        }
        if let Some(files) = self.pace.begin() {
            self.told_of_brake = false;
            say(&changed(&files));
            self.build();
        } else {
            self.tell_of_brake();
        }
    }

    /// Once for each round that it makes wait.
    fn tell_of_brake(&mut self) {
        if let (Some(pause), Some(files)) = (self.pace.braked(), self.pace.waiting())
            && !std::mem::replace(&mut self.told_of_brake, true)
        {
            say(&braked(files, pause));
        }
    }

    /// The round is over, however it ended.
    fn end_round(&mut self) {
        self.patience.end_round();
        self.pace.end_round(clock::now());
        self.tell_of_brake();
    }

    /// Build it if it is to be built, then start or reload it.
    fn build(&mut self) {
        let Some(build) = self.wanted.build.clone() else {
            return self.deliver();
        };
        say(&format!("building: {build}"));
        let mut command = Command::new("/bin/sh");
        match Job::start(command.args(["-c", &build])) {
            Ok(job) => {
                let limit = self.wanted.build_timeout.map(|time| clock::now() + time);
                self.work = Work::Build {
                    job,
                    limit: limit.map(|deadline| (deadline, Signal::SIGTERM)),
                };
            }
            Err(text) => self.fail(&text),
        }
    }

    fn note_built(&mut self, ended: Ended) {
        let overdue = match &self.work {
            // Its first signal was sent.
            Work::Build { limit, .. } => {
                !matches!(limit, Some((_, Signal::SIGTERM))) && self.wanted.build_timeout.is_some()
            }
            Work::Reload(_) | Work::AskAgain(_) | Work::None => false,
        };
        self.work = Work::None;
        if !matches!(self.end, End::NotAsked) {
            return;
        }
        match (ended, overdue) {
            (Ended::Exited(0), false) => self.deliver(),
            (_, true) => self.fail("the build has overrun its --build-timeout"),
            (_, false) => self.fail(&format!("the build has failed ({})", ended.text())),
        }
    }

    /// A round that changes nothing.
    fn fail(&mut self, why: &str) {
        let who = match self.supervisor {
            Some(_) => "the version before it serves on",
            None => "nothing serves; the next change builds again",
        };
        say(&format!("{why}; {who}"));
        self.end_round();
    }

    /// Let the new version take over; if there is none before it, start it.
    fn deliver(&mut self) {
        let words = match &self.wanted.app {
            App::Own(words) if self.supervisor.is_none() => words,
            App::Own(_) | App::Others => return self.reload(),
        };
        let mut command = Command::new(&self.wanted.segue);
        match Job::start(command.arg("run").args(words)) {
            Ok(job) => self.supervisor = Some(job),
            Err(text) => say(&text),
        }
        self.end_round();
    }

    fn reload(&mut self) {
        let mut command = Command::new(&self.wanted.segue);
        command.arg("reload").args(&self.wanted.reload);
        match self.wanted.app {
            // The supervisor tells how it goes, on the same standard error.
            App::Own(_) => command.stdout(Stdio::null()).stderr(Stdio::null()),
            App::Others => &mut command,
        };
        match Job::start(&mut command) {
            Ok(job) => self.work = Work::Reload(job),
            Err(text) => {
                self.work = Work::None;
                self.fail(&text);
            }
        }
    }

    fn note_reloaded(&mut self, ended: Ended) {
        let now = clock::now();
        self.work = Work::None;
        let limit = match (&self.wanted.app, self.end) {
            (_, End::Asked(_) | End::Killed(_)) => return self.end_round(),
            // The next change starts it.
            (App::Own(_), End::NotAsked) if self.supervisor.is_none() => return self.end_round(),
            (App::Own(_), End::NotAsked) => Some(ANSWERS_WITHIN),
            (App::Others, End::NotAsked) => None,
        };
        if ended != Ended::Exited(NO_SUPERVISOR) {
            return self.end_round();
        }
        match self.patience.ask_again(now, limit) {
            Some(at) => self.work = Work::AskAgain(at),
            None => self.fail(&format!(
                "the supervisor has not answered within {} s",
                ANSWERS_WITHIN.as_secs()
            )),
        }
    }
}

/// `src/main.rs has changed`.
fn changed(files: &BTreeSet<PathBuf>) -> String {
    let verb = if files.len() == 1 { "has" } else { "have" };
    format!("{} {verb} changed", named(files))
}

fn braked(files: &BTreeSet<PathBuf>, pause: Duration) -> String {
    format!(
        "{} changed right after the last reload, again: the next one comes {} s after that; --watch-ignore leaves out what the app \
         writes",
        named(files),
        pause.as_secs()
    )
}

/// A few of them, below the current directory without it.
fn named(files: &BTreeSet<PathBuf>) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let shown = files.iter().take(NAMED).map(|file| {
        let short = file.strip_prefix(&here).unwrap_or(file);
        short.display().to_string()
    });
    let mut text = shown.collect::<Vec<_>>().join(", ");
    if let Some(more) = files.len().checked_sub(NAMED).filter(|more| *more > 0) {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

/// A line beside those of the supervisor, on the same standard error. If nobody reads it, nobody is told.
fn say(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "segue dev: {text}");
}
