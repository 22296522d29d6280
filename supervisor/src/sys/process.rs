//! What /proc tells about processes, and being the one to whom orphans come. (No `unsafe`: it is here because
//! `children` and `launch` both need it and must not know each other.)

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, Uid};
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::kernel_file::{kernel_text, read_kernel_file};
use super::pidfd::{is_dead_by_pidfd, open_pidfd};
#[cfg(test)]
use super::stat::sleeps;
use super::stat::{Variables, variables_of};

/// Makes this process the one that inherits orphaned descendants, `PR_SET_CHILD_SUBREAPER` of prctl(2), and that can
/// wait for them: had it been started with SIGCHLD ignored, the kernel would reap them unseen (waitid(2), notes).
///
/// # Errors
/// None on any supported kernel.
pub(crate) fn become_subreaper() -> Result<(), Errno> {
    super::signals::stop_ignoring_children();
    nix::sys::prctl::set_child_subreaper(true)
}

/// The number of this process's pid namespace: what tells one PID 1 from another as long as both live. `None` without /proc.
pub(crate) fn pid_namespace() -> Option<u64> {
    let namespace = fs::metadata("/proc/self/ns/pid").ok()?;
    Some(namespace.ino())
}

/// What the kernel calls this start of the machine (random(4)). `None` where /proc/sys is hidden.
pub(crate) fn boot_id() -> Option<String> {
    let id = kernel_text("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim_end().to_owned())
}

/// What a process calls itself, for people: /proc/PID/comm, at most 15 bytes, without control characters. `None` if it has ended.
pub(crate) fn command_of(pid: Pid) -> Option<String> {
    let name = read_kernel_file(format!("/proc/{pid}/comm")).ok()?;
    let name = String::from_utf8_lossy(&name);
    Some(name.trim_end().escape_debug().to_string())
}

/// Our effective uid. The supervisor never changes it.
pub(crate) fn own_uid() -> Uid {
    static OWN: OnceLock<Uid> = OnceLock::new();
    *OWN.get_or_init(Uid::effective)
}

/// Our own pid, in the supervisor: a child that it forks asks the kernel.
pub(crate) fn own_pid() -> Pid {
    static OWN: OnceLock<Pid> = OnceLock::new();
    *OWN.get_or_init(Pid::this)
}

/// The real uid of a process (`Uid` in /proc/PID/status), if it lives.
pub(crate) fn uid_of(pid: Pid) -> Option<u32> {
    let status = kernel_text(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Whether the process has a handler for `signal` (`SigCgt` in /proc/PID/status): without one, SIGUSR1 would kill it.
///
/// # Errors
/// Those of reading /proc/PID/status; `InvalidData` if the kernel wrote no such line.
pub(crate) fn catches_signal(pid: Pid, signal: Signal) -> io::Result<bool> {
    signal_in(pid, "SigCgt:", signal)
}

/// Whether this process ignores `signal` (`SigIgn` in /proc/self/status), as it does under nohup(1).
///
/// # Errors
/// As for [`catches_signal`].
pub(crate) fn ignores_signal(signal: Signal) -> io::Result<bool> {
    signal_in(Pid::this(), "SigIgn:", signal)
}

/// What a process does with a signal, as /proc/PID/status shows it for the process and its first thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disposition {
    /// It has a handler.
    Caught,
    /// It ignores it.
    Ignored,
    /// It blocks it, whatever it would do with it otherwise: it may fetch it (sigwait(3), signalfd(2)), or keep it for ever.
    Blocked,
    /// What the signal does by itself: SIGTERM ends it.
    Default,
}

/// What a process does with `signal`.
///
/// # Errors
/// As for [`catches_signal`].
pub(crate) fn disposition(pid: Pid, signal: Signal) -> io::Result<Disposition> {
    let status = kernel_text(format!("/proc/{pid}/status"))?;
    Ok(if has_signal(&status, "SigBlk:", signal)? {
        Disposition::Blocked
    } else if has_signal(&status, "SigIgn:", signal)? {
        Disposition::Ignored
    } else if has_signal(&status, "SigCgt:", signal)? {
        Disposition::Caught
    } else {
        Disposition::Default
    })
}

/// Whether `signal` was sent to the process and nobody has taken it (`ShdPnd` in /proc/PID/status).
///
/// # Errors
/// As for [`catches_signal`].
pub(crate) fn is_pending(pid: Pid, signal: Signal) -> io::Result<bool> {
    signal_in(pid, "ShdPnd:", signal)
}

fn signal_in(pid: Pid, set: &str, signal: Signal) -> io::Result<bool> {
    let status = kernel_text(format!("/proc/{pid}/status"))?;
    has_signal(&status, set, signal)
}

/// Whether a set of signals in the text of /proc/PID/status has `signal`.
fn has_signal(status: &str, set: &str, signal: Signal) -> io::Result<bool> {
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix(set))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("no {set} in /proc/PID/status"),
            )
        })?;
    Ok(mask & (1 << (signal as u32 - 1)) != 0)
}

