//! What runs in the child between fork and exec.
//!
//! The supervisor has one thread, so this is plain code that may allocate; it takes no lock but the allocator's.
//! It looks names up here because that may take long, and the supervisor never waits.

use super::binary::{Binary, Format};
use super::environment::Environment;
use super::go_ahead::{self, Leave};
use super::identity::Identity;
use super::journal;
use super::program::Program;
use super::report::Reporter;
use super::spawn::Voice;
use crate::stderr::{self, Stderr};
use crate::sys::{self, InChild, errno_text};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, open};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{AccessFlags, Pid, Uid, access, execve, execveat, fchdir, fchownat, setsid};
use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::io::IsTerminal;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// The first fd that socket activation hands over, `SD_LISTEN_FDS_START` of sd_listen_fds(3).
pub(super) const FIRST_LISTENER: RawFd = 3;

/// The exit status of a child that did not exec, as a shell's. The reason, if anybody is left to read it, is in the report.
const NOT_EXECUTED: i32 = 127;

/// How long to wait before exec is tried again while something still writes the file (a deploy in progress, or a
/// fork elsewhere that briefly holds the writer's fd, golang/go#22315). Some 0.4 s in all, then the launch fails.
const BUSY_WAITS: [Duration; 10] = [
    Duration::from_millis(1),
    Duration::from_millis(2),
    Duration::from_millis(4),
    Duration::from_millis(8),
    Duration::from_millis(16),
    Duration::from_millis(32),
    Duration::from_millis(64),
    Duration::from_millis(100),
    Duration::from_millis(100),
    Duration::from_millis(100),
];

/// What is to be executed.
#[derive(Clone, Copy)]
pub(super) enum Target<'a> {
    /// The app.
    Binary(&'a Binary),
    /// `/bin/sh`, for a probe.
    Shell,
}

/// Where the new process's standard input comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stdin {
    /// The supervisor's own, unless that is a terminal: the app would take what is typed from the shell.
    Inherited,
    /// `/dev/null`.
    Null,
}

/// One process to start; everything about it is decided before the fork.
pub(super) struct Job<'a> {
    pub(super) program: &'a Program,
    pub(super) target: Target<'a>,
    pub(super) argv: &'a [CString],
    /// Complete but for the pid and what the user database says.
    pub(super) environment: Environment,
    /// In the order in which they go to fd 3 and up.
    pub(super) sockets: Vec<BorrowedFd<'a>>,
    /// Variables that hold the process's own pid.
    pub(super) pid_variables: Vec<&'static str>,
    /// A socket that the process's user must be able to connect to, and nobody else.
    pub(super) own_socket: Option<(&'a Path, Voice)>,
    /// A directory that becomes the user's own.
    pub(super) own_directory: Option<&'a Path>,
    pub(super) stdin: Stdin,
    /// Where standard output and error go, if not where the app's do; what goes wrong before exec is written there, too.
    pub(super) output: Option<BorrowedFd<'a>>,
    /// How the journal calls it.
    pub(super) identifier: String,
}

/// Prepares this process, waits for the leave to go on, and executes the job. Returns only on failure, which it has
/// reported by then.
pub(super) fn run(child: &InChild, job: Job<'_>, report_end: BorrowedFd<'_>) -> i32 {
    let above = FIRST_LISTENER.saturating_add(RawFd::try_from(job.sockets.len()).unwrap_or(RawFd::MAX));
    // The report must not lie where a listener goes; should this fail, the failure is reported at the old place.
    let moved = move_if_below(report_end, above);
    let output = job.output;
    let reporter = Reporter(moved.as_ref().map_or(report_end, Moved::as_fd));
    let failure = match &moved {
        Ok(_) => match prepare_and_exec(child, job, above, &reporter) {
            Ok(never) => match never {},
            Err(NotExecuted::NoLeave) => return NOT_EXECUTED,
            Err(NotExecuted::Failed(text)) => text,
        },
        Err(errno) => format!("file descriptors: {}", errno_text(*errno)),
    };
    if let Some(output) = output {
        // If it cannot be written, the exit status is all there is.
        let _ = nix::unistd::write(output, failure.as_bytes());
    }
    reporter.failed(&failure);
    NOT_EXECUTED
}

