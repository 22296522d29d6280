//! One line on a terminal that tells how far a reload is, below all that is said of it.

use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;

use super::progress::{self, Drain, UnderWay};
use super::{COLUMNS, proc};
use crate::clock;
use crate::paint::is_dumb;
use crate::protocol::{Seen, Until};
use crate::sys::terminal_size;

/// How wide the bar of a drain is, in columns.
const BAR: u64 = 20;

/// The line, on stderr.
#[derive(Debug)]
pub(crate) struct Gauge {
    /// How far the reload is waited for.
    until: Until,
    is_shown: bool,
    /// The most connections that were seen to drain.
    most: u64,
}

impl Gauge {
    /// None where it could not be drawn over, or nobody looks.
    pub(crate) fn on_terminal(until: Until) -> Option<Self> {
        let can_draw = io::stderr().is_terminal() && !is_dumb(&|name| std::env::var_os(name));
        can_draw.then_some(Self {
            until,
            is_shown: false,
            most: 0,
        })
    }

    /// Draws it in the place of the last one.
    pub(crate) fn draw(&mut self, mut seen: Seen) {
        if seen.supervisor == Some(seen.status.pid) {
            proc::fill(&mut seen.status);
        }
        let mut under_way = progress::of(&seen.status, clock::wall()).into_iter();
        let mut text = match under_way.find(|one| self.is_waited_for(one)) {
            Some(UnderWay::Drain(drain)) => self.with_bar(drain),
            Some(other) => other.text(),
            None => String::new(),
        };
        let columns = terminal_size(io::stderr().as_fd()).map_or(COLUMNS, |size| size.columns);
        // In the last column the cursor of some terminals goes on to the next line.
        text.truncate(columns.saturating_sub(1));
        self.put(&text);
        self.is_shown = !text.is_empty();
    }

    fn is_waited_for(&self, under_way: &UnderWay) -> bool {
        match under_way {
            UnderWay::Probation(_) => self.until == Until::Settled,
            UnderWay::Start(_) | UnderWay::Linger(_) | UnderWay::Drain(_) => true,
        }
    }

    fn with_bar(&mut self, drain: Drain) -> String {
        let Some(connections) = drain.connections else {
            return drain.text();
        };
        self.most = self.most.max(connections);
        format!("{} {}", drain.text(), bar(self.most - connections, self.most))
    }

    /// Takes it away: something else is to be said.
    pub(crate) fn clear(&mut self) {
        if std::mem::take(&mut self.is_shown) {
            self.put("");
        }
    }

    /// In the place of what stands in this line (ECMA-48: EL). Nobody can be told that stderr is closed.
    fn put(&self, text: &str) {
        let mut stderr = io::stderr().lock();
        let _ = stderr.write_all(format!("\r\x1b[K{text}").as_bytes());
        let _ = stderr.flush();
    }
}

/// How much is done, in ASCII as the text is.
fn bar(done: u64, all: u64) -> String {
    let filled = (done * BAR).checked_div(all).unwrap_or(BAR);
    let (done, rest) = ("#".repeat(filled as usize), "-".repeat((BAR - filled) as usize));
    format!("[{done}{rest}]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_fills_up() {
        assert_eq!(bar(0, 14), "[--------------------]");
        assert_eq!(bar(7, 14), "[##########----------]");
        assert_eq!(bar(14, 14), "[####################]");
        assert_eq!(bar(0, 0), "[####################]");
    }
}
