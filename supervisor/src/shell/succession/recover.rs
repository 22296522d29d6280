//! After `kill -9`: is the app of the predecessor still there, and can its listeners be had back from it?

use std::cell::OnceCell;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, getsid};

use crate::children::signal_group;
use crate::listeners::SocketIdentity;
use crate::own_unit;
use crate::place::Place;
use crate::sys::{self, ProcessRow};

/// A process that was proved to be the one that the predecessor had started.
#[derive(Debug)]
pub(crate) struct Proved {
    pub(crate) pid: Pid,
    pub(crate) pidfd: OwnedFd,
    /// Its sockets as they were when somebody first asked: there may be a thousand listeners to look for among them.
    seen: OnceCell<Vec<(u64, RawFd)>>,
}

impl Proved {
    /// One whose pidfd is proof enough.
    pub(crate) fn by_pidfd(pid: Pid, pidfd: OwnedFd) -> Self {
        Self {
            pid,
            pidfd,
            seen: OnceCell::new(),
        }
    }

    /// Kills its process group, unless it has ended meanwhile. While it lives the number of the group is its own. Returns whether
    /// there was somebody to kill.
    pub(crate) fn kill_group(&self) -> bool {
        let pidfd = self.pidfd.as_fd();
        !sys::is_dead_by_pidfd(pidfd) && signal_group(self.pid, pidfd, Some(Signal::SIGKILL)).is_ok()
    }

    /// The inodes and numbers of its sockets, now.
    fn sockets(&self) -> Result<Vec<(u64, RawFd)>, Errno> {
        let open = sys::open_sockets(self.pid.as_raw());
        open.map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
    }
}

/// Proves that the process with this pid is the one that was started at that time: by looking before and after the pid was
/// tied to a pidfd, for in between it may have come to mean somebody else (pidfd_open(2)). One that is dead and waits for somebody to
/// reap it (an init of a container may never do so) has nothing any more.
pub(crate) fn prove(pid: Pid, start: u64) -> Option<Proved> {
    let is_it = || sys::start_time(pid) == Some(start);
    if !is_it() {
        return None;
    }
    let pidfd = sys::open_pidfd(pid).ok()?;
    let lives = is_it() && !sys::is_dead_by_pidfd(pidfd.as_fd());
    lives.then(|| Proved::by_pidfd(pid, pidfd))
}

/// The same by a pidfd that outlived the predecessor, and cannot have come to mean another.
pub(crate) fn prove_by_pidfd(pid: Pid, pidfd: OwnedFd) -> Option<Proved> {
    (!sys::is_dead_by_pidfd(pidfd.as_fd())).then(|| Proved::by_pidfd(pid, pidfd))
}

/// The same where neither /proc nor a pidfd that somebody has kept tells: a process with this pid is in our own unit, in which all are of
/// this app, and leads its session, as workers do. (A unit has no pid twice, and a helper that leads one would have to be given the
/// very number of a worker that died with its supervisor.)
pub(crate) fn prove_by_unit(pid: Pid) -> Option<Proved> {
    let pidfd = sys::open_pidfd(pid).ok()?;
    let leads = getsid(Some(pid)) == Ok(pid);
    let is_of_unit = || own_unit::processes().is_ok_and(|pids| pids.contains(&pid));
    if leads && is_of_unit() {
        prove_by_pidfd(pid, pidfd)
    } else {
        None
    }
}

/// The same of one that /proc does not show.
pub(crate) fn prove_hidden(pid: Pid) -> Option<Proved> {
    is_hidden(pid).then(|| prove_by_unit(pid)).flatten()
}

/// The same of a worker. Where the dead supervisor could not see when it was started (there was no /proc), the notify socket that it
/// was given proves it.
pub(crate) fn prove_worker(pid: Pid, began: Option<u64>, notify: &Path) -> Option<Proved> {
    match began {
        None | Some(0) => {
            let start = sys::start_time(pid)?;
            let is_it = was_born_with(pid, notify).unwrap_or(false);
            is_it.then(|| prove(pid, start)).flatten()
        }
        Some(start) => prove(pid, start),
    }
}

/// Whether a process of this pid, or of a group of this number, lives and /proc does not show it: without /proc, under `hidepid=`, or
/// another user namespace's. Nobody can tell then who it is.
pub(crate) fn is_hidden(pid: Pid) -> bool {
    if sys::start_time(pid).is_some() {
        return false;
    }
    match sys::open_pidfd(pid) {
        Ok(pidfd) => !sys::is_dead_by_pidfd(pidfd.as_fd()),
        // Its group outlives it, unless /proc shows others and not those.
        Err(_) => {
            let shows_nothing = sys::start_time(Pid::this()).is_none();
            shows_nothing && matches!(killpg(pid, None), Ok(()) | Err(Errno::EPERM))
        }
    }
}

