//! systemd's file descriptor store: what is kept there for the supervisor after this one.

use std::collections::BTreeSet;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::rc::Rc;

use segue_lifecycle::{Record, Worker};

use crate::launch::BirthRecord;
use crate::listeners::Listener;
use crate::manager::Manager;
use crate::readiness::NotifySocket;
use crate::shell::Child;
use crate::shell::fleet::Fleet;
use crate::shell::fleet::saved::pidfd_name;
use crate::shell::journal::Journal;
use crate::shell::records::Records;
use crate::shell::records::births::Birth;
use crate::state;

/// A listener of our own. (Inherited ones are kept by who gave them to us.)
pub(crate) fn store_listener(manager: &mut Manager, listener: &Listener) {
    manager.store(&listener.identity().fd_name(), listener.as_fd());
}

/// A birth record was made: its files and sockets are kept.
pub(crate) fn store_birth(manager: &mut Manager, record: Record, birth: &Birth) {
    for (name, fd) in birth.record.iter().flat_map(|kept| kept.fds(record.0)) {
        manager.store(&name, fd);
    }
    for listener in birth.listeners.iter().filter(|listener| !listener.is_inherited()) {
        store_listener(manager, listener);
    }
}

/// A record was forgotten: what no other record names is closed here, and so it shall be there.
pub(crate) fn unstore_birth(
    manager: &mut Manager,
    record: Record,
    listeners: &[Rc<Listener>],
    current: &[Rc<Listener>],
) {
    for name in BirthRecord::fd_names(record.0) {
        manager.unstore(&name);
    }
    let current: BTreeSet<u64> = current.iter().map(|known| known.inode()).collect();
    for listener in listeners.iter().filter(|listener| !listener.is_inherited()) {
        if !current.contains(&listener.inode()) {
            manager.unstore(&listener.identity().fd_name());
        }
    }
}

/// It is closed: a generation is gone, and this was its private listener.
pub(crate) fn unstore_listener(manager: &mut Manager, listener: &Listener) {
    manager.unstore(&listener.identity().fd_name());
}

/// A worker was forked: where it speaks and how it is named are known before it executes.
pub(crate) fn store_worker(
    manager: &mut Manager,
    worker: Worker,
    notify: Option<&NotifySocket>,
    pidfd: Option<BorrowedFd<'_>>,
) {
    if let Some(notify) = notify {
        manager.store(&NotifySocket::name(&worker.to_string()), notify.as_fd());
    }
    if let Some(pidfd) = pidfd {
        manager.store(&pidfd_name(Child::Worker(worker)), pidfd);
    }
}

/// Nothing is left of it.
pub(crate) fn unstore_worker(manager: &mut Manager, worker: Worker) {
    manager.unstore(&NotifySocket::name(&worker.to_string()));
    manager.unstore(&pidfd_name(Child::Worker(worker)));
}

impl Journal {
    /// What systemd keeps is what is needed: what an earlier supervisor had stored and nobody has taken goes, and all that there
    /// is is stored (again, which systemd notices). What is passed on lies in neither room.
    pub(crate) fn store_everything<'a>(
        &mut self,
        records: &Records,
        fleet: &Fleet,
        passed_on: impl Iterator<Item = (String, BorrowedFd<'a>)>,
        manager: &mut Manager,
    ) {
        for name in std::mem::take(&mut self.spare_fds).names() {
            manager.unstore(name);
        }
        for (name, fd) in state::FILES.iter().zip(self.keeper.fds()) {
            manager.store(name, fd);
        }
        for (record, birth) in &records.births {
            store_birth(manager, *record, birth);
        }
        let generations = records.generations.values();
        for probe in generations.filter_map(|info| info.probe.as_ref()) {
            store_listener(manager, probe);
        }
        for (worker, info) in &fleet.workers {
            let pidfd = fleet.children.pidfd(Child::Worker(*worker));
            store_worker(manager, *worker, info.notify.as_ref(), pidfd);
        }
        // Behind the removals above: systemd keeps no fd under two names.
        for (name, fd) in passed_on {
            manager.store(&name, fd);
        }
    }
}
