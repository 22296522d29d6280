//! Which living processes a worker has started, however far they have gone from it.
//!
//! It reads /proc and nothing else, and sends no signal. A process belongs to a worker by **parentage** (it is the main process, or
//! has an ancestor that belongs to it), by its process **group** or **session** (each worker leads one of its own, and nobody can
//! enter it from outside), or by **birth**: the supervisor is a subreaper, so that whatever loses its parents becomes its child,
//! and what was executed for a worker has the notify socket of that worker in its environment.
//!
//! What a process was given in its environment it may have chosen itself. So birth counts only for children of this
//! process, and not where somebody is to be believed ([`descendant_of`]). A process that has written over its environment has only its parentage
//! and its session; where neither tells, it is a stranger, and listed as such.

#[cfg(test)]
mod tests;

use crate::sys::{self, ProcessRow};
use nix::unistd::Pid;
use std::collections::{HashMap, HashSet};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

/// The longest chain of parents that is followed upwards. Real ones have less than ten links; a chain that changes while it is read
/// could have a loop.
const LONGEST_CHAIN: usize = 256;

/// A worker whose processes are looked for.
#[derive(Clone, Debug)]
pub(crate) struct Origin<K> {
    /// The caller's name for it.
    pub(crate) key: K,
    /// Its main process, dead or alive. Its number is also that of the group and of the session.
    pub(crate) leader: Pid,
    /// The notify socket that it was given.
    pub(crate) notify: PathBuf,
}

/// Where to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Below this process. Costs some system calls for each thread of what is there, and nothing for the rest of the machine.
    Below,
    /// Among all processes: orphans of a supervisor that was killed are nobody's we know.
    Everywhere,
}

/// What ties a process to its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tie {
    /// It is the main process.
    Leader,
    /// It is in the group of the main process.
    Group,
    /// It has left the group; its parent belongs to the worker.
    Parent,
    /// It has lost its parents; its session or its birth tells.
    Birth,
}

/// A living process of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member<K> {
    /// Whose it is.
    pub(crate) key: K,
    /// Its pid.
    pub(crate) pid: Pid,
    /// When it was started; with the pid it tells the process from every other.
    pub(crate) began: u64,
    /// Why it is that worker's.
    pub(crate) tie: Tie,
}

/// What a look has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Look<K> {
    /// The living processes of the workers, each once, parents before children.
    pub(crate) members: Vec<Member<K>>,
    /// Living children of this process that are nobody's. (Where everywhere was looked, too.)
    pub(crate) strangers: Vec<ProcessRow>,
    /// Those whose birth is not to be seen at this moment, for they are in the middle of execve(2), or end: another look tells.
    pub(crate) unseen: Vec<ProcessRow>,
}

impl<K> Look<K> {
    /// There is nobody.
    pub(crate) const fn nobody() -> Self {
        Self {
            members: Vec::new(),
            strangers: Vec::new(),
            unseen: Vec::new(),
        }
    }
}

/// How much of what belongs to a worker is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Depth {
    /// All of it.
    Everything,
    /// Only what is not below a living main process: it has nobody who ends it.
    Orphans,
}

/// Finds every living process of these workers.
pub(crate) fn look<K: Copy>(workers: &[Origin<K>], scope: Scope) -> Look<K> {
    search(workers, scope, Depth::Everything)
}

/// Finds the living processes of these workers that are not below a living main process. Where nobody has lost his parents, that is one look at
/// the list of this process's children.
pub(crate) fn orphans<K: Copy>(workers: &[Origin<K>], scope: Scope) -> Look<K> {
    search(workers, scope, Depth::Orphans)
}

fn search<K: Copy>(workers: &[Origin<K>], scope: Scope, depth: Depth) -> Look<K> {
    let everybody = match scope {
        Scope::Below => Everybody::AsNeeded,
        Scope::Everywhere => Everybody::read(),
    };
    let mut search = Search {
        workers,
        depth,
        everybody,
        seen: HashSet::new(),
        found: Look::nobody(),
    };
    search.walk_below(sys::own_pid());
    match scope {
        Scope::Below => {}
        Scope::Everywhere => search.walk_all(),
    }
    search.found
}

