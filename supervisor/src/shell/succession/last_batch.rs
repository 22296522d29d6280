//! The batch that a predecessor was performing when it was killed is performed to its end: what has a mark in its log is done, and a
//! process that it had forked is found, or its worker is started now.

use std::fs;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::Duration;

use segue_lifecycle::{Effect, Event, Number, Record, Worker};

use crate::children::{Kin, Leader};
use crate::clock;
use crate::listeners;
use crate::readiness::NotifySocket;
use crate::shell::Child;
use crate::shell::fleet::saved::pidfd_name;
use crate::shell::fleet::worker::WorkerInfo;
use crate::shell::journal::log::{Done, Logged};
use crate::shell::records::Records;
use crate::shell::records::stored::store_listener;
use crate::shell::starting::{Starting, starting};
use crate::shell::succession::adopt::{Adopted, Announced, uid_of};
use crate::shell::succession::recover::{self, Proved};
use crate::shell::succession::withdrawn::Withdrawn;
use crate::sources::Source;
use crate::state::Guard;
use crate::sys::{self, errno_text};

/// How long a child that was about to execute when its supervisor was killed may take to do so or to give up: it tries for 0.4 s
/// while a file is being written, and a loaded machine takes its time.
const UNTIL_EXECUTED: Duration = Duration::from_secs(5);

/// How long such a child may take to end whose environment is not shown: it is at its last step, and exits when it reads the end.
const UNTIL_ENDED: Duration = Duration::from_secs(1);

/// The pause between two looks at such a child. Nothing tells when a process has executed.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Nothing is left half done.
pub(super) struct Finished {
    /// A candidate that was ended: nobody is started for it.
    withdrawn: Option<Withdrawn>,
}

impl Adopted<Announced> {
    /// Perform to its end what the predecessor was performing.
    pub(super) fn finish_batch(self) -> Adopted<Finished> {
        let Announced {
            logged,
            pending,
            withdrawn,
        } = self.step;
        let Logged { batch, done } = logged;
        let mut finished = Adopted {
            shell: self.shell,
            step: Finished { withdrawn },
        };
        for probe in done.probes() {
            if let Some(proved) = recover::prove(probe.pid, probe.began) {
                proved.kill_group();
            }
        }
        if !batch.is_empty() {
            finished.step_again(batch, &done, pending);
        }
        finished
    }
}

impl Adopted<Finished> {
    fn step_again(&mut self, batch: Vec<Event>, done: &Done, pending: usize) {
        // Events that were pending then are among those of the batch; what has been found out since comes after it.
        let since = self.shell.events.split_off(pending.min(self.shell.events.len()));
        self.shell.events.clear();
        let effects: Vec<Effect> = batch
            .into_iter()
            .flat_map(|event| self.shell.core.step(event))
            .collect();
        self.shell.records.note_roles(&self.shell.core);
        for (nth, effect) in effects.into_iter().enumerate() {
            if !done.covers(nth, effect) {
                self.finish(effect, done);
                self.shell.journal.mark_done(nth, effect);
            }
        }
        starting!(self.shell).send_answers();
        self.shell.events.extend(since);
    }

    /// Perform an effect of that batch, or find it begun.
    fn finish(&mut self, effect: Effect, done: &Done) {
        match effect {
            Effect::RollBack(number, record) => {
                self.find_probe(number, record, done);
                self.shell.perform(effect);
            }
            Effect::Spawn(worker, record) => {
                self.find_probe(worker.generation, record, done);
                self.find_or_spawn(worker, record, done);
            }
            Effect::Prepare(_)
            | Effect::Signal(..)
            | Effect::Arm(..)
            | Effect::Disarm(_)
            | Effect::Extend(..)
            | Effect::Probe(_)
            | Effect::EndProbe(_)
            | Effect::Confirm(_)
            | Effect::ConfirmAnyway(_)
            | Effect::Switch(_)
            | Effect::Count(_)
            | Effect::PlaceToken(_)
            | Effect::NoteReady(_)
            | Effect::TakeOver(_)
            | Effect::TakeBack(_)
            | Effect::Abandon(_)
            | Effect::Bury(_)
            | Effect::Answer(..)
            | Effect::Tell(_)
            | Effect::Forget(_)
            | Effect::Finish(_) => self.shell.perform(effect),
        }
    }

    /// The private listener that the predecessor had made for a generation in that batch: no row tells of it, and the processes that it
    /// had forked have it.
    fn find_probe(&mut self, number: Number, record: Record, done: &Done) {
        if self.shell.records.generations.contains_key(&number) {
            return;
        }
        let path = self.shell.given.place.probe_socket(number);
        let found = done.forked_for(number).find_map(|one| {
            let proved = recover::prove(one.pid, one.began)?;
            recover::take_socket(&proved, |fd| listeners::is_at_path(fd, &path))
        });
        let had_back = found.map(|fd| listeners::probe_listener_had_back(fd, &path));
        let known = match had_back {
            Some(Ok(probe)) => {
                store_listener(&mut self.shell.narrator.manager, &probe);
                let asked = self.shell.narrator.history.asked;
                self.shell
                    .records
                    .insert_generation(number, record, Some(probe), asked, &self.shell.core)
            }
            Some(Err(error)) => Err(error.to_string()),
            None => Ok(()),
        };
        if let Err(text) = known {
            self.shell.log.error(&format!("generation {number}: {text}"));
        }
    }

