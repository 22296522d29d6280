//! The commands' side of the control socket: find the instance, ask, wait, and say what came of it.
//!
//! | exit | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | it failed; stderr says why, and who serves now (unless it was refused, or the supervisor went away) |
//! | 2 | the command does not say which of several instances it means |
//! | 3 | no supervisor answers |
//! | 4 | the client's own `--timeout` has passed; what it asked for goes on |
//!
//! The outcome of success goes to stdout, everything else (progress, failures) to stderr. With `--json` or `--flat` stdout
//! gets the outcome in codes, whatever it is, and stderr all sentences.

mod codes;
mod connection;
mod conversation;
mod events;
mod failure;
mod find;
mod gauge;
mod last_words;
mod list;
mod logs;
mod stranger;
mod watch;

use std::io::{self, IsTerminal as _, Write};
use std::ops::ControlFlow;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use codes::Codes;
use conversation::with_last_words;
use failure::{Failure, Told, does_not_fit, in_time, outcome_lost, refused, status_lost, written};

pub(crate) use codes::{Form, ReloadOutcome};
pub(crate) use conversation::{Came, Conversation, Heard, look};
pub(crate) use events::Follow;
pub(crate) use gauge::Gauge;
pub(crate) use logs::Lines;

use crate::clock;
use crate::paint::{Paint, When};
use crate::place::Surroundings;
use crate::protocol::{Change, Reply, Request, Seen, Serving, Until, Verdict, one_line};

/// How long a supervisor may take to accept a connection, or to tell its status (`status`, `metrics`), when the user has not
/// said how long. Its loop answers within milliseconds; one that takes longer is stopped (SIGSTOP) or hangs, and counts as
/// one that does not answer. What else is asked for takes as long as it takes: its outcome is waited for without end, for a
/// supervisor that is stopped, too.
const ANSWER_TIME: Duration = Duration::from_secs(5);

/// How often `status --watch` asks.
const REFRESH_TIME: Duration = Duration::from_secs(1);

/// The longest message that is printed, in characters. Ours are shorter; this bounds what an app's own words
/// can fill.
const MESSAGE_MAX: usize = 1000;

/// Which instance a command means.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Target {
    /// `--name`.
    pub(crate) name: Option<String>,
    /// `--control`; it wins over the name.
    pub(crate) control: Option<PathBuf>,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 0
    Done,
    /// 1
    Failed,
    /// 2
    Usage,
    /// 3
    NoSupervisor,
    /// 4
    TimedOut,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::NoSupervisor => 3,
            Exit::TimedOut => 4,
        })
    }
}

/// How often a status is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refresh {
    /// Once.
    Once,
    /// Every second, until somebody interrupts it (`--watch`).
    EverySecond,
}

/// How much is said of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// One line.
    Reason,
    /// And the last lines of the version that failed (`--verbose`).
    LastLines,
}

