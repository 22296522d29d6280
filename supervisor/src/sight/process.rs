//! One process: its files, what is in its epoll sets, what its threads are blocked in.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use nix::unistd::Pid;

use super::syscall::{self, Wait};
use super::{Blind, Hold};
use crate::sys;

/// So many open files of a process are looked at, at most: each costs a microsecond, and the kernel shows the whole of an
/// epoll set in one go, while the app waits for it. An app has that many only with thousands of connections.
pub(super) const MOST_FILES: usize = 10_000;

/// What was seen of one process.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// For each socket in question, in the order of the question.
    pub(super) holds: Vec<Hold>,
    /// The inodes of its other sockets.
    pub(super) others: Vec<u64>,
    /// Why that may not be all.
    pub(super) blind: Option<Blind>,
    /// An epoll set in which one of those in question is.
    pub(super) set: Option<RawFd>,
}

/// The sockets that some processes have open.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    /// Their inodes.
    pub(crate) inodes: Vec<u64>,
    /// Whether one of them has an io_uring: sockets that are registered with it are no files of the process.
    pub(crate) has_ring: bool,
}

impl Sockets {
    /// Add those of a process. One that has ended has none.
    ///
    /// # Errors
    /// Its files are not shown, or too many.
    pub(crate) fn add(&mut self, pid: Pid) -> Result<(), Blind> {
        let found = match files(pid) {
            Ok(found) => found,
            Err(error) if has_not_ended(&error) || lives(pid) => return Err(Blind::NotShown),
            Err(_) => return Ok(()),
        };
        if found.is_cut {
            return Err(Blind::Crowded);
        }
        for (_, file) in found.files {
            match file {
                File::Socket(inode) => self.inodes.push(inode),
                File::Ring => self.has_ring = true,
                File::Epoll | File::Other => {}
            }
        }
        Ok(())
    }
}

/// Its open files, and whether there are more.
struct Files {
    files: Vec<(RawFd, File)>,
    is_cut: bool,
}

/// An open file as its link in /proc/PID/fd names it, proc_pid_fd(5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum File {
    /// `socket:[INODE]`
    Socket(u64),
    /// `anon_inode:[eventpoll]`
    Epoll,
    /// `anon_inode:[io_uring]`
    Ring,
    /// Anything else.
    Other,
}

impl File {
    pub(super) fn parse(link: &[u8]) -> Self {
        match link {
            b"anon_inode:[eventpoll]" => Self::Epoll,
            b"anon_inode:[io_uring]" => Self::Ring,
            link => socket_inode(link).map_or(Self::Other, Self::Socket),
        }
    }
}

fn socket_inode(link: &[u8]) -> Option<u64> {
    let number = link.strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
    std::str::from_utf8(number).ok()?.parse().ok()
}

/// Looks for the sockets in question. What somebody is known to wait on already is only looked for in the files.
pub(super) fn look(pid: Pid, wanted: &[(u64, Hold)]) -> Seen {
    let mut seen = Seen {
        holds: vec![Hold::Absent; wanted.len()],
        ..Seen::default()
    };
    let Files { files, is_cut } = match files(pid) {
        Ok(files) => files,
        Err(error) => {
            let is_hidden = has_not_ended(&error) || lives(pid);
            seen.blind = is_hidden.then_some(Blind::NotShown);
            return seen;
        }
    };
    let place = |inode: u64| wanted.iter().position(|(wanted, _)| *wanted == inode);
    for (_, file) in &files {
        match file {
            File::Socket(inode) => match place(*inode) {
                Some(at) => seen.raise(at, Hold::Held),
                None => seen.others.push(*inode),
            },
            File::Ring => seen.blind = Some(Blind::Ring),
            File::Epoll | File::Other => {}
        }
    }
    if is_cut {
        seen.blind.get_or_insert(Blind::Crowded);
        return seen;
    }
    let inodes = wanted.iter().map(|(inode, _)| *inode).collect::<Vec<_>>();
    if seen.is_open(wanted) {
        seen.look_into_epoll_sets(pid, &files, &inodes);
    }
    if seen.is_open(wanted) {
        seen.look_at_threads(pid, &files, &inodes);
    }
    seen
}

impl Seen {
    fn raise(&mut self, at: usize, hold: Hold) {
        if let Some(known) = self.holds.get_mut(at) {
            *known = hold.max(*known);
        }
    }

    /// Whether it holds a socket on which nobody is known to wait.
    fn is_open(&self, wanted: &[(u64, Hold)]) -> bool {
        let mut both = self.holds.iter().zip(wanted);
        both.any(|(hold, (_, known))| *hold == Hold::Held && *known != Hold::Awaited)
    }

    fn look_into_epoll_sets(&mut self, pid: Pid, files: &[(RawFd, File)], inodes: &[u64]) {
        for (fd, file) in files {
            if *file != File::Epoll {
                continue;
            }
            // A set that was closed since has nothing in it.
            let text = sys::kernel_text(format!("/proc/{pid}/fdinfo/{fd}")).unwrap_or_default();
            for inode in text.lines().filter_map(input_in_set) {
                if let Some(at) = inodes.iter().position(|wanted| *wanted == inode) {
                    self.set.get_or_insert(*fd);
                    self.raise_held(at);
                }
            }
        }
    }

