//! Whether a new generation would fit.

use super::cgroup::{Level, Version, levels};
use super::{Roots, number_of};
use std::fmt;

/// How free memory compares with what is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// There is as much, as far as can be seen; what could not be looked at, if anything.
    Enough(Option<String>),
    /// There is less.
    Lacking(Lack),
    /// Nothing of it can be seen.
    Unknown(String),
}

/// Where it is lacking. As text: `120 MiB of memory are free, --min-free-memory asks for 512 MiB (cgroup /system.slice)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lack {
    free: u64,
    asked: u64,
    /// The cgroup whose limit it is; none for the machine as a whole.
    cgroup: Option<String>,
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (free, asked) = (MiB(self.free), MiB(self.asked));
        write!(f, "{free} of memory are free, --min-free-memory asks for {asked}")?;
        match &self.cgroup {
            Some(name) => write!(f, " (cgroup {name})"),
            None => f.write_str(" (MemAvailable of /proc/meminfo)"),
        }
    }
}

/// In whole MiB where there are any.
struct MiB(u64);

impl fmt::Display for MiB {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 >> 20 {
            0 => write!(f, "{} KiB", self.0 >> 10),
            whole => write!(f, "{whole} MiB"),
        }
    }
}

/// Compare the least of what the machine and each cgroup that we are in have left with what is asked for.
pub(crate) fn compare(roots: &Roots, asked: u64) -> Room {
    let machine = match roots.proc("meminfo") {
        Ok(text) => number_of(&text, "MemAvailable")
            .map(|kib| kib << 10)
            .ok_or_else(|| "/proc/meminfo has no MemAvailable".to_owned()),
        Err(error) => Err(format!(
            "/proc/meminfo: {} (systemd's ProcSubset=pid hides it: set ProcSubset=all)",
            crate::sys::errno_text(error)
        )),
    };
    let limits = levels(roots)
        .into_iter()
        .filter_map(|level| Some((left(&level)?, Some(level.name))));
    let seen = machine.as_ref().ok().map(|free| (*free, None));
    let least = limits.chain(seen).min_by_key(|(free, _)| *free);
    match (least, machine) {
        (Some((free, cgroup)), _) if free < asked => Room::Lacking(Lack { free, asked, cgroup }),
        (Some(_), machine) => Room::Enough(machine.err()),
        (None, Ok(_)) => Room::Enough(None),
        (None, Err(unseen)) => Room::Unknown(unseen),
    }
}

/// How much a cgroup may still take: its limit less what is charged to it, for which the file cache that nobody has used lately
/// does not count, since the kernel drops that first. None where there is no limit.
fn left(level: &Level) -> Option<u64> {
    let (limits, charged, idle): (&[&str], _, _) = match level.version {
        Version::V2 => (&["memory.max", "memory.high"], "memory.current", "inactive_file"),
        // `total_`: with what is below it.
        Version::V1 => (
            &["memory.limit_in_bytes"],
            "memory.usage_in_bytes",
            "total_inactive_file",
        ),
    };
    // `max` is no number: no limit.
    let limits = limits
        .iter()
        .filter_map(|file| level.read(file)?.trim().parse::<u64>().ok());
    let limit = limits.min()?;
    let charged: u64 = level.read(charged)?.trim().parse().ok()?;
    let idle = number_of(&level.read("memory.stat").unwrap_or_default(), idle).unwrap_or_default();
    Some(limit.saturating_sub(charged.saturating_sub(idle)))
}
