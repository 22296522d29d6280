//! From the flip of `current` to the outcome: what follows one that cannot be taken back in silence.

mod way_back;

use std::path::Path;
use std::time::Instant;

use super::asking::{Pids, Supervisor, TICK};
use super::ending::{Ending, Outcome, Step, pass_on, say};
use super::image::quoted;
use super::journal::Flip;
use super::look::{Busy, when};
use super::plan::{self, Asked, Course, Judgement, NEVER_SERVED, NOT_SEEN, Next, Version};
use super::store::link_to;
use super::{Action, Deploy, Never, Reload, now};
use crate::client::{Came, Heard, ReloadOutcome};
use crate::clock;
use crate::protocol::{self, Probation, Until, setting};

/// A flip that was made, and what was known before it.
#[derive(Debug, Clone)]
pub(super) struct Flipped {
    release: String,
    /// `last_reload.at` of the status.
    last_before: Option<String>,
    /// When the incumbent had begun to serve.
    since: Option<String>,
}

/// What came of asking for a reload.
enum Waited {
    Came(Came),
    /// Nobody waits for it any more: a signal came.
    Left,
}

/// Whether a signal ends the waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heed {
    Leave,
    Stay,
}

impl Deploy {
    /// Flips `current`, reloads, and waits for the outcome.
    pub(super) fn go(&mut self, release: &str) -> Step<Never> {
        self.note_unseen(release);
        let flipped = self.flip_forward(release)?;
        say(format_args!(
            "flipped current from {} to {}",
            self.current.shown(),
            link_to(release)
        ));
        let until = match self.wanted.reload {
            Reload::No => return self.finish_without_reload(release),
            Reload::Takeover => Until::Takeover,
            Reload::Settled => Until::Settled,
        };
        let course = self.outcome(&flipped, until)?;
        self.told.generation = course.generation;
        self.told.probation = course.probation;
        self.told.cause.clone_from(&course.cause);
        self.told.reason.clone_from(&course.reason);
        self.told.last_lines.clone_from(&course.last_lines);
        match plan::next(&course) {
            Next::Succeed => self.succeed(&flipped, &course),
            Next::ReturnToOld => self.return_to_old(&flipped, course.failure()),
            Next::TakeBack => self.take_back(&flipped, &course, course.failure()),
        }
    }

    /// Nobody may have looked while a service has started the release that is replaced: from here on its mark says so, and not that
    /// it has never served. Before the flip, so that a kill leaves no doubt.
    fn note_unseen(&self, release: &str) {
        let old = self.current.release.as_deref().filter(|old| *old != release);
        if let Some(old) =
            old.filter(|old| self.store.is_unproven(old) && self.store.mark(old) == NEVER_SERVED)
        {
            self.note(old, NOT_SEEN);
        }
    }

    /// Points `current` to the release; all of it or nothing.
    fn flip_forward(&mut self, release: &str) -> Step<Flipped> {
        let status = self.look.status();
        let link = self.current.link.clone();
        let flip = Flip {
            action: self.wanted.action.word().to_owned(),
            from: link.clone().unwrap_or_default(),
            to: link_to(release),
            supervisor: status.map_or_else(String::new, |status| status.pid.to_string()),
            generation: self
                .look
                .incumbent()
                .map_or_else(String::new, |generation| generation.generation.to_string()),
            pid: std::process::id().to_string(),
            at: now(),
        };
        let flipped = Flipped {
            release: release.to_owned(),
            last_before: status.and_then(|status| Some(status.last_reload.as_ref()?.at.clone())),
            since: self.look.since().map(str::to_owned),
        };
        let done = self
            .store
            .make_links(flip.to.as_ref(), link.as_deref())
            .and_then(|()| self.store.write_journal(&flip))
            .and_then(|()| self.store.flip_forward());
        let caught = self.interruption.caught();
        let problem = match (done, caught) {
            (Ok(()), None) => return Ok(flipped),
            (Ok(()), Some(signal)) => format!("interrupted by {signal}"),
            (Err(cause), _) => cause,
        };
        // The rename may have been the last thing that worked.
        self.store
            .flip_back(link.as_deref())
            .and_then(|()| self.store.remove_journal())
            .map_err(|cause| format!("{problem}; and {cause}"))?;
        Err(match caught {
            Some(signal) => Ending::interrupted(signal, "nothing was changed"),
            None => Ending::refused(format_args!("{problem}; nothing was changed")),
        })
    }

