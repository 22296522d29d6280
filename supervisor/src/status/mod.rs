//! What a status looks like: as JSON, as `KEY=VALUE` lines, as a table, as metrics. Runs in the client's process, which adds what
//! only /proc tells (open and waiting connections), so that the supervisor's loop never reads it.

mod digest;
mod gauge;
mod journal;
mod metrics;
mod proc;
mod progress;
mod screen;
mod table;

use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::{Duration, Instant, SystemTime};

use crate::clock;
use crate::paint::{Paint, When, is_dumb};
use crate::protocol::{self, Seen};
use crate::sys::terminal_size;
pub(crate) use gauge::Gauge;
use journal::Journal;
use screen::{Came, Screen};

/// The width of a table where the terminal does not say.
const COLUMNS: usize = 80;

/// The width where there is no terminal: a log or a script gets every line whole.
const UNCUT: usize = usize::MAX;

/// How a status is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    /// For people: at most as wide as the terminal, ASCII only.
    Table,
    /// For programs: schema 1, indented when it is shown once, one line each when it is shown again and
    /// again.
    Json,
    /// For shell scripts: what `Json` has but the digest, one `KEY=VALUE` a line.
    Flat,
    /// Prometheus text exposition format 0.0.4.
    Metrics,
}

/// Whether a status is shown once or again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Showing {
    /// Once.
    Once,
    /// Each time in the place of the last one on a terminal, and below it elsewhere.
    Again,
}

/// Shows statuses on stdout.
pub(crate) struct Viewer {
    view: View,
    showing: Showing,
    paint: Paint,
    /// Where a status takes the place of the last one.
    screen: Option<Screen>,
    /// What is on the screen.
    last: Option<Result<Seen, String>>,
    pace: Pace,
    silence: Silence,
    started: bool,
    journal: Journal,
}

/// Whether what is on the screen is to stay there for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    Runs,
    Paused,
}

/// Since when a status is waited for, and how many seconds of that the screen tells.
#[derive(Debug, Default)]
struct Silence {
    since: Option<Instant>,
    told: u32,
}

impl Silence {
    /// When the screen is to tell the next second.
    fn next(&mut self) -> Instant {
        *self.since.get_or_insert_with(clock::now) + Duration::from_secs(1) * (self.told + 1)
    }

    fn text(&self) -> String {
        match self.told {
            0 => String::new(),
            seconds => format!("no answer for {seconds} s; "),
        }
    }
}

impl Viewer {
    /// Shows nothing yet.
    pub(crate) fn new(view: View, showing: Showing, colours: When) -> Self {
        let variable = |name: &str| std::env::var_os(name);
        let is_terminal = io::stdout().is_terminal();
        let has_screen = match (showing, view) {
            (Showing::Again, View::Table) => is_terminal && !is_dumb(&variable),
            (Showing::Again | Showing::Once, View::Table | View::Json | View::Flat | View::Metrics) => false,
        };
        Self {
            view,
            showing,
            paint: Paint::choose(colours, is_terminal, &variable),
            screen: has_screen.then(Screen::new),
            last: None,
            pace: Pace::Runs,
            silence: Silence::default(),
            started: false,
            journal: Journal::default(),
        }
    }

