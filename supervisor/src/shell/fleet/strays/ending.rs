//! Strays hear what their workers have heard, and hold these back until they have ended.

use std::collections::BTreeSet;
use std::os::fd::AsFd as _;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use segue_lifecycle::{Event, Worker};

use super::Stray;
use super::search::our_children;
use crate::clock::{self, Timers};
use crate::descent::{Scope, Tie};
use crate::shell::Alarm;
use crate::shell::fleet::worker::Told;
use crate::shell::fleet::{Fleet, Ground};
use crate::sight::{Hold, Sight};
use crate::sys::{self, errno_text};

/// How many strays are named in one line.
const NAMED: usize = 10;

/// How long who was told by the main process, as that ended, may take to stop accepting.
const UNTIL_DEAF: Duration = Duration::from_secs(2);

/// Which strays are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::shell::fleet) enum Meant {
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

impl Fleet {
    /// Tell and end the strays of those that were told to end. Nothing is returned if no look at them is due; else the workers that are
    /// gone with that.
    pub(crate) fn tend_strays(
        &mut self,
        ground: &Ground<'_>,
        timers: &mut Timers<Alarm>,
    ) -> Option<Vec<Event>> {
        if !self.strays.take_due() {
            return None;
        }
        self.hear_out(ground, timers);
        Some(self.mind_strays(ground))
    }

    /// Strays hear what their workers have heard; a worker that has none left is gone, and that is returned.
    pub(in crate::shell::fleet) fn mind_strays(&mut self, ground: &Ground<'_>) -> Vec<Event> {
        let before = our_children();
        let is_alone = self.scope() == Scope::Below && before.as_ref().is_some_and(|all| self.are_main(all));
        if is_alone {
            self.note_that_there_are_none(ground);
        } else {
            self.look_for_strays(ground);
        }
        let known = self.strays.known.values();
        let workers: BTreeSet<Worker> = known.map(|stray| stray.worker).collect();
        for worker in workers {
            self.treat_strays_of(worker, ground);
        }
        if self.strays.held.is_empty() {
            return Vec::new();
        }
        match self.scope() {
            // One that ended while we looked may have left us others, which we have not seen.
            Scope::Below if is_alone => {}
            Scope::Below if before != our_children() => {
                self.strays.due = true;
                return Vec::new();
            }
            Scope::Below => {}
            Scope::Everywhere => self.look_for_strays(ground),
        }
        // What executes just now may be theirs.
        if self.strays.awaits_unseen {
            return Vec::new();
        }
        let strays = &self.strays;
        let is_over =
            |worker: &Worker| !strays.unnamed.contains(worker) && strays.living_of(*worker).is_empty();
        let over: Vec<Worker> = strays.held.iter().copied().filter(is_over).collect();
        for worker in &over {
            self.strays.held.remove(worker);
        }
        self.gone.extend(&over);
        over.into_iter().map(Event::Gone).collect()
    }

    fn treat_strays_of(&mut self, worker: Worker, ground: &Ground<'_>) {
        let Some(info) = self.workers.get(&worker) else {
            return;
        };
        match info.told {
            _ if info.killed => self.kill_strays_of(worker, ground),
            Told::Nobody => {}
            Told::Main | Told::Group => self.tell_strays_of(worker, Meant::Orphans, ground),
            Told::ByMain => {
                self.tell_strays_of(worker, Meant::Orphans, ground);
                self.tell_the_unhurt_of(worker, ground);
            }
        }
    }

    /// Of the group that a main process has left: those who lose nothing by it, and those who show that they were not told.
    fn tell_the_unhurt_of(&mut self, worker: Worker, ground: &Ground<'_>) {
        let info = self.workers.get(&worker);
        let Some((started, (_, after))) = info.and_then(|info| Some((info.started, info.exit?))) else {
            return;
        };
        let is_late = clock::now().saturating_duration_since(started + after) >= UNTIL_DEAF;
        let own = sys::open_sockets(Pid::this().as_raw()).unwrap_or_default();
        let own: BTreeSet<u64> = own.into_iter().map(|(inode, _)| inode).collect();
        let lent = ground.records.lent();
        let signal = ground.records.stop_signal(worker.generation);
        let left = self.strays.known.iter_mut();
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
    pub(in crate::shell::fleet) fn tell_strays_of(
        &mut self,
        worker: Worker,
        meant: Meant,
        ground: &Ground<'_>,
    ) {
        let signal = ground.records.stop_signal(worker.generation);
        let mut told = Vec::new();
        for (pid, stray) in &mut self.strays.known {
            if stray.worker == worker && !stray.told && meant.includes(stray) {
                stray.told = true;
                if sys::signal_by_pidfd(stray.pidfd.as_fd(), Some(signal)).is_ok() {
                    told.push(*pid);
                }
            }
        }
        self.name_strays(worker, &told, "is told to stop, too", ground);
    }

    fn kill_strays_of(&self, worker: Worker, ground: &Ground<'_>) {
        let mut killed = Vec::new();
        let strays = self.strays.known.iter();
        for (pid, stray) in strays.filter(|(_, stray)| stray.worker == worker) {
            match sys::signal_by_pidfd(stray.pidfd.as_fd(), Some(Signal::SIGKILL)) {
                // The group is killed as such.
                Ok(()) if stray.tie == Tie::Group => {}
                Ok(()) => killed.push(*pid),
                Err(Errno::ESRCH) => {}
                Err(errno) => ground.log.error(&format!(
                    "signal pid {pid} of {}: {}",
                    self.name_worker(worker),
                    errno_text(errno)
                )),
            }
        }
        self.name_strays(worker, &killed, "did not end in time: it is killed", ground);
    }

    fn name_strays(&self, worker: Worker, pids: &[Pid], what: &str, ground: &Ground<'_>) {
        for pid in pids.iter().take(NAMED) {
            ground.log.warning(&format!(
                "pid {pid}, which {} started outside its process group, {what}",
                self.name_worker(worker)
            ));
        }
    }

    /// Not even SIGKILL has ended them: nobody waits for them any longer.
    pub(crate) fn give_up_strays(&mut self, worker: Worker, ground: &Ground<'_>) {
        let living = self.strays.living_of(worker);
        self.name_strays(worker, &living, "survived SIGKILL: it is left behind", ground);
        if self.strays.held.remove(&worker) {
            self.gone.push(worker);
        }
    }
}