    fn finish_without_reload(&mut self, release: &str) -> Step<Never> {
        self.withdraw(release);
        self.close();
        self.ask();
        let text = if self.look.status().is_some() {
            format!(
                "{}; current leads to {release}, which the next reload starts: segue reload {}",
                self.who(),
                self.supervisor.flags().join(" ")
            )
        } else {
            format!(
                "{name}: {release} is in place and nobody serves; start it with a command like: segue run --listen 8080 --name {name} -- {}",
                quoted(&self.program().to_string_lossy()),
                name = self.name
            )
        };
        Err(Ending::new(Outcome::InPlace, text))
    }

    /// It is known where `current` leads to in the end: nothing is left to resolve.
    fn close(&mut self) {
        self.made.release = None;
        if let Err(cause) = self.store.remove_journal() {
            say(cause);
        }
    }

    /// Asks for the reload, until it is known what came of it.
    fn outcome(&mut self, flipped: &Flipped, until: Until) -> Step<Course> {
        let mut tries = 1;
        loop {
            let came = match self.reload(flipped, until) {
                Waited::Came(came) => came,
                Waited::Left => return Err(self.leave_early(flipped)),
            };
            self.ask();
            match came.outcome {
                ReloadOutcome::Failed => return Ok(course(protocol::Outcome::Failed, came)),
                ReloadOutcome::RolledBack => return Ok(course(protocol::Outcome::RolledBack, came)),
                ReloadOutcome::TimedOut => return Err(self.leave_unknown(flipped, &came.message)),
                // Nothing was asked for.
                ReloadOutcome::Refused | ReloadOutcome::Ambiguous | ReloadOutcome::Misused => {
                    return Ok(Course::failed(came.message));
                }
                // It may have been rolled back since.
                ReloadOutcome::Ok if self.look.serves() && self.version(flipped) != Version::Other => {
                    let far_enough = until != Until::Settled || came.probation == Some(Probation::Passed);
                    if far_enough {
                        return Ok(course(protocol::Outcome::Ok, came));
                    }
                }
                ReloadOutcome::Ok
                | ReloadOutcome::Accepted
                | ReloadOutcome::NoSupervisor
                | ReloadOutcome::Lost
                | ReloadOutcome::Unknown => {}
            }
            let asked = Asked {
                last_before: flipped.last_before.clone(),
                generation: came.generation,
                restarts: u64::MAX,
                until,
                tries,
            };
            match self.await_outcome(flipped, asked)? {
                Some(course) => return Ok(course),
                None => {
                    tries += 1;
                    say("the supervisor has not taken the reload; asking again");
                }
            }
        }
    }

    fn version(&self, flipped: &Flipped) -> Version {
        self.look.version(&flipped.release, flipped.since.as_deref())
    }

    fn reload(&mut self, flipped: &Flipped, until: Until) -> Waited {
        let timeout = self.wanted.timeout;
        say(format_args!(
            "reloading: segue {}",
            Supervisor::reload_words(until, timeout).join(" ")
        ));
        let mut reloading = self.supervisor.reload(until, timeout);
        let is_here = matches!(self.supervisor, Supervisor::Here(_));
        loop {
            match reloading.listen() {
                Heard::Line(lines) => lines.lines().for_each(pass_on),
                Heard::Came(came) => {
                    // A command has said it itself.
                    match came.outcome {
                        _ if !is_here => {}
                        ReloadOutcome::Ok | ReloadOutcome::Accepted => pass_on(&came.message),
                        ReloadOutcome::Failed
                        | ReloadOutcome::RolledBack
                        | ReloadOutcome::Refused
                        | ReloadOutcome::Ambiguous
                        | ReloadOutcome::Misused
                        | ReloadOutcome::NoSupervisor
                        | ReloadOutcome::TimedOut
                        | ReloadOutcome::Lost
                        | ReloadOutcome::Unknown => pass_on(&format!("segue: {}", came.message)),
                    }
                    return Waited::Came(*came);
                }
                Heard::Nothing => {
                    if self.heed(flipped) == Heed::Leave {
                        reloading.leave(&self.interruption);
                        return Waited::Left;
                    }
                    reloading.wait(&self.interruption);
                }
            }
        }
    }