/// Where a status is shown.
pub(crate) trait Display {
    /// Shows it.
    ///
    /// # Errors
    /// Those of writing it.
    fn show(&mut self, sight: Sight<'_>) -> io::Result<()>;

    /// Lets so much time pass before the next one, unless somebody has seen enough.
    ///
    /// # Errors
    /// Those of a terminal.
    fn rest(&mut self, time: Duration) -> io::Result<ControlFlow<()>> {
        std::thread::sleep(time);
        Ok(ControlFlow::Continue(()))
    }

    /// Waits for something to read from the supervisor, or for that time, unless somebody has seen enough. Who does not look
    /// after anybody may leave the wait to the read.
    ///
    /// # Errors
    /// Those of a terminal.
    fn attend(&mut self, _answer: Option<BorrowedFd<'_>>, _until: Instant) -> io::Result<ControlFlow<()>> {
        Ok(ControlFlow::Continue(()))
    }
}

impl<Show: FnMut(Sight<'_>) -> io::Result<()>> Display for Show {
    fn show(&mut self, sight: Sight<'_>) -> io::Result<()> {
        self(sight)
    }
}

/// What [`status`] has to show: a status, or (only after the first) one line that says why there is none now.
pub(crate) type Sight<'a> = Result<Seen, &'a str>;

/// `segue reload`: asks for a new generation and waits for `until`, at most for `timeout`. A gauge shows how far it is meanwhile.
pub(crate) fn reload(
    target: &Target,
    until: Until,
    form: Form,
    detail: Detail,
    timeout: Option<Duration>,
    gauge: Option<Box<dyn Gauge>>,
) -> Exit {
    Client {
        form,
        detail,
        gauge,
        ..Client::of_this_process()
    }
    .run(|client| client.ask(target, Request::Reload { until }, timeout))
}

/// `segue stop`: asks for a stop and waits for its end, at most for `timeout`.
pub(crate) fn stop(target: &Target, timeout: Option<Duration>) -> Exit {
    ask(target, Request::Stop {}, timeout)
}

/// `segue workers`: asks for another number of workers and waits for it, at most for `timeout`.
pub(crate) fn workers(target: &Target, change: Change, timeout: Option<Duration>) -> Exit {
    ask(target, Request::Workers { change }, timeout)
}

/// `segue upgrade`: asks the supervisor to replace itself and waits for the word of its successor, at most for `timeout`.
pub(crate) fn upgrade(target: &Target, timeout: Option<Duration>) -> Exit {
    ask(target, Request::Upgrade {}, timeout)
}

/// `segue status`: fetches the status (each time anew) and shows it. Ends well if a generation serves.
///
/// Showing may fail only in writing; a reader that has gone (`segue status | head`) ends the command without a
/// word. Programs get an outcome in the place of a status that does not come.
pub(crate) fn status(
    target: &Target,
    refresh: Refresh,
    form: Form,
    timeout: Option<Duration>,
    display: &mut dyn Display,
) -> Exit {
    let mut client = Client {
        form,
        ..Client::of_this_process()
    };
    client.run(|client| match refresh {
        Refresh::Once => client.show_once(target, timeout, display),
        Refresh::EverySecond => client.watch(target, timeout, display),
    })
}

/// `segue metrics`: fetches the status once and shows it. Ends well if there was one, even if
/// nobody serves.
pub(crate) fn metrics(target: &Target, timeout: Option<Duration>, display: &mut dyn Display) -> Exit {
    let mut client = Client::of_this_process();
    client.run(|client| client.show_once(target, timeout, display).map(|_| Exit::Done))
}

/// `segue events`: prints how it is and, until it is interrupted or the supervisor ends, all that happens. `timeout` is for the first.
pub(crate) fn events(target: &Target, follow: Follow, timeout: Option<Duration>) -> Exit {
    Client::of_this_process().run(|client| client.events(target, follow, timeout))
}

/// `segue logs`: becomes the reader of the place that the app writes to. `timeout` is for the status that tells it.
pub(crate) fn logs(target: &Target, lines: Lines, timeout: Option<Duration>) -> Exit {
    Client::of_this_process().run(|client| client.logs(target, lines, timeout))
}

/// `segue list`: prints every instance that can be found.
pub(crate) fn list(form: Form, colours: When) -> Exit {
    let paint = Paint::choose(colours, io::stdout().is_terminal(), &|name| {
        std::env::var_os(name)
    });
    Client {
        form,
        ..Client::of_this_process()
    }
    .run(|client| client.list(paint))
}

/// Tells programs that a command line is wrong.
pub(crate) fn tell_misuse(form: Form, reason: &str) {
    Client {
        form,
        ..Client::of_this_process()
    }
    .tell_codes(&Codes::without_reply(ReloadOutcome::Misused, reason));
}

fn ask(target: &Target, request: Request, timeout: Option<Duration>) -> Exit {
    Client::of_this_process().run(|client| client.ask(target, request, timeout))
}

/// Where the words go, and where instances are looked for.
struct Client<'a> {
    out: Box<dyn Write + 'a>,
    err: Box<dyn Write + 'a>,
    around: Surroundings,
    form: Form,
    detail: Detail,
    gauge: Option<Box<dyn Gauge + 'a>>,
}

