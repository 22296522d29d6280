//! The upgrade in place: another binary goes on as this supervisor, or this one goes on as before.
//!
//! ```text
//!           asked          turn over          it agrees        it is gone         turn over
//!   Idle ──────────▶ Asked ─────────▶ Checking ────────▶ Agreed ────────▶ Checked ─────────▶ Executing
//!    ▲                 │  a stop         │  no, or late      │  a stop         │  a stop         │ failed
//!    ╰─────────────────┴──────────────── Ending ◀────────────╯ ────────────────┴─────────────────╯
//! ```
//!
//! A machine of its own beside the lifecycle of generations: it begins and ends between two turns of the loop, when everything that
//! the other has asked for is done. A process that checks the state holds a copy of each listener, so nothing is executed while it
//! lives; and whatever fails, this process goes on, and says so.

use alloc::vec::Vec;

/// How far an upgrade has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// None is under way.
    Idle,
    /// Asked for in this turn; its check begins when the turn ends.
    Asked,
    /// Another process looks whether it could go on with the state.
    Checking,
    /// It could. It is waited for until nothing is left of it.
    Agreed,
    /// This process executes the binary when the turn ends.
    Checked,
    /// It is being executed.
    Executing,
    /// It has failed, and the process that checks is not gone yet.
    Ending,
}

/// Whether the instance is to serve on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// It is.
    GoesOn,
    /// A stop was asked for.
    Stops,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    /// Somebody asks for an upgrade.
    Asked(Service),
    /// A turn of the loop is over, and everything that was to be done in it is done.
    TurnOver(Service),
    /// The check that was asked for runs.
    Began,
    /// It could not be begun.
    NotBegun,
    /// The process that checks has ended, and has agreed.
    Agreed,
    /// It has ended, and has not.
    Refused,
    /// Nothing is left of it. Comes after one of the two.
    Gone,
    /// It has taken too long.
    Overdue,
    /// The binary could not be executed. (If it could, nobody is left to hear of it.)
    NotExecuted,
}

/// Why there is no upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// Another is under way.
    Busy,
    /// The instance stops.
    Stopping,
    /// The check could not be begun, did not agree, or took too long; or the binary could not be executed. The caller knows more.
    Failed,
}

/// What is to be done, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// Begin the check; answered by [`Event::Began`] or [`Event::NotBegun`].
    Begin,
    /// Give it a time to answer in.
    Arm,
    /// That time is no longer needed.
    Disarm,
    /// End what is left of it.
    End,
    /// Execute the binary in the place of this process; answered by [`Event::NotExecuted`], or by nothing.
    Execute,
    /// Refuse the one who has just asked.
    Refuse(Why),
    /// Tell the one who waits that the upgrade has failed, and that this process goes on.
    Fail(Why),
}

/// A way to be wrong, for the tests of the tests.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bug {
    /// A check that says no counts as one that says yes.
    BelievesTheNo,
    /// The binary is executed while the process lives that has checked.
    ExecutesBesideTheCheck,
    /// A stop does not keep it from being executed.
    UpgradesTheStopping,
    /// A stop drops the one who waits.
    DropsTheAsker,
    /// A check that takes too long is told to have failed, and may agree later.
    HearsTheLate,
    /// The check of an upgrade that a stop has ended goes on.
    LeavesTheCheck,
    /// A failed execution is not told, and nothing more is heard of it.
    FallsSilent,
    /// The check has no end.
    WaitsForEver,
    /// Who asks while another upgrade is under way takes its place.
    TakesTheSecond,
}

/// The machine. The caller steps it, and does what it says before it steps it again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Upgrade {
    stage: Stage,
    effects: Vec<Effect>,
    #[cfg(test)]
    bug: Option<Bug>,
}

/// Whether this bug was planted. Outside of the crate's own tests none is.
macro_rules! errs {
    ($machine:expr, $bug:ident) => {{
        #[cfg(test)]
        let errs = $machine.bug == Some(Bug::$bug);
        #[cfg(not(test))]
        let errs = false;
        errs
    }};
}

impl Default for Upgrade {
    fn default() -> Self {
        Self::new()
    }
}