    /// A reload cannot be taken back. So the first signal ends the waiting only if the outcome of the handoff is known.
    fn heed(&mut self, flipped: &Flipped) -> Heed {
        let Some(signal) = self.interruption.caught() else {
            return Heed::Stay;
        };
        self.ask();
        if self.look.is_release(&flipped.release) || self.interruption.count() > 1 {
            return Heed::Leave;
        }
        if self.interruption.is_to_be_told() {
            say(format_args!(
                "interrupted by {signal}: a reload cannot be taken back; waiting for its takeover or failure (a second signal leaves at once)"
            ));
        }
        Heed::Stay
    }

    /// The supervisor was killed, say, and comes back: its successor goes on with what was under way. So the status tells in the
    /// end what has become of the reload. `None`: nobody has taken it.
    fn await_outcome(&mut self, flipped: &Flipped, mut asked: Asked) -> Step<Option<Course>> {
        let began = clock::now();
        let mut away_since: Option<Instant> = None;
        let patience = self.wanted.supervisor_timeout;
        loop {
            self.ask();
            if let Some(status) = self.look.status() {
                asked.restarts = asked.restarts.min(status.restarts);
                let incumbent = self.look.as_incumbent(self.version(flipped));
                match plan::judge(status, &incumbent, &asked) {
                    Judgement::NotYet => {}
                    Judgement::Came(course) => return Ok(Some(course)),
                    Judgement::AskAgain => return Ok(None),
                }
            }
            if self.look.serves() {
                away_since = None;
            } else if away_since.is_none() {
                away_since = Some(clock::now());
                let absence = match self.look.status() {
                    None => "no supervisor answers",
                    Some(_) => "nobody serves",
                };
                say(format_args!(
                    "{absence}; waiting up to {} s for that to change",
                    patience.as_secs()
                ));
            }
            if self.heed(flipped) == Heed::Leave {
                return Err(self.leave_early(flipped));
            }
            let has_passed = |since: Instant, time| clock::now().saturating_duration_since(since) >= time;
            if away_since.is_some_and(|since| has_passed(since, patience)) {
                return Err(self.give_up_waiting(flipped));
            }
            if let Some(timeout) = self.wanted.timeout.filter(|timeout| has_passed(began, *timeout)) {
                let words = format!("no outcome within {}", setting(timeout));
                return Err(self.leave_unknown(flipped, &words));
            }
            self.interruption.wait(&[], TICK);
        }
    }

    /// Nobody has served for too long.
    fn give_up_waiting(&mut self, flipped: &Flipped) -> Box<Ending> {
        if self.look.status().is_none() {
            return self.leave_without_supervisor(flipped);
        }
        let seconds = self.wanted.supervisor_timeout.as_secs();
        ended(self.return_to_old(flipped, format!("nobody has served for {seconds} s")))
    }

    /// The next supervisor goes on with what still runs; nobody does with what has ended.
    fn leave_without_supervisor(&mut self, flipped: &Flipped) -> Box<Ending> {
        self.made.release = None;
        let release = &flipped.release;
        let open = format!(
            "reload: no supervisor has come back within {} s, so that the outcome of the reload is not known; run it again to resolve it",
            self.wanted.supervisor_timeout.as_secs()
        );
        let text = if self.any_lives(release) {
            // It may have been flipped back already.
            let current = self.store.current().unwrap_or_default();
            let leads_to = current.release.clone().unwrap_or_else(|| current.shown());
            format!("{open}: processes of the app still run, and current leads to {leads_to}")
        } else {
            match self.store.flip_back(self.current.link.as_deref()) {
                Ok(()) => format!(
                    "{open}: nothing of the app runs any more, and current leads to {} again",
                    self.current.shown()
                ),
                Err(cause) => format!(
                    "{open}: nothing of the app runs any more; and {cause}: current still leads to {release}"
                ),
            }
        };
        Ending::new(Outcome::Pending, text)
    }

