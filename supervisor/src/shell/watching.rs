//! Development: a reload when the watched path has changed and come to rest.

use std::path::Path;

use segue_lifecycle::Until;

use super::{Alarm, Shell};
use crate::clock;
use crate::sources::Source;
use crate::sys::errno_text;
use crate::watch::{REST, Watch};

impl Shell {
    /// Watch this path from now on, or none.
    pub(super) fn watch_path(&mut self, path: Option<&Path>) -> Result<(), String> {
        let lost = self.watch.as_ref().is_some_and(Watch::is_lost);
        if self.watch.as_ref().map(Watch::path) == path && !lost {
            return Ok(());
        }
        let watch = path
            .map(Watch::open)
            .transpose()
            .map_err(|error| error.to_string())?;
        if let Some(old) = self.watch.take() {
            self.sources.remove(Source::Watch, old.as_fd());
        }
        if let Some(watch) = watch {
            let added = self.sources.add(Source::Watch, watch.as_fd());
            added.map_err(|errno| format!("epoll: {}", errno_text(errno)))?;
            self.watch = Some(watch);
        }
        Ok(())
    }

    /// Each change starts the time of rest anew.
    pub(super) fn note_changes(&mut self) {
        if self.watch.as_mut().is_some_and(Watch::changed) {
            self.timers.arm(Alarm::Rested, Some(REST), clock::now());
        }
    }

    pub(super) fn reload_rested(&mut self) {
        let path = self
            .watch
            .as_ref()
            .map(|watch| watch.path().display().to_string());
        self.log
            .info(&format!("reload: {} has changed", path.unwrap_or_default()));
        if self.watch.as_ref().is_some_and(Watch::is_lost) {
            self.log.warning(
                "the directory of the watched path has gone; a reload by hand that succeeds watches it again",
            );
        }
        self.ask_reload(None, Until::Takeover);
    }
}
