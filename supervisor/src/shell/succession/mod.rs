//! How one supervisor follows another: what a dead predecessor has left, the adoption of its app, the upgrade in place.
//!
//! An ordinary reload never comes here.

pub(crate) mod adopt;
pub(crate) mod draining_orphans;
pub(crate) mod effects;
mod foreseen;
pub(crate) mod holders;
mod last_batch;
pub(crate) mod orphan_processes;
pub(crate) mod predecessor;
mod reconcile;
pub(crate) mod recover;
pub(crate) mod refusals;
pub(crate) mod unheard;
pub(crate) mod upgrading;
mod withdrawn;

use crate::upgrade::Origin;

use draining_orphans::{DrainingOrphan, DrainingOrphans};
use upgrading::{Upgrading, Waiter};

/// What is between this supervisor and those before and after it.
#[derive(Debug)]
pub(crate) struct Succession {
    pub(crate) upgrading: Upgrading,
    /// The version that this process was before, and who waits for the upgrade, until that is told.
    pub(crate) before: Option<(String, Waiter)>,
    /// Workers of an earlier supervisor that are not adopted, and have a deadline.
    pub(crate) draining: DrainingOrphans,
}

impl Succession {
    /// Nothing is under way.
    pub(crate) const fn new(origin: Origin, left: Vec<DrainingOrphan>) -> Self {
        Self {
            upgrading: Upgrading::new(origin),
            before: None,
            draining: DrainingOrphans::new(left),
        }
    }
}
