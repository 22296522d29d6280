//! How one supervisor follows another: what a dead predecessor has left, the adoption of its app, the upgrade in place.
//!
//! An ordinary reload never comes here.

pub(crate) mod draining_orphans;
pub(crate) mod holders;
pub(crate) mod orphan_processes;
pub(crate) mod predecessor;
pub(crate) mod recover;
pub(crate) mod resume;
pub(crate) mod unheard;
pub(crate) mod upgrading;

use crate::log::Log;
use crate::place::Place;
use crate::upgrade::Origin;

use draining_orphans::DrainingOrphan;
use upgrading::{Upgrading, Waiter};

/// What is between this supervisor and those before and after it.
#[derive(Debug)]
pub(crate) struct Succession {
    pub(crate) upgrading: Upgrading,
    /// The version that this process was before, and who waits for the upgrade, until that is told.
    pub(crate) before: Option<(String, Waiter)>,
    /// Workers of an earlier supervisor that are not adopted, and have a deadline.
    pub(crate) draining_orphans: Vec<DrainingOrphan>,
}

impl Succession {
    /// Nothing is under way.
    pub(crate) const fn new(origin: Origin, draining_orphans: Vec<DrainingOrphan>) -> Self {
        Self {
            upgrading: Upgrading::new(origin),
            before: None,
            draining_orphans,
        }
    }

    /// The directories of their generations go with the last of the draining orphans.
    fn clear_up_after_orphans(&self, place: &Place, log: &Log) {
        if self.draining_orphans.is_empty() {
            for error in place.remove_stale_directories() {
                log.warning(&error.to_string());
            }
        }
    }
}
