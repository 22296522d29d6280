//! Resource limits: those that the supervisor was born with are those of its apps.

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use std::fmt;
use std::str::FromStr;

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

/// The soft and hard resource limits of one moment. As text: `NUMBER:SOFT:HARD` for each, between commas, by the kernel's
/// numbers (asm-generic/resource.h; the same on x86-64 and aarch64).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limits(Vec<(Resource, rlim_t, rlim_t)>);

/// Lets this process open as many files as it may at all: each worker costs the supervisor two fds, in every living generation, and the
/// soft limit is 1,024 in most places. It is that low for programs that use select(2), which we do not; apps get it as it was.
pub(crate) fn open_many_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    // If it is refused, what there is may be enough; an fd that is lacking is told where it is.
    let _ = raised;
}

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

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (resource, soft, hard)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}:{soft}:{hard}", *resource as i32)?;
        }
        Ok(())
    }
}

impl FromStr for Limits {
    type Err = ();

    /// A resource that this version does not know is passed over.
    fn from_str(text: &str) -> Result<Limits, ()> {
        let mut limits = Vec::new();
        for entry in text.split(',').filter(|entry| !entry.is_empty()) {
            let mut parts = entry.split(':');
            let mut number = || parts.next()?.parse::<rlim_t>().ok();
            let (Some(number), Some(soft), Some(hard)) = (number(), number(), number()) else {
                return Err(());
            };
            let known = ALL.into_iter().find(|known| *known as rlim_t == number);
            limits.extend(known.map(|resource| (resource, soft, hard)));
        }
        Ok(Limits(limits))
    }
}
