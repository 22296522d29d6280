//! Who removes what lies outside the process: paths of sockets, lock files, a pid file.
//!
//! Their owner removes them when it is dropped. A process that only looks at the state of another, or that has not yet taken over the
//! whole of it, must not: it would take them away from the supervisor that serves by them. So each owner has a [`Guard`]. One that
//! was made by this process is armed. One that was restored is disarmed as long as its [`Custody`] is not over, and that ends in one
//! way alone: [`Restored::take_charge`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Holds the guards of all that was restored together: none of them removes anything.
#[derive(Debug)]
pub(crate) struct Custody(Arc<AtomicBool>);

impl Custody {
    /// Nothing is restored yet.
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicBool::new(false)))
    }

    /// The guard of something that is restored, or made in the place of something that could not be.
    pub(crate) fn guard(&self) -> Guard {
        Guard(Some(Arc::clone(&self.0)))
    }
}

/// Says to the owner of something outside whether it removes that when it is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Guard(Option<Arc<AtomicBool>>);

impl Guard {
    /// That of something which this process has made for itself.
    pub(crate) const fn armed() -> Self {
        Self(None)
    }

    /// Whether what it guards is removed with its owner, and its lock given up.
    pub(crate) fn is_armed(&self) -> bool {
        self.0.as_ref().is_none_or(|armed| armed.load(Ordering::Relaxed))
    }
}

/// What was restored as a whole, and is not in charge yet. Dropping it leaves everything outside as it is.
#[derive(Debug)]
#[must_use = "it is in charge of nothing"]
pub(crate) struct Restored<T> {
    what: T,
    custody: Custody,
}

impl<T> Restored<T> {
    /// All of `what` that lies outside has its guards from `custody`.
    pub(crate) const fn new(what: T, custody: Custody) -> Self {
        Self { what, custody }
    }

    /// To go on restoring.
    pub(crate) fn into_parts(self) -> (T, Custody) {
        (self.what, self.custody)
    }

    /// From now on what it drops is removed outside as well.
    pub(crate) fn take_charge(self) -> T {
        self.custody.0.store(true, Ordering::Relaxed);
        self.what
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guards_are_armed_together_and_by_taking_charge_alone() {
        let custody = Custody::new();
        let guards = [custody.guard(), custody.guard()];
        let restored = Restored::new(custody.guard(), custody);
        assert!(guards.iter().all(|guard| !guard.is_armed()));
        let (last, custody) = restored.into_parts();
        assert!(!last.is_armed());
        assert!(Restored::new(last, custody).take_charge().is_armed());
        assert!(guards.iter().all(Guard::is_armed));
        assert!(Guard::armed().is_armed());
    }

    #[test]
    fn those_of_what_was_only_looked_at_stay_disarmed() {
        let custody = Custody::new();
        let guard = custody.guard();
        drop(Restored::new((), custody));
        assert!(!guard.is_armed());
    }
}