    fn find_or_spawn(&mut self, worker: Worker, record: Record, done: &Done) {
        let mut info = WorkerInfo::new(None);
        let of_worker = |withdrawn: &&Withdrawn| withdrawn.generation == worker.generation;
        if let Some(withdrawn) = self.step.withdrawn.as_ref().filter(of_worker) {
            let failed = self.shell.fleet.spawn_failed(worker, info, withdrawn.why.clone());
            self.shell.events.push_back(failed);
            return;
        }
        match self.find_forked(worker, record, &mut info, done) {
            Ok(true) => {
                self.shell.fleet.workers.insert(worker, info);
            }
            Ok(false) => self.shell.perform(Effect::Spawn(worker, record)),
            Err(text) => {
                // One that cannot be taken over must not serve with nobody in charge of it.
                let forked = done.forked(worker);
                if let Some(proved) = forked.and_then(|forked| recover::prove(forked.pid, forked.began)) {
                    proved.kill_group();
                }
                let failed = self.shell.fleet.spawn_failed(worker, info, text);
                self.shell.events.push_back(failed);
            }
        }
    }

    /// Take over a process that the predecessor had forked for this worker in that batch. Returns whether there is one.
    fn find_forked(
        &mut self,
        worker: Worker,
        record: Record,
        info: &mut WorkerInfo,
        done: &Done,
    ) -> Result<bool, String> {
        let shell = &mut self.shell;
        starting!(shell).ensure_generation(worker.generation, record)?;
        self.shell.records.share_out(worker.generation, &self.shell.core);
        let path = self
            .shell
            .given
            .place
            .notify_socket(worker.generation, worker.slot, worker.start);
        let forked = done.forked(worker);
        let stored = self
            .shell
            .journal
            .spare_fds
            .take(&pidfd_name(Child::Worker(worker)));
        let proved = forked.and_then(|forked| match stored {
            Some(pidfd) => Some(Proved::by_pidfd(forked.pid, pidfd)),
            None => recover::prove_worker(forked.pid, Some(forked.began), &path)
                .or_else(|| recover::prove_hidden(forked.pid)),
        });
        let Some(proved) = proved.filter(|proved| has_executed(proved, &path)) else {
            // It had not been told to go. Its socket is bound again.
            let _ = fs::remove_file(&path);
            return Ok(false);
        };
        info.uid = uid_of(&self.shell.records, worker, proved.pid);
        let stored = self
            .shell
            .journal
            .spare_fds
            .take(&NotifySocket::name(&worker.to_string()));
        let notify = NotifySocket::adopt(&path, stored, info.uid, Guard::armed());
        let mut notify = notify.map_err(|error| error.to_string())?;
        if takes_acks(&self.shell.records, worker) {
            notify = notify.with_acks_of(None).map_err(|error| error.to_string())?;
        }
        let watched = |errno| format!("epoll: {}", errno_text(errno));
        self.shell
            .sources
            .add(Source::Notify(worker), notify.as_fd())
            .and_then(|()| self.shell.sources.add(Source::Exit(worker), proved.pidfd.as_fd()))
            .and_then(|()| match notify.acks() {
                Some(acks) => self.shell.sources.add(Source::Ack(worker), acks.as_fd()),
                None => Ok(()),
            })
            .map_err(watched)?;
        info.pid = Some(proved.pid);
        info.began = sys::start_time(proved.pid);
        info.adopted = true;
        info.notify = Some(notify);
        self.shell.fleet.children.restore(
            Child::Worker(worker),
            proved.pid,
            proved.pidfd,
            Kin::Adopted,
            Leader::Alive,
        );
        self.shell.events.push_back(Event::Executed(worker));
        Ok(true)
    }
}

/// Whether the workers of this one's generation ack.
fn takes_acks(records: &Records, worker: Worker) -> bool {
    let generation = records.generations.get(&worker.generation);
    generation.is_some_and(|generation| generation.config.protocol.has_acks())
}

/// Whether a child that was made just before its supervisor was killed has become the app. It waits for a last word before exec; if
/// that was never given it ends, and has not executed.
fn has_executed(proved: &Proved, notify: &Path) -> bool {
    let begun = clock::now();
    loop {
        if sys::is_dead_by_pidfd(proved.pidfd.as_fd()) {
            return false;
        }
        // Before exec it has the environment of its supervisor.
        let patience = match recover::was_born_with(proved.pid, notify) {
            Ok(true) => return true,
            Ok(false) => UNTIL_EXECUTED,
            Err(_) => UNTIL_ENDED,
        };
        if begun.elapsed() > patience {
            return true;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}
