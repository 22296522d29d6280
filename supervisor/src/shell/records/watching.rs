//! Development: a reload when the watched path has changed and come to rest.

use std::path::Path;

use segue_lifecycle::Worker;

use crate::clock::{self, Timers};
use crate::control::ClientId;
use crate::log::Log;
use crate::shell::Alarm;
use crate::shell::records::Records;
use crate::sources::{Source, Sources};
use crate::sys::errno_text;
use crate::watch::{REST, Watch};

impl Records {
    /// Watch this path from now on, or none.
    pub(crate) fn watch_path(
        &mut self,
        path: Option<&Path>,
        sources: &mut Sources<Worker, ClientId>,
    ) -> Result<(), String> {
        let lost = self.watch.as_ref().is_some_and(Watch::is_lost);
        if self.watch.as_ref().map(Watch::path) == path && !lost {
            return Ok(());
        }
        let watch = path
            .map(Watch::open)
            .transpose()
            .map_err(|error| error.to_string())?;
        if let Some(old) = self.watch.take() {
            sources.remove(Source::Watch, old.as_fd());
        }
        if let Some(watch) = watch {
            let added = sources.add(Source::Watch, watch.as_fd());
            added.map_err(|errno| format!("epoll: {}", errno_text(errno)))?;
            self.watch = Some(watch);
        }
        Ok(())
    }

    /// Each change starts the time of rest anew.
    pub(crate) fn note_changes(&mut self, timers: &mut Timers<Alarm>) {
        if self.watch.as_mut().is_some_and(Watch::changed) {
            timers.arm(Alarm::Rested, Some(REST), clock::now());
        }
    }

    /// The watched path has come to rest after a change.
    pub(crate) fn tell_of_rest(&self, log: &Log) {
        let path = self
            .watch
            .as_ref()
            .map(|watch| watch.path().display().to_string());
        log.info(&format!("reload: {} has changed", path.unwrap_or_default()));
        if self.watch.as_ref().is_some_and(Watch::is_lost) {
            log.warning(
                "the directory of the watched path has gone; a reload by hand that succeeds watches it again",
            );
        }
    }
}
