//! The processes that the supervisor has started: their pids, signals and deaths.
//!
//! Each child leads a session of its own, and so a process group. It is *dead* when its leader is a zombie, and *gone* when the group
//! has no living member left; with that its entry leaves this room, so that it cannot be named any more. Signals to
//! leaders go by pidfd.
//!
//! The number of a group must not come to mean somebody else while we may still signal it. Since Linux 6.9 a pidfd names
//! the group too, whatever becomes of the number: there a dead leader is reaped at once, and the kernel is asked whether
//! the group has members. Before, the leader is reaped last, and /proc is searched for members: by then that costs some
//! system calls for each process of the machine.
//!
//! A supervisor that comes after one that was killed *adopts* what that had started. Those processes are not our children:
//! their deaths send us no SIGCHLD (each pidfd becomes readable instead), their parent reaps them, and how they ended is known
//! only where the kernel tells (Linux 6.15).
//!
//! A group whose leader died meanwhile is adopted by its number, which is its own as long as no other process has it as its pid.
//!
//! Everything else that becomes our child (the supervisor is a subreaper) is a stranger: reaped, never named.

mod child;
mod group;
mod saved;
#[cfg(test)]
mod tests;

pub(crate) use crate::sys::ExitStatus;

use crate::clock;
use crate::sys::{self, Dead, Numbered, ProcessRow, Who};
use child::{Child, look};
pub(crate) use child::{Kin, Leader};
pub(crate) use group::signal as signal_group;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll, ppoll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long to wait between two looks at whether a process has come to rest. Timers of a process come some 50 us late
/// (timer slack, prctl(2)), so that a shorter time would not be shorter.
const LOOK_AGAIN: Duration = Duration::from_micros(50);

/// What a sweep found out about the child that the caller calls `K`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChildEvent<K> {
    /// Its leader has ended. Told once. The group may still have members.
    Exited(K, ExitStatus),
    /// Its group is empty and its leader reaped; `K` is unknown from now on. Always after `Exited`; that of an adopted one
    /// comes with a later sweep, so that its pidfd can be taken out of a poll set by then.
    Gone(K),
}

/// The children by the caller's keys.
#[derive(Debug)]
pub(crate) struct Children<K> {
    known: BTreeMap<K, Child>,
    groups: Groups,
}

/// How the kernel lets us name a process group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Groups {
    /// By the pidfd of the process that leads or led it, Linux 6.9.
    ByPidfd,
    /// By its number alone.
    ByNumber,
}

impl<K: Copy + Ord> Children<K> {
    /// Knows nobody.
    pub(crate) fn new() -> Children<K> {
        Children {
            known: BTreeMap::new(),
            groups: group::named_by(),
        }
    }

    /// Takes charge of a child that leads a process group of its own. A key must not be in use.
    pub(crate) fn add(&mut self, key: K, pid: Pid, pidfd: OwnedFd) {
        self.insert(key, pid, pidfd, Kin::Own, Leader::Alive);
    }

    /// Takes charge of a process that leads a group of its own and is not our child. Its pidfd is to be watched: a sweep is due
    /// when it becomes readable.
    #[cfg(test)]
    pub(crate) fn adopt(&mut self, key: K, pid: Pid, pidfd: OwnedFd) {
        self.insert(key, pid, pidfd, Kin::Adopted, Leader::Alive);
    }

    /// Takes charge of a group of which at least one lives, and whose leader was not our child, is dead, and was started then.
    pub(crate) fn adopt_group(&mut self, key: K, leader: Pid, began: Option<u64>) {
        let child = Child {
            pid: leader,
            began,
            pidfd: None,
            leader: Leader::Reaped,
            kin: Kin::Adopted,
        };
        self.put(key, child);
    }

    fn insert(&mut self, key: K, pid: Pid, pidfd: OwnedFd, kin: Kin, leader: Leader) {
        let child = Child {
            pid,
            began: sys::start_time(pid),
            pidfd: Some(pidfd),
            leader,
            kin,
        };
        self.put(key, child);
    }

    fn put(&mut self, key: K, child: Child) {
        let replaced = self.known.insert(key, child);
        debug_assert!(replaced.is_none(), "a key names one child");
    }

