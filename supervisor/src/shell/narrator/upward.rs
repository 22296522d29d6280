//! What the service manager above us is told: one line of status, kept current, and when it waits for us.

use std::time::{Duration, Instant};

use segue_lifecycle::{FIRST, Generation, Handoff, Life, Progress, Role, State, Timer, Worker};

use crate::clock::{self, Timers};
use crate::protocol::elapsed;
use crate::shell::Alarm;
use crate::shell::fleet::orders::Extension;
use crate::shell::narrator::Narrator;
use crate::shell::narrator::view::View;
use crate::shell::waits::Pauses;

/// The pause between two lines that differ only in the app's own words: people read them, and an app may change them
/// as often as it likes.
const WORDS_PAUSE: Duration = Duration::from_secs(1);

/// How long the end of everything waits for room in the manager's queue. One that lives makes room within milliseconds; one that hangs
/// is not to keep us.
const LAST_WORD: Duration = Duration::from_secs(2);

/// The pause between two looks for room. Nothing tells of it.
const ROOM_PAUSE: Duration = Duration::from_millis(5);

/// The longest part of the app's own words that is shown, in bytes: the line belongs to the state of the instance.
const LONGEST_WORDS: usize = 200;

/// What was told last.
#[derive(Debug)]
pub(crate) struct Upward {
    /// The line without the app's words.
    line: String,
    words: String,
    /// Before this, other words alone are no reason to speak.
    quiet_until: Option<Instant>,
    pauses: Pauses,
    /// The failure that was logged last.
    failure: Option<String>,
}

impl Upward {
    pub(crate) const fn new() -> Self {
        Self {
            line: String::new(),
            words: String::new(),
            quiet_until: None,
            pauses: Pauses::new(),
            failure: None,
        }
    }
}

impl Narrator {
    /// The first start, or a reload, is over.
    pub(crate) fn tell_ready(&mut self, view: &View<'_>) {
        let text = self.status_line(view);
        self.manager.ready(&text);
    }

    /// Tell the manager how we are, if that has changed.
    pub(crate) fn tell_status(&mut self, view: &View<'_>) {
        if !self.manager.listens() {
            return;
        }
        let quiet = self.upward.quiet_until.is_some_and(|until| clock::now() < until);
        if quiet && self.line(view) == self.upward.line {
            return;
        }
        let text = self.status_line(view);
        self.manager.status(&text);
    }

    /// Everything is over: the manager hears how, though its queue may be full just now. Nobody could tell it later.
    pub(crate) fn say_last(&mut self, view: &View<'_>) {
        self.tell_status(view);
        self.manager.flush();
        let until = clock::now() + LAST_WORD;
        while self.manager.is_full() && clock::now() < until {
            std::thread::sleep(ROOM_PAUSE);
            self.manager.flush();
        }
    }

    /// At the end of each turn: tell what is new and what is owed, and see to it that what cannot be told now will be.
    pub(crate) fn notify_manager(&mut self, view: &View<'_>, timers: &mut Timers<Alarm>) {
        if !self.manager.listens() {
            return;
        }
        self.tell_status(view);
        self.manager.flush();
        let failure = self.manager.failure();
        if let Some(text) = failure.as_ref().filter(|_| failure != self.upward.failure) {
            view.log.warning(text);
        }
        self.upward.failure = failure;
        self.arm_upward(view, timers);
    }

    fn arm_upward(&mut self, view: &View<'_>, timers: &mut Timers<Alarm>) {
        let now = clock::now();
        if self.manager.is_full() {
            if timers.deadline(Alarm::Upward).is_none() {
                let pause = self.upward.pauses.grow();
                timers.arm(Alarm::Upward, Some(pause), now);
            }
            return;
        }
        self.upward.pauses = Pauses::new();
        let until = self
            .upward
            .quiet_until
            .filter(|_| self.words(view) != self.upward.words);
        match until {
            Some(until) => {
                let left = until.saturating_duration_since(now);
                timers.arm(Alarm::Upward, Some(left), now);
            }
            None => timers.disarm(Alarm::Upward),
        }
    }

    /// The manager wants to hear from us regularly: say it, and be woken for the next time.
    pub(crate) fn beat(&mut self, timers: &mut Timers<Alarm>) {
        if let Some(pause) = self.manager.beat() {
            self.manager.alive();
            timers.arm(Alarm::Beat, Some(pause), clock::now());
        }
    }

    /// An app was given more time for a wait in which the manager waits for us, too: as much as is left of that wait, or as its
    /// settings let an app ask for where it has no end.
    pub(crate) fn pass_on_extension(
        &mut self,
        timer: Timer,
        extension: Option<Extension>,
        timers: &Timers<Alarm>,
    ) {
        if let Some(Extension { asked, limit }) = extension {
            self.pass_on_more_time(asked, Alarm::Core(timer), limit, timers);
        }
    }

    fn pass_on_more_time(
        &mut self,
        time: Duration,
        wait: Alarm,
        limit: Option<Duration>,
        timers: &Timers<Alarm>,
    ) {
        if self.manager.waits() {
            let deadline = timers.deadline(wait);
            let left = deadline.map(|deadline| deadline.saturating_duration_since(clock::now()));
            self.manager
                .more_time(left.or(limit).map_or(time, |most| most.min(time)));
        }
    }