impl Client<'_> {
    fn of_this_process() -> Self {
        Self {
            out: Box::new(io::stdout()),
            err: Box::new(io::stderr()),
            around: Surroundings::of_this_process(),
            form: Form::Words,
            detail: Detail::Reason,
            gauge: None,
        }
    }

    fn run(&mut self, command: impl FnOnce(&mut Self) -> Result<Exit, Failure>) -> Exit {
        match command(self) {
            Ok(exit) => exit,
            Err(failure) => {
                match failure.told {
                    Told::Already => {}
                    Told::NotYet(outcome) => self.tell_codes(&Codes::without_reply(outcome, &failure.text)),
                }
                self.complain(&failure.text);
                for line in &failure.details {
                    let _ = writeln!(self.err, "  | {}", one_line(line, MESSAGE_MAX));
                }
                failure.exit
            }
        }
    }

    /// Nobody can be told that stderr is closed.
    fn complain(&mut self, text: &str) {
        let _ = writeln!(self.err, "segue: {text}");
    }

    /// For programs, if they were asked for.
    fn tell_codes(&mut self, codes: &Codes<'_>) {
        let _ = self.out.write_all(codes.text(self.form).as_bytes());
    }

    fn ask(&mut self, target: &Target, request: Request, timeout: Option<Duration>) -> Result<Exit, Failure> {
        let deadline = timeout.map(|timeout| clock::now() + timeout);
        let mut connection = find::connect(target, &self.around, deadline)
            .map_err(|failure| in_time(failure, timeout, deadline, "anything was asked"))?;
        connection.send(request);
        loop {
            let reply = self
                .next(&mut connection, deadline)
                .map_err(|lost| outcome_lost(lost, request, timeout, &connection))?;
            match reply {
                Reply::Progress { message } => {
                    let _ = writeln!(self.err, "{}", one_line(&message, MESSAGE_MAX));
                }
                Reply::Done {
                    message,
                    serving,
                    duration_ms,
                    verdict,
                } => {
                    let message = one_line(&message, MESSAGE_MAX);
                    let codes = Codes::told(verdict.as_ref(), serving.as_ref(), duration_ms, &message);
                    self.tell_codes(&codes);
                    let words = match self.form {
                        Form::Words => &mut self.out,
                        Form::Json | Form::Flat => &mut self.err,
                    };
                    // The deed is done whether or not anybody reads of it.
                    let _ = writeln!(words, "{message}");
                    return Ok(Exit::Done);
                }
                Reply::Failed {
                    message,
                    serving,
                    verdict,
                } => return Err(self.failed(&message, serving.as_ref(), verdict, deadline)),
                Reply::Refused { message } => return Err(refused(&message)),
                Reply::Status(_) | Reply::Event(_) => return Err(does_not_fit()),
            }
        }
    }

    /// It was tried and failed: why, and who serves.
    fn failed(
        &mut self,
        message: &str,
        serving: Option<&Serving>,
        mut verdict: Option<Verdict>,
        deadline: Option<Instant>,
    ) -> Failure {
        let message = with_last_words(message, serving, &mut verdict, deadline);
        self.tell_codes(&Codes::told(verdict.as_ref(), serving, None, &message));
        let mut failure = Failure::new(Exit::Failed, message).told(Told::Already);
        match self.detail {
            Detail::Reason => {}
            Detail::LastLines => {
                failure.details = verdict
                    .map(|verdict| verdict.words.last_lines)
                    .unwrap_or_default();
            }
        }
        failure
    }

    fn show_once(
        &mut self,
        target: &Target,
        timeout: Option<Duration>,
        display: &mut dyn Display,
    ) -> Result<Exit, Failure> {
        let (seen, _) = self.fetch(target, timeout)?;
        let exit = if seen.status.serves() {
            Exit::Done
        } else {
            Exit::Failed
        };
        written(display.show(Ok(seen)))?;
        Ok(exit)
    }

    fn fetch(&mut self, target: &Target, timeout: Option<Duration>) -> Result<(Seen, PathBuf), Failure> {
        let deadline = clock::now() + timeout.unwrap_or(ANSWER_TIME);
        let fetched = find::connect(target, &self.around, Some(deadline)).and_then(|mut connection| {
            let status = connection
                .status(Some(deadline))
                .map_err(|lost| status_lost(lost, &connection))?;
            Ok((
                Seen {
                    status,
                    supervisor: connection.supervisor(),
                },
                connection.path().to_owned(),
            ))
        });
        fetched.map_err(|failure| in_time(failure, timeout, Some(deadline), "the status came"))
    }
}

#[cfg(test)]
mod tests;
