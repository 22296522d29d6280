//! What is written down while the loop goes round, so that another supervisor can go on at any moment.
//!
//! Before the events of a batch are stepped they are logged; after each signal that was sent, and after each fork (before
//! the child is told to go), a mark is logged; after the batch there is a snapshot of everything. So whoever comes next
//! knows what was about to be done, and what of it must not be done twice.

use std::fmt::Write as _;
use std::os::fd::AsFd as _;
use std::rc::Rc;

use nix::unistd::Pid;
use segue_lifecycle::{Effect, Event, Number, Record, Worker};
use std::collections::BTreeSet;

use super::draining_orphans::DrainingOrphan;
use super::save::pidfd_name;
use super::worker::WorkerInfo;
use super::{Child, Shell};
use crate::launch::BirthRecord;
use crate::listeners::Listener;
use crate::manager::Manager;
use crate::readiness::NotifySocket;
use crate::state::{self, Flaw};

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// These events are stepped now.
    Batch(Vec<Event>),
    /// The effect with this number in the batch was a signal, and it was sent.
    Signalled(usize),
    /// A child was made.
    Forked(Forked),
}

/// What is known of a child from its first moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Forked {
    pub(super) child: Child,
    pub(super) pid: Pid,
    /// When it was started, in the kernel's own count, which together with the pid tells it from every other.
    pub(super) began: u64,
}

/// As [`Line::Batch`] is read.
fn batch_in_words(events: &[Event]) -> String {
    let mut text = String::from("batch");
    for event in events {
        // Writing to a String does not fail.
        let _ = write!(text, " {event}");
    }
    text
}

impl Line {
    /// Read it back.
    ///
    /// # Errors
    /// One line: it is none of ours.
    pub(super) fn read(line: &str) -> Result<Self, Flaw> {
        let flaw = || Flaw::new(format_args!("log line {line:?}"));
        let mut words = line.split(' ');
        let kind = words.next().unwrap_or_default();
        if kind == "batch" {
            let events: Result<_, _> = words.map(str::parse).collect();
            return events.map(Line::Batch).map_err(|_| flaw());
        }
        let mut word = || words.next().ok_or_else(flaw);
        match kind {
            "signalled" => Ok(Line::Signalled(word()?.parse().map_err(|_| flaw())?)),
            "forked" => Ok(Line::Forked(Forked {
                child: word()?.parse().map_err(|_| flaw())?,
                pid: Pid::from_raw(word()?.parse().map_err(|_| flaw())?),
                began: word()?.parse().map_err(|_| flaw())?,
            })),
            _ => Err(flaw()),
        }
    }
}

/// The log behind the snapshot of a supervisor that was killed: the batch that it was performing, and what it had done of it.
#[derive(Debug, Default)]
pub(super) struct Logged {
    pub(super) batch: Vec<Event>,
    pub(super) done: Done,
}

impl Logged {
    /// Read the lines of a log.
    ///
    /// # Errors
    /// One of them is none of ours.
    pub(super) fn read(lines: &[String]) -> Result<Self, Flaw> {
        let mut logged = Self::default();
        for line in lines {
            match Line::read(line)? {
                Line::Batch(events) => {
                    logged.batch = events;
                    // The numbers of its effects begin again. (There is more than one batch where no snapshot could be written.)
                    logged.done.signalled.clear();
                }
                line @ (Line::Signalled(_) | Line::Forked(_)) => logged.done.note(line),
            }
        }
        Ok(logged)
    }

    /// Every process that the dead supervisor had forked since its snapshot.
    pub(super) fn forked(&self) -> &[Forked] {
        &self.done.forked
    }
}

/// What has been done already of the batch that a predecessor was performing when it died.
#[derive(Debug, Default)]
pub(super) struct Done {
    signalled: Vec<usize>,
    forked: Vec<Forked>,
}

impl Done {
    fn note(&mut self, line: Line) {
        match line {
            Line::Signalled(nth) => self.signalled.push(nth),
            Line::Forked(forked) => self.forked.push(forked),
            Line::Batch(_) => {}
        }
    }

    /// The process that was made for this worker already.
    pub(super) fn forked(&self, worker: Worker) -> Option<Forked> {
        let made = self.forked.iter();
        made.copied().find(|forked| forked.child == Child::Worker(worker))
    }

    /// The processes that were made for this generation already.
    pub(super) fn forked_for(&self, number: Number) -> impl Iterator<Item = Forked> {
        let made = self.forked.iter().copied();
        made.filter(move |forked| match forked.child {
            Child::Worker(worker) => worker.generation == number,
            Child::Probe(..) | Child::Check => false,
        })
    }

    /// The runs of the probe that were begun.
    pub(super) fn probes(&self) -> impl Iterator<Item = Forked> {
        let made = self.forked.iter().copied();
        made.filter(|forked| match forked.child {
            Child::Probe(..) => true,
            Child::Worker(_) | Child::Check => false,
        })
    }

    /// Whether this effect must not be performed again.
    pub(super) fn covers(&self, nth: usize, effect: Effect) -> bool {
        happens_once(effect) && self.signalled.contains(&nth)
    }
}

/// Whether an effect does harm if it is performed twice: some apps end at once at their second stop signal. A fork has a mark of its
/// own, and all the others come to the same.
const fn happens_once(effect: Effect) -> bool {
    match effect {
        Effect::Signal(..) => true,
        Effect::Prepare(_)
        | Effect::Spawn(..)
        | Effect::Arm(..)
        | Effect::Disarm(_)
        | Effect::Extend(_)
        | Effect::Probe(_)
        | Effect::EndProbe(_)
        | Effect::Confirm(_)
        | Effect::ConfirmAnyway(_)
        | Effect::Answer(..)
        | Effect::Tell(_)
        | Effect::Forget(_)
        | Effect::Finish(_) => false,
    }
}

