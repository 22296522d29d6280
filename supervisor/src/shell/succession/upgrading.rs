//! The upgrade in place: who asked for it, the check that is under way, and the instant at which another binary goes on as this
//! process.

use std::mem;

use nix::sys::signal::Signal;

use crate::children::ExitStatus;
use crate::clock;
use crate::control::ClientId;
use crate::protocol::{Reply, Serving};
use crate::shell::{Alarm, Child, Shell};
use crate::state::{Field as _, Flaw, Row, Rows};
use crate::upgrade::{CHECK_TIME, Check, Origin};

/// The kind of the row that tells who waits for the upgrade.
const ROW: &str = "upgrade";

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How far an upgrade has come.
#[derive(Debug)]
enum Stage {
    /// None is under way.
    Idle,
    /// Asked for in this turn; its check begins when the turn ends, for then everything is settled.
    Asked(Waiter),
    /// A child looks at our state.
    Checking(Check, Waiter),
    /// It has said yes, and is gone as soon as its process group is.
    Agreed(Check, Waiter, String),
    /// This process executes the binary when the turn ends.
    Checked(Check, Waiter, String),
    /// It has failed and was told; the child is not gone yet.
    Ending,
}

/// The client that waits for the outcome; none for a signal.
pub(crate) type Waiter = Option<ClientId>;

/// What the loop knows of upgrades.
#[derive(Debug)]
pub(crate) struct Upgrading {
    origin: Origin,
    stage: Stage,
}

impl Upgrading {
    pub(crate) const fn new(origin: Origin) -> Self {
        Self {
            origin,
            stage: Stage::Idle,
        }
    }
}

/// Why there is no upgrade now.
const STOPPING: &str = "the instance is stopping";

impl Shell {
    /// Somebody asks for an upgrade.
    pub(crate) fn ask_upgrade(&mut self, client: Waiter) {
        let busy = match self.succession.upgrading.stage {
            _ if self.stop_asked() => STOPPING,
            Stage::Idle => {
                self.succession.upgrading.stage = Stage::Asked(client);
                return;
            }
            Stage::Asked(_)
            | Stage::Checking(..)
            | Stage::Agreed(..)
            | Stage::Checked(..)
            | Stage::Ending => "another upgrade is under way",
        };
        self.upgrade_failed(client, busy);
    }

    /// At the end of each turn, when everything is settled: begin the check that was asked for, or execute what has passed it.
    /// If that succeeds, it does not return.
    pub(crate) fn tend_upgrade(&mut self) {
        let stopping = self.stop_asked() || self.ending.is_some();
        let stage = mem::replace(&mut self.succession.upgrading.stage, Stage::Idle);
        self.succession.upgrading.stage = match stage {
            Stage::Asked(waiter) | Stage::Checked(_, waiter, _) if stopping => {
                self.upgrade_failed(waiter, STOPPING);
                Stage::Idle
            }
            Stage::Checking(_, waiter) | Stage::Agreed(_, waiter, _) if stopping => {
                self.end_check();
                self.upgrade_failed(waiter, STOPPING);
                Stage::Ending
            }
            Stage::Asked(waiter) => self.begin_check(waiter),
            Stage::Checked(check, waiter, version) => {
                self.become_next(&check, waiter, &version);
                Stage::Idle
            }
            Stage::Idle | Stage::Checking(..) | Stage::Agreed(..) | Stage::Ending => stage,
        };
    }

    fn begin_check(&mut self, waiter: Waiter) -> Stage {
        let (rows, fds) = (self.state_with(waiter), self.passed());
        let started = Check::start(&self.succession.upgrading.origin, &fds, &rows);
        drop(fds);
        match started {
            Ok(started) => {
                self.fleet.children.add(Child::Check, started.pid, started.pidfd);
                self.timers.arm(Alarm::Check, Some(CHECK_TIME), clock::now());
                Stage::Checking(started.check, waiter)
            }
            Err(text) => {
                self.upgrade_failed(waiter, &text);
                Stage::Idle
            }
        }
    }