    /// Shows a status, or the line that says why there is none.
    ///
    /// # Errors
    /// Those of writing to stdout.
    pub(crate) fn draw(&mut self, sight: Result<Seen, &str>) -> io::Result<()> {
        self.silence = Silence::default();
        let sight = match sight {
            Ok(seen) => Ok(self.filled(seen)),
            Err(why) => Err(why.to_owned()),
        };
        if self.screen.is_some() {
            self.last = Some(sight);
            return self.redraw();
        }
        let columns = match terminal_size(io::stdout().as_fd()) {
            Some(size) => size.columns,
            None if io::stdout().is_terminal() => COLUMNS,
            None => UNCUT,
        };
        let text = self.text(&sight, columns, clock::wall());
        // Rust's stdout is line-buffered: written at once, a status is whole.
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// Lets so much time pass before the next status, or more if somebody at the terminal wants that.
    ///
    /// # Errors
    /// Those of the terminal.
    pub(crate) fn rest(&mut self, time: Duration) -> io::Result<ControlFlow<()>> {
        let deadline = clock::now() + time;
        loop {
            let Some(screen) = &mut self.screen else {
                std::thread::sleep(time);
                return Ok(ControlFlow::Continue(()));
            };
            let came = screen.wait(None, (self.pace == Pace::Runs).then_some(deadline))?;
            if came == Came::Time {
                return Ok(ControlFlow::Continue(()));
            }
            if self.heed(came)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
    }

    /// Waits on a screen until there is something to read of an answer, or until that time; longer if somebody wants a pause.
    /// Meanwhile the screen tells that there is none.
    ///
    /// # Errors
    /// Those of the terminal.
    pub(crate) fn attend(
        &mut self,
        answer: Option<BorrowedFd<'_>>,
        until: Instant,
    ) -> io::Result<ControlFlow<()>> {
        loop {
            let next = self.silence.next();
            let Some(screen) = &mut self.screen else {
                return Ok(ControlFlow::Continue(()));
            };
            let came = match self.pace {
                Pace::Runs => screen.wait(answer, Some(until.min(next)))?,
                Pace::Paused => screen.wait(None, None)?,
            };
            if came == Came::Time && clock::now() >= next {
                self.silence.told += 1;
                self.redraw()?;
            }
            let is_over = came == Came::Time && clock::now() >= until;
            if is_over || came == Came::Answer {
                return Ok(ControlFlow::Continue(()));
            }
            if self.heed(came)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
    }

    /// What somebody at the terminal wants.
    fn heed(&mut self, came: Came) -> io::Result<ControlFlow<()>> {
        match came {
            Came::End | Came::Key(b'q' | b'Q') => return Ok(ControlFlow::Break(())),
            Came::Key(b' ' | b'p' | b'P') => {
                self.pace = match self.pace {
                    Pace::Runs => Pace::Paused,
                    Pace::Paused => Pace::Runs,
                };
                // Nobody waited during a pause.
                self.silence = Silence::default();
                self.redraw()?;
            }
            Came::Time | Came::Answer | Came::Key(_) => {}
            Came::Change => self.redraw()?,
        }
        Ok(ControlFlow::Continue(()))
    }

    /// What was seen last, in the size that the screen has now.
    fn redraw(&mut self) -> io::Result<()> {
        let (columns, now) = (Screen::size().columns, clock::wall());
        let lines = match &self.last {
            Some(Ok(seen)) => self.whole_screen(seen, columns, now),
            Some(Err(why)) => table::wrap(why, columns),
            None => Vec::new(),
        };
        let keys = match self.pace {
            Pace::Runs => "q quits, space pauses",
            Pace::Paused => "q quits, space goes on; paused",
        };
        let foot = self.silence.text() + keys;
        match &mut self.screen {
            Some(screen) => screen.draw(&lines, &foot),
            None => Ok(()),
        }
    }

    /// The table, and below its first line what is under way.
    fn whole_screen(&self, seen: &Seen, columns: usize, now: SystemTime) -> Vec<String> {
        let mut lines = table::render(&seen.status, columns, now, self.paint);
        let under_way = progress::of(&seen.status, now);
        let under_way: Vec<String> = under_way
            .iter()
            .flat_map(|one| table::wrap(&one.text(), columns))
            .collect();
        lines.splice(1..1, under_way);
        lines
    }

    fn text(&mut self, sight: &Result<Seen, String>, columns: usize, now: SystemTime) -> String {
        let again = std::mem::replace(&mut self.started, true);
        let seen = match sight {
            Ok(seen) => seen,
            Err(why) => return self.absence(why),
        };
        match (self.view, self.showing) {
            (View::Table, _) => {
                let gap = if again { "\n" } else { "" };
                let lines = table::render(&seen.status, columns, now, self.paint);
                format!("{gap}{}\n", lines.join("\n"))
            }
            (View::Json, Showing::Once) => json(serde_json::to_string_pretty(&seen.status)),
            (View::Json, Showing::Again) => json(serde_json::to_string(&seen.status)),
            (View::Flat, _) => protocol::flat(&seen.status),
            (View::Metrics, _) => metrics::render(&seen.status),
        }
    }

    /// Adds what only /proc and the journal tell, and takes out what `--json` does not promise.
    fn filled(&mut self, mut seen: Seen) -> Seen {
        // In another pid namespace the pids of the status are other processes, or nobody's.
        if seen.supervisor == Some(seen.status.pid) {
            proc::fill(&mut seen.status);
            match self.view {
                View::Json => digest::fill(&mut seen.status),
                // They do not show it, or may be asked every second, and reading a large binary takes a while.
                View::Table | View::Flat | View::Metrics => {}
            }
            match self.view {
                View::Table | View::Json | View::Flat => self.journal.fill(&mut seen.status),
                View::Metrics => {}
            }
        }
        for listener in &mut seen.status.listeners {
            listener.inode = None;
        }
        seen
    }

    /// Programs that read one status after the other get `null` for none.
    fn absence(&self, why: &str) -> String {
        match self.view {
            View::Table => format!("{why}\n"),
            View::Json => "null\n".to_owned(),
            View::Flat | View::Metrics => String::new(),
        }
    }
}

/// Our own types have string keys, so that serialising them cannot fail.
fn json(text: serde_json::Result<String>) -> String {
    text.unwrap_or_else(|_| "null".to_owned()) + "\n"
}

#[cfg(test)]
mod tests;
