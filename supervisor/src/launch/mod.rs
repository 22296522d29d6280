//! Starting an app: from the birth record to exec.
//!
//! [`BirthRecord::resolve`] makes a configuration definite, [`BirthRecord::spawn`] starts one worker of it. The child is
//! prepared by plain code between fork and exec (`child.rs`), for the supervisor has one thread. It tells through a socket
//! ([`ReportSocket`]) how far it came; the supervisor never waits for it. Just before exec it waits for the supervisor's
//! word ([`Spawned::go`]), so that no app runs of which nothing is written down.
//!
//! What an app is born with: its listeners at fd 3 and up and, but for 0, 1 and 2, no other fd (a `#!` script run
//! by fd keeps that fd); every signal at its default disposition and none blocked; a session and process group of its own; the resource limits
//! of the supervisor's own birth; umask, working directory, user and groups as configured; the environment of
//! the README, computed afresh.

mod binary;
mod child;
mod environment;
mod error;
mod files;
mod go_ahead;
mod identity;
mod journal;
mod program;
mod record;
mod report;
mod saved;
mod spawn;
mod started_in;
#[cfg(test)]
mod tests;

pub(crate) use binary::{Binary, Format};
pub(crate) use environment::is_for_the_supervisor;
pub(crate) use error::LaunchError;
pub(crate) use go_ahead::GoAhead;
use identity::Login;
pub(crate) use program::{InheritedEnvironment, Wanted};
pub(crate) use record::BirthRecord;
pub(crate) use report::{End, Report, ReportSocket};
pub(crate) use saved::INHERITED_ENVIRONMENT;
pub(crate) use spawn::{Errand, Extra, Lent, OwnPid, Question, Spawned, Voice, WorkerIdentity, fork_failed};
