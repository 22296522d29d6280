//! What a worker has started ends with it, also what has left its process group: a daemon, a helper in a session of its own, whatever
//! its parents were. A worker is gone when nothing of it is left.
//!
//! Nobody looks for such strays while all is well: only when a worker is told to stop, when its group has ended, and after that until
//! nothing is left. They hear the worker's stop signal once, when nobody is left above them who could tell them, and SIGKILL together
//! with the group; so does what they start meanwhile.
//!
//! Where a main process had the stop signal, caught it and has ended, it has told the others of its group, or it has not: nobody can see
//! that. A second signal may end a server in the middle of an answer, and none at all leaves one that goes on serving. So each of those
//! is looked at: who has no connection can lose none and is told, and so is who after a while still waits for new ones.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use segue_lifecycle::{Event, Number, Worker};

use crate::clock;
use crate::descent::{self, Look, Member, Origin, Scope, Tie};
use crate::shell::fleet::worker::{Told, WorkerInfo};
use crate::shell::narrator::view::View;
use crate::shell::{Child, Shell};
use crate::sight::{Hold, Sight};
use crate::state::{Field as _, Fields as _, Flaw, Row, Rows, Whole as _, fields};
use crate::sys::{self, ProcessRow, errno_text};

/// The kind of the rows.
const ROW: &str = "stray";

/// How many strays are named in one line.
const NAMED: usize = 10;

/// How long who was told by the main process, as that ended, may take to stop accepting.
const UNTIL_DEAF: Duration = Duration::from_secs(2);

/// How often to look in one turn, if there is another orphan each time. Whatever comes later is found by the next turn.
const LOOKS_A_TURN: usize = 4;

/// A process of a worker that has nobody above it: it has left the group, or it is left of it.
#[derive(Debug)]
struct Stray {
    worker: Worker,
    /// When it was started; with the pid it tells the process from every other.
    began: u64,
    pidfd: OwnedFd,
    /// What ties it to the worker.
    tie: Tie,
    /// Whether it had the stop signal from us.
    told: bool,
}

fields!(Stray { "began" began; "told" told; });

impl Stray {
    fn lives(&self) -> bool {
        !sys::is_dead_by_pidfd(self.pidfd.as_fd())
    }
}

/// Which strays are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meant {
    /// Those whom nobody else can tell.
    Orphans,
    /// All of them.
    Everybody,
}

impl Meant {
    fn includes(self, stray: &Stray) -> bool {
        match self {
            Meant::Orphans => stray.tie == Tie::Birth,
            Meant::Everybody => stray.tie != Tie::Group,
        }
    }
}

/// The strays that were seen.
#[derive(Debug, Default)]
pub(crate) struct Strays {
    known: BTreeMap<Pid, Stray>,
    /// Workers of whom nothing but strays is left.
    held: BTreeSet<Worker>,
    /// Workers with a stray of which we could get no pidfd, in the last look.
    unnamed: BTreeSet<Worker>,
    /// A worker was told something, and a look is due at the end of the turn.
    due: bool,
}

impl Strays {
    /// Whether somebody waits for the end of a stray, or for the moment at which one may be told.
    pub(crate) fn are_waited_for(&self) -> bool {
        !self.held.is_empty() || self.known.values().any(|stray| stray.tie == Tie::Group)
    }

    /// Whether nothing but strays is left of a worker.
    pub(crate) fn are_all_of(&self, worker: Worker) -> bool {
        self.held.contains(&worker)
    }

    /// A worker was told to end.
    pub(crate) fn expect(&mut self) {
        self.due = true;
    }

    fn living_of(&self, worker: Worker) -> Vec<Pid> {
        let of_worker = self.known.iter().filter(|(_, stray)| stray.worker == worker);
        let living = of_worker.filter(|(_, stray)| stray.lives());
        living.map(|(pid, _)| *pid).collect()
    }

