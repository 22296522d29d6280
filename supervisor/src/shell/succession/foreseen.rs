//! After `kill -9`: how the dead supervisor would have gone on with what it was doing.

use segue_lifecycle::{Effect, Event, Life, Lifecycle, Signal, Timer, Worker};

use crate::clock;
use crate::shell::found::machine;
use crate::shell::journal::log::Logged;
use crate::shell::succession::draining_orphans::Deadline;
use crate::shell::succession::orphan_processes::{OrphanProcess, Role};
use crate::state::{Field as _, Flaw, Row};
use crate::sys;

/// The core after the batch that the dead supervisor was performing, and what of its effects is not done yet.
#[derive(Debug)]
pub(super) struct Foreseen {
    pub(super) core: Lifecycle,
    /// Workers that were to be told to stop, and have not been.
    untold: Vec<Worker>,
}

impl Foreseen {
    /// The rows and the log are those of the dead supervisor.
    ///
    /// # Errors
    /// A row is not whole.
    pub(super) fn of(rows: &[Row<'_>], logged: &Logged) -> Result<Self, Flaw> {
        let mut core = machine(rows)?;
        let mut events = logged.batch.clone();
        if events.is_empty() {
            for row in rows.iter().filter(|row| row.kind() == "event") {
                events.push(Event::read("is", *row)?);
            }
        }
        let effects: Vec<Effect> = events.into_iter().flat_map(|event| core.step(event)).collect();
        let undone = effects
            .into_iter()
            .enumerate()
            .filter(|(nth, effect)| !logged.done.covers(*nth, *effect));
        let untold = undone.filter_map(|(_, effect)| match effect.signal()? {
            (worker, Signal::Stop | Signal::StopGroup) => Some(worker),
            (_, Signal::Abort | Signal::Kill) => None,
        });
        Ok(Self {
            untold: untold.collect(),
            core,
        })
    }

    /// Whether a process that is not adopted still has to get its stop signal. A stray has had it, or gets it, from its worker's main
    /// process or from its parent, if one of these lives.
    pub(super) fn is_untold(&self, orphan: &OrphanProcess, remains: &[OrphanProcess]) -> bool {
        match orphan.role {
            Role::Main => self.untold.contains(&orphan.worker),
            Role::Survivor => true,
            Role::Stray => {
                let parent = sys::process_row(orphan.proved.pid.as_raw()).map(|row| row.parent);
                !remains.iter().any(|other| {
                    let is_main = other.role == Role::Main && other.worker == orphan.worker;
                    is_main || Some(other.proved.pid) == parent
                })
            }
        }
    }

    /// Until when the worker may drain.
    pub(super) fn deadline(&self, worker: Worker, rows: &[Row<'_>]) -> Result<Deadline, Flaw> {
        let mut processes = self
            .core
            .generations()
            .flat_map(|generation| &generation.processes);
        let killed = processes.any(|process| process.worker == worker && process.life == Life::Killed);
        if killed {
            return Ok(Deadline::At(Some(clock::now())));
        }
        let mut deadline = Deadline::NotGiven;
        for row in rows.iter().filter(|row| row.kind() == "timer") {
            let timer: Timer = row.parsed("is")?;
            if timer == Timer::Stop || timer == Timer::Drain(worker) {
                let until = row.number_if_any("at")?.map(clock::from_nanos);
                deadline = deadline.or_earlier(until);
            }
        }
        Ok(deadline)
    }
}
