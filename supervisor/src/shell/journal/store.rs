//! systemd's file descriptor store: what is kept there for the supervisor after this one.

use std::os::fd::BorrowedFd;

use segue_lifecycle::Worker;

use crate::manager::Manager;
use crate::readiness::NotifySocket;
use crate::shell::Child;
use crate::shell::fleet::Fleet;
use crate::shell::fleet::launch::ForkedWorker;
use crate::shell::fleet::saved::pidfd_name;
use crate::shell::journal::Journal;
use crate::shell::records::Records;
use crate::shell::records::stored::{store_birth, store_listener};
use crate::state;

/// A worker is there: where it speaks and how it is named.
fn store_worker(
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
    /// A worker was forked, and waits to be told to go: the next supervisor knows of it by then.
    pub(crate) fn write_down_worker(&mut self, forked: &ForkedWorker, fleet: &Fleet, manager: &mut Manager) {
        let (worker, info) = (forked.worker, &forked.info);
        let child = Child::Worker(worker);
        if let Some(pid) = info.pid {
            self.mark_forked(child, pid, info.began);
        }
        store_worker(manager, worker, info.notify.as_ref(), fleet.children.pidfd(child));
    }

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