/// Takes a duplicate of a listener back from a process that has it (pidfd_getfd(2), Linux 5.6).
///
/// # Errors
/// `EPERM`: we may not (another uid, more capabilities, not dumpable, or a seccomp filter as a container engine sets one);
/// `ENOENT`: the process has no such socket; `EACCES`: its fds cannot be seen.
pub(crate) fn take_back(from: &Proved, wanted: SocketIdentity) -> Result<OwnedFd, Errno> {
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

/// Takes a duplicate of the first of a process's sockets that is the one.
pub(crate) fn take_socket(from: &Proved, is_it: impl Fn(BorrowedFd<'_>) -> bool) -> Option<OwnedFd> {
    let sockets = from.sockets().ok()?;
    sockets.into_iter().find_map(|(_, number)| {
        let fd = sys::fd_of(from.pidfd.as_fd(), number).ok()?;
        is_it(fd.as_fd()).then_some(fd)
    })
}

/// Whether it is this very socket.
pub(crate) fn is_that(fd: BorrowedFd<'_>, wanted: SocketIdentity) -> bool {
    let inode = nix::sys::stat::fstat(fd).map(|status| status.st_ino);
    inode == Ok(wanted.inode) && (wanted.cookie.is_none() || sys::sock::cookie(fd) == wanted.cookie)
}

/// Whether a process was given this notify socket when it executed.
///
/// # Errors
/// Its environment is not shown.
pub(crate) fn was_born_with(pid: Pid, notify: &Path) -> io::Result<bool> {
    let wanted = [b"NOTIFY_SOCKET=", notify.as_os_str().as_bytes()].concat();
    sys::was_given(pid, |entry| entry == wanted)
}

/// Refuses to start beside the app of a predecessor whose state is lost: it could be neither adopted nor told apart from what this
/// start makes.
///
/// # Errors
/// One line, if there is such an app.
pub(crate) fn refuse_orphans(place: &Place) -> Result<(), String> {
    let orphans = orphans(place);
    if orphans.is_empty() {
        return Ok(());
    }
    if let Some(supervisor) = supervisor_of(&orphans, place) {
        return Err(format!(
            "instance {} is already running (pid {supervisor}), but somebody has removed {}, so that no command reaches it: kill -HUP \
             {supervisor} reloads it, kill {supervisor} stops it",
            place.name(),
            place.control().display()
        ));
    }
    let pids = pids_of(&orphans);
    let state = place.state_files()[0].display();
    Err(format!(
        "the previous supervisor was killed and its app lives on (pid {pids}), but it cannot be adopted, for the state in {state} is lost \
         or damaged; stop the app (kill {pids}) and start segue again"
    ))
}

/// The supervisor of these processes, if it lives: their parent, which has the lock of this place open, though its path may be gone.
fn supervisor_of(orphans: &[ProcessRow], place: &Place) -> Option<Pid> {
    let mut parents = orphans.iter().map(|row| row.parent);
    parents.find(|parent| sys::has_open(*parent, place.lock_file()))
}

/// All processes that were given a notify socket of this place.
pub(crate) fn orphans(place: &Place) -> Vec<ProcessRow> {
    let notify = place.notify_directory();
    // After a stop the directory is gone: most starts look no further.
    if !notify.exists() {
        return Vec::new();
    }
    let speaks_there = [b"NOTIFY_SOCKET=", notify.as_os_str().as_bytes(), b"/"].concat();
    let is_of_app = |row: &ProcessRow| {
        let given = sys::was_given(row.pid, |entry| entry.starts_with(&speaks_there));
        given.unwrap_or(false)
    };
    let rows = sys::process_rows().unwrap_or_default().into_iter();
    rows.filter(is_of_app).collect()
}

/// Their pids, for a line.
pub(crate) fn pids_of(rows: &[ProcessRow]) -> String {
    let pids: Vec<String> = rows.iter().map(|row| row.pid.to_string()).collect();
    pids.join(" ")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use nix::sys::wait::{Id, WaitPidFlag, waitid};

    use super::*;

    #[test]
    fn one_that_nobody_reaps_does_not_live() {
        let mut child = Command::new("sleep").arg("60").spawn().expect("sleep");
        let pid = Pid::from_raw(child.id().cast_signed());
        let start = sys::start_time(pid).expect("it is there");
        assert!(prove(pid, start).is_some());
        child.kill().expect("killed");
        waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).expect("dead");
        assert_eq!(sys::start_time(pid), Some(start), "still to be seen");
        assert!(prove(pid, start).is_none());
        child.wait().expect("reaped");
    }
}
