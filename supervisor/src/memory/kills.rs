//! Whether the kernel has killed for memory: its counters, compared with what they were before.

use super::cgroup::{Level, Version, levels};
use super::{Roots, number_of};

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
    ours: Option<Level>,
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
        let ours = levels(&roots).into_iter().find(|level| count(level).is_some());
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
fn count(level: &Level) -> Option<u64> {
    let file = match level.version {
        Version::V1 => "memory.oom_control",
        Version::V2 => "memory.events",
    };
    number_of(&level.read(file)?, "oom_kill")
}
