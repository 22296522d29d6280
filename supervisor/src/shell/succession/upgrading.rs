//! The upgrade in place: who asked for it, the check that is under way, and the instant at which another binary goes on as this
//! process. What follows from what, the core says (`lifecycle/src/upgrade.rs`).

use segue_lifecycle::upgrade::{Effect, Event, Stage, Upgrade, Why};

use crate::children::{Children, ExitStatus};
use crate::control::ClientId;
use crate::log::Log;
use crate::shell::Child;
use crate::shell::save::Everything;
use crate::state::{Field as _, Flaw, Row, Rows};
use crate::upgrade::{Check, Origin, Started};

/// The kind of the row that tells who waits for the upgrade.
const ROW: &str = "upgrade";

/// What this process is.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The client that waits for the outcome; none for a signal.
pub(crate) type Waiter = Option<ClientId>;

/// The upgrade that is under way, if one is.
#[derive(Debug)]
pub(crate) struct Upgrading {
    origin: Origin,
    machine: Upgrade,
    /// Who asked for it, and who has asked last.
    waiter: Waiter,
    asker: Waiter,
    check: Option<Check>,
    /// The version that has agreed, or why nothing comes of it.
    version: String,
    reason: String,
}

impl Upgrading {
    pub(crate) const fn new(origin: Origin) -> Self {
        Self {
            origin,
            machine: Upgrade::new(),
            waiter: None,
            asker: None,
            check: None,
            version: String::new(),
            reason: String::new(),
        }
    }

    /// Somebody asks for an upgrade, which is an event.
    pub(crate) const fn ask(&mut self, asker: Waiter) {
        self.asker = asker;
    }

    /// What follows from an event.
    pub(crate) fn step(&mut self, event: Event) -> Vec<Effect> {
        if event == Event::Overdue
            && let Some(check) = &self.check
        {
            self.reason = check.overdue();
        }
        let effects = self.machine.step(event);
        if matches!(event, Event::Asked(_)) && effects.is_empty() {
            self.waiter = self.asker;
        }
        // Of a check that nothing comes of nothing stays open, from before anybody hears of it.
        if matches!(self.machine.stage(), Stage::Idle | Stage::Ending) {
            self.check = None;
        }
        effects
    }

    /// What came of the check, which has ended.
    pub(crate) fn read_answer(&mut self, status: ExitStatus) -> Event {
        match self.check.as_ref().map(|check| check.verdict(status)) {
            Some(Ok(version)) => {
                self.version = version;
                Event::Agreed
            }
            Some(Err(text)) => {
                // One that took too long has failed for that.
                if self.machine.stage() == Stage::Checking {
                    self.reason = text;
                }
                Event::Refused
            }
            None => Event::Refused,
        }
    }

    /// Begin the check of this state.
    ///
    /// # Errors
    /// One line.
    pub(crate) fn begin(&self, everything: &Everything<'_>) -> Result<Started, String> {
        Check::start(&self.origin, &everything.passed(), &self.state(everything))
    }

    /// The check runs, and is a child from now on; or it could not be begun.
    pub(crate) fn note_begun(
        &mut self,
        begun: Result<Started, String>,
        children: &mut Children<Child>,
    ) -> Event {
        match begun {
            Ok(started) => {
                children.add(Child::Check, started.pid, started.pidfd);
                self.check = Some(started.check);
                Event::Began
            }
            Err(text) => {
                self.reason = text;
                Event::NotBegun
            }
        }
    }

    /// The binary that has agreed could not be executed.
    pub(crate) fn note_not_executed(&mut self, reason: String) -> Event {
        self.reason = reason;
        Event::NotExecuted
    }

    /// Execute the binary that has agreed. It returns on failure alone, and says why.
    pub(crate) fn execute(&self, everything: &Everything<'_>) -> String {
        let Some(check) = &self.check else {
            return "nothing was checked".to_owned();
        };
        let version = &self.version;
        let text = format!("upgrade: segue {version} understands the state and takes over");
        everything.view.log.info(&text);
        everything.view.log.write_gathered();
        let Err(text) = check.execute(&self.origin, &everything.passed(), &self.state(everything));
        text
    }

    fn state(&self, everything: &Everything<'_>) -> Vec<u8> {
        let mut rows = Rows::default();
        self.waiter.write("client", rows.begin(ROW));
        [everything.rows(), rows.finish()].concat()
    }

    /// Tell a failure. The client that waits for the upgrade, and its answer.
    pub(crate) fn tell_failure(&self, effect: Effect, log: &Log) -> Option<(ClientId, String)> {
        let (waiter, reason) = self.failure(effect)?;
        let message = format!("upgrade failed: {reason}");
        log.error(&format!("{message}; segue {VERSION} goes on"));
        Some((waiter?, message))
    }

    fn failure(&self, effect: Effect) -> Option<(Waiter, &str)> {
        let (who, why) = match effect {
            Effect::Refuse(why) => (self.asker, why),
            Effect::Fail(why) => (self.waiter, why),
            Effect::Begin | Effect::Arm | Effect::Disarm | Effect::End | Effect::Execute => return None,
        };
        Some(match why {
            Why::Busy => (who, "another upgrade is under way"),
            Why::Stopping => (who, "the instance is stopping"),
            Why::Failed => (who, &self.reason),
        })
    }
}

/// Who waits for the upgrade that has brought this state here.
pub(crate) fn waiter(rows: &[Row<'_>]) -> Result<Waiter, Flaw> {
    Waiter::read("client", Row::of_kind(rows, ROW)?)
}
