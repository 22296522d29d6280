//! What a deploy that was interrupted has left: half-made things go away, and a flip without an outcome is resolved.

use std::time::Duration;

use super::ending::{Ending, Outcome, Step, say};
use super::journal::Flip;
use super::look::Busy;
use super::plan::{self, OpenFlip, ROLLED_BACK, Resolution, Server};
use super::{Action, Deploy, store::link_to};
use crate::clock;
use crate::protocol::{State, setting};

/// How often the supervisor is asked meanwhile.
const AGAIN: Duration = Duration::from_secs(1);

impl Deploy {
    pub(super) fn recover(&mut self) -> Step<()> {
        let open = self.store.journal();
        if self.is_rehearsal() {
            if open.is_some() {
                say("an earlier deploy was interrupted; a run without --dry-run resolves it first");
            }
            return Ok(());
        }
        self.store.clear()?;
        if let Some(flip) = open {
            self.resolve(&flip)?;
        }
        if let Some(release) = self.look.release.clone().filter(|_| self.look.serves()) {
            self.prove(&release);
        }
        // A rollback chooses among what is there.
        match self.wanted.action {
            Action::Deploy(_) | Action::DeployImage(_) => self.remove_unproven_releases(),
            Action::Rollback(_) | Action::List => {}
        }
        Ok(())
    }

    pub(super) fn prove(&self, release: &str) {
        if let Err(cause) = self.store.prove(release) {
            say(cause);
        }
    }

    fn resolve(&mut self, flip: &Flip) -> Step<()> {
        say(format_args!(
            "a deploy (pid {}, {}) was interrupted or returned before probation had passed",
            flip.pid, flip.at
        ));
        self.await_handoff()?;
        let current = self.store.current()?;
        let to = flip.to.strip_prefix("releases/").unwrap_or(&flip.to);
        let found = self.look.clone();
        let server = match (found.status(), &found.release) {
            (None, _) => Server::NoSupervisor,
            (Some(_), Some(release)) => Server::Release(release),
            (Some(status), None) => {
                let generation = found
                    .incumbent()
                    .map(|generation| generation.generation.to_string());
                let is_same = status.pid.to_string() == flip.supervisor
                    && generation.is_some_and(|generation| generation == flip.generation);
                if is_same {
                    Server::SameAsBefore
                } else {
                    Server::Unknown
                }
            }
        };
        let resolution = plan::resolve(OpenFlip {
            to,
            led_somewhere: !flip.from.is_empty(),
            is_flipped: current.link.as_deref() == Some(flip.to.as_ref()),
            server,
            probation: found.incumbent().map(|generation| generation.probation),
        });
        match resolution {
            Resolution::NotKnown => {
                let from = if flip.from.is_empty() {
                    "nothing".to_owned()
                } else {
                    flip.from.display().to_string()
                };
                say(format_args!(
                    "it was to flip current from {from} to {}; no supervisor answers, so it is not known whether that has served",
                    flip.to
                ));
                // A run that can ask resolves it, unless this one flips by itself.
                return Ok(self.store.remove_work()?);
            }
            Resolution::Serves { is_proven } => {
                self.store.point_current_to(flip.to.as_ref())?;
                say(format_args!("its release serves: {to}"));
                if !is_proven {
                    say("its probation has not passed yet: the next run looks again");
                    return Ok(self.store.remove_work()?);
                }
            }
            Resolution::NotFlipped => say(format_args!(
                "it had not flipped current, or had flipped it back: {} leads to {}",
                self.store.current_path().display(),
                current.shown()
            )),
            Resolution::BackTo(release) => {
                self.store.point_current_to(link_to(release).as_ref())?;
                if flip.action == "deploy" && self.store.has(to) {
                    self.note(to, "did not pass probation");
                }
                say(format_args!(
                    "its release does not serve; current leads to the one that does again: {release}"
                ));
            }
            Resolution::BackToBefore => {
                self.store.point_current_to(&flip.from)?;
                say(format_args!(
                    "its release does not serve; current leads to {} again",
                    flip.from.display()
                ));
            }
            Resolution::NotSeen => say(format_args!(
                "which release serves cannot be seen from {}; {} leads to {}",
                found
                    .incumbent()
                    .map_or("its status", |generation| generation.binary.path.as_str()),
                self.store.current_path().display(),
                current.shown()
            )),
        }
        self.store.remove_journal()?;
        Ok(self.store.remove_work()?)
    }

    /// Until the handoff that it began has an outcome, for as long as that of an own reload is waited for. A handoff that is still
    /// under way then has not failed: its flip stays open.
    fn await_handoff(&mut self) -> Step<()> {
        let began = clock::now();
        let mut told = false;
        let is_under_way = |deploy: &Self| {
            deploy
                .look
                .status()
                .is_some_and(|status| status.state == State::HandingOff)
        };
        while is_under_way(self) {
            if let Some(timeout) = self.wanted.timeout
                && clock::now().saturating_duration_since(began) >= timeout
            {
                let text = format!(
                    "the reload of an earlier deploy is still under way after {}; {}; run it again to resolve it",
                    setting(timeout),
                    self.who()
                );
                return Err(Ending::new(Outcome::Pending, text));
            }
            if told {
                self.interruption.wait(&[], AGAIN);
                self.interruption.heed()?;
            } else {
                told = true;
                say("its reload is still under way; waiting for that");
            }
            self.ask();
        }
        Ok(())
    }

    /// Marks a release, for whoever lists them.
    pub(super) fn note(&self, release: &str, text: &str) {
        if self
            .store
            .make_work_if_missing()
            .and_then(|()| super::files::attempt("note the failure", self.store.write_mark(release, text)))
            .is_err()
        {
            say(format_args!(
                "note the failure of {release}: its mark cannot be written"
            ));
        }
    }

    /// What an earlier deploy has left that never served. One that a rollback has left behind may be wanted again.
    fn remove_unproven_releases(&mut self) {
        let current = self.store.current().unwrap_or_default().release;
        // Nor does one go of which a flip that is still open may tell that it serves.
        let open = self.store.journal();
        let left = self.store.releases().into_iter().filter(|release| {
            let is_current = current.as_ref() == Some(release);
            let is_open = open.as_ref().is_some_and(|flip| flip.names(release));
            !is_current && !is_open && self.store.is_bad(release) && self.store.mark(release) != ROLLED_BACK
        });
        let left: Vec<String> = left.collect();
        if left.is_empty() {
            return;
        }
        let busy = Busy::look();
        for release in left {
            if busy.has(&release, Some(&self.look), &self.store) {
                continue;
            }
            match self.discard(&release) {
                Ok(()) => say(format_args!("removed release {release}, which does not serve")),
                Err(cause) => say(cause),
            }
        }
    }

    /// Releases above the number that is kept. The current one, the one before and those that a process still runs stay.
    pub(super) fn remove_old_releases(&mut self) {
        let current = self.store.current().unwrap_or_default().release;
        let previous = self.store.previous(current.as_deref());
        let releases = self.store.releases();
        let old = plan::too_old(
            &releases,
            self.wanted.keep,
            current.as_deref(),
            previous.as_deref(),
        );
        if old.is_empty() {
            return;
        }
        let busy = Busy::look();
        for release in old {
            if busy.has(release, Some(&self.look), &self.store) {
                say(format_args!(
                    "release {release} stays, for a process still runs it"
                ));
                continue;
            }
            match self.discard(release) {
                Ok(()) => say(format_args!("removed old release {release}")),
                Err(cause) => say(cause),
            }
        }
    }
}
