//! A worker is started: bound, forked with its share of the listeners, and let go once it is written down.

use std::path::PathBuf;

use segue_lifecycle::{Event, Number, Record, Worker};

use nix::errno::Errno;
use nix::sys::signal::Signal;

use crate::config::Ready;
use crate::launch::{BirthRecord, Extra, GoAhead, Spawned, Voice, WorkerIdentity};
use crate::listeners::shares;
use crate::readiness::{AckSocket, NotifySocket};
use crate::shell::fleet::worker::WorkerInfo;
use crate::shell::fleet::{Fleet, Ground};
use crate::shell::records::births::lend;
use crate::shell::{Child, PollSet};
use crate::sources::Source;
use crate::state::Guard;
use crate::sys::errno_text;

/// A worker that was forked and waits for our word before it becomes the app.
#[derive(Debug)]
pub(crate) struct ForkedWorker {
    pub(crate) worker: Worker,
    pub(crate) info: WorkerInfo,
    watched: Result<(), Errno>,
    go: GoAhead,
}

/// Whether other workers of a generation are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peers {
    Some,
    None,
}

impl Fleet {
    /// Whether a worker of a generation is there.
    pub(crate) fn peers_in(&self, generation: Number) -> Peers {
        if self.workers.keys().any(|worker| worker.generation == generation) {
            Peers::Some
        } else {
            Peers::None
        }
    }

    /// Fork a worker with its share of the listeners, and hear and watch it from now on.
    ///
    /// # Errors
    /// One line; nothing of it is left.
    pub(crate) fn fork(
        &mut self,
        worker: Worker,
        record: Record,
        workers: u16,
        ground: &Ground<'_>,
        sources: &mut PollSet,
    ) -> Result<ForkedWorker, String> {
        let mut notify = bind_notify_socket(worker, ground)?;
        if takes_acks(record, ground) {
            notify = notify.with_acks().map_err(|error| error.to_string())?;
        }
        let Spawned {
            pid,
            pidfd,
            report,
            go,
        } = spawn(worker, record, workers, &notify, ground)?;
        let watched = sources
            .add(Source::Notify(worker), notify.as_fd())
            .and_then(|()| sources.add(Source::Report(worker), report.as_fd()))
            .and_then(|()| match notify.acks() {
                Some(acks) => sources.add(Source::Ack(worker), acks.as_fd()),
                None => Ok(()),
            });
        let mut info = WorkerInfo::new(Some(notify));
        info.pid = Some(pid);
        info.report = Some(report);
        self.children.add(Child::Worker(worker), pid, pidfd);
        info.began = self.children.began(Child::Worker(worker));
        Ok(ForkedWorker {
            worker,
            info,
            watched,
            go,
        })
    }

    /// It is written down: let it become the app.
    pub(crate) fn let_go(&mut self, forked: ForkedWorker) {
        let ForkedWorker {
            worker,
            mut info,
            watched,
            go,
        } = forked;
        let begun = go.begin().map_err(|errno| ("launch", errno));
        if let Err((attempt, errno)) = watched.map_err(|errno| ("epoll", errno)).and(begun) {
            // It cannot be heard (or go on), so it can never be ready: it is ended, and its exit tells the core.
            info.failure = Some(format!("{attempt}: {}", errno_text(errno)));
            let _ = self.children.signal_group(Child::Worker(worker), Signal::SIGKILL);
        }
        self.workers.insert(worker, info);
    }

    /// It could not be started.
    pub(crate) fn spawn_failed(&mut self, worker: Worker, mut info: WorkerInfo, text: String) -> Event {
        info.failure = Some(text);
        self.gone.push(worker);
        self.workers.insert(worker, info);
        Event::SpawnFailed(worker)
    }
}

/// Whether the workers of this record ack.
fn takes_acks(record: Record, ground: &Ground<'_>) -> bool {
    let birth = ground.records.births.get(&record);
    birth.is_some_and(|birth| birth.config.protocol.has_acks())
}

fn bind_notify_socket(worker: Worker, ground: &Ground<'_>) -> Result<NotifySocket, String> {
    let place = &ground.given.place;
    let kept = place.keep_notify_directory();
    kept.map_err(|error| error.to_string())?;
    let path = place.notify_socket(worker.generation, worker.slot, worker.start);
    NotifySocket::bind(&path, Guard::armed()).map_err(|error| error.to_string())
}

/// The directory of a generation, made if its record asks for one.
fn runtime_directory(
    number: Number,
    record: &BirthRecord,
    ground: &Ground<'_>,
) -> Result<Option<PathBuf>, String> {
    if !record.has_runtime() {
        return Ok(None);
    }
    let made = ground.given.place.make_runtime_directory(number);
    made.map(Some).map_err(|error| error.to_string())
}

fn spawn(
    worker: Worker,
    record: Record,
    workers: u16,
    notify: &NotifySocket,
    ground: &Ground<'_>,
) -> Result<Spawned, String> {
    let birth = ground.records.births.get(&record);
    let birth = birth.ok_or("its birth record is gone")?;
    let generation = ground.records.generations.get(&worker.generation);
    let generation = generation.ok_or("its generation is gone")?;
    let config = &generation.config;
    let runtime = runtime_directory(worker.generation, birth.usable()?, ground)?;
    let identity = WorkerIdentity {
        generation: worker.generation,
        slot: worker.slot,
    };
    let extra = Extra {
        name: &ground.given.config.name,
        notify_path: notify.path(),
        ack_path: notify.acks().map(AckSocket::path),
        voice: match config.ready {
            Ready::Auto | Ready::Notify => Voice::Needed,
            Ready::Exec(_) | Ready::Accepting => Voice::Spare,
        },
        drain_ms: config
            .drain_timeout
            .map(|limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)),
        watchdog: config.watchdog,
        probe: generation.probe.as_deref().map(lend),
        runtime: runtime.as_deref(),
    };
    let lane = ground.core.lane_of(worker.generation);
    let share = shares(&birth.listeners, lane, worker.slot, workers);
    let sockets: Vec<_> = share.into_iter().map(lend).collect();
    birth
        .usable()?
        .spawn(&sockets, identity, &extra)
        .map_err(|error| error.to_string())
}