impl Upgrade {
    /// Nobody has asked yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            stage: Stage::Idle,
            effects: Vec::new(),
            #[cfg(test)]
            bug: None,
        }
    }

    /// A machine that errs in one way, to prove that the explorer notices.
    #[cfg(test)]
    pub const fn with_bug(bug: Bug) -> Self {
        let mut machine = Self::new();
        machine.bug = Some(bug);
        machine
    }

    /// How far it has come.
    #[must_use]
    pub const fn stage(&self) -> Stage {
        self.stage
    }

    /// What follows from an event.
    pub fn step(&mut self, event: Event) -> Vec<Effect> {
        self.stage = match event {
            Event::Asked(service) => self.asked(service),
            Event::TurnOver(Service::Stops) if !errs!(self, UpgradesTheStopping) => self.stopped(),
            Event::TurnOver(_) => self.turned(),
            Event::Began => {
                if !errs!(self, WaitsForEver) {
                    self.effects.push(Effect::Arm);
                }
                self.stage
            }
            Event::NotBegun => self.failed(Stage::Idle),
            Event::Agreed => self.answered(Event::Agreed),
            Event::Refused => self.answered(Event::Refused),
            Event::Gone => self.gone(),
            Event::Overdue => self.overdue(),
            Event::NotExecuted if errs!(self, FallsSilent) => Stage::Idle,
            Event::NotExecuted => self.failed(Stage::Idle),
        };
        core::mem::take(&mut self.effects)
    }

    fn asked(&mut self, service: Service) -> Stage {
        match (service, self.stage) {
            (Service::Stops, stage) => {
                self.effects.push(Effect::Refuse(Why::Stopping));
                stage
            }
            (Service::GoesOn, Stage::Idle) => Stage::Asked,
            (Service::GoesOn, stage) if errs!(self, TakesTheSecond) => stage,
            (
                Service::GoesOn,
                stage @ (Stage::Asked
                | Stage::Checking
                | Stage::Agreed
                | Stage::Checked
                | Stage::Executing
                | Stage::Ending),
            ) => {
                self.effects.push(Effect::Refuse(Why::Busy));
                stage
            }
        }
    }

    /// Everything stops: so does this.
    fn stopped(&mut self) -> Stage {
        match self.stage {
            Stage::Asked | Stage::Checked => {
                self.tell(Why::Stopping);
                Stage::Idle
            }
            Stage::Checking | Stage::Agreed => {
                if !errs!(self, LeavesTheCheck) {
                    self.effects.push(Effect::End);
                }
                self.tell(Why::Stopping);
                Stage::Ending
            }
            stage @ (Stage::Idle | Stage::Executing | Stage::Ending) => stage,
        }
    }

    fn tell(&mut self, why: Why) {
        if !errs!(self, DropsTheAsker) {
            self.effects.push(Effect::Fail(why));
        }
    }

    /// Everything is done that was to be done in this turn.
    fn turned(&mut self) -> Stage {
        match self.stage {
            Stage::Asked => {
                self.effects.push(Effect::Begin);
                Stage::Checking
            }
            Stage::Agreed if errs!(self, ExecutesBesideTheCheck) => self.execute(),
            Stage::Checked => self.execute(),
            stage @ (Stage::Idle | Stage::Checking | Stage::Agreed | Stage::Executing | Stage::Ending) => {
                stage
            }
        }
    }

    fn execute(&mut self) -> Stage {
        self.effects.push(Effect::Execute);
        Stage::Executing
    }

    fn failed(&mut self, then: Stage) -> Stage {
        self.effects.push(Effect::Fail(Why::Failed));
        then
    }

    /// The process that checks has ended. What it has left running in its group is of no use to anybody.
    fn answered(&mut self, answer: Event) -> Stage {
        self.effects.push(Effect::End);
        match self.stage {
            Stage::Checking if answer == Event::Agreed || errs!(self, BelievesTheNo) => Stage::Agreed,
            Stage::Ending if answer == Event::Agreed && errs!(self, HearsTheLate) => Stage::Agreed,
            Stage::Checking => self.failed(Stage::Ending),
            stage @ (Stage::Idle
            | Stage::Asked
            | Stage::Agreed
            | Stage::Checked
            | Stage::Executing
            | Stage::Ending) => stage,
        }
    }

    fn gone(&mut self) -> Stage {
        self.effects.push(Effect::Disarm);
        match self.stage {
            Stage::Agreed => Stage::Checked,
            Stage::Ending | Stage::Idle | Stage::Checking => Stage::Idle,
            stage @ (Stage::Asked | Stage::Checked | Stage::Executing) => stage,
        }
    }

    fn overdue(&mut self) -> Stage {
        self.effects.push(Effect::End);
        match self.stage {
            Stage::Checking | Stage::Agreed => self.failed(Stage::Ending),
            stage @ (Stage::Idle | Stage::Asked | Stage::Checked | Stage::Executing | Stage::Ending) => stage,
        }
    }
}
