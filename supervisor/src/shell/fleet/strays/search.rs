//! Which strays there are: what descends from a worker and has nobody above it.

use std::collections::BTreeSet;

use nix::unistd::Pid;
use segue_lifecycle::Worker;

use super::{Stray, identify};
use crate::clock;
use crate::descent::{self, Look, Member, Origin, Scope, Tie};
use crate::shell::Child;
use crate::shell::fleet::worker::{Told, WorkerInfo};
use crate::shell::fleet::{Fleet, Ground};
use crate::sys::{self, ProcessRow};

impl Fleet {
    /// The workers of which something may be left.
    fn there(&self) -> impl DoubleEndedIterator<Item = (&Worker, &WorkerInfo)> {
        let workers = self.workers.iter();
        workers.filter(|(worker, _)| !self.gone.contains(worker))
    }

    /// By what the processes of workers are known.
    pub(crate) fn origins(&self, ground: &Ground<'_>) -> Vec<Origin<Worker>> {
        let place = &ground.given.place;
        let origin = |(worker, info): (&Worker, &WorkerInfo)| {
            Some(Origin {
                key: *worker,
                leader: info.pid?,
                notify: place.notify_socket(worker.generation, worker.slot, worker.start),
            })
        };
        self.there().filter_map(origin).collect()
    }

    /// What is below this process, unless some were started by a supervisor that was killed: the orphans of those are not our children.
    pub(crate) fn scope(&self) -> Scope {
        if self.workers.values().any(|info| info.adopted) {
            Scope::Everywhere
        } else {
            Scope::Below
        }
    }

    /// See which strays there are now.
    pub(crate) fn look_for_strays(&mut self, ground: &Ground<'_>) {
        let look = descent::orphans(&self.origins(ground), self.scope());
        self.note_strays(look, ground);
    }

    /// The same where nobody but main processes has us as a parent: nobody is left without one, and nobody becomes so unless one
    /// of them ends.
    pub(super) fn note_that_there_are_none(&mut self, ground: &Ground<'_>) {
        self.note_strays(Look::nobody(), ground);
    }

    /// Whether these are main processes of workers, all of them.
    pub(super) fn are_main(&self, processes: &[Pid]) -> bool {
        let main: BTreeSet<Pid> = self.there().filter_map(|(_, info)| info.pid).collect();
        processes.iter().all(|pid| main.contains(pid))
    }

    /// See everything that a worker has started.
    pub(crate) fn look_for_all_of(&mut self, worker: Worker, ground: &Ground<'_>) {
        let mut origins = self.origins(ground);
        origins.retain(|origin| origin.key == worker);
        let look = descent::look(&origins, self.scope());
        self.note_strays(look, ground);
    }

    fn note_strays(&mut self, look: Look<Worker>, ground: &Ground<'_>) {
        self.strays.known.retain(|_, stray| stray.lives());
        self.strays.unnamed = BTreeSet::new();
        let is_new = |row: &ProcessRow| !self.children.lives(row.pid) && !self.strays.knows(row);
        let unseen: Vec<ProcessRow> = look.unseen.into_iter().filter(is_new).collect();
        let hidden = self.strays.note_unseen(&unseen, clock::now());
        for stray in self.strays.known.values_mut() {
            stray.tie = Tie::Birth;
        }
        for member in look.members {
            let counts = match member.tie {
                Tie::Leader => false,
                Tie::Group => self.was_told_by_main(member.key),
                Tie::Parent | Tie::Birth => true,
            };
            if counts {
                self.note_stray(member);
            }
        }
        for row in look.strangers.into_iter().chain(hidden) {
            let is_known = self.strays.known.contains_key(&row.pid);
            if let Some(key) = self.whose_by_listener(&row, ground).filter(|_| !is_known) {
                let (pid, began, tie) = (row.pid, row.began, Tie::Birth);
                self.note_stray(Member { key, pid, began, tie });
                self.strays.mark_monitor(pid);
            }
        }
        self.note_monitored();
    }

    /// Monitors, and all that is below them. As long as the main process of their worker lives, that has somebody who can tell
    /// them to stop, as `podman run` does, and nobody has the signal twice.
    fn note_monitored(&mut self) {
        for (monitor, key) in self.strays.monitors() {
            let main = self.workers.get(&key).and_then(|info| info.pid);
            if main.is_some_and(|main| self.children.lives(main))
                && let Some(stray) = self.strays.known.get_mut(&monitor)
            {
                stray.tie = Tie::Parent;
            }
            for pid in descent::below(monitor).into_iter().skip(1) {
                if let Some(began) = sys::start_time(pid) {
                    let tie = Tie::Parent;
                    self.note_stray(Member { key, pid, began, tie });
                }
            }
        }
    }

    fn note_stray(&mut self, member: Member<Worker>) {
        let Member {
            key: worker,
            pid,
            began,
            tie,
        } = member;
        match self.strays.known.get_mut(&pid) {
            Some(known) if known.began == began => known.tie = tie,
            Some(_) | None => {
                let Some(pidfd) = identify(pid, began) else {
                    // If it lives, somebody looks again.
                    if sys::start_time(pid) == Some(began) {
                        self.strays.unnamed.insert(worker);
                    }
                    return;
                };
                let stray = Stray {
                    worker,
                    began,
                    pidfd,
                    tie,
                    told: false,
                    is_monitor: false,
                };
                self.strays.known.insert(pid, stray);
            }
        }
    }

    fn was_told_by_main(&self, worker: Worker) -> bool {
        let info = self.workers.get(&worker);
        info.is_some_and(|info| info.told == Told::ByMain)
    }

    /// Whose a child of ours is that hides what it was born with, but has one of our listeners: those are lent to workers alone. It is of the
    /// newest generation that was there when it was started. The monitor of a container is one.
    pub(in crate::shell::fleet) fn whose_by_listener(
        &self,
        row: &ProcessRow,
        ground: &Ground<'_>,
    ) -> Option<Worker> {
        if self.children.lives(row.pid) {
            return None;
        }
        let lent = ground.records.lent();
        let open = sys::open_sockets(row.pid.as_raw()).ok()?;
        let has_one = open.iter().any(|(inode, _)| lent.contains(inode));
        let older = |(_, info): &(&Worker, &WorkerInfo)| info.began.is_some_and(|began| began <= row.began);
        has_one.then(|| self.there().filter(older).map(|(worker, _)| *worker).next_back())?
    }

    /// After a restoration: a worker without a child that is not gone has strays.
    pub(crate) fn hold_the_childless(&mut self) {
        let childless = self
            .workers
            .iter()
            .filter(|(worker, info)| {
                info.pid.is_some() && self.children.pid(Child::Worker(**worker)).is_none()
            })
            .map(|(worker, _)| *worker);
        self.strays.held = childless.collect();
    }
}

/// The living and dead children of this process; `None` where the kernel does not list them.
pub(super) fn our_children() -> Option<Vec<Pid>> {
    sys::own_children().ok()
}
