//! From effects to what they do outside.

use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::Signal as Kill;
use segue_lifecycle::{Effect, Event, FIRST, Number, Outcome, Record, Signal, Ticket, Timer, Worker};

use crate::clock::{self, Extended};
use crate::config::Ready;
use crate::launch::{Extra, Spawned, Voice, WorkerIdentity};
use crate::listeners::shares;
use crate::protocol::setting;
use crate::readiness::NotifySocket;
use crate::shell::fleet::worker::WorkerInfo;
use crate::shell::inspection::look::Patience;
use crate::shell::journal::store;
use crate::shell::narrator::view::{View, view};
use crate::shell::records::births::lend;
use crate::shell::{Alarm, Child, Shell};
use crate::sources::Source;
use crate::state::Guard;
use crate::sys::errno_text;

impl Shell {
    /// Perform one effect.
    pub(crate) fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Prepare(number) => self.begin_handoff(number),
            Effect::Spawn(worker, record) => self.spawn(worker, record),
            Effect::Signal(worker, signal) => self.signal(worker, signal),
            Effect::Arm(timer, wait) => self.arm(timer, wait),
            Effect::Disarm(timer) => self.timers.disarm(Alarm::Core(timer)),
            Effect::Extend(timer, worker) => self.extend(timer, worker),
            Effect::Probe(number) => self.start_probe(number),
            Effect::EndProbe(number) => self.end_probe(number),
            Effect::Confirm(number) => self.confirm(number, Patience::Left),
            Effect::ConfirmAnyway(number) => self.confirm(number, Patience::Over),
            Effect::NoteReady(worker) => self.note_ready(worker),
            Effect::TakeOver(number) => self.take_over_sockets(number),
            Effect::RollBack(number, record) => self.begin_rollback(number, record),
            Effect::Abandon(worker) => self.give_up_strays(worker),
            Effect::Bury(number) => self.bury_generation(number),
            Effect::Answer(ticket, outcome) => self.answer(ticket, outcome),
            Effect::Tell(fact) => self.tell(fact),
            Effect::Forget(record) => self.forget(record),
            Effect::Finish(ending) => self.ending = Some(ending),
        }
    }

    fn answer(&mut self, ticket: Ticket, outcome: Outcome) {
        if self.desk.tickets.has_asker(ticket) {
            self.review_notes();
        }
        self.desk.answer(ticket, outcome, &view!(self));
    }

    fn note_ready(&mut self, worker: Worker) {
        if let Some(info) = self.fleet.workers.get_mut(&worker) {
            info.since = clock::wall();
            info.ready_after = Some(clock::now().saturating_duration_since(info.started));
        }
        self.records.note_flags(worker.generation, &self.core, &self.log);
        self.restore_flags();
    }

    /// What was bound and chosen for this generation counts from now on.
    fn take_over_sockets(&mut self, number: Number) {
        self.trim_heap |= number == FIRST;
        self.records.share_mended(number, &self.core);
        self.records.forget_own_files(number, &self.core);
        self.records.keep_flags(number, &self.core, &self.log);
        self.restore_flags();
    }

    fn begin_rollback(&mut self, number: Number, record: Record) {
        self.queues.begin_anew();
        if let Err(text) = self.ensure_generation(number, record) {
            self.log.error(&format!("generation {number}: {text}"));
        }
    }

    /// Nothing is left of a generation: what only it needed is closed.
    fn bury_generation(&mut self, number: Number) {
        let info = self.records.generations.remove(&number);
        if let Some(probe) = info.and_then(|info| info.probe) {
            store::unstore_probe(&mut self.narrator.manager, &probe);
        }
        self.records
            .chosen_flags
            .retain(|(generation, _), _| *generation != number);
        self.fleet.probes.forget(number);
        if self.records.memory.waits() {
            self.timers.arm(Alarm::Memory, Some(Duration::ZERO), clock::now());
        }
    }

    fn spawn(&mut self, worker: Worker, record: Record) {
        self.fleet.kills.look();
        if let Some(loss) = self.desk.control.take_loss() {
            self.log.warning(&loss);
        }
        let mut info = WorkerInfo::new(None);
        match self.launch(worker, record, &mut info) {
            Ok(()) => {
                self.fleet.workers.insert(worker, info);
            }
            Err(text) => self.spawn_failed(worker, info, text),
        }
    }

    /// It could not be started.
    pub(crate) fn spawn_failed(&mut self, worker: Worker, mut info: WorkerInfo, text: String) {
        info.failure = Some(text);
        self.fleet.gone.push(worker);
        self.events.push_back(Event::SpawnFailed(worker));
        self.fleet.workers.insert(worker, info);
    }

    /// Start a worker. On failure nothing of it is left.
    fn launch(&mut self, worker: Worker, record: Record, info: &mut WorkerInfo) -> Result<(), String> {
        self.ensure_generation(worker.generation, record)?;
        let workers = self.records.share_out(worker.generation, &self.core);
        self.reset_shared_flags(worker.generation);
        let notify = self.bind_notify_socket(worker)?;
        let spawned = self.fork(worker, record, workers, &notify)?;
        self.follow(worker, spawned, notify, info);
        Ok(())
    }

    /// The listeners get back the flags that they should have, unless a sibling is there: it may have chosen its O_NONBLOCK already
    /// and not yet have said READY=1, and what one worker of a generation chooses the others choose as well.
    fn reset_shared_flags(&mut self, generation: Number) {
        if !self
            .fleet
            .workers
            .keys()
            .any(|other| other.generation == generation)
        {
            self.restore_flags();
        }
    }

    fn bind_notify_socket(&self, worker: Worker) -> Result<NotifySocket, String> {
        let place = &self.given.place;
        let kept = place.keep_notify_directory();
        kept.map_err(|error| error.to_string())?;
        let path = place.notify_socket(worker.generation, worker.slot, worker.start);
        NotifySocket::bind(&path, Guard::armed()).map_err(|error| error.to_string())
    }

    /// Fork it with its share of the listeners. It waits for our word before it becomes the app.
    fn fork(
        &self,
        worker: Worker,
        record: Record,
        workers: u16,
        notify: &NotifySocket,
    ) -> Result<Spawned, String> {
        let birth = self
            .records
            .births
            .get(&record)
            .ok_or("its birth record is gone")?;
        let generation = self
            .records
            .generations
            .get(&worker.generation)
            .ok_or("its generation is gone")?;
        let config = &generation.config;
        let identity = WorkerIdentity {
            generation: worker.generation,
            slot: worker.slot,
        };
        let extra = Extra {
            name: &self.given.config.name,
            notify_path: notify.path(),
            voice: match config.ready {
                Ready::Notify => Voice::Needed,
                Ready::Exec(_) => Voice::Spare,
            },
            drain_ms: config
                .drain_timeout
                .map(|limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)),
            watchdog: config.watchdog,
            probe: generation.probe.as_deref().map(lend),
        };
        let share = shares(&birth.listeners, worker.slot, workers);
        let sockets: Vec<_> = share.into_iter().map(lend).collect();
        birth
            .usable()?
            .spawn(&sockets, identity, &extra)
            .map_err(|error| error.to_string())
    }

    /// Hear and watch what was forked from now on, write it down, and only then let it become the app.
    fn follow(&mut self, worker: Worker, spawned: Spawned, notify: NotifySocket, info: &mut WorkerInfo) {
        let watched = self
            .sources
            .add(Source::Notify(worker), notify.as_fd())
            .and_then(|()| self.sources.add(Source::Report(worker), spawned.report.as_fd()));
        info.pid = Some(spawned.pid);
        info.began = crate::sys::start_time(spawned.pid);
        info.report = Some(spawned.report);
        info.notify = Some(notify);
        self.fleet
            .children
            .add(Child::Worker(worker), spawned.pid, spawned.pidfd);
        // It waits for this before it becomes the app: the next supervisor knows of it by now.
        let child = Child::Worker(worker);
        self.journal.mark_forked(child, spawned.pid, info.began);
        let pidfd = self.fleet.children.pidfd(child);
        store::store_worker(&mut self.narrator.manager, worker, info, pidfd);
        let begun = spawned.go.begin().map_err(|errno| ("pipe", errno));
        if let Err((attempt, errno)) = watched.map_err(|errno| ("epoll", errno)).and(begun) {
            // It cannot be heard (or go on), so it can never be ready: it is ended, and its exit tells the core.
            info.failure = Some(format!("{attempt}: {}", errno_text(errno)));
            let _ = self
                .fleet
                .children
                .signal_group(Child::Worker(worker), Kill::SIGKILL);
        }
    }

    /// By what a worker is told to stop.
    pub(crate) fn stop_signal(&self, worker: Worker) -> Kill {
        let generation = self.records.generations.get(&worker.generation);
        generation.map_or(Kill::SIGTERM, |generation| generation.config.stop_signal)
    }

    /// Signal a worker. One that is gone by now is not there to be signalled, and that is well.
    fn signal(&mut self, worker: Worker, signal: Signal) {
        let child = Child::Worker(worker);
        let stop = self.stop_signal(worker);
        if let Some(info) = self.fleet.workers.get_mut(&worker) {
            info.since = clock::wall();
            info.killed |= signal == Signal::Kill;
        }
        let sent = match signal {
            Signal::Stop => self.tell_to_stop(worker, stop),
            Signal::StopGroup => self.tell_who_is_left(worker, stop),
            Signal::Abort => self.fleet.children.signal(child, Kill::SIGABRT),
            Signal::Kill => self.fleet.children.signal_group(child, Kill::SIGKILL),
        };
        match signal {
            // Once it has been told, for that must not wait.
            Signal::Stop | Signal::StopGroup => self.fleet.sacrifice(worker),
            Signal::Abort | Signal::Kill => {}
        }
        self.fleet.strays.expect();
        match sent {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => {
                let text = format!(
                    "signal {}: {}",
                    self.view().name_worker(worker),
                    errno_text(errno)
                );
                self.log.error(&text);
            }
        }
    }

    fn extend(&mut self, timer: Timer, asking: Worker) {
        let Some(info) = self.fleet.workers.get_mut(&asking) else {
            return;
        };
        let Some(time) = info.more_time.take() else { return };
        info.extended = true;
        let limit = self.view().config_of(asking.generation).extend_limit;
        let (alarm, now) = (Alarm::Core(timer), clock::now());
        match self.timers.extend(alarm, time, limit, now) {
            Extended::Whole => {}
            Extended::Cut => self.tell_of_the_limit(asking, limit),
        }
        self.narrator.pass_on_more_time(time, alarm, limit, &self.timers);
    }

    /// Once for each worker: an app may ask in every second.
    fn tell_of_the_limit(&mut self, worker: Worker, limit: Option<Duration>) {
        let Some(info) = self.fleet.workers.get_mut(&worker) else {
            return;
        };
        if !std::mem::replace(&mut info.limit_told, true) {
            let limit = limit.map_or_else(|| "none".to_owned(), setting);
            let text = format!(
                "{}: asks for more time than it gets (EXTEND_TIMEOUT_USEC): {limit} in all, counted from the begin of its start \
                 or drain (--extend-limit)",
                self.view().name_worker(worker)
            );
            self.log.warning(&text);
        }
    }
}