    /// The child's pidfd. It must be taken out of every poll set when the child has exited, for it stays readable.
    pub(crate) fn pidfd(&self, key: K) -> Option<BorrowedFd<'_>> {
        self.known.get(&key).and_then(Child::pidfd)
    }

    /// When the child was started, as field 22 of proc_pid_stat(5) counts.
    pub(crate) fn began(&self, key: K) -> Option<u64> {
        self.known.get(&key).and_then(|child| child.began)
    }

    /// The child's pid, which is also its group's number.
    pub(crate) fn pid(&self, key: K) -> Option<Pid> {
        self.known.get(&key).map(|child| child.pid)
    }

    /// Whether the child's pid is its own. `None` of one that cannot be named any more.
    pub(crate) fn numbered(&self, key: K) -> Option<Numbered<'_>> {
        let child = self.known.get(&key)?;
        if child.is_unreaped() {
            return Some(Numbered::ForCertain);
        }
        child.pidfd().map(Numbered::WhileItLives)
    }

    /// Whether this is a child's main process, and lives.
    pub(crate) fn lives(&self, pid: Pid) -> bool {
        let child = self.known.values().find(|child| child.pid == pid);
        child
            .and_then(Child::pidfd)
            .is_some_and(|pidfd| !sys::is_dead_by_pidfd(pidfd))
    }

    /// Whether nobody is left in our charge.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Sends `signal` to the child's main process, by pidfd; by its number if that is refused (by the seccomp filter of an old
    /// container engine, say) and the number cannot mean anybody else: a generation that is not told to drain would be killed
    /// in the end.
    ///
    /// # Errors
    /// `ESRCH` if the child is unknown or reaped, `EPERM` if it has changed its uid beyond our reach. A zombie
    /// takes the signal and does nothing.
    pub(crate) fn signal(&self, key: K, signal: Signal) -> Result<(), Errno> {
        let child = self.known.get(&key).ok_or(Errno::ESRCH)?;
        let pidfd = child.pidfd().ok_or(Errno::ESRCH)?;
        let sent = sys::signal_by_pidfd(pidfd, Some(signal));
        child.or_by_number(sent, || kill(child.pid, signal))
    }

    /// Sends `signal` to every process of the child's group; by what name, as [`Children::signal`].
    ///
    /// # Errors
    /// `ESRCH` if the child is unknown or its group empty, `EPERM` if no member could be signalled.
    pub(crate) fn signal_group(&self, key: K, signal: Signal) -> Result<(), Errno> {
        let child = self.known.get(&key).ok_or(Errno::ESRCH)?;
        let sent = child.signal_group(Some(signal));
        child.or_by_number(sent, || group::signal_by_number(child.pid, signal))
    }

    /// Whether one of these children's main processes has ended, or ends while we watch. We watch until all of them have
    /// come to rest (they wait for something, and by `serves` for clients, or have nobody of whose end they could hear), but no longer
    /// than `patience`. Unknown keys have ended. Asks the kernel, so it may know before the next [`Children::sweep`] tells.
    ///
    /// This is the one place where the supervisor waits outside its loop; the patience must be a matter of a millisecond.
    pub(crate) fn any_dies_within(
        &mut self,
        keys: &[K],
        patience: Duration,
        serves: &mut dyn FnMut(Pid) -> bool,
    ) -> bool {
        let dies = self.watch_for(keys, patience, serves);
        if dies {
            // The next sweep has to tell all of it.
            let children = self.known.values_mut();
            children.for_each(Child::end_patience);
        }
        dies
    }

    fn watch_for(&self, keys: &[K], patience: Duration, serves: &mut dyn FnMut(Pid) -> bool) -> bool {
        let watched: Option<Vec<&Child>> = keys.iter().map(|key| self.known.get(key)).collect();
        let Some(watched) = watched else { return true };
        let until = clock::now() + patience;
        loop {
            let left = until.saturating_duration_since(clock::now());
            let at_rest = !left.is_zero() && all_at_rest(&watched, until, serves);
            if at_rest && watched.iter().all(|child| child.is_unreaped()) {
                // Nobody else has its number, so that what was seen is that process, and alive.
                return false;
            }
            let decided = left.is_zero() || at_rest;
            let wait = if decided {
                Duration::ZERO
            } else {
                left.min(LOOK_AGAIN)
            };
            if any_ends_within(&watched, wait) {
                return true;
            }
            if decided {
                return false;
            }
        }
    }

    /// Whether some group outlives its leader, or an adopted one has ended of which more may be told. A member need not be our
    /// child, so its end may send no SIGCHLD: sweep again after a while, as long as this holds.
    pub(crate) fn lingering(&self) -> bool {
        self.known.values().any(|child| child.leader != Leader::Alive)
    }

    /// Looks at everything that has died. To be called after each SIGCHLD (ten deaths may send a single one), when the pidfd of
    /// an adopted one is readable, and, while [`Children::lingering`], now and then.
    pub(crate) fn sweep(&mut self) -> Vec<ChildEvent<K>> {
        let mut events = self.note_exits();
        if self.groups == Groups::ByPidfd {
            events.extend(self.note_empty_groups());
        }
        if self.lingering() {
            // A kept zombie would always be the first that waitid(P_ALL) shows, so /proc names the strangers.
            let rows = sys::process_rows().unwrap_or_default();
            self.reap_strangers_among(&rows);
            events.extend(self.note_ends(&rows));
        } else {
            events.extend(self.reap_strangers());
        }
        events
    }

    fn note_exits(&mut self) -> Vec<ChildEvent<K>> {
        let mut events = Vec::new();
        for key in self.may_have_ended() {
            let child = self.known.get_mut(&key);
            let status = child.and_then(Child::note_exit);
            events.extend(status.map(|status| ChildEvent::Exited(key, status)));
        }
        events
    }

    /// Those whose main process has ended, and the end of which may not have been told. One call asks for all of them.
    fn may_have_ended(&self) -> Vec<K> {
        let alive = self
            .known
            .iter()
            .filter(|(_, child)| child.leader == Leader::Alive);
        let (keys, mut poll_set): (Vec<K>, Vec<PollFd<'_>>) = alive
            .filter_map(|(key, child)| Some((*key, PollFd::new(child.pidfd()?, PollFlags::POLLIN))))
            .unzip();
        // A pidfd becomes readable when its process has ended (pidfd_open(2)). If nobody tells, each is asked.
        let is_told = poll(&mut poll_set, PollTimeout::ZERO).is_ok();
        let ended = poll_set
            .iter()
            .map(|asked| asked.any() != Some(false) || !is_told);
        let ended = keys.iter().zip(ended).filter(|(_, ended)| *ended);
        let unreaped = self
            .known
            .iter()
            .filter(|(_, child)| matches!(child.leader, Leader::Unreaped(_)));
        let mut found: Vec<K> = ended.map(|(key, _)| *key).collect();
        found.extend(unreaped.map(|(key, _)| *key));
        found.sort_unstable();
        found
    }

    /// Reaps dead leaders, and notes those whose group has no member any more, not even a dead one.
    fn note_empty_groups(&mut self) -> Vec<ChildEvent<K>> {
        let mut gone = Vec::new();
        self.known.retain(|key, child| {
            let empty = child.has_exited() && child.leaves_an_empty_group();
            if empty {
                gone.push(ChildEvent::Gone(*key));
            }
            !empty
        });
        gone
    }

    /// Reaps the dead who are not ours until one is (it died just now) or none is left.
    fn reap_strangers(&mut self) -> Vec<ChildEvent<K>> {
        while let Ok(Some(Dead { pid, .. })) = sys::peek(Who::Any) {
            if self.knows(pid) {
                return self.sweep();
            }
            if sys::reap(Who::Process(pid)).is_err() {
                break;
            }
        }
        Vec::new()
    }

    fn reap_strangers_among(&self, rows: &[ProcessRow]) {
        let dead_children = rows.iter().filter(|row| row.zombie && row.parent == Pid::this());
        for row in dead_children.filter(|row| !self.knows(row.pid)) {
            // A thread group whose leader is not waitable yet stays for the next sweep.
            let _ = sys::reap(Who::Process(row.pid));
        }
    }

    fn note_ends(&mut self, rows: &[ProcessRow]) -> Vec<ChildEvent<K>> {
        let mut gone = Vec::new();
        self.known.retain(|key, child| {
            let ended = child.has_exited() && child.end(rows);
            if ended {
                gone.push(ChildEvent::Gone(*key));
            }
            child.forget_that_it_was_told();
            !ended
        });
        gone
    }

    fn knows(&self, pid: Pid) -> bool {
        self.known.values().any(|child| child.pid == pid)
    }
}

