//! Looks from outside at those who serve or are about to: do they have their listeners, do they accept?

pub(crate) mod accepting;
pub(crate) mod flags;
mod lingering;
pub(crate) mod look;
pub(crate) mod paths;
pub(crate) mod queues;
mod served;
mod unaccepted;
