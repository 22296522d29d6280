//! Whether the kernel has killed for memory: its counters, compared with what they were before.

use std::fs::File;

use super::cgroup::{Level, Version, levels};
use super::{Roots, number_of};
use crate::sys;

/// What the counters say of a process that was killed by SIGKILL, and not by us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// They have not moved: it was somebody else.
    Innocent,
    /// A process of our cgroup was killed for memory.
    Certain,
    /// A process of this machine was, and our cgroup has no counter of its own.
    Probable,
}

/// The counters as they were when they were last looked at.
#[derive(Debug)]
pub(crate) struct Kills {
    roots: Roots,
    /// The file with the counter of our cgroup, if it has one. It stays open, since it is read again at each start of a generation.
    ours: Option<File>,
    before: Counters,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counters {
    cgroup: Option<u64>,
    machine: Option<u64>,
}

impl Kills {
    /// Looks for the counters, and at them. The cgroup is that of the supervisor, in which its workers are born.
    pub(crate) fn new(roots: Roots) -> Kills {
        let counter = |level: Level| level.open(name_of_counter(level.version));
        let ours = levels(&roots).into_iter().filter_map(counter);
        let ours = ours.into_iter().find(|file| count(file).is_some());
        let mut kills = Kills {
            roots,
            ours,
            before: Counters {
                cgroup: None,
                machine: None,
            },
        };
        kills.look();
        kills
    }

    /// Looks at the counters: what they have counted so far explains no later death.
    pub(crate) fn look(&mut self) {
        self.before = self.now();
    }

    /// Whether the counters explain one more death. Each count explains one.
    pub(crate) fn explain(&mut self) -> Verdict {
        let now = self.now();
        let moved =
            |before: Option<u64>, now: Option<u64>| before.zip(now).is_some_and(|(before, now)| now > before);
        let (cgroup, machine) = (
            moved(self.before.cgroup, now.cgroup),
            moved(self.before.machine, now.machine),
        );
        let verdict = match (now.cgroup, cgroup, machine) {
            (Some(_), true, _) => Verdict::Certain,
            (Some(_), false, _) | (None, _, false) => return Verdict::Innocent,
            (None, _, true) => Verdict::Probable,
        };
        self.before.cgroup = self.before.cgroup.map(|count| count + u64::from(cgroup));
        self.before.machine = self.before.machine.map(|count| count + u64::from(machine));
        verdict
    }

    fn now(&self) -> Counters {
        let cgroup = self.ours.as_ref().and_then(count);
        // It counts those who are killed because the machine is full as well, so that it knows best. (The kernel adds up all counters of
        // all processors for /proc/vmstat.)
        let machine = || {
            let text = self.roots.proc("vmstat").ok()?;
            number_of(&text, "oom_kill")
        };
        Counters {
            cgroup,
            machine: if cgroup.is_some() { None } else { machine() },
        }
    }
}

/// How many processes of the cgroup the kernel has killed for memory. The roots of hierarchies do not count.
fn count(file: &File) -> Option<u64> {
    number_of(&sys::kernel_text_of(file).ok()?, "oom_kill")
}

const fn name_of_counter(version: Version) -> &'static str {
    match version {
        Version::V1 => "memory.oom_control",
        Version::V2 => "memory.events",
    }
}
