//! Another version goes on as this process, or as this one was until just now.

use nix::sys::signal::Signal;
use segue_lifecycle::upgrade::{Effect, Event, Service};

use crate::clock;
use crate::shell::narrator::view::{View, view};
use crate::shell::save::{Everything, everything};
use crate::shell::succession::upgrading::{VERSION, Waiter};
use crate::shell::{Alarm, Child, Shell};
use crate::upgrade::CHECK_TIME;

/// What watching the draining orphans takes of the loop, where the whole shell is at hand.
macro_rules! tools {
    ($shell:expr) => {
        Tools {
            sources: &mut $shell.sources,
            timers: &mut $shell.timers,
            manager: &mut $shell.narrator.manager,
            place: &$shell.given.place,
            log: &$shell.log,
        }
    };
}

pub(crate) use tools;

impl Shell {
    /// Somebody asks for an upgrade.
    pub(crate) fn ask_upgrade(&mut self, asker: Waiter) {
        self.succession.upgrading.ask(asker);
        let service = self.service();
        self.step_upgrade(Event::Asked(service));
    }

    /// Whether the instance is to serve on.
    pub(crate) fn service(&self) -> Service {
        if self.stop_asked() || self.ending.is_some() {
            Service::Stops
        } else {
            Service::GoesOn
        }
    }

    /// Do what an event of the upgrade asks for. If this process executes the next binary, it does not return.
    pub(crate) fn step_upgrade(&mut self, event: Event) {
        for effect in self.succession.upgrading.step(event) {
            match effect {
                Effect::Begin => self.begin_check(),
                Effect::Arm => self.timers.arm(Alarm::Check, Some(CHECK_TIME), clock::now()),
                Effect::Disarm => self.timers.disarm(Alarm::Check),
                Effect::End => {
                    let _ = self.fleet.children.signal_group(Child::Check, Signal::SIGKILL);
                }
                Effect::Execute => self.become_next(),
                Effect::Refuse(_) | Effect::Fail(_) => self.tell_upgrade_failed(effect),
            }
        }
    }

    fn begin_check(&mut self) {
        let event = match self.succession.upgrading.begin(&everything!(self)) {
            Ok(started) => {
                self.fleet.children.add(Child::Check, started.pid, started.pidfd);
                self.succession.upgrading.note_check(started.check);
                Event::Began
            }
            Err(text) => {
                self.succession.upgrading.note_failure(text);
                Event::NotBegun
            }
        };
        self.step_upgrade(event);
    }

    fn become_next(&mut self) {
        let upgrading = &self.succession.upgrading;
        self.log.info(&format!(
            "upgrade: segue {} understands the state and takes over",
            upgrading.version()
        ));
        let text = upgrading.execute(&everything!(self));
        self.succession.upgrading.note_failure(text);
        self.step_upgrade(Event::NotExecuted);
    }

    fn tell_upgrade_failed(&mut self, effect: Effect) {
        if let Some((waiter, reason)) = self.succession.upgrading.failure(effect) {
            let message = format!("upgrade failed: {reason}");
            self.log.error(&format!("{message}; segue {VERSION} goes on"));
            let serving = self.view().serving();
            self.desk.upgrade_failed(waiter, message, serving);
        }
    }
}