/// A process and all that descend from it.
pub(crate) fn below(top: Pid) -> Vec<Pid> {
    let mut everybody = Everybody::AsNeeded;
    let mut found = vec![top];
    let mut next = 0;
    while let Some(pid) = found.get(next).copied() {
        let fresh = everybody.children(pid, |child| !found.contains(&child));
        found.extend(fresh.iter().map(|row| row.pid));
        next += 1;
    }
    found
}

/// Whose descendant a process is, by parentage, group or session alone: by what it cannot have chosen itself. The leader counts as its own
/// descendant. The pid must not have come to mean another process since it was asked about.
pub(crate) fn descendant_of<K: Copy>(pid: Pid, workers: &[Origin<K>]) -> Option<K> {
    ancestors(pid).find_map(|row| Some(by_number(&row, workers)?.0))
}

/// Whose a process is, by any tie.
pub(crate) fn owner_of<K: Copy>(pid: Pid, workers: &[Origin<K>]) -> Option<K> {
    let chain: Vec<ProcessRow> = ancestors(pid).collect();
    let by_number = chain.iter().find_map(|row| by_number(row, workers));
    let topmost = chain.last().filter(|row| row.parent == sys::own_pid());
    let tie = by_number.or_else(|| by_birth(topmost?, workers).ok()?);
    tie.map(|(key, _)| key)
}

/// A process, its parent, and so on up to, and without, this one or the first of all.
fn ancestors(pid: Pid) -> impl Iterator<Item = ProcessRow> {
    let row = |pid: Pid| sys::process_row(pid.as_raw());
    let next = move |below: &ProcessRow| {
        let above = below.parent;
        (above != sys::own_pid() && above.as_raw() > 1)
            .then(|| row(above))
            .flatten()
    };
    std::iter::successors(row(pid), next).take(LONGEST_CHAIN)
}

/// Whose it is by its own number, or those of its group and session.
fn by_number<K: Copy>(row: &ProcessRow, workers: &[Origin<K>]) -> Option<(K, Tie)> {
    let tie = |worker: &Origin<K>| {
        let leader = worker.leader;
        let tie = if row.pid == leader {
            Tie::Leader
        } else if row.group == leader {
            Tie::Group
        } else if row.session == leader {
            Tie::Birth
        } else {
            return None;
        };
        Some((worker.key, tie))
    };
    workers.iter().find_map(tie)
}

/// Whose it is by the notify socket that it was given when it executed.
///
/// # Errors
/// Those of [`sys::was_given`]: it tells nothing, or nothing yet.
fn by_birth<K: Copy>(row: &ProcessRow, workers: &[Origin<K>]) -> io::Result<Option<(K, Tie)>> {
    let born_for = |worker: &Origin<K>, entry: &[u8]| {
        let path = entry.strip_prefix(b"NOTIFY_SOCKET=");
        path.is_some_and(|path| path == worker.notify.as_os_str().as_bytes())
    };
    let mut owner = None;
    let note = |entry: &[u8]| {
        owner = workers
            .iter()
            .find(|worker| born_for(worker, entry))
            .map(|worker| (worker.key, Tie::Birth));
        owner.is_some()
    };
    sys::was_given(row.pid, note)?;
    Ok(owner)
}

/// Where children are looked up.
#[derive(Debug)]
enum Everybody {
    /// In /proc/PID/task/TID/children.
    AsNeeded,
    /// In a list of all processes, by parent.
    Listed(HashMap<Pid, Vec<ProcessRow>>),
}

impl Everybody {
    fn read() -> Everybody {
        let mut by_parent: HashMap<Pid, Vec<ProcessRow>> = HashMap::new();
        for row in sys::process_rows().unwrap_or_default() {
            by_parent.entry(row.parent).or_default().push(row);
        }
        Everybody::Listed(by_parent)
    }

