//! Development: a reload when the watched path has changed and come to rest.

use std::path::{Path, PathBuf};

use crate::address::UnixPath;
use crate::clock::{self, Timers};
use crate::config::Config;
use crate::log::Log;
use crate::place::Place;
use crate::shell::records::Records;
use crate::shell::{Alarm, PollSet};
use crate::sources::Source;
use crate::sys::errno_text;
use crate::watch::{REST, Watch};

impl Records {
    /// Watch the path that the settings name from now on, or none.
    pub(crate) fn watch_path(
        &mut self,
        config: &Config,
        place: &Place,
        sources: &mut PollSet,
    ) -> Result<(), String> {
        let path = config.watch.as_deref();
        let ours = if path.is_some() {
            own_files(config, place)
        } else {
            Vec::new()
        };
        let same = |watch: &Watch| Some(watch.path()) == path && watch.ours() == ours && !watch.is_lost();
        if self.watch.as_ref().is_some_and(same) {
            return Ok(());
        }
        let watch = path
            .map(|path| Watch::open(path, ours))
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

/// The files that this supervisor writes, or has its app write: a reload writes some of them, so no change of theirs asks for one.
fn own_files(config: &Config, place: &Place) -> Vec<PathBuf> {
    let files = place.files();
    let asked_for = [&config.pid_file, &config.stderr]
        .into_iter()
        .flatten()
        .map(PathBuf::as_path);
    let listeners = config
        .listen
        .iter()
        .filter_map(|spec| match spec.address.unix_path() {
            Some(UnixPath::Path(path)) => Some(path.as_path()),
            Some(UnixPath::Abstract(_)) | None => None,
        });
    let named = files
        .iter()
        .map(PathBuf::as_path)
        .chain(asked_for)
        .chain(listeners);
    named
        .filter_map(|path: &Path| std::path::absolute(path).ok())
        .collect()
}
