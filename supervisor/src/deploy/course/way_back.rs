//! A release that failed: the one before it is what `current` leads to again, and what runs.

use std::ffi::OsString;
use std::time::Duration;

use super::{Flipped, Waited};
use crate::client::ReloadOutcome;
use crate::clock;
use crate::deploy::asking::TICK;
use crate::deploy::ending::{Ending, Outcome, Step, quote, say};
use crate::deploy::plan::{self, Course, ROLLED_BACK, Version};
use crate::deploy::store::link_to;
use crate::deploy::{Action, Deploy, Never};
use crate::protocol::{self, Until};

/// How long a last good generation has to serve after a rollback, before it is said that nobody serves.
const RETURN_WAIT: Duration = Duration::from_secs(10);

impl Deploy {
    /// The release that was rolled back from is no good one any more.
    pub(super) fn withdraw(&self, release: &str) {
        let old = self.current.release.as_deref();
        if let (Action::Rollback(_), Some(old)) = (&self.wanted.action, old)
            && old != release
            && self.store.has(old)
        {
            self.note(old, ROLLED_BACK);
        }
    }

    /// A rollback started an interpreter with what `current` leads to, which is not what it was.
    fn rolled_back_in_vain(&self, course: &Course) -> Option<String> {
        let replaced = self.look.incumbent()?.replaced.clone()?;
        (course.outcome == protocol::Outcome::RolledBack).then_some(replaced)
    }

    /// `current` leads to the release that serves.
    pub(super) fn take_back(&mut self, flipped: &Flipped, course: &Course, reason: String) -> Step<Never> {
        quote(&course.last_lines);
        let in_vain = |what: String| format!("{reason}; the rollback could not bring {what} back");
        if let Some(what) = self.rolled_back_in_vain(course) {
            return self.return_to_old(flipped, in_vain(what));
        }
        self.await_server();
        if self.look.status().is_none() {
            return Err(self.leave_without_supervisor(flipped));
        }
        if let Some(what) = self.rolled_back_in_vain(course) {
            return self.return_to_old(flipped, in_vain(what));
        }
        let release = &flipped.release;
        self.note_failure(release, &reason);
        self.made.release = None;
        let outcome = match course.outcome {
            protocol::Outcome::RolledBack => Outcome::RolledBack,
            protocol::Outcome::Ok | protocol::Outcome::Failed => Outcome::Failed,
        };
        let who = self.who();
        let end = |how: String| {
            Err(Ending::new(
                outcome,
                format_args!("reload: {reason}; {who}; {how}"),
            ))
        };
        if self.look.is_release(release) {
            return end("current leads to it".to_owned());
        }
        // Perhaps not the release before, but the last good one.
        let before = self.current.link.clone();
        let serving = self
            .look
            .release
            .as_deref()
            .map(|release| OsString::from(link_to(release)));
        let back = match &serving {
            Some(serving) if before.as_ref() != Some(serving) => {
                let made = self.store.make_links(serving, Some(serving));
                if made.is_ok() {
                    serving.clone()
                } else {
                    before.clone().unwrap_or_default()
                }
            }
            Some(_) | None => before.clone().unwrap_or_default(),
        };
        let flipped_back = self
            .store
            .flip_back(Some(back.as_os_str()).filter(|back| !back.is_empty()));
        if let Err(cause) = flipped_back {
            return end(format!("and {cause}: current still leads to {release}"));
        }
        self.close();
        let shown = match &serving {
            Some(serving) if *serving == back => "it".to_owned(),
            Some(_) | None if back.is_empty() => "nothing".to_owned(),
            Some(_) | None => back.display().to_string(),
        };
        end(format!("current leads to {shown} again"))
    }

    /// Until somebody serves; for a while.
    fn await_server(&mut self) {
        let began = clock::now();
        loop {
            let patience = match self.look.status() {
                Some(_) if self.look.serves() => return,
                Some(_) => RETURN_WAIT,
                None => self.wanted.supervisor_timeout,
            };
            if clock::now().saturating_duration_since(began) >= patience {
                return;
            }
            self.interruption.wait(&[], TICK);
            self.interruption.caught();
            self.ask();
        }
    }

    /// The failed release stays until the next run, for those who want to look at it.
    fn note_failure(&self, release: &str, reason: &str) {
        match self.wanted.action {
            Action::Deploy(_) | Action::DeployImage(_) => self.note(release, reason),
            Action::Rollback(_) | Action::List => {}
        }
    }

    /// Nobody serves, and Segue has nothing to go back to. We have.
    pub(super) fn return_to_old(&mut self, flipped: &Flipped, reason: String) -> Step<Never> {
        quote(&std::mem::take(&mut self.told.last_lines).clone());
        let release = &flipped.release;
        let Some(link) = self.current.link.clone() else {
            self.made.release = None;
            return Err(Ending::new(
                Outcome::Failed,
                format_args!("reload: {reason}; {}; there is no release before it", self.who()),
            ));
        };
        say(format_args!(
            "{reason}; going back to {} with a second reload",
            link.display()
        ));
        if let Err(cause) = self.store.flip_back(Some(&link)) {
            self.made.release = None;
            return Err(Ending::new(
                Outcome::Failed,
                format_args!("reload: {reason}; {}; and {cause}", self.who()),
            ));
        }
        self.reload_old(flipped);
        if self.look.status().is_none() {
            return Err(self.leave_without_supervisor(flipped));
        }
        self.note_failure(release, &reason);
        self.close();
        Err(Ending::new(
            Outcome::Failed,
            format_args!(
                "reload: {reason}; after a second reload: {}; current leads to {} again",
                self.who(),
                link.display()
            ),
        ))
    }

    /// A supervisor that was killed may not have heard of it: so it is asked for again, while the new version is what runs.
    fn reload_old(&mut self, flipped: &Flipped) {
        for _ in 0..plan::RELOAD_TRIES {
            let waited = self.reload(flipped, Until::Takeover);
            self.ask();
            self.await_server();
            match waited {
                Waited::Left => return,
                Waited::Came(came) => match came.outcome {
                    ReloadOutcome::Ok
                    | ReloadOutcome::Failed
                    | ReloadOutcome::RolledBack
                    | ReloadOutcome::Refused
                    | ReloadOutcome::TimedOut => return,
                    ReloadOutcome::Accepted
                    | ReloadOutcome::Ambiguous
                    | ReloadOutcome::Misused
                    | ReloadOutcome::NoSupervisor
                    | ReloadOutcome::Lost
                    | ReloadOutcome::Unknown => {}
                },
            }
            if self.look.serves() && self.version(flipped) == Version::Other {
                return;
            }
        }
    }
}