/// Whether a process of one thread has no child of whose end it could hear, proc_pid_task(5). `false` on kernels without
/// `CONFIG_PROC_CHILDREN`.
pub(crate) fn is_childless(pid: Pid) -> bool {
    let children = read_kernel_file(format!("/proc/{pid}/task/{pid}/children"));
    children.is_ok_and(|children| children.is_empty())
}

/// Whether a process does not end by itself at this moment: it waits for something, and has nobody of whose end it could hear.
#[cfg(test)]
pub(crate) fn is_at_rest(pid: Pid) -> bool {
    sleeps(pid) && is_childless(pid)
}

/// The living and dead children of this process, which has one thread, in the order in which they became its children.
///
/// # Errors
/// As for [`children_of`].
pub(crate) fn own_children() -> io::Result<Vec<Pid>> {
    let own = own_pid();
    children_of_thread(format!("/proc/{own}/task/{own}/children").as_ref())
}

/// The living and dead children of a process, whichever of its threads started them (proc_pid_task(5)). One that has ended has none.
///
/// # Errors
/// `Unsupported` on kernels without `CONFIG_PROC_CHILDREN`, and those of listing its threads.
pub(crate) fn children_of(pid: Pid) -> io::Result<Vec<Pid>> {
    let tasks = format!("/proc/{pid}/task");
    match fs::metadata(&tasks) {
        // `.`, `..` and one thread, which has the number of the process: this is asked in every reload.
        Ok(found) if found.nlink() == 3 => children_of_thread(format!("{tasks}/{pid}/children").as_ref()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Ok(_) | Err(_) => {
            let mut children = Vec::new();
            for thread in fs::read_dir(&tasks)? {
                children.extend(children_of_thread(&thread?.path().join("children"))?);
            }
            Ok(children)
        }
    }
}

fn children_of_thread(path: &Path) -> io::Result<Vec<Pid>> {
    match kernel_text(path) {
        Ok(text) => {
            let numbers = text.split_ascii_whitespace();
            Ok(numbers
                .filter_map(|pid| pid.parse().ok().map(Pid::from_raw))
                .collect())
        }
        // The thread has ended, unless no kernel of this kind has such a file.
        Err(_) if fs::exists("/proc/thread-self/children").unwrap_or(false) => Ok(Vec::new()),
        Err(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// The files that a process has open, as far as they were looked at.
#[derive(Debug, Default)]
pub(crate) struct OpenFiles {
    /// The number of each fd, and the text of its link, proc_pid_fd(5).
    pub(crate) files: Vec<(RawFd, PathBuf)>,
    /// Whether there were more than were to be looked at.
    pub(crate) is_cut: bool,
}

/// The files that a process has open, `most` of them.
///
/// # Errors
/// Those of reading /proc/PID/fd: mostly that the process has ended, or is another uid's. One that has ended and waits
/// for somebody to reap it has nothing open.
pub(crate) fn open_files(pid: Pid, most: usize) -> io::Result<OpenFiles> {
    match open_files_in(&format!("/proc/{pid}/fd"), most) {
        // The kernel shows a process without memory to root alone (`__ptrace_may_access`, kernel/ptrace.c).
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && has_ended(pid) => {
            Ok(OpenFiles::default())
        }
        other => other,
    }
}

/// As [`open_files`], of one directory of /proc.
///
/// # Errors
/// Those of reading it. Half a list is none: root without CAP_SYS_PTRACE (in most containers) is shown the numbers of another user's
/// fds, and not what they are.
pub(crate) fn open_files_in(directory: &str, most: usize) -> io::Result<OpenFiles> {
    let mut open = OpenFiles::default();
    for (nth, entry) in fs::read_dir(directory)?.enumerate() {
        if nth == most {
            open.is_cut = true;
            break;
        }
        let entry = entry?;
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
        match fs::read_link(entry.path()) {
            Ok(target) => open.files.extend(number.zip(Some(target))),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
            // An fd that is closed while we look is none any more.
            Err(_) => {}
        }
    }
    Ok(open)
}

/// Whether all threads of a process have ended, reaped or not. `false` where that cannot be asked.
pub(crate) fn has_ended(pid: Pid) -> bool {
    match open_pidfd(pid) {
        Ok(pidfd) => is_dead_by_pidfd(pidfd.as_fd()),
        Err(errno) => errno == Errno::ESRCH,
    }
}

/// The sockets that a process has open: the inode of each, and the number of its fd there (`socket:[INODE]`, proc_pid_fd(5)).
///
/// # Errors
/// Those of [`open_files`].
pub(crate) fn open_sockets(pid: i32) -> io::Result<Vec<(u64, RawFd)>> {
    let mut sockets = Vec::new();
    for (number, target) in open_files(Pid::from_raw(pid), usize::MAX)?.files {
        let inode = target
            .to_str()
            .and_then(|target| target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
        sockets.extend(inode.map(|inode| (inode, number)));
    }
    Ok(sockets)
}

/// Whether a process has the file of this path open, or had it open when the path was removed (`PATH (deleted)`, proc_pid_fd(5)).
/// `false` where its files are not shown.
pub(crate) fn has_open(pid: Pid, path: &Path) -> bool {
    let deleted = [path.as_os_str().as_bytes(), b" (deleted)"].concat();
    let is_it = |target: &Path| target == path || target.as_os_str().as_bytes() == deleted;
    let files = fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .flatten();
    let mut targets = files.filter_map(|entry| fs::read_link(entry.path()).ok());
    targets.any(|target| is_it(&target))
}

/// How often to read the variables of a process that executes one program after the other.
const LOOKS_AT_VARIABLES: usize = 3;

/// Whether one of the variables that a process was given when it executed is such (`KEY=value`, proc_pid_environ(5)). A process may write its
/// title over them.
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`]: it is in the middle of execve(2), or ends, and shows nothing at this moment. Otherwise those of reading
/// /proc/PID/environ: mostly that the process has ended, or is another uid's.
pub(crate) fn was_given(pid: Pid, mut is_such: impl FnMut(&[u8]) -> bool) -> io::Result<bool> {
    for _ in 0..LOOKS_AT_VARIABLES {
        let variables = read_kernel_file(format!("/proc/{pid}/environ"))?;
        if !variables.is_empty() {
            return Ok(variables.split(|byte| *byte == 0).any(&mut is_such));
        }
        match variables_of(pid) {
            Variables::None => return Ok(false),
            Variables::NotYet => break,
            // It has got them since.
            Variables::Some => {}
        }
    }
    Err(Errno::EAGAIN.into())
}

#[cfg(test)]
mod tests {
    use super::super::stat::process_row;
    use super::*;

    #[test]
    fn files_that_have_gone_when_they_are_read_count_towards_the_limit() {
        let directory = tempfile::tempdir().unwrap();
        let names = ["3", "4", "5"];
        for name in names {
            // No link: as an fd that was closed meanwhile.
            fs::write(directory.path().join(name), "").unwrap();
        }
        let look = |most| open_files_in(directory.path().to_str().unwrap(), most).unwrap();
        assert!(look(2).is_cut);
        assert!(!look(3).is_cut);
        assert!(look(3).files.is_empty());
    }

    #[test]
    fn a_process_that_runs_or_waits_for_a_child_is_not_at_rest() {
        assert!(!is_at_rest(Pid::this()), "it runs this test");
        let mut parent = std::process::Command::new("/bin/sh")
            .args(["-c", "sleep 1000 & echo up; wait"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pid = Pid::from_raw(parent.id() as i32);
        let mut line = String::new();
        io::BufRead::read_line(
            &mut io::BufReader::new(parent.stdout.as_mut().unwrap()),
            &mut line,
        )
        .unwrap();
        let child = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        let child = Pid::from_raw(child.trim().parse().unwrap());
        while !process_row(pid.as_raw()).unwrap().sleeps || !is_at_rest(child) {
            std::thread::yield_now();
        }
        assert!(!is_at_rest(pid), "its child's end would wake it");
        nix::sys::signal::kill(child, Signal::SIGKILL).unwrap();
        parent.wait().unwrap();
        assert!(!is_at_rest(pid), "it has ended");
    }

    #[test]
    fn rust_programs_ignore_sigpipe_and_do_not_catch_usr1() {
        assert!(ignores_signal(Signal::SIGPIPE).unwrap());
        assert!(!catches_signal(Pid::this(), Signal::SIGUSR1).unwrap());
        assert!(
            catches_signal(Pid::this(), Signal::SIGSEGV).unwrap(),
            "the standard library's guard pages"
        );
    }
}
