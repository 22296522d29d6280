//! What `/proc` tells about other processes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The environment variable by which every descendant of a harness is known, wherever it fled.
pub const MARK: &str = "SEGUE_TEST_MARK";

/// One line about a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its number.
    pub pid: i32,
    /// Its parent's.
    pub ppid: i32,
    /// The state letter: `Z` is a zombie, `T` is stopped.
    pub state: char,
    /// Its name.
    pub comm: String,
}

/// Every process there is.
#[must_use]
pub fn all() -> Vec<Seen> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| look(entry.file_name().to_str()?.parse().ok()?))
        .collect()
}

/// One process, if it exists.
#[must_use]
pub fn look(pid: i32) -> Option<Seen> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may contain anything, parentheses too.
    let (front, back) = stat.rsplit_once(')')?;
    let comm = front.split_once('(')?.1.to_owned();
    let mut fields = back.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let ppid = fields.next()?.parse().ok()?;
    Some(Seen {
        pid,
        ppid,
        state,
        comm,
    })
}

/// Every living process that carries a mark in its environment.
#[must_use]
pub fn marked(mark: &str) -> Vec<Seen> {
    let wanted = format!("{MARK}={mark}");
    let carries = |pid: i32| {
        let bytes = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        bytes
            .split(|byte| *byte == 0)
            .any(|entry| entry == wanted.as_bytes())
    };
    all().into_iter().filter(|seen| carries(seen.pid)).collect()
}

/// The children of a process, zombies included.
#[must_use]
pub fn children(pid: i32) -> Vec<Seen> {
    all().into_iter().filter(|seen| seen.ppid == pid).collect()
}

/// What a process has open: number -> target.
#[must_use]
pub fn descriptors(pid: i32) -> BTreeMap<i32, String> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return BTreeMap::new();
    };
    let target = |path: &Path| {
        fs::read_link(path)
            .ok()
            .map(|target| target.to_string_lossy().into_owned())
    };
    entries
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, target(&entry.path())?)))
        .collect()
}

/// Whether O_NONBLOCK is set on what a process has open as this descriptor.
///
/// # Panics
/// When that cannot be read.
#[must_use]
#[track_caller]
pub fn is_nonblocking(pid: i32, descriptor: i32) -> bool {
    const O_NONBLOCK: u32 = 0o4000;
    let path = format!("/proc/{pid}/fdinfo/{descriptor}");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
    flags.unwrap_or_else(|| panic!("{path}: no flags in {text}")) & O_NONBLOCK != 0
}

/// How many bytes a process has read and written so far, of files, pipes and sockets; 0 if it is gone.
#[must_use]
pub fn read_and_written(pid: i32) -> u64 {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    let count = |line: &str| {
        let count = line
            .strip_prefix("rchar:")
            .or_else(|| line.strip_prefix("wchar:"))?;
        count.trim().parse::<u64>().ok()
    };
    io.lines().filter_map(count).sum()
}

/// What must not grow over reloads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// Proportional share of memory, KiB. It changes with the number of others that run the same binary.
    pub pss_kib: u64,
    /// Memory of its own, KiB: heap, stack, changed data. It does not depend on others.
    pub anonymous_kib: u64,
    /// Open descriptors.
    pub fds: usize,
    /// Of these: timer descriptors.
    pub timers: usize,
    /// Threads.
    pub threads: usize,
    /// Children, living.
    pub children: usize,
    /// Children, dead and not reaped.
    pub zombies: usize,
}

impl Footprint {
    /// Measures a process; all zero if it is gone.
    #[must_use]
    pub fn of(pid: i32) -> Self {
        let fds = descriptors(pid);
        let children = children(pid);
        let zombies = children.iter().filter(|child| child.state == 'Z').count();
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let memory = |name: &str| {
            let found = rollup
                .lines()
                .find_map(|line| line.strip_prefix(name)?.trim().strip_suffix("kB"));
            found.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
        };
        Self {
            pss_kib: memory("Pss:"),
            anonymous_kib: memory("Anonymous:"),
            timers: fds.values().filter(|target| target.contains("timerfd")).count(),
            fds: fds.len(),
            threads: fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count),
            children: children.len() - zombies,
            zombies,
        }
    }

    /// A supervisor of one worker is as it was at first; its heap may have grown by so many KiB for reasons of its own.
    ///
    /// # Panics
    /// When it has changed by more, or has more than one child and one thread.
    #[track_caller]
    pub fn assert_as(&self, first: &Self, heap_slack_kib: u64) {
        assert_eq!((self.children, self.zombies, self.threads), (1, 0, 1), "{self:?}");
        assert_eq!(
            (self.fds, self.timers),
            (first.fds, first.timers),
            "{first:?} {self:?}"
        );
        assert!(
            !self.has_grown_since(first, heap_slack_kib),
            "memory grew: {first:?} {self:?}"
        );
    }

    /// Whether its heap has grown by more than so many KiB.
    #[must_use]
    pub fn has_grown_since(&self, first: &Self, heap_slack_kib: u64) -> bool {
        self.anonymous_kib > first.anonymous_kib + heap_slack_kib
    }
}

/// What an event loop that is asleep waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// It is not asleep in `epoll_wait`.
    Not,
    /// For an event, or for a timer that is armed.
    UntilTimer,
    /// For an event alone: no timer is armed.
    ForEver,
    /// The kernel does not tell (`/proc/PID/syscall` needs CONFIG_HAVE_ARCH_TRACEHOOK and the right to trace).
    Unknown,
}

/// How often the main thread of a process has fallen asleep so far. Where two answers are the same it has not run in between, if it slept
/// at both.
#[must_use]
pub fn sleeps(pid: i32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let count = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
    count.trim().parse().ok()
}

/// What the main thread of a process waits for, from the arguments of the system call in which it sleeps.
#[must_use]
pub fn waiting(pid: i32) -> Waiting {
    /// `epoll_wait`, where it exists, and `epoll_pwait`: both have the timeout as their fourth argument.
    const EPOLL: [&str; 2] = if cfg!(target_arch = "x86_64") {
        ["232", "281"]
    } else {
        ["22", "22"]
    };
    let Ok(line) = fs::read_to_string(format!("/proc/{pid}/syscall")) else {
        return Waiting::Unknown;
    };
    let mut words = line.split_whitespace();
    if !words.next().is_some_and(|number| EPOLL.contains(&number)) {
        return Waiting::Not;
    }
    match words.nth(3) {
        // An int of -1; the upper half of the register is undefined.
        Some(timeout) if timeout.ends_with("ffffffff") => Waiting::ForEver,
        Some(_) | None => Waiting::UntilTimer,
    }
}