/// Whether each waits for something. Looking takes time too, and ends when the time is over. Nearly always a process is still running
/// if it is not at rest, so that this is looked at first.
fn all_at_rest(watched: &[&Child], until: Instant, serves: &mut dyn FnMut(Pid) -> bool) -> bool {
    watched.iter().map(|child| child.pid).all(|pid| {
        let is_in_time = clock::now() < until;
        is_in_time && sys::sleeps(pid) && (serves(pid) || sys::is_childless(pid))
    })
}

/// Whether one of them has ended, or ends within `wait`.
fn any_ends_within(watched: &[&Child], wait: Duration) -> bool {
    let mut poll_set: Vec<PollFd<'_>> = watched
        .iter()
        .filter_map(|child| Some(PollFd::new(child.pidfd()?, PollFlags::POLLIN)))
        .collect();
    // A pidfd becomes readable when its process has ended (pidfd_open(2)).
    let died = ppoll(&mut poll_set, Some(wait.into()), None).is_ok_and(|ready| ready > 0);
    died || watched.iter().any(|child| match (child.leader, child.kin) {
        (Leader::Alive, Kin::Own) => child.pidfd().is_none_or(|pidfd| look(child.pid, pidfd).is_some()),
        (Leader::Alive, Kin::Adopted) => false,
        (Leader::Unreaped(_) | Leader::Told | Leader::Zombie | Leader::Reaped, _) => true,
    })
}
