//! What a status looks like: as JSON, as `KEY=VALUE` lines, as a table, as metrics. Runs in the client's process, which adds what
//! only /proc tells (open and waiting connections), so that the supervisor's loop never reads it.

mod digest;
mod journal;
mod metrics;
mod proc;
mod screen;
mod table;

use std::io::{self, IsTerminal, Write};
use std::time::SystemTime;

use crate::clock;
use crate::protocol::{self, Seen};
use crate::sys::terminal_size;
use journal::Journal;
use screen::Screen;

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
    /// Each time over the last one, on a terminal.
    Again,
}

/// Shows statuses on stdout.
pub(crate) struct Viewer {
    view: View,
    showing: Showing,
    screen: Screen,
    started: bool,
    journal: Journal,
}

impl Viewer {
    /// Shows nothing yet.
    pub(crate) fn new(view: View, showing: Showing) -> Self {
        let screen = match (showing, view) {
            (Showing::Again, View::Table) if io::stdout().is_terminal() => Screen::Redrawn,
            (Showing::Again | Showing::Once, View::Table | View::Json | View::Flat | View::Metrics) => {
                Screen::Scrolling
            }
        };
        Self {
            view,
            showing,
            screen,
            started: false,
            journal: Journal::default(),
        }
    }

    /// Shows a status, or the line that says why there is none.
    ///
    /// # Errors
    /// Those of writing to stdout.
    pub(crate) fn draw(&mut self, sight: Result<Seen, &str>) -> io::Result<()> {
        let size = terminal_size(std::os::fd::AsFd::as_fd(&io::stdout()));
        let columns = match size {
            Some(size) => size.columns,
            None if io::stdout().is_terminal() => COLUMNS,
            None => UNCUT,
        };
        let text = self.text(sight, columns, clock::wall());
        let text = self.screen.frame(&text, size);
        // Rust's stdout is line-buffered: written at once, a redraw does not flicker.
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    fn text(&mut self, sight: Result<Seen, &str>, columns: usize, now: SystemTime) -> String {
        let again = std::mem::replace(&mut self.started, true);
        let seen = match sight {
            Ok(seen) => self.filled(seen),
            Err(why) => return self.absence(why),
        };
        match (self.view, self.showing) {
            (View::Table, _) => {
                let gap = if again && self.screen == Screen::Scrolling {
                    "\n"
                } else {
                    ""
                };
                format!("{gap}{}", table::render(&seen.status, columns, now))
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
