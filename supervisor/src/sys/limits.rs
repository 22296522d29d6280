//! Resource limits: those that the supervisor was born with are those of its apps.

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};

/// Every limit of Linux, getrlimit(2).
const ALL: [Resource; 16] = [
    Resource::RLIMIT_AS,
    Resource::RLIMIT_CORE,
    Resource::RLIMIT_CPU,
    Resource::RLIMIT_DATA,
    Resource::RLIMIT_FSIZE,
    Resource::RLIMIT_LOCKS,
    Resource::RLIMIT_MEMLOCK,
    Resource::RLIMIT_MSGQUEUE,
    Resource::RLIMIT_NICE,
    Resource::RLIMIT_NOFILE,
    Resource::RLIMIT_NPROC,
    Resource::RLIMIT_RSS,
    Resource::RLIMIT_RTPRIO,
    Resource::RLIMIT_RTTIME,
    Resource::RLIMIT_SIGPENDING,
    Resource::RLIMIT_STACK,
];

/// The soft and hard resource limits of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limits(Vec<(Resource, rlim_t, rlim_t)>);

impl Limits {
    /// The limits of this process now. To be asked once, before the supervisor raises any of its own.
    pub(crate) fn current() -> Limits {
        let known = |resource| {
            getrlimit(resource)
                .ok()
                .map(|(soft, hard)| (resource, soft, hard))
        };
        Limits(ALL.into_iter().filter_map(known).collect())
    }

    /// Makes them the limits of this process, touching only those that differ, so that a process without
    /// privileges can always go back to hard limits that nobody changed.
    ///
    /// # Errors
    /// `EPERM` when a hard limit would have to be raised, setrlimit(2).
    pub(crate) fn restore(&self) -> Result<(), Errno> {
        for &(resource, soft, hard) in &self.0 {
            if getrlimit(resource) != Ok((soft, hard)) {
                setrlimit(resource, soft, hard)?;
            }
        }
        Ok(())
    }
}