    /// An app asks for more time while everything stops. It gets none: the stop timeout means what it says. But the manager may
    /// be less patient than that.
    pub(crate) fn pass_on_at_the_end(
        &mut self,
        worker: Worker,
        time: Duration,
        view: &View<'_>,
        timers: &Timers<Alarm>,
    ) {
        if view.core.state() == State::Stopping {
            let limit = view.config_of(worker.generation).extend_limit;
            self.pass_on_more_time(time, Alarm::Core(Timer::Stop), limit, timers);
        }
    }

    /// The whole line, which is taken for told from now on.
    fn status_line(&mut self, view: &View<'_>) -> String {
        let (line, words) = (self.line(view), self.words(view));
        let text = if words.is_empty() {
            line.clone()
        } else {
            format!("{line} - {words}")
        };
        self.upward.quiet_until = clock::now().checked_add(WORDS_PAUSE);
        self.upward.line = line;
        self.upward.words = words;
        text
    }

    /// `reload failed: generation 8: exited with status 1 after 3 ms; serving generation 7 (pid 812, 12 ms to ready), 1 draining`.
    fn line(&self, view: &View<'_>) -> String {
        let mut line = self
            .history
            .trouble
            .as_ref()
            .map(|text| format!("{text}; "))
            .unwrap_or_default();
        if view.core.state() == State::Stopping {
            return line + &self.stopping_in_words(view);
        }
        line += &self.serving_in_words(view);
        let draining = view
            .core
            .generations()
            .filter(|generation| generation.role == Role::Retired)
            .count();
        if draining > 0 {
            line += &format!(", {draining} draining");
        }
        let mut lingering = view.core.generations();
        if lingering.any(|generation| generation.role == Role::Lingering) {
            let lingering = view.core.generations();
            let count = lingering
                .filter(|generation| generation.role == Role::Lingering)
                .count();
            line += &format!(", {count} lingering");
        }
        match view.core.handoff() {
            Handoff::Idle => {}
            Handoff::Waiting | Handoff::Candidate(_, Progress::Seeking) => {
                line += ", a reload waits until one is gone";
            }
            // The first start is what is said already.
            Handoff::Candidate(FIRST, _) => {}
            Handoff::Candidate(number, _) => line += &format!(", generation {number} starts"),
        }
        line
    }

    fn stopping_in_words(&self, view: &View<'_>) -> String {
        match view.core.generations().count() {
            0 => "stopped".to_owned(),
            1 => "stopping: 1 generation drains".to_owned(),
            count => format!("stopping: {count} generations drain"),
        }
    }

    fn serving_in_words(&self, view: &View<'_>) -> String {
        let incumbent = view.core.incumbent();
        let serving = view.serving();
        // With several workers, some may serve while another one is in trouble.
        let in_trouble =
            incumbent.is_some_and(|generation| serving.is_none() || Generation::backs_off(generation));
        let crash = self.history.crash.as_ref().filter(|_| in_trouble);
        let crash = crash.map(|text| format!("; {text}")).unwrap_or_default();
        let (Some(incumbent), Some(serving)) = (incumbent, serving) else {
            return match view.core.state() {
                State::Starting => "generation 1 starts".to_owned(),
                State::Serving | State::HandingOff | State::BackingOff | State::Stopping => {
                    format!("nobody serves{crash}")
                }
            };
        };
        let serving_workers = incumbent
            .processes
            .iter()
            .filter(|process| process.life == Life::Serving);
        let slowest = serving_workers
            .filter_map(|process| view.fleet.workers.get(&process.worker)?.ready_after)
            .max();
        let pids = serving.pids_in_words();
        let ready = slowest.map(|after| format!("{} to ready", elapsed(after)));
        let details: Vec<String> = pids.into_iter().chain(ready).collect();
        format!(
            "serving generation {} ({}){crash}",
            incumbent.number,
            details.join(", ")
        )
    }

    /// The app's own `STATUS=`: of the incumbent, or else of the generation that starts; then of those that drain, which for a server
    /// that uses segue-app says with how many connections.
    fn words(&self, view: &View<'_>) -> String {
        let speaker = view.core.incumbent().or_else(|| view.core.generations().last());
        let mut words = speaker
            .and_then(|generation| Self::said_by(view, generation))
            .cloned()
            .unwrap_or_default();
        let is_old = |one: &&Generation| matches!(one.role, Role::Lingering | Role::Retired);
        let retired = view.core.generations().filter(is_old);
        for generation in retired {
            if let Some(said) = Self::said_by(view, generation) {
                let pause = if words.is_empty() { "" } else { "; " };
                words += &format!("{pause}generation {}: {said}", generation.number);
            }
        }
        if words.len() > LONGEST_WORDS {
            words.truncate(words.floor_char_boundary(LONGEST_WORDS));
            words.push('…');
        }
        words
    }

    /// What the first worker of a generation that said anything said last.
    fn said_by<'v>(view: &View<'v>, generation: &Generation) -> Option<&'v String> {
        let said = generation.processes.iter().filter_map(|process| {
            let status = view.fleet.workers.get(&process.worker)?.status.as_ref()?;
            Some((process.worker, status))
        });
        said.min_by_key(|(worker, _)| (worker.slot, std::cmp::Reverse(worker.start)))
            .map(|(_, status)| status)
    }
}
