//! What the threads of a process are blocked in: `/proc/PID/task/TID/syscall`, proc_pid_syscall(5), and the arguments of
//! poll(2) and select(2) in its memory. (Nothing is stopped for that: a thread that is blocked in a call leaves what the
//! call was given alone.)

use std::fs::{self, File};
use std::io;
use std::os::fd::RawFd;
use std::os::unix::fs::FileExt;

use nix::unistd::Pid;

use crate::sys;

/// More fds in one poll(2) than this are not read: 64 KiB.
const POLL_MOST: u64 = 8192;

/// FD_SETSIZE, select(2).
const SELECT_MOST: u64 = 1024;

/// One thread that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// For a client or for input on these fds.
    On(Vec<RawFd>),
    /// For input on fds that cannot be told.
    OnSome,
}

/// A call that can wait for a client, with those of its arguments that say for which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// accept(2), on this fd.
    Accept(RawFd),
    /// poll(2), with so many entries at this address.
    Poll { at: u64, count: u64 },
    /// select(2), with the set to read at this address, and the highest fd below this.
    Select { at: u64, below: u64 },
    /// The kernel goes on with a call that a signal has interrupted, restart_syscall(2).
    Again,
}

impl Call {
    /// Reads the line of a thread: `NUMBER ARGUMENT... SP PC`, `running`, or `-1 SP PC`.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let number: libc::c_long = words.next()?.parse().ok()?;
        let mut argument = || u64::from_str_radix(words.next()?.trim_start_matches("0x"), 16).ok();
        let (first, second) = (argument()?, argument()?);
        match Name::of(number)? {
            Name::Accept => Some(Self::Accept(RawFd::try_from(first).ok()?)),
            Name::Poll => Some(Self::Poll {
                at: first,
                count: second,
            }),
            Name::Select => Some(Self::Select {
                at: second,
                below: first,
            }),
            Name::Restart => Some(Self::Again),
        }
    }
}

/// Which call a number means.
enum Name {
    Accept,
    Poll,
    Select,
    Restart,
}

impl Name {
    /// By the numbers of the architecture that this program is built for: a program for another one (32 bits, say) is
    /// not understood, and nobody is seen waiting.
    fn of(number: libc::c_long) -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        const OLD: [(libc::c_long, fn() -> Name); 2] = [
            (libc::SYS_poll, || Name::Poll),
            (libc::SYS_select, || Name::Select),
        ];
        #[cfg(not(target_arch = "x86_64"))]
        const OLD: [(libc::c_long, fn() -> Name); 0] = [];
        let all: [(libc::c_long, fn() -> Name); 5] = [
            (libc::SYS_accept, || Self::Accept),
            (libc::SYS_accept4, || Self::Accept),
            (libc::SYS_ppoll, || Self::Poll),
            (libc::SYS_pselect6, || Self::Select),
            (libc::SYS_restart_syscall, || Self::Restart),
        ];
        let mut known = all.iter().chain(&OLD);
        known.find(|(known, _)| *known == number).map(|(_, name)| name())
    }
}

/// What the threads of a process wait for.
///
/// # Errors
/// Those of reading /proc/PID/task, and of the first thread if none can be read: mostly that it is another uid's.
pub(super) fn waits(pid: Pid) -> io::Result<Vec<Wait>> {
    let mut waits = Vec::new();
    let mut refusal = None;
    let mut readable = false;
    for task in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
        let thread = task.file_name();
        match sys::kernel_text(format!("/proc/{pid}/task/{}/syscall", thread.display())) {
            Ok(line) => {
                readable = true;
                waits.extend(Call::parse(&line).map(|call| fds_of(pid, call)));
            }
            Err(error) => refusal = refusal.or(Some(error)),
        }
    }
    match refusal {
        Some(error) if !readable => Err(error),
        Some(_) | None => Ok(waits),
    }
}

fn fds_of(pid: Pid, call: Call) -> Wait {
    let fds = match call {
        Call::Accept(fd) => Some(vec![fd]),
        Call::Poll { at, count } => polled(pid, at, count),
        Call::Select { at, below } => selected(pid, at, below),
        Call::Again => None,
    };
    fds.map_or(Wait::OnSome, Wait::On)
}

fn memory(pid: Pid, at: u64, length: u64) -> Option<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length).ok()?];
    let memory = File::open(format!("/proc/{pid}/mem")).ok()?;
    memory.read_exact_at(&mut bytes, at).ok()?;
    Some(bytes)
}

/// The fds of an array of `struct pollfd` that are polled for input.
fn polled(pid: Pid, at: u64, count: u64) -> Option<Vec<RawFd>> {
    /// POLLIN and POLLRDNORM, poll(2).
    const INPUT: i16 = 0x41;
    if count > POLL_MOST {
        return None;
    }
    let bytes = memory(pid, at, count * 8)?;
    let entries = bytes.as_chunks::<8>().0.iter();
    let waiting = entries.filter_map(|[a, b, c, d, e, f, _, _]| {
        let asked = i16::from_ne_bytes([*e, *f]);
        (asked & INPUT != 0).then(|| RawFd::from_ne_bytes([*a, *b, *c, *d]))
    });
    Some(waiting.collect())
}

/// The fds of an `fd_set`.
fn selected(pid: Pid, at: u64, below: u64) -> Option<Vec<RawFd>> {
    if at == 0 {
        return Some(Vec::new());
    }
    let below = below.min(SELECT_MOST);
    let bytes = memory(pid, at, below.div_ceil(64) * 8)?;
    let words = bytes
        .as_chunks::<8>()
        .0
        .iter()
        .map(|word| u64::from_ne_bytes(*word));
    let is_set = |fd: &u64| {
        let word = usize::try_from(fd / 64)
            .ok()
            .and_then(|nth| words.clone().nth(nth));
        word.is_some_and(|word| word & (1 << (fd % 64)) != 0)
    };
    Some(
        (0..below)
            .filter(is_set)
            .filter_map(|fd| RawFd::try_from(fd).ok())
            .collect(),
    )
}