/// Why this process did not become the app.
enum NotExecuted {
    /// Attempt, then cause.
    Failed(String),
    /// The supervisor has died before it knew of this process. There is nobody to tell.
    NoLeave,
}

impl From<String> for NotExecuted {
    fn from(text: String) -> NotExecuted {
        NotExecuted::Failed(text)
    }
}

fn prepare_and_exec(
    child: &InChild,
    mut job: Job<'_>,
    above: RawFd,
    reporter: &Reporter<'_>,
) -> Result<Infallible, NotExecuted> {
    let program = job.program;
    // Not just a process group: the kernel ends a stopped group of our session when we die (SIGHUP, setpgid(2)), and the terminal
    // that we were started from is not to reach the app.
    setsid().map_err(step("session"))?;
    let binary = move_if_below(program.binary().as_fd(), above).map_err(step("file descriptors"))?;
    let cwd = move_if_below(program.cwd(), above).map_err(step("file descriptors"))?;
    place_all(child, &job.sockets, above).map_err(step("file descriptors"))?;
    choose_stdin(child, job.stdin).map_err(step("standard input"))?;

    if let Some(mask) = program.umask() {
        umask(mask);
    }
    fchdir(cwd.as_fd()).map_err(step("chdir"))?;
    let identity = Identity::resolve_user(program.user(), program.group())?;
    if let Some((path, _)) = job.own_socket {
        give_away(path, identity.uid())?;
    }
    if let Some(path) = job.own_directory {
        give_away(path, identity.uid())?;
    }
    reporter.uid(identity.uid().as_raw());
    if let Some(score) = program.oom_score() {
        // While we may: as the app's user it could not go back to a lower one.
        sys::set_own_oom_score(score)
            .map_err(|error| format!("oom_score_adj {score}: {}", errno_text(error)))?;
    }
    identity.assume()?;
    if let Some(signal) = program.last_signal() {
        // Becoming another user takes it back, so it comes after that. A supervisor that is dead already gives no leave.
        set_pdeathsig(signal).map_err(step("parent-death signal"))?;
    }
    if let Some((path, Voice::Needed)) = job.own_socket {
        reach(path)?;
    }

    // As the app's user, and by this process: both are in the journal with each line.
    let mut journal_is_stderr = false;
    if job.output.is_none()
        && let Some(journal) = program.journal()
        && let Some(stream) = journal.rename(child, &job.identifier)
    {
        job.environment.set_unless_configured(journal::VARIABLE, stream);
        journal_is_stderr = journal.has_stderr();
    }
    if let Some(output) = job.output {
        for number in [1, 2] {
            sys::place_at(child, output, number).map_err(step("file descriptors"))?;
        }
    } else if let Some(path) = program.stderr() {
        stderr::redirect(child, path)?;
        journal_is_stderr = false;
    }
    reporter.stderr(&Stderr::of_this_process(
        journal_is_stderr.then_some(&job.identifier),
    ));
    // After all that opens files: the supervisor may have more of them open than the app may have.
    program.limits().restore().map_err(step("resource limits"))?;
    complete(&mut job.environment, &job.pid_variables, &identity);
    let environment = job.environment.to_exec().map_err(|error| error.to_string())?;
    sys::default_dispositions(child);
    // What came for this process since the fork now acts on it by default, as it would on the app.
    sys::unblock_all(child).map_err(step("signal mask"))?;
    match go_ahead::wait_for_leave(child, reporter.0) {
        Leave::Given => Ok(execute(&job, binary.as_fd(), &environment)?),
        Leave::Never => Err(NotExecuted::NoLeave),
    }
}

fn step(attempt: &'static str) -> impl Fn(Errno) -> String {
    move |errno| format!("{attempt}: {}", errno_text(errno))
}

/// An fd at a number where no listener goes.
enum Moved<'a> {
    Stayed(BorrowedFd<'a>),
    Duplicate(OwnedFd),
}

impl Moved<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Moved::Stayed(fd) => *fd,
            Moved::Duplicate(fd) => fd.as_fd(),
        }
    }
}