fn store_listener(manager: &mut Manager, listener: &Listener) {
    manager.store(&listener.identity().fd_name(), listener.as_fd());
}

impl Shell {
    /// These events are about to be stepped.
    pub(super) fn log_batch(&mut self, events: &[Event]) {
        self.keeper.log(&batch_in_words(events));
    }

    /// Whether a predecessor has done this.
    pub(super) fn is_done(&self, nth: usize, effect: Effect) -> bool {
        self.done.as_ref().is_some_and(|done| done.covers(nth, effect))
    }

    /// This effect of the batch was performed. What must not happen twice is marked.
    pub(super) fn mark_done(&mut self, nth: usize, effect: Effect) {
        if happens_once(effect) {
            self.keeper.log(&format!("signalled {nth}"));
        }
    }

    /// A child was made, and waits to be told to go.
    pub(super) fn mark_forked(&mut self, child: Child) {
        let (Some(pid), began) = (self.children.pid(child), self.children.began(child)) else {
            return;
        };
        // Where /proc does not tell it nobody can prove later that it is the same process.
        let began = began.unwrap_or(0);
        self.keeper.log(&format!("forked {child} {pid} {began}"));
    }

    /// From now on everything is written down. What an earlier supervisor has left in the files is over with this.
    pub(super) fn begin_keeping(&mut self) {
        self.keep();
        self.store_everything();
    }

    /// What systemd keeps is what is needed: what an earlier supervisor had stored and nobody has taken goes, and all that there
    /// is is stored (again, which systemd notices).
    pub(super) fn store_everything(&mut self) {
        let spare_fds = std::mem::take(&mut self.spare_fds);
        for name in spare_fds.names() {
            self.manager.unstore(name);
        }
        for (name, fd) in state::FILES.iter().zip(self.keeper.fds()) {
            self.manager.store(name, fd);
        }
        let records: Vec<Record> = self.births.keys().copied().collect();
        records.into_iter().for_each(|record| self.store_birth(record));
        let numbers: Vec<Number> = self.generations.keys().copied().collect();
        numbers.into_iter().for_each(|number| self.store_probe(number));
        let workers = std::mem::take(&mut self.workers);
        for (worker, info) in &workers {
            self.store_sockets_of(*worker, info);
        }
        self.workers = workers;
        // Behind the removals above: systemd keeps no fd under two names.
        for (name, pidfd) in self.draining_orphans.iter().map(DrainingOrphan::pass_on) {
            self.manager.store(&name, pidfd);
        }
    }

    /// A birth record was made: its files and sockets are kept by systemd, too, if it is there. Inherited sockets are its own.
    pub(super) fn store_birth(&mut self, record: Record) {
        let Some(birth) = self.births.get(&record) else {
            return;
        };
        for (name, fd) in birth.record.iter().flat_map(|kept| kept.fds(record.0)) {
            self.manager.store(&name, fd);
        }
        for listener in birth.listeners.iter().filter(|listener| !listener.is_inherited()) {
            store_listener(&mut self.manager, listener);
        }
    }

    /// The private listener of a generation.
    pub(super) fn store_probe(&mut self, number: Number) {
        let info = self.generations.get(&number);
        if let Some(probe) = info.and_then(|info| info.probe.as_ref()) {
            store_listener(&mut self.manager, probe);
        }
    }

    /// A record was forgotten: what was its alone is closed here, and so it shall be there.
    pub(super) fn unstore_birth(&mut self, record: Record, listeners: &[Rc<Listener>]) {
        for name in BirthRecord::fd_names(record.0) {
            self.manager.unstore(&name);
        }
        let current = self.current_listeners();
        let current: BTreeSet<u64> = current.iter().map(|known| known.inode()).collect();
        for listener in listeners.iter().filter(|listener| !listener.is_inherited()) {
            if !current.contains(&listener.inode()) {
                self.manager.unstore(&listener.identity().fd_name());
            }
        }
    }

    /// A generation is gone, and with it its private listener.
    pub(super) fn unstore_probe(&mut self, probe: &Listener) {
        self.manager.unstore(&probe.identity().fd_name());
    }

    /// A worker was forked: where it speaks and how it is named are known to systemd before it executes.
    pub(super) fn store_sockets_of(&mut self, worker: Worker, info: &WorkerInfo) {
        let name = worker.to_string();
        if let Some(notify) = &info.notify {
            self.manager.store(&NotifySocket::name(&name), notify.as_fd());
        }
        let child = Child::Worker(worker);
        if let Some(pidfd) = self.children.pidfd(child) {
            self.manager.store(&pidfd_name(child), pidfd);
        }
    }

    /// Nothing is left of it.
    pub(super) fn unstore_worker(&mut self, worker: Worker) {
        self.manager.unstore(&NotifySocket::name(&worker.to_string()));
        self.manager.unstore(&pidfd_name(Child::Worker(worker)));
    }

    /// Write down what the last batch has changed, if that has not been done since. A log is of one batch alone, and nobody waits with
    /// a log behind the snapshot; but a turn mostly has one batch, and is written down once, at its end.
    pub(super) fn keep_what_was_done(&mut self) {
        if self.keeper.has_logged() {
            self.keep();
        }
    }

    /// Write down everything, as far as it has changed.
    pub(super) fn keep(&mut self) {
        let rows = self.rows();
        self.keeper.snapshot(&rows);
        if let Some(trouble) = self.keeper.take_trouble() {
            self.log.warning(&trouble);
        }
    }
}
