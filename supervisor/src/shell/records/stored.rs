//! systemd's file descriptor store: what is kept there of records, for the supervisor after this one.

use std::collections::BTreeSet;
use std::os::fd::AsFd as _;
use std::rc::Rc;

use segue_lifecycle::Record;

use crate::launch::BirthRecord;
use crate::listeners::Listener;
use crate::manager::Manager;
use crate::shell::records::births::Birth;

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