    /// The children of a process, less those that nobody wants to see.
    fn children(&mut self, of: Pid, wanted: impl Fn(Pid) -> bool) -> Vec<ProcessRow> {
        loop {
            match self {
                Everybody::Listed(by_parent) => {
                    let all = by_parent.get(&of).into_iter().flatten();
                    return all.filter(|row| wanted(row.pid)).copied().collect();
                }
                Everybody::AsNeeded => match sys::children_of(of) {
                    Ok(pids) => {
                        let pids = pids.iter().filter(|pid| wanted(**pid));
                        let rows = pids.filter_map(|pid| sys::process_row(pid.as_raw()));
                        // One that was reaped and whose number is another's by now is not a child.
                        return rows.filter(|row| row.parent == of).collect();
                    }
                    Err(_) => *self = Everybody::read(),
                },
            }
        }
    }
}

/// A look that is under way.
struct Search<'a, K> {
    workers: &'a [Origin<K>],
    depth: Depth,
    everybody: Everybody,
    seen: HashSet<Pid>,
    found: Look<K>,
}

impl<K: Copy> Search<'_, K> {
    /// Whatever is a child of `top`, and below.
    fn walk_below(&mut self, top: Pid) {
        let (depth, workers) = (self.depth, self.workers);
        // The main processes that are passed over need not even be read.
        let wanted = |pid| match depth {
            Depth::Everything => true,
            Depth::Orphans => !workers.iter().any(|worker| worker.leader == pid),
        };
        for row in self.everybody.children(top, wanted) {
            match self.tie(&row) {
                Ok(Some((key, tie))) => self.walk(row, key, tie),
                Ok(None) | Err(_) if row.zombie => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.found.unseen.push(row),
                Ok(None) | Err(_) => self.found.strangers.push(row),
            }
        }
    }

    /// Each process with a tie of its own, wherever it is, and those below it.
    fn walk_all(&mut self) {
        let Everybody::Listed(by_parent) = &self.everybody else {
            return;
        };
        let rows: Vec<ProcessRow> = by_parent.values().flatten().copied().collect();
        let tied = rows.iter().filter_map(|row| Some((*row, self.tie(row).ok()??)));
        let tied: Vec<(ProcessRow, (K, Tie))> = tied.collect();
        let has_tie: HashSet<Pid> = tied.iter().map(|(row, _)| row.pid).collect();
        // The others are met below their parents.
        for (row, (key, tie)) in tied.into_iter().filter(|(row, _)| !has_tie.contains(&row.parent)) {
            self.walk(row, key, tie);
        }
    }

    fn tie(&self, row: &ProcessRow) -> io::Result<Option<(K, Tie)>> {
        match by_number(row, self.workers) {
            Some(tie) => Ok(Some(tie)),
            None => by_birth(row, self.workers),
        }
    }

    /// One that belongs to a worker, and all that descend from it, but those that another worker has the first right to.
    fn walk(&mut self, top: ProcessRow, key: K, tie: Tie) {
        let mut next = vec![(top, tie)];
        while let Some((row, tie)) = next.pop() {
            let passed_over = tie == Tie::Leader && !row.zombie && self.depth == Depth::Orphans;
            if passed_over || !self.seen.insert(row.pid) {
                continue;
            }
            if !row.zombie {
                self.found.members.push(Member {
                    key,
                    pid: row.pid,
                    began: row.began,
                    tie,
                });
            }
            for child in self.everybody.children(row.pid, |_| true) {
                match by_number(&child, self.workers) {
                    Some((_, Tie::Leader)) => {}
                    Some((_, Tie::Group)) => next.push((child, Tie::Group)),
                    Some((_, Tie::Parent | Tie::Birth)) | None => next.push((child, Tie::Parent)),
                }
            }
        }
    }
}