    /// How many of a generation live, as far as they were seen.
    pub(crate) fn count(&self, generation: Number) -> u64 {
        let living = self.known.values().filter(|stray| stray.lives());
        let of_it = living.filter(|stray| stray.worker.generation == generation && stray.tie != Tie::Group);
        of_it.count() as u64
    }

    /// Writes a row for each.
    pub(crate) fn save(&self, rows: &mut Rows) {
        for (pid, stray) in &self.known {
            stray.worker.save_fields(rows.begin(ROW));
            pid.write("pid", rows);
            stray.save_fields(rows);
        }
    }

    /// Those of the rows that live.
    pub(crate) fn restore(rows: &[Row<'_>]) -> Result<Self, Flaw> {
        let mut strays = Self::default();
        for row in rows.iter().filter(|row| row.kind() == ROW) {
            let (pid, began) = (Pid::read("pid", *row)?, row.number("began")?);
            if let Some(pidfd) = identify(pid, began) {
                let mut stray = Stray {
                    worker: Worker::of_row(*row)?,
                    began,
                    pidfd,
                    tie: Tie::Birth,
                    told: false,
                };
                stray.restore_fields(*row)?;
                strays.known.insert(pid, stray);
            }
        }
        Ok(strays)
    }
}

/// A pidfd of the process that was started then: the pid may have come to mean another between the look and the opening (pidfd_open(2)).
fn identify(pid: Pid, began: u64) -> Option<OwnedFd> {
    let pidfd = sys::open_pidfd(pid).ok()?;
    let is_it = sys::start_time(pid) == Some(began) && !sys::is_dead_by_pidfd(pidfd.as_fd());
    is_it.then_some(pidfd)
}

/// The living and dead children of this process. Where the kernel does not list them: none, each time.
fn our_children() -> Vec<Pid> {
    sys::children_of(Pid::this()).unwrap_or_default()
}

impl View<'_> {
    /// By what the processes of workers are known.
    pub(crate) fn origins(&self) -> Vec<Origin<Worker>> {
        let place = &self.given.place;
        let origin = |(worker, info): (&Worker, &WorkerInfo)| {
            Some(Origin {
                key: *worker,
                leader: info.pid?,
                notify: place.notify_socket(worker.generation, worker.slot, worker.start),
            })
        };
        let there = self
            .fleet
            .workers
            .iter()
            .filter(|(worker, _)| !self.fleet.gone.contains(worker));
        there.filter_map(origin).collect()
    }

    /// What is below this process, unless some were started by a supervisor that was killed: the orphans of those are not our children.
    pub(crate) fn scope(&self) -> Scope {
        if self.fleet.workers.values().any(|info| info.adopted) {
            Scope::Everywhere
        } else {
            Scope::Below
        }
    }
}

impl Shell {
    /// See which strays there are now.
    pub(crate) fn look_for_strays(&mut self) {
        let look = descent::orphans(&self.view().origins(), self.view().scope());
        self.note_strays(look);
    }

    /// See everything that a worker has started.
    pub(crate) fn look_for_all_of(&mut self, worker: Worker) {
        let mut origins = self.view().origins();
        origins.retain(|origin| origin.key == worker);
        let look = descent::look(&origins, self.view().scope());
        self.note_strays(look);
    }

