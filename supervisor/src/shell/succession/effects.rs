//! The upgrade in place: what its machine answers to an event (`upgrading.rs`) is done.

use std::collections::VecDeque;

use nix::sys::signal::Signal;
use segue_lifecycle::upgrade::{Effect, Event, Service};
use segue_lifecycle::{Ending, Lifecycle};

use crate::children::ExitStatus;
use crate::clock::{self, Timers};
use crate::log::Log;
use crate::shell::desk::Desk;
use crate::shell::fleet::Fleet;
use crate::shell::inspection::queues::Queues;
use crate::shell::journal::Journal;
use crate::shell::narrator::Narrator;
use crate::shell::narrator::view::{View, view};
use crate::shell::records::Records;
use crate::shell::save::{Everything, everything};
use crate::shell::succession::Succession;
use crate::shell::succession::upgrading::Waiter;
use crate::shell::wishes::is_stop_asked;
use crate::shell::{Alarm, Child, Given};
use crate::upgrade::CHECK_TIME;

/// What the loop lends for a step of the upgrade.
#[derive(Debug)]
pub(crate) struct Succeeding<'a> {
    /// Whether the instance is to serve on.
    pub(crate) service: Service,
    pub(crate) core: &'a Lifecycle,
    pub(crate) events: &'a VecDeque<segue_lifecycle::Event>,
    pub(crate) timers: &'a mut Timers<Alarm>,
    pub(crate) given: &'a Given,
    pub(crate) records: &'a Records,
    pub(crate) fleet: &'a mut Fleet,
    pub(crate) queues: &'a Queues,
    pub(crate) desk: &'a mut Desk,
    pub(crate) narrator: &'a Narrator,
    pub(crate) journal: &'a Journal,
    pub(crate) succession: &'a mut Succession,
    pub(crate) log: &'a Log,
}

/// The same, where the whole shell is at hand.
macro_rules! succeeding {
    ($shell:expr) => {
        Succeeding {
            service: service(&$shell.core, &$shell.events, $shell.ending),
            core: &$shell.core,
            events: &$shell.events,
            timers: &mut $shell.timers,
            given: &$shell.given,
            records: &$shell.records,
            fleet: &mut $shell.fleet,
            queues: &$shell.queues,
            desk: &mut $shell.desk,
            narrator: &$shell.narrator,
            journal: &$shell.journal,
            succession: &mut $shell.succession,
            log: &$shell.log,
        }
    };
}

pub(crate) use succeeding;

/// Whether the instance is to serve on.
pub(crate) fn service(
    core: &Lifecycle,
    pending: &VecDeque<segue_lifecycle::Event>,
    ending: Option<Ending>,
) -> Service {
    if is_stop_asked(core, pending) || ending.is_some() {
        Service::Stops
    } else {
        Service::GoesOn
    }
}

impl Succeeding<'_> {
    /// Somebody asks for an upgrade.
    pub(crate) fn ask(&mut self, asker: Waiter) {
        self.succession.upgrading.ask(asker);
        self.step(Event::Asked(self.service));
    }

    /// The check has ended with this status.
    pub(crate) fn take_answer(&mut self, status: ExitStatus) {
        let answer = self.succession.upgrading.read_answer(status);
        self.step(answer);
    }

    /// A turn is over, in which the next binary may go on. It would know nothing of a hook that runs.
    pub(crate) fn turn_over(&mut self) {
        if self.fleet.hooks.are_over() {
            self.step(Event::TurnOver(self.service));
        }
    }

    /// Do what an event of the upgrade asks for. If this process executes the next binary, it does not return.
    pub(crate) fn step(&mut self, event: Event) {
        for effect in self.succession.upgrading.step(event) {
            match effect {
                Effect::Begin => {
                    let begun = self.succession.upgrading.begin(&everything!(self));
                    let children = &mut self.fleet.children;
                    let event = self.succession.upgrading.note_begun(begun, children);
                    self.step(event);
                }
                Effect::Arm => self.timers.arm(Alarm::Check, Some(CHECK_TIME), clock::now()),
                Effect::Disarm => self.timers.disarm(Alarm::Check),
                Effect::End => {
                    let _ = self.fleet.children.signal_group(Child::Check, Signal::SIGKILL);
                }
                Effect::Execute => {
                    let text = self.succession.upgrading.execute(&everything!(self));
                    let event = self.succession.upgrading.note_not_executed(text);
                    self.step(event);
                }
                Effect::Refuse(_) | Effect::Fail(_) => {
                    let told = self.succession.upgrading.tell_failure(effect, self.log);
                    if let Some((client, message)) = told {
                        let serving = view!(self).serving();
                        self.desk.upgrade_failed(client, message, serving);
                    }
                }
            }
        }
    }
}
