//! What the core orders about workers: signals, and more time.

use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::Signal as Kill;
use segue_lifecycle::{Generation, Signal, Timer, Worker};

use crate::clock::{self, Extended, Timers};
use crate::log::Log;
use crate::protocol::setting;
use crate::shell::fleet::{Fleet, Ground};
use crate::shell::{Alarm, Child};
use crate::sys::{self, errno_text};

/// More time that a worker was given: how much it had asked for, and what an app may ask for at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extension {
    pub(crate) asked: Duration,
    pub(crate) limit: Option<Duration>,
}

impl Fleet {
    /// Signal a worker. One that is gone by now is not there to be signalled, and that is well.
    pub(crate) fn signal(&mut self, worker: Worker, signal: Signal, ground: &Ground<'_>) {
        let child = Child::Worker(worker);
        let stop = ground.records.stop_signal(worker.generation);
        if let Some(info) = self.workers.get_mut(&worker) {
            info.since = clock::wall();
            info.killed |= signal == Signal::Kill;
        }
        let sent = match signal {
            Signal::Stop => self.tell_to_stop(worker, stop, ground),
            Signal::StopGroup => self.tell_who_is_left(worker, stop),
            Signal::Abort => self.children.signal(child, Kill::SIGABRT),
            Signal::Kill => self.children.signal_group(child, Kill::SIGKILL),
        };
        match signal {
            // Once it has been told, for that must not wait.
            Signal::Stop | Signal::StopGroup => self.sacrifice(worker),
            Signal::Abort | Signal::Kill => {}
        }
        if !self.gone.contains(&worker) {
            self.strays.expect();
        }
        match sent {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => {
                let text = format!("signal {}: {}", self.name_worker(worker), errno_text(errno));
                ground.log.error(&text);
            }
        }
    }

    /// Let a wait take as much longer as the worker has asked for.
    pub(crate) fn extend(
        &mut self,
        timer: Timer,
        asking: Worker,
        ground: &Ground<'_>,
        timers: &mut Timers<Alarm>,
    ) -> Option<Extension> {
        let info = self.workers.get_mut(&asking)?;
        let asked = info.more_time.take()?;
        info.extended = true;
        let limit = ground.config_of(asking.generation).extend_limit;
        match timers.extend(Alarm::Core(timer), asked, limit, clock::now()) {
            Extended::Whole => {}
            Extended::Cut => self.tell_of_the_limit(asking, limit, ground),
        }
        Some(Extension { asked, limit })
    }

    /// Once for each worker: an app may ask in every second.
    fn tell_of_the_limit(&mut self, worker: Worker, limit: Option<Duration>, ground: &Ground<'_>) {
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
            ground.log.warning(&text);
        }
    }

    /// It is ready.
    pub(crate) fn note_ready(&mut self, worker: Worker) {
        if let Some(info) = self.workers.get_mut(&worker) {
            info.since = clock::wall();
            info.ready_after = Some(clock::now().saturating_duration_since(info.started));
        }
    }

    /// Pass SIGUSR1 on to the workers of the incumbent. It kills a process that does not catch it, so only those get it that do.
    pub(crate) fn pass_on_usr1(&self, incumbent: &Generation, by: &str, log: &Log) {
        for worker in incumbent.processes.iter().map(|process| process.worker) {
            let child = Child::Worker(worker);
            let Some(pid) = self.children.pid(child) else {
                continue;
            };
            let name = self.name_worker(worker);
            let text = if !sys::catches_signal(pid, Kill::SIGUSR1).unwrap_or(false) {
                format!("{by} not passed on: {name} does not catch it")
            } else {
                match self.children.signal(child, Kill::SIGUSR1) {
                    Ok(()) => format!("{by} passed on to {name}"),
                    Err(errno) => format!("{by} not passed on: {}", errno_text(errno)),
                }
            };
            log.info(&text);
        }
    }
}