    fn note_strays(&mut self, look: Look<Worker>) {
        self.fleet.strays.known.retain(|_, stray| stray.lives());
        self.fleet.strays.unnamed = BTreeSet::new();
        for stray in self.fleet.strays.known.values_mut() {
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
        for row in look.strangers {
            if let Some(key) = self.whose_by_listener(&row) {
                let (pid, began, tie) = (row.pid, row.began, Tie::Birth);
                self.note_stray(Member { key, pid, began, tie });
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
        match self.fleet.strays.known.get_mut(&pid) {
            Some(known) if known.began == began => known.tie = tie,
            Some(_) | None => {
                let Some(pidfd) = identify(pid, began) else {
                    // If it lives, somebody looks again.
                    if sys::start_time(pid) == Some(began) {
                        self.fleet.strays.unnamed.insert(worker);
                    }
                    return;
                };
                let stray = Stray {
                    worker,
                    began,
                    pidfd,
                    tie,
                    told: false,
                };
                self.fleet.strays.known.insert(pid, stray);
            }
        }
    }

    /// Every socket that is lent to somebody who lives.
    fn lent(&self) -> BTreeSet<u64> {
        let lent = self.records.generations.values().flat_map(|info| &info.lent);
        lent.copied().collect()
    }

    fn was_told_by_main(&self, worker: Worker) -> bool {
        let info = self.fleet.workers.get(&worker);
        info.is_some_and(|info| info.told == Told::ByMain)
    }

    /// Whose a child of ours is that hides what it was born with, but has one of our listeners: those are lent to workers alone. It is of the
    /// newest generation that was there when it was started.
    fn whose_by_listener(&self, row: &ProcessRow) -> Option<Worker> {
        if self.fleet.strays.known.contains_key(&row.pid) || self.fleet.children.lives(row.pid) {
            return None;
        }
        let lent = self.lent();
        let open = sys::open_sockets(row.pid.as_raw()).ok()?;
        let has_one = open.iter().any(|(inode, _)| lent.contains(inode));
        let older = |(_, info): &(&Worker, &WorkerInfo)| info.began.is_some_and(|began| began <= row.began);
        let there = self
            .fleet
            .workers
            .iter()
            .filter(|(worker, _)| !self.fleet.gone.contains(worker));
        has_one.then(|| there.filter(older).map(|(worker, _)| *worker).next_back())?
    }

    /// At the end of a turn, when everybody has his answer: tell and end the strays of those that were told to end in it.
    pub(crate) fn tend_strays(&mut self) {
        for _ in 0..LOOKS_A_TURN {
            if !std::mem::take(&mut self.fleet.strays.due) {
                return;
            }
            self.hear_out();
            self.mind_strays();
            self.step_all();
        }
    }

    /// Strays hear what their workers have heard; who has none left is gone.
    pub(crate) fn mind_strays(&mut self) {
        let before = our_children();
        self.look_for_strays();
        let workers: BTreeSet<Worker> = self
            .fleet
            .strays
            .known
            .values()
            .map(|stray| stray.worker)
            .collect();
        for worker in workers.iter() {
            self.treat_strays_of(*worker);
        }
        if self.fleet.strays.held.is_empty() {
            return;
        }
        match self.view().scope() {
            // One that ended while we looked may have left us others, which we have not seen.
            Scope::Below if our_children() != before => {
                self.fleet.strays.due = true;
                return;
            }
            Scope::Below => {}
            Scope::Everywhere => self.look_for_strays(),
        }
        for worker in self.fleet.strays.held.clone().iter() {
            let unnamed = self.fleet.strays.unnamed.contains(worker);
            if !unnamed && self.fleet.strays.living_of(*worker).is_empty() {
                self.fleet.strays.held.remove(worker);
                self.bury(*worker);
            }
        }
    }

    fn treat_strays_of(&mut self, worker: Worker) {
        let Some(info) = self.fleet.workers.get(&worker) else {
            return;
        };
        match info.told {
            _ if info.killed => self.kill_strays_of(worker),
            Told::Nobody => {}
            Told::Main | Told::Group => self.tell_strays_of(worker, Meant::Orphans),
            Told::ByMain => {
                self.tell_strays_of(worker, Meant::Orphans);
                self.tell_the_unhurt_of(worker);
            }
        }
    }

    /// Of the group that a main process has left: those who lose nothing by it, and those who show that they were not told.
    fn tell_the_unhurt_of(&mut self, worker: Worker) {
        let Some((info, (_, after))) = self
            .fleet
            .workers
            .get(&worker)
            .and_then(|info| Some((info, info.exit?)))
        else {
            return;
        };
        let is_late = clock::now().saturating_duration_since(info.started + after) >= UNTIL_DEAF;
        let own = sys::open_sockets(Pid::this().as_raw()).unwrap_or_default();
        let own: BTreeSet<u64> = own.into_iter().map(|(inode, _)| inode).collect();
        let lent = self.lent();
        let signal = self.stop_signal(worker);
        let left = self.fleet.strays.known.iter_mut();
        let left = left.filter(|(_, stray)| stray.worker == worker && stray.tie == Tie::Group && !stray.told);
        for (pid, stray) in left {
            let mut sight = Sight::of(lent.iter().copied());
            sight.look_at(*pid);
            // What we have open as well is a listener, or where its output goes.
            let is_idle = sight.others().iter().all(|inode| own.contains(inode));
            let accepts = lent.iter().any(|inode| sight.hold(*inode) == Hold::Awaited);
            let is_seen = sight.blind().is_none();
            if is_seen && is_idle || accepts && is_late {
                stray.told = true;
                // One that has ended meanwhile needs nothing.
                let _ = sys::signal_by_pidfd(stray.pidfd.as_fd(), Some(signal));
            }
        }
    }

    /// The stop signal, to those that have not had it.
    pub(crate) fn tell_strays_of(&mut self, worker: Worker, meant: Meant) {
        let signal = self.stop_signal(worker);
        let mut told = Vec::new();
        for (pid, stray) in &mut self.fleet.strays.known {
            if stray.worker == worker && !stray.told && meant.includes(stray) {
                stray.told = true;
                if sys::signal_by_pidfd(stray.pidfd.as_fd(), Some(signal)).is_ok() {
                    told.push(*pid);
                }
            }
        }
        self.name_strays(worker, &told, "is told to stop, too");
    }

    fn kill_strays_of(&mut self, worker: Worker) {
        let mut killed = Vec::new();
        for (pid, stray) in self
            .fleet
            .strays
            .known
            .iter()
            .filter(|(_, stray)| stray.worker == worker)
        {
            match sys::signal_by_pidfd(stray.pidfd.as_fd(), Some(Signal::SIGKILL)) {
                // The group is killed as such.
                Ok(()) if stray.tie == Tie::Group => {}
                Ok(()) => killed.push(*pid),
                Err(nix::errno::Errno::ESRCH) => {}
                Err(errno) => self.log.error(&format!(
                    "signal pid {pid} of {}: {}",
                    self.view().name_worker(worker),
                    errno_text(errno)
                )),
            }
        }
        self.name_strays(worker, &killed, "did not end in time: it is killed");
    }

    fn name_strays(&self, worker: Worker, pids: &[Pid], what: &str) {
        for pid in pids.iter().take(NAMED) {
            self.log.warning(&format!(
                "pid {pid}, which {} started outside its process group, {what}",
                self.view().name_worker(worker)
            ));
        }
    }

    /// The group of a worker has ended: it is gone, unless the next look shows strays.
    pub(crate) fn hold(&mut self, worker: Worker) {
        self.fleet.strays.held.insert(worker);
    }

    /// Not even SIGKILL has ended them: nobody waits for them any longer.
    pub(crate) fn give_up_strays(&mut self, worker: Worker) {
        let living = self.fleet.strays.living_of(worker);
        self.name_strays(worker, &living, "survived SIGKILL: it is left behind");
        if self.fleet.strays.held.remove(&worker) {
            self.fleet.gone.push(worker);
        }
    }

    /// Nothing of a worker is left.
    fn bury(&mut self, worker: Worker) {
        self.fleet.gone.push(worker);
        self.events.push_back(Event::Gone(worker));
    }

    /// After a restoration: a worker without a child that is not gone has strays.
    pub(crate) fn hold_the_childless(&mut self) {
        let childless = self
            .fleet
            .workers
            .iter()
            .filter(|(worker, info)| {
                info.pid.is_some() && self.fleet.children.pid(Child::Worker(**worker)).is_none()
            })
            .map(|(worker, _)| *worker);
        self.fleet.strays.held = childless.collect();
    }
}
