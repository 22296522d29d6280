//! Who cleans up behind a state.
//!
//! Some of what a state describes lies outside the process: paths of sockets, lock files, a pid file. Whoever owns them
//! removes them when it drops them. A process that only looks at the state of another, or that has not yet taken over the
//! whole of it, must not: it would take them away from the one who serves by them.

use std::cell::Cell;

thread_local! {
    /// For the thread, which is the process: the supervisor has one. (Tests have many, each on its own.)
    static STANDS_BY: Cell<bool> = const { Cell::new(false) };
}

/// From now on, what this process drops is left outside as it is.
pub(crate) fn stand_by() {
    STANDS_BY.set(true);
}

/// From now on, what this process drops is removed outside as well, as from its start.
pub(crate) fn take_charge() {
    STANDS_BY.set(false);
}

/// Whether what is dropped is to be removed outside.
pub(crate) fn in_charge() -> bool {
    !STANDS_BY.get()
}
