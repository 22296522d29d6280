//! After `kill -9`: which processes of the predecessor's app live.

use std::io;
use std::path::Path;

use nix::unistd::Pid;
use segue_lifecycle::Worker;

use crate::listeners::{self, SocketIdentity};
use crate::place::Place;
use crate::shell::Child;
use crate::shell::fleet::saved::{SavedChild, pidfd_name};
use crate::shell::fleet::strays::Strays;
use crate::shell::journal::log::Forked;
use crate::shell::succession::recover::{self, Proved};
use crate::state::{Fds, Flaw, Row};
use crate::sys::{self, ProcessRow};

/// A process of the app.
#[derive(Debug)]
pub(crate) struct OrphanProcess {
    pub(crate) worker: Worker,
    pub(crate) role: Role,
    pub(crate) proved: Proved,
}

impl OrphanProcess {
    /// Whether it is left of the group of this worker's main process.
    pub(crate) fn is_survivor_of(&self, worker: Worker) -> bool {
        self.role == Role::Survivor && self.worker == worker
    }
}

/// What it was to its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Its main process.
    Main,
    /// Another one of its process group, whose main process has ended.
    Survivor,
    /// One that has left the group, and that the supervisor had seen: the monitor of a container, say.
    Stray,
}

/// All that live of the workers that the rows tell of, and of those that were forked since the rows were written; main processes
/// first.
pub(crate) fn of_app(rows: &[Row<'_>], forked: &[Forked], place: &Place) -> Result<Vec<OrphanProcess>, Flaw> {
    let mut remains = Vec::new();
    let mut dead = Vec::new();
    let strays = Strays::in_rows(rows)?.into_iter();
    let strays = strays.filter_map(|(worker, pid, began)| {
        Some(OrphanProcess {
            worker,
            role: Role::Stray,
            proved: recover::prove(pid, began)?,
        })
    });
    let saved = SavedChild::all(rows)?.into_iter();
    let known = saved
        .map(|child| (child.key, child.pid, child.began))
        .chain(forked.iter().map(|one| (one.child, one.pid, Some(one.began))));
    for (child, pid, began) in known {
        let Child::Worker(worker) = child else {
            continue;
        };
        let notify = place.notify_socket(worker.generation, worker.slot, worker.start);
        match recover::prove_worker(pid, began, &notify) {
            Some(proved) => remains.push(OrphanProcess {
                worker,
                role: Role::Main,
                proved,
            }),
            None => dead.push((worker, pid)),
        }
    }
    if !dead.is_empty() {
        let listeners = listeners::identities(rows)?;
        let all = sys::process_rows().unwrap_or_default();
        for (worker, leader) in dead {
            let notify = place.notify_socket(worker.generation, worker.slot, worker.start);
            let survivors = survivors(leader, &notify, &listeners, &all).into_iter();
            remains.extend(survivors.map(|proved| OrphanProcess {
                worker,
                role: Role::Survivor,
                proved,
            }));
        }
    }
    remains.extend(strays);
    Ok(remains)
}

/// Those that /proc does not show, as it shows nothing of a process that was started in another user namespace (PrivateUsers=): their
/// pidfds, which systemd has kept, are proof enough. Where it had no time to keep one, the unit tells.
pub(crate) fn kept(rows: &[Row<'_>], forked: &[Forked], stored: &Fds) -> Result<Vec<OrphanProcess>, Flaw> {
    let mut remains = Vec::new();
    for (child, pid) in hidden(rows, forked)? {
        let Child::Worker(worker) = child else {
            continue;
        };
        let proved = match stored.duplicate(&pidfd_name(child)) {
            Some(pidfd) => recover::prove_by_pidfd(pid, pidfd),
            None => recover::prove_by_unit(pid),
        };
        remains.extend(proved.map(|proved| OrphanProcess {
            worker,
            role: Role::Main,
            proved,
        }));
    }
    Ok(remains)
}

/// The pids of workers that may live and that /proc does not show.
pub(crate) fn hidden(rows: &[Row<'_>], forked: &[Forked]) -> Result<Vec<(Child, Pid)>, Flaw> {
    let saved = SavedChild::all(rows)?
        .into_iter()
        .map(|child| (child.key, child.pid));
    let known = saved.chain(forked.iter().map(|one| (one.child, one.pid)));
    let is_worker = |(child, _): &(Child, Pid)| matches!(child, Child::Worker(_));
    Ok(known
        .filter(is_worker)
        .filter(|(_, pid)| recover::is_hidden(*pid))
        .collect())
}

/// Who lives of the group of a process that has ended. The number of the group is its own as long as it has a member, but may have come
/// to mean another after that: so one of them must have been born with the notify socket of this very worker, or have one of our
/// listeners.
fn survivors(leader: Pid, notify: &Path, listeners: &[SocketIdentity], all: &[ProcessRow]) -> Vec<Proved> {
    let members: Vec<&ProcessRow> = all
        .iter()
        .filter(|row| row.group == leader && row.pid != leader && !row.zombie)
        .collect();
    let is_of_worker = |row: &&ProcessRow| {
        recover::was_born_with(row.pid, notify).unwrap_or(false)
            || has_any(row.pid, listeners).unwrap_or(false)
    };
    if !members.iter().any(is_of_worker) {
        return Vec::new();
    }
    let proved = |row: &ProcessRow| recover::prove(row.pid, sys::start_time(row.pid)?);
    members.into_iter().filter_map(proved).collect()
}

/// Whether a process has one of the listeners open.
fn has_any(pid: Pid, listeners: &[SocketIdentity]) -> io::Result<bool> {
    let is_listener = |inode| listeners.iter().any(|wanted| wanted.inode == inode);
    let open = sys::open_sockets(pid.as_raw())?;
    Ok(open.iter().any(|(inode, _)| is_listener(*inode)))
}

/// Whether none that live of these (nor of the groups of main processes) have any of the listeners open: they drain, and nobody
/// serves. A main process, or one of its group, that does not show its fds may have them, and so may the process that has given us an
/// inherited one. Survivors that do not show them count as having none: if they have, their names come with `address already in use`.
pub(crate) fn have_let_go(remains: &[OrphanProcess], rows: &[Row<'_>]) -> Result<bool, Flaw> {
    let listeners = listeners::identities(rows)?;
    let role_of = |row: &ProcessRow| {
        let found = remains.iter().find(|orphan| match orphan.role {
            Role::Main => orphan.proved.pid == row.group,
            Role::Survivor | Role::Stray => orphan.proved.pid == row.pid,
        });
        found.map(|orphan| orphan.role)
    };
    let has_none = |(row, role): (&ProcessRow, Role)| match has_any(row.pid, &listeners) {
        Ok(any) => !any,
        Err(_) => matches!(role, Role::Survivor | Role::Stray),
    };
    let all = sys::process_rows().unwrap_or_default();
    let of_app = |row| Some((row, role_of(row)?));
    let mut of_app = all.iter().filter_map(of_app).peekable();
    Ok(!listeners.is_empty()
        && !listeners::any_inherited(rows)
        && of_app.peek().is_some()
        && of_app.all(has_none))
}

/// Their pids, for a line.
pub(crate) fn pids(remains: &[OrphanProcess]) -> String {
    let pids: Vec<String> = remains
        .iter()
        .map(|orphan| orphan.proved.pid.to_string())
        .collect();
    pids.join(" ")
}