fn move_if_below(fd: BorrowedFd<'_>, above: RawFd) -> Result<Moved<'_>, Errno> {
    if fd.as_raw_fd() >= above {
        Ok(Moved::Stayed(fd))
    } else {
        sys::move_above(fd, above).map(Moved::Duplicate)
    }
}

/// Puts the sockets at fd 3 and up in their order and marks all above them close-on-exec. Those that lie where
/// another one goes are moved out of the way first, so that none is overwritten before it is placed.
fn place_all(child: &InChild, sockets: &[BorrowedFd<'_>], above: RawFd) -> Result<(), Errno> {
    let out_of_the_way: Vec<Moved<'_>> = sockets
        .iter()
        .map(|fd| move_if_below(*fd, above))
        .collect::<Result<_, _>>()?;
    for (number, fd) in (FIRST_LISTENER..).zip(&out_of_the_way) {
        sys::place_at(child, fd.as_fd(), number)?;
    }
    sys::close_on_exec_from(child, above)
}

fn choose_stdin(child: &InChild, stdin: Stdin) -> Result<(), Errno> {
    if stdin == Stdin::Inherited && !std::io::stdin().is_terminal() {
        return Ok(());
    }
    let null = open("/dev/null", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    sys::place_at(child, null.as_fd(), 0)
}

/// Makes `uid` the owner of a socket that lies in a directory in which only the supervisor can make entries. An app may
/// have removed its probe listener's path (nginx and puma do); then there is nothing to give.
fn give_away(path: &Path, uid: Uid) -> Result<(), String> {
    if uid == Uid::effective() {
        return Ok(());
    }
    match fchownat(AT_FDCWD, path, Some(uid), None, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(Errno::EPERM) => Err(format!(
            "run as uid {uid}: {} (segue must run as root for that)",
            errno_text(Errno::EPERM)
        )),
        Err(errno) => Err(format!("chown {}: {}", path.display(), errno_text(errno))),
    }
}

/// Whether this process, as the app's user, can send to a socket: a directory on the way may be closed to it. Without this
/// look the app would start, say READY=1 into the void, and fail after its whole start timeout.
fn reach(path: &Path) -> Result<(), String> {
    access(path, AccessFlags::W_OK).map_err(|errno| {
        format!(
            "the app's user cannot reach its notify socket {}: {} (the directories above it must let the user pass)",
            path.display(),
            errno_text(errno)
        )
    })
}

fn complete(environment: &mut Environment, pid_variables: &[&str], identity: &Identity) {
    for variable in pid_variables {
        environment.set(variable, Pid::this().to_string());
    }
    if let Some(login) = identity.login() {
        environment.set_login(login);
    }
}

fn execute(job: &Job<'_>, binary_fd: BorrowedFd<'_>, environment: &[CString]) -> Result<Infallible, String> {
    match job.target {
        Target::Shell => execve(c"/bin/sh", job.argv, environment).map_err(step("exec /bin/sh")),
        Target::Binary(binary) => exec_patiently(|| exec_binary(binary, binary_fd, job.argv, environment))
            .map_err(|errno| {
                format!(
                    "exec {}: {}",
                    job.program.command().display(),
                    binary.explain(errno)
                )
            }),
    }
}

/// Tries again as long as the file is being written, within [`BUSY_WAITS`].
fn exec_patiently(attempt: impl Fn() -> Result<Infallible, Errno>) -> Result<Infallible, Errno> {
    for wait in BUSY_WAITS {
        match attempt() {
            Err(Errno::ETXTBSY) => std::thread::sleep(wait),
            outcome => return outcome,
        }
    }
    attempt()
}

/// By path while the path leads to the file that was opened, so that the app finds itself where it looks; by fd
/// otherwise, so that it is what was opened.
fn exec_binary(
    binary: &Binary,
    fd: BorrowedFd<'_>,
    argv: &[CString],
    environment: &[CString],
) -> Result<Infallible, Errno> {
    if binary.is_at_its_path() {
        let path = CString::new(binary.path().as_os_str().as_bytes()).map_err(|_| Errno::ENOENT)?;
        return execve(&path, argv, environment);
    }
    if let Format::Script(_) = binary.format() {
        // The kernel tells the interpreter to open /dev/fd/N, so N must still be there.
        sys::keep_over_exec(fd)?;
    }
    const THE_FD_ITSELF: &CStr = c"";
    execveat(fd, THE_FD_ITSELF, argv, environment, AtFlags::AT_EMPTY_PATH)
}
