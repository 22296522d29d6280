//! Another version goes on as this process, or as this one was until just now.

use nix::sys::signal::Signal;
use segue_lifecycle::upgrade::{Effect, Event, Service};

use crate::clock;
use crate::shell::narrator::view::{View, view};
use crate::shell::save::{Everything, everything};
use crate::shell::succession::upgrading::Waiter;
use crate::shell::wishes::is_stop_asked;
use crate::shell::{Alarm, Child, Shell};
use crate::upgrade::CHECK_TIME;

impl Shell {
    /// Somebody asks for an upgrade.
    pub(crate) fn ask_upgrade(&mut self, asker: Waiter) {
        self.succession.upgrading.ask(asker);
        let service = self.service();
        self.step_upgrade(Event::Asked(service));
    }

    /// Whether the instance is to serve on.
    pub(crate) fn service(&self) -> Service {
        if is_stop_asked(&self.core, &self.events) || self.ending.is_some() {
            Service::Stops
        } else {
            Service::GoesOn
        }
    }

    /// Do what an event of the upgrade asks for. If this process executes the next binary, it does not return.
    pub(crate) fn step_upgrade(&mut self, event: Event) {
        for effect in self.succession.upgrading.step(event) {
            match effect {
                Effect::Begin => {
                    let begun = self.succession.upgrading.begin(&everything!(self));
                    let children = &mut self.fleet.children;
                    let event = self.succession.upgrading.note_begun(begun, children);
                    self.step_upgrade(event);
                }
                Effect::Arm => self.timers.arm(Alarm::Check, Some(CHECK_TIME), clock::now()),
                Effect::Disarm => self.timers.disarm(Alarm::Check),
                Effect::End => {
                    let _ = self.fleet.children.signal_group(Child::Check, Signal::SIGKILL);
                }
                Effect::Execute => {
                    let text = self.succession.upgrading.execute(&everything!(self));
                    let event = self.succession.upgrading.note_not_executed(text);
                    self.step_upgrade(event);
                }
                Effect::Refuse(_) | Effect::Fail(_) => {
                    let told = self.succession.upgrading.tell_failure(effect, &self.log);
                    if let Some((client, message)) = told {
                        let serving = self.view().serving();
                        self.desk.upgrade_failed(client, message, serving);
                    }
                }
            }
        }
    }
}
