//! The paths of Unix listeners, which some apps take away: the loop is woken when that happens, and puts them back.

use std::rc::Rc;

use segue_lifecycle::Record;

use crate::listeners::{Listener, PathWatch};
use crate::shell::PollSet;
use crate::shell::fleet::Ground;
use crate::sources::Source;
use crate::sys::errno_text;

/// What is done about a path that nobody watches.
const UNWATCHED: &str = "if an app removes it, it is put back when a worker starts, is ready or exits";

/// What is watched.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    watch: Option<PathWatch>,
    /// The records whose listeners were looked at: how many, and the newest.
    made_for: Option<(usize, Option<Record>)>,
    /// Something could not be watched, and that has been told.
    told: bool,
}

impl Paths {
    /// Watch the paths of all listeners that are open. It looks only where there are other records than before.
    pub(crate) fn watch(&mut self, ground: &Ground<'_>, sources: &mut PollSet) {
        let births = &ground.records.births;
        let records = (births.len(), births.keys().next_back().copied());
        if self.made_for.replace(records) == Some(records) {
            return;
        }
        let mut listeners = ground.records.current_listeners();
        listeners.retain(|listener| listener.keeps_path());
        if listeners.is_empty() && self.watch.is_none() {
            return;
        }
        if let Err(text) = self.open(sources) {
            self.tell(&text, ground);
        }
        let Some(watch) = &mut self.watch else {
            return;
        };
        let (begun, failed) = watch.watch(&listeners);
        for listener in begun {
            mend(listener, ground);
        }
        for cause in failed {
            self.tell(&cause.to_string(), ground);
        }
    }

    fn open(&mut self, sources: &mut PollSet) -> Result<(), String> {
        if self.watch.is_none() {
            let watch = PathWatch::open()?;
            sources
                .add(Source::Paths, &watch)
                .map_err(|errno| format!("epoll: {}", errno_text(errno)))?;
            self.watch = Some(watch);
        }
        Ok(())
    }

    /// Once is enough: what is short for one listener is so for the next as well.
    fn tell(&mut self, cause: &str, ground: &Ground<'_>) {
        if !std::mem::replace(&mut self.told, true) {
            ground.log.warning(&format!("{cause}; {UNWATCHED}"));
        }
    }

    /// Put back what is gone.
    pub(crate) fn put_back(&mut self, ground: &Ground<'_>) {
        let changed = self.watch.as_mut().map(PathWatch::take).unwrap_or_default();
        if changed.is_empty() {
            return;
        }
        for listener in ground.records.current_listeners() {
            if changed.contains(&listener.inode()) {
                mend(&listener, ground);
            }
        }
    }
}

fn mend(listener: &Rc<Listener>, ground: &Ground<'_>) {
    if let Some(said) = listener.mend_links() {
        ground.log.warning(&said.to_string());
    }
}