    /// The check has answered, or ended without.
    pub(crate) fn check_exited(&mut self, status: ExitStatus) {
        // What it has left running in its group is of no use to anybody.
        self.end_check();
        let stage = mem::replace(&mut self.succession.upgrading.stage, Stage::Ending);
        self.succession.upgrading.stage = match stage {
            Stage::Checking(check, waiter) => match check.verdict(status) {
                Ok(version) => Stage::Agreed(check, waiter, version),
                Err(text) => {
                    self.upgrade_failed(waiter, &text);
                    Stage::Ending
                }
            },
            Stage::Idle | Stage::Asked(_) | Stage::Agreed(..) | Stage::Checked(..) | Stage::Ending => stage,
        };
    }

    /// Nothing is left of the check.
    pub(crate) fn check_gone(&mut self) {
        self.timers.disarm(Alarm::Check);
        let stage = mem::replace(&mut self.succession.upgrading.stage, Stage::Idle);
        self.succession.upgrading.stage = match stage {
            Stage::Agreed(check, waiter, version) => Stage::Checked(check, waiter, version),
            Stage::Ending | Stage::Idle | Stage::Checking(..) => Stage::Idle,
            Stage::Asked(_) | Stage::Checked(..) => stage,
        };
    }

    /// The check has taken too long.
    pub(crate) fn check_overdue(&mut self) {
        self.end_check();
        let stage = mem::replace(&mut self.succession.upgrading.stage, Stage::Ending);
        self.succession.upgrading.stage = match stage {
            Stage::Checking(check, waiter) | Stage::Agreed(check, waiter, _) => {
                self.upgrade_failed(waiter, &check.overdue());
                Stage::Ending
            }
            Stage::Idle | Stage::Asked(_) | Stage::Checked(..) | Stage::Ending => stage,
        };
    }

    fn end_check(&self) {
        let _ = self.fleet.children.signal_group(Child::Check, Signal::SIGKILL);
    }

    fn become_next(&mut self, check: &Check, waiter: Waiter, version: &str) {
        self.log.info(&format!(
            "upgrade: segue {version} understands the state and takes over"
        ));
        let (rows, fds) = (self.state_with(waiter), self.passed());
        let Err(text) = check.execute(&self.succession.upgrading.origin, &fds, &rows);
        drop(fds);
        self.upgrade_failed(waiter, &text);
    }

    fn state_with(&self, waiter: Waiter) -> Vec<u8> {
        let mut rows = Rows::default();
        waiter.write("client", rows.begin(ROW));
        [self.rows(), rows.finish()].concat()
    }

    fn upgrade_failed(&mut self, waiter: Waiter, reason: &str) {
        let message = format!("upgrade failed: {reason}");
        self.log.error(&format!("{message}; segue {VERSION} goes on"));
        if let Some(client) = waiter {
            let serving = self.view().serving();
            let failed = Reply::Failed {
                message,
                serving,
                verdict: None,
            };
            self.desk.control.reply(client, &failed, clock::now());
        }
    }

    /// This process was another version until just now: tell everybody, and the client that waits for it. What only the start needed is
    /// given back, as after the first.
    pub(crate) fn say_upgraded(&mut self) {
        let Some((from, waiter)) = self.succession.before.take() else {
            return;
        };
        self.trim_heap = true;
        let serving = self.view().serving();
        let who = serving.as_ref().map_or_else(
            || "nobody serves".to_owned(),
            |Serving { generation, .. }| format!("generation {generation} serves"),
        );
        let pid = std::process::id();
        let message = format!("upgraded: segue {from} to {VERSION}, pid {pid}, {who}");
        self.log.info(&message);
        if let Some(client) = waiter {
            let done = Reply::Done {
                message,
                serving,
                duration_ms: None,
                verdict: None,
            };
            self.desk.control.reply(client, &done, clock::now());
        }
    }
}

/// Who waits for the upgrade that has brought this state here.
pub(crate) fn waiter(rows: &[Row<'_>]) -> Result<Waiter, Flaw> {
    Waiter::read("client", Row::of_kind(rows, ROW)?)
}
