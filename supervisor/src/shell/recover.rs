//! After `kill -9`: is the app of the predecessor still there, and can its listeners be had back from it?

use std::cell::OnceCell;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::unistd::Pid;
use segue_lifecycle::Worker;

use crate::listeners::SocketIdentity;
use crate::state::Row;
use crate::sys::{self, errno_text};

/// A process that was proved to be the one that the predecessor had started.
#[derive(Debug)]
pub(super) struct Proved {
    pub(super) pid: Pid,
    pub(super) pidfd: OwnedFd,
    /// Its sockets as they were when somebody first asked: there may be a thousand listeners to look for among them.
    seen: OnceCell<Vec<(u64, RawFd)>>,
}

impl Proved {
    /// One whose pidfd is proof enough.
    pub(super) fn by_pidfd(pid: Pid, pidfd: OwnedFd) -> Self {
        Self {
            pid,
            pidfd,
            seen: OnceCell::new(),
        }
    }

    /// The inodes and numbers of its sockets, now.
    fn sockets(&self) -> Result<Vec<(u64, RawFd)>, Errno> {
        let open = sys::open_sockets(self.pid.as_raw());
        open.map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
    }
}

/// Proves that the process with this pid is the one that was started at that time: by looking before and after the pid was
/// tied to a pidfd, for in between it may have come to mean somebody else (pidfd_open(2)).
pub(super) fn prove(pid: Pid, start: u64) -> Option<Proved> {
    let is_it = || sys::start_time(pid) == Some(start);
    if !is_it() {
        return None;
    }
    let pidfd = sys::open_pidfd(pid).ok()?;
    is_it().then(|| Proved::by_pidfd(pid, pidfd))
}

/// Takes a duplicate of a listener back from a process that has it (pidfd_getfd(2), Linux 5.6).
///
/// # Errors
/// `EPERM`: we may not (another uid, more capabilities, not dumpable, or a seccomp filter as a container engine sets one);
/// `ENOENT`: the process has no such socket; `EACCES`: its fds cannot be seen.
pub(super) fn take_back(from: &Proved, wanted: SocketIdentity) -> Result<OwnedFd, Errno> {
    if let Some(seen) = from.seen.get()
        && let Ok(fd) = take_among(seen, from, wanted)
    {
        return Ok(fd);
    }
    // It may have moved to another number since (dup(2)).
    let sockets = from.sockets()?;
    let taken = take_among(&sockets, from, wanted);
    from.seen.get_or_init(|| sockets);
    taken
}

fn take_among(sockets: &[(u64, RawFd)], from: &Proved, wanted: SocketIdentity) -> Result<OwnedFd, Errno> {
    let mut refusal = Errno::ENOENT;
    for (_, number) in sockets.iter().filter(|(inode, _)| *inode == wanted.inode) {
        match sys::fd_of(from.pidfd.as_fd(), *number) {
            Ok(fd) if is_that(fd.as_fd(), wanted) => return Ok(fd),
            // It was closed, or has become another, since we looked.
            Ok(_) | Err(Errno::EBADF) => {}
            Err(errno) => refusal = errno,
        }
    }
    Err(refusal)
}

fn is_that(fd: BorrowedFd<'_>, wanted: SocketIdentity) -> bool {
    let inode = nix::sys::stat::fstat(fd).map(|status| status.st_ino);
    inode == Ok(wanted.inode) && (wanted.cookie.is_none() || sys::sock::cookie(fd) == wanted.cookie)
}

/// What was found where a listener cannot be had back, and what to do, in one line.
pub(super) fn not_had_back(
    wanted: SocketIdentity,
    living: &[(Worker, Proved)],
    refusal: Option<(Worker, Pid, Errno)>,
    rows: &[Row<'_>],
) -> String {
    let address = rows.iter().find(|row| row.number("inode") == Ok(wanted.inode));
    let address = address
        .and_then(|row| row.text("address").ok())
        .unwrap_or_default();
    let pids: Vec<String> = living.iter().map(|(_, proved)| proved.pid.to_string()).collect();
    let pids = pids.join(" ");
    let why = match refusal {
        Some((worker, pid, errno)) => {
            let generation = worker.generation;
            let hint = if errno == Errno::EPERM {
                "; CAP_SYS_PTRACE permits it"
            } else {
                ""
            };
            format!(
                "pidfd_getfd from generation {generation}, pid {pid}: {}{hint}",
                errno_text(errno)
            )
        }
        None => "no process of the app has it open".to_owned(),
    };
    format!(
        "the segue before this one was killed and its app lives on (pid {pids}), but the listener {address} cannot be had back from it: \
         {why}; stop the app (kill {pids}) and start segue again"
    )
}