    fn look_at_threads(&mut self, pid: Pid, files: &[(RawFd, File)], inodes: &[u64]) {
        let held_at = |fd: RawFd| {
            let (_, file) = files.iter().find(|(number, _)| *number == fd)?;
            match file {
                File::Socket(inode) => inodes.iter().position(|wanted| wanted == inode),
                File::Epoll | File::Ring | File::Other => None,
            }
        };
        match syscall::waits(pid) {
            Ok(waits) => {
                for wait in waits {
                    match wait {
                        Wait::On(fds) => fds
                            .into_iter()
                            .filter_map(held_at)
                            .for_each(|at| self.raise_held(at)),
                        Wait::OnSome => (0..inodes.len()).for_each(|at| self.raise_held(at)),
                    }
                }
            }
            Err(error) if has_not_ended(&error) => {
                self.blind.get_or_insert(Blind::NotShown);
            }
            Err(_) => {}
        }
    }

    /// Somebody waits on it, if this process has it open.
    fn raise_held(&mut self, at: usize) {
        if self.holds.get(at).is_some_and(|hold| *hold >= Hold::Held) {
            self.raise(at, Hold::Awaited);
        }
    }
}

/// Whether a process has all of these sockets open and in this epoll set for input. (Of one that has closed its fd, another process may
/// keep the set's entry alive.)
pub(super) fn waits_in_set(pid: Pid, set: RawFd, sockets: &[u64]) -> bool {
    let text = sys::kernel_text(format!("/proc/{pid}/fdinfo/{set}")).unwrap_or_default();
    let entries: Vec<(RawFd, u64)> = text
        .lines()
        .filter_map(|line| Some((fd_in_set(line)?, input_in_set(line)?)))
        .collect();
    let is_open = |fd: RawFd, inode: u64| {
        let link = fs::read_link(format!("/proc/{pid}/fd/{fd}"));
        link.is_ok_and(|link| socket_inode(link.as_os_str().as_bytes()) == Some(inode))
    };
    sockets.iter().all(|wanted| {
        let mut entries = entries.iter().filter(|(_, inode)| inode == wanted);
        entries.any(|(fd, inode)| is_open(*fd, *inode))
    })
}

/// The fd of a line of an epoll set.
fn fd_in_set(line: &str) -> Option<RawFd> {
    line.strip_prefix("tfd:")?
        .split_ascii_whitespace()
        .next()?
        .parse()
        .ok()
}

/// Whether a process has the socket in an epoll set for input, or an io_uring in which it may have it.
pub(crate) fn has_event_loop(pid: Pid, inode: u64) -> bool {
    let Ok(Files { files, .. }) = files(pid) else {
        return false;
    };
    files.iter().any(|(fd, file)| match file {
        File::Epoll => {
            let text = sys::kernel_text(format!("/proc/{pid}/fdinfo/{fd}")).unwrap_or_default();
            text.lines().filter_map(input_in_set).any(|found| found == inode)
        }
        File::Ring => true,
        File::Socket(_) | File::Other => false,
    })
}

/// Whether a process is stopped (SIGSTOP) or traced by a debugger, proc_pid_status(5). One that has ended is not.
pub(crate) fn is_halted(pid: Pid) -> bool {
    let status = sys::kernel_text(format!("/proc/{pid}/status")).unwrap_or_default();
    halts(&status)
}

pub(super) fn halts(status: &str) -> bool {
    let value = |key: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .map(str::trim_start)
    };
    let stopped = value("State:").is_some_and(|state| state.starts_with(['T', 't']));
    stopped || value("TracerPid:").is_some_and(|tracer| tracer != "0")
}

/// The open files of a process. If its first thread has ended, another one shows them: the first has none, and that is
/// told to root alone.
fn files(pid: Pid) -> io::Result<Files> {
    let mut first = sys::open_files(pid, MOST_FILES);
    if first.as_ref().is_ok_and(|open| !open.files.is_empty()) || sys::has_ended(pid) {
        return first.map(parsed);
    }
    for task in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
        let directory = format!("/proc/{pid}/task/{}/fd", task.file_name().display());
        match sys::open_files_in(&directory, MOST_FILES) {
            Ok(open) if open.files.is_empty() => {}
            Ok(open) => return Ok(parsed(open)),
            Err(error) if has_not_ended(&error) => first = Err(error),
            Err(_) => {}
        }
    }
    first.map(parsed)
}

fn parsed(open: sys::OpenFiles) -> Files {
    let parse = |(number, link): (RawFd, PathBuf)| (number, File::parse(link.as_os_str().as_bytes()));
    Files {
        files: open.files.into_iter().map(parse).collect(),
        is_cut: open.is_cut,
    }
}

/// The inode of a line of an epoll set, `tfd: 5 events: 19 data: 5 pos:0 ino:1f2e sdev:8`, that waits for input. (The
/// inode has been told since Linux 4.13.)
pub(super) fn input_in_set(line: &str) -> Option<u64> {
    /// EPOLLIN and EPOLLRDNORM, epoll_ctl(2). Both are absent from an entry that EPOLLONESHOT has disarmed.
    const INPUT: u64 = 0x41;
    let after = |key: &str| {
        let (_, rest) = line.split_once(key)?;
        let word = rest.split_ascii_whitespace().next()?;
        u64::from_str_radix(word, 16).ok()
    };
    line.starts_with("tfd:").then_some(())?;
    (after("events:")? & INPUT != 0).then(|| after("ino:"))?
}

/// Whether a process lives of which /proc shows nothing: there may be no /proc, or `hidepid=` hides it.
fn lives(pid: Pid) -> bool {
    sys::open_pidfd(pid).is_ok_and(|pidfd| !sys::is_dead_by_pidfd(pidfd.as_fd()))
}

/// Whether an error means something else than that the process has ended.
fn has_not_ended(error: &io::Error) -> bool {
    !matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH))
}
