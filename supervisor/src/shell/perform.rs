//! From effects to what they do outside.

use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::Signal as Kill;
use segue_lifecycle::{Effect, Event, Number, Record, Signal, Timer, Worker};

use super::births::lend;
use super::look::Patience;
use super::worker::WorkerInfo;
use super::{Alarm, Child, Shell};
use crate::clock::{self, Extended};
use crate::config::Ready;
use crate::launch::{Extra, Spawned, Voice, WorkerIdentity};
use crate::listeners::shares;
use crate::protocol::setting;
use crate::readiness::NotifySocket;
use crate::sources::Source;
use crate::sys::errno_text;

impl Shell {
    /// Perform one effect.
    pub(super) fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Prepare(number) => self.prepare(number),
            Effect::Spawn(worker, record) => self.spawn(worker, record),
            Effect::Signal(worker, signal) => self.signal(worker, signal),
            Effect::Arm(timer, wait) => self.arm(timer, wait),
            Effect::Disarm(timer) => self.timers.disarm(Alarm::Core(timer)),
            Effect::Extend(timer) => self.extend(timer),
            Effect::Probe(number) => self.start_probe(number),
            Effect::EndProbe(number) => self.end_probe(number),
            Effect::Confirm(number) => self.confirm(number, Patience::Unadopted),
            Effect::ConfirmAnyway(number) => self.confirm(number, Patience::Over),
            Effect::Answer(ticket, outcome) => self.answer(ticket, outcome),
            Effect::Tell(fact) => self.tell(fact),
            Effect::Forget(record) => self.forget(record),
            Effect::Finish(ending) => self.ending = Some(ending),
        }
    }

    fn spawn(&mut self, worker: Worker, record: Record) {
        self.memory.look_at_kills();
        if let Some(loss) = self.control.take_loss() {
            self.log.warning(&loss);
        }
        let mut info = WorkerInfo::new(None);
        match self.launch(worker, record, &mut info) {
            Ok(()) => {}
            Err(text) => {
                self.end_forked(worker);
                info.failure = Some(text);
                self.gone.push(worker);
                self.events.push_back(Event::SpawnFailed(worker));
            }
        }
        self.workers.insert(worker, info);
    }

    /// Start a worker, or take over the one that a killed supervisor has started in this very place. On failure nothing of it is
    /// left.
    fn launch(&mut self, worker: Worker, record: Record, info: &mut WorkerInfo) -> Result<(), String> {
        self.ensure_generation(worker.generation, record)
            .map_err(|error| error.to_string())?;
        let workers = self.share_out(worker.generation);
        if self.adopt_forked(worker, info)? {
            return Ok(());
        }
        self.reset_shared_flags(worker.generation);
        let notify = self.bind_notify_socket(worker)?;
        let spawned = self.fork(worker, record, workers, &notify)?;
        self.follow(worker, spawned, notify, info);
        Ok(())
    }

    /// The listeners get back the flags that they should have, unless a sibling is there: it may have chosen its O_NONBLOCK already
    /// and not yet have said READY=1, and what one worker of a generation chooses the others choose as well.
    fn reset_shared_flags(&mut self, generation: Number) {
        if !self.workers.keys().any(|other| other.generation == generation) {
            self.restore_flags();
        }
    }

    fn bind_notify_socket(&self, worker: Worker) -> Result<NotifySocket, String> {
        let place = &self.begin.place;
        let kept = place.keep_notify_directory();
        kept.map_err(|error| error.to_string())?;
        let path = place.notify_socket(worker.generation, worker.slot, worker.start);
        NotifySocket::bind(&path).map_err(|error| error.to_string())
    }

    /// Fork it with its share of the listeners. It waits for our word before it becomes the app.
    fn fork(
        &self,
        worker: Worker,
        record: Record,
        workers: u16,
        notify: &NotifySocket,
    ) -> Result<Spawned, String> {
        let birth = self.births.get(&record).ok_or("its birth record is gone")?;
        let generation = self
            .generations
            .get(&worker.generation)
            .ok_or("its generation is gone")?;
        let config = &generation.config;
        let identity = WorkerIdentity {
            generation: worker.generation,
            slot: worker.slot,
        };
        let extra = Extra {
            name: &self.begin.config.name,
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
        self.children
            .add(Child::Worker(worker), spawned.pid, spawned.pidfd);
        // It waits for this before it becomes the app: whoever comes after us knows of it by now.
        self.mark_forked(Child::Worker(worker));
        self.store_sockets_of(worker, info);
        let begun = spawned.go.begin().map_err(|errno| ("pipe", errno));
        if let Err((attempt, errno)) = watched.map_err(|errno| ("epoll", errno)).and(begun) {
            // It cannot be heard (or go on), so it can never be ready: it is ended, and its exit tells the core.
            info.failure = Some(format!("{attempt}: {}", errno_text(errno)));
            let _ = self.children.signal_group(Child::Worker(worker), Kill::SIGKILL);
        }
    }

    /// By what a worker is told to stop.
    pub(super) fn stop_signal(&self, worker: Worker) -> Kill {
        let generation = self.generations.get(&worker.generation);
        generation.map_or(Kill::SIGTERM, |generation| generation.config.stop_signal)
    }

    /// Signal a worker. One that is gone by now is not there to be signalled, and that is well.
    fn signal(&mut self, worker: Worker, signal: Signal) {
        let child = Child::Worker(worker);
        let stop = self.stop_signal(worker);
        if let Some(info) = self.workers.get_mut(&worker) {
            info.since = clock::wall();
            info.killed |= signal == Signal::Kill;
        }
        let sent = match signal {
            Signal::Stop => self.tell_to_stop(worker, stop),
            Signal::StopGroup => self.tell_who_is_left(worker, stop),
            Signal::Abort => self.children.signal(child, Kill::SIGABRT),
            Signal::Kill => self.children.signal_group(child, Kill::SIGKILL),
        };
        match signal {
            // Once it has been told, for that must not wait.
            Signal::Stop | Signal::StopGroup => self.sacrifice(worker),
            Signal::Abort | Signal::Kill => {}
        }
        self.strays.expect();
        match sent {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => {
                let text = format!("signal {}: {}", self.name_worker(worker), errno_text(errno));
                self.log.error(&text);
            }
        }
    }

    fn extend(&mut self, timer: Timer) {
        let asking = match timer {
            Timer::Start(worker) | Timer::Drain(worker) => worker,
            Timer::Stop
            | Timer::Hint(_)
            | Timer::Alive(_)
            | Timer::Watchdog(_)
            | Timer::Kill(_)
            | Timer::Probe(_)
            | Timer::ProbeAgain(_)
            | Timer::Soak(_)
            | Timer::Look(_)
            | Timer::Await(_)
            | Timer::Probation(_)
            | Timer::BackOff(..)
            | Timer::Calm(..) => return,
        };
        let Some(info) = self.workers.get_mut(&asking) else {
            return;
        };
        let Some(time) = info.more_time.take() else { return };
        info.extended = true;
        let limit = self.config_of(asking.generation).extend_limit;
        let (alarm, now) = (Alarm::Core(timer), clock::now());
        match self.timers.extend(alarm, time, limit, now) {
            Extended::Whole => {}
            Extended::Cut => self.tell_of_the_limit(asking, limit),
        }
        self.pass_on_more_time(time, alarm, limit);
    }

    /// Once for each worker: an app may ask in every second.
    fn tell_of_the_limit(&mut self, worker: Worker, limit: Option<Duration>) {
        let Some(info) = self.workers.get_mut(&worker) else {
            return;
        };
        if !std::mem::replace(&mut info.limit_told, true) {
            let limit = limit.map_or_else(|| "none".to_owned(), setting);
            let text = format!(
                "{}: asks for more time than it gets (EXTEND_TIMEOUT_USEC): {limit} in all, counted from the begin of its start \
                 or drain (--extend-limit)",
                self.name_worker(worker)
            );
            self.log.warning(&text);
        }
    }
}
