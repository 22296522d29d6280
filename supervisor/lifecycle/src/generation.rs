//! A generation: its slots (where workers should run) and its processes (what does run, or still does).

use crate::token::Token;
use crate::vocabulary::{Lane, Number, Plan, Record, Worker};
use alloc::vec::Vec;

/// What a generation is to the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// It is starting and shall take over.
    Candidate,
    /// It serves (or is being restarted to serve).
    Incumbent,
    /// It was replaced, and keeps its clients for a while. New ones go to the incumbent.
    Lingering,
    /// It was told to drain and is not yet gone.
    Retired,
    /// One worker of the incumbent's record, started for clients in a lane that nobody else serves.
    Relief,
}

impl Role {
    /// Whether its generation serves or shall take over. One that lingers or drains is not, and neither is a relief worker, which
    /// helps out.
    pub const fn is_active(self) -> bool {
        match self {
            Self::Candidate | Self::Incumbent => true,
            Self::Lingering | Self::Retired | Self::Relief => false,
        }
    }
}

/// How far an incumbent is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// It has not passed probation.
    Untried,
    /// Its record is the last good, or was when it was started.
    Proven,
}

/// How a process of the app is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Life {
    /// Started, not yet ready.
    Starting,
    /// Ready.
    Serving,
    /// Asked to end, or ended with others of its group left.
    Draining,
    /// Sent SIGKILL.
    Killed,
}

/// Whether the main process of a worker runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Leader {
    /// It does.
    Running,
    /// It has exited; its group may not be empty.
    Exited,
}

/// A process group that was started and is not yet gone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    /// Which start of which worker it is.
    pub worker: Worker,
    /// How it is doing.
    pub life: Life,
    /// Whether its main process runs.
    pub leader: Leader,
}

/// What a slot is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SlotState {
    /// A worker is to be started as soon as it may.
    Wanted,
    /// The worker with this start number runs here.
    Running(u32),
    /// The next start waits for its back-off.
    BackingOff,
    /// A worker of the candidate has taken its place, or its generation lingers. It is wanted again if the one that replaces it
    /// fails.
    Yielded,
}

/// A place for one worker.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    /// What it is doing.
    pub state: SlotState,
    /// Crashes since the last calm time; saturates.
    pub failures: u8,
}

impl Slot {
    pub(crate) const fn new() -> Self {
        Self {
            state: SlotState::Wanted,
            failures: 0,
        }
    }
}

/// One start of the app.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Generation {
    /// Its number.
    pub number: Number,
    /// What it was started from.
    pub record: Record,
    /// The settings that the core needs.
    pub plan: Plan,
    /// What it is to the others.
    pub role: Role,
    /// How far it is trusted.
    pub standing: Standing,
    /// The lane that it is lent of each steered listener; 0 if it has none.
    pub lane: Lane,
    /// Whether it was seen to accept, if that is asked of it.
    pub token: Token,
    /// Where workers should run; empty once retired.
    pub slots: Vec<Slot>,
    /// How many workers were started in each slot, also in those that were taken away since: a slot that comes
    /// back must not use the names of its workers again.
    pub starts: Vec<u32>,
    /// What runs, in order of start.
    pub processes: Vec<Process>,
}

impl Generation {
    pub(crate) fn new(
        number: Number,
        record: Record,
        plan: Plan,
        role: Role,
        standing: Standing,
        lane: Lane,
    ) -> Self {
        let slots = (0..plan.workers).map(|_| Slot::new()).collect();
        Self {
            number,
            record,
            plan,
            role,
            standing,
            lane,
            token: Token::Unasked,
            slots,
            starts: Vec::new(),
            processes: Vec::new(),
        }
    }

    /// The name of the next worker in a slot.
    pub(crate) fn next_worker(&mut self, slot: u16) -> Worker {
        let index = usize::from(slot);
        if self.starts.len() <= index {
            self.starts.resize(index + 1, 0);
        }
        let start = self
            .starts
            .get_mut(index)
            .map_or(0, |starts| core::mem::replace(starts, *starts + 1));
        Worker {
            generation: self.number,
            slot,
            start,
        }
    }

    pub(crate) fn process(&self, worker: Worker) -> Option<&Process> {
        self.processes.iter().find(|process| process.worker == worker)
    }

    pub(crate) fn process_mut(&mut self, worker: Worker) -> Option<&mut Process> {
        self.processes.iter_mut().find(|process| process.worker == worker)
    }

    /// Whether at least one of its workers serves.
    pub fn serves(&self) -> bool {
        self.processes.iter().any(|process| process.life == Life::Serving)
    }

    /// Whether each slot has a worker that serves.
    pub(crate) fn all_serve(&self) -> bool {
        (0u16..)
            .zip(&self.slots)
            .all(|(index, slot)| self.is_served(index, slot))
    }

    /// The slots that have no worker that serves.
    pub(crate) fn idle_slots(&self) -> Vec<u16> {
        let slots = (0u16..).zip(&self.slots);
        let idle = slots.filter(|(index, slot)| !self.is_served(*index, slot));
        idle.map(|(index, _)| index).collect()
    }

    fn is_served(&self, index: u16, slot: &Slot) -> bool {
        match slot.state {
            SlotState::Running(start) => {
                let worker = Worker {
                    generation: self.number,
                    slot: index,
                    start,
                };
                self.process(worker)
                    .is_some_and(|process| process.life == Life::Serving)
            }
            SlotState::Wanted | SlotState::BackingOff | SlotState::Yielded => false,
        }
    }

    /// Whether each place that was left to it has been yielded to the candidate.
    pub(crate) fn yielded_all(&self) -> bool {
        self.slots.iter().all(|slot| slot.state == SlotState::Yielded)
    }

    /// Whether a start waits for its back-off.
    pub fn backs_off(&self) -> bool {
        self.slots.iter().any(|slot| slot.state == SlotState::BackingOff)
    }

    /// Whether it counts against the limit on generations: it runs, or it is meant to.
    pub(crate) fn lives(&self) -> bool {
        match self.role {
            Role::Candidate | Role::Incumbent | Role::Relief => true,
            Role::Lingering | Role::Retired => !self.processes.is_empty(),
        }
    }
}