    /// A process of the last status, or one that runs a file of the release.
    fn any_lives(&self, release: &str) -> bool {
        // Those of another pid namespace are no processes here; a file of the release is the same everywhere.
        let told = self.last_told.iter().filter(|(_, pids)| *pids == Pids::Ours);
        let generations = told.flat_map(|(status, _)| &status.generations);
        let mut workers = generations.flat_map(|generation| &generation.workers);
        workers.any(|worker| Path::new(&format!("/proc/{}", worker.pid)).exists())
            || Busy::look().has(release, None, &self.store)
    }

    fn succeed(&mut self, flipped: &Flipped, course: &Course) -> Step<Never> {
        if self.version(flipped) == Version::Other {
            let generation = self.look.incumbent();
            let text = format!(
                "generation {} runs {}, which is not {}; what is the command of segue run?",
                generation.map_or_else(String::new, |generation| generation.generation.to_string()),
                generation.map_or("nothing", |generation| generation.binary.path.as_str()),
                self.program().display()
            );
            return self.take_back(flipped, course, text);
        }
        let release = &flipped.release;
        self.made.release = None;
        let end_of_wait = if course.probation == Some(Probation::Passed) {
            self.prove(release);
            self.close();
            "probation passed"
        } else {
            // The next run resolves it.
            "probation not waited for"
        };
        self.withdraw(release);
        self.remove_old_releases();
        if let Action::DeployImage(_) = self.wanted.action {
            self.let_go_of_rest();
        }
        let generation = self.look.incumbent().map(|generation| generation.generation);
        let last = self.look.status().and_then(|status| status.last_reload.as_ref());
        let took = last
            .filter(|last| last.generation == generation)
            .map_or_else(String::new, |last| {
                format!("switched in {} ms, ", last.duration_ms)
            });
        let text = format!(
            "{}: {release} serves since {} (generation {}, {took}{end_of_wait})",
            self.name,
            self.look.since().map(when).unwrap_or_default(),
            generation.unwrap_or_default()
        );
        Err(Ending::new(Outcome::Ok, text))
    }

    fn leave_early(&mut self, flipped: &Flipped) -> Box<Ending> {
        self.made.release = None;
        let (who, release) = (self.who(), &flipped.release);
        let how_far = if self.look.is_release(release) {
            format!("{who}; probation has not been waited for")
        } else {
            format!(
                "{who}; the reload goes on, and current leads to {release}, which does not serve yet; run it again to resolve it"
            )
        };
        match self.interruption.caught() {
            Some(signal) => Ending::interrupted(signal, how_far),
            None => Ending::new(Outcome::Pending, how_far),
        }
    }

    fn leave_unknown(&mut self, flipped: &Flipped, words: &str) -> Box<Ending> {
        self.made.release = None;
        let (who, release) = (self.who(), &flipped.release);
        let how_far = if self.look.is_release(release) {
            "probation has not passed yet".to_owned()
        } else {
            format!("current leads to {release}, which does not serve yet; run it again to resolve it")
        };
        Ending::new(
            Outcome::Pending,
            format_args!("reload: {words}: {who}; {how_far}"),
        )
    }
}

fn ended(step: Step<Never>) -> Box<Ending> {
    match step {
        Ok(never) => match never {},
        Err(ending) => ending,
    }
}

fn course(outcome: protocol::Outcome, came: Came) -> Course {
    Course {
        outcome,
        probation: came.probation,
        generation: came.generation,
        cause: came.cause,
        reason: came.reason,
        last_lines: came.last_lines,
    }
}
