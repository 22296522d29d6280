//! Forking a worker or a probe.

use super::child::{FIRST_LISTENER, Job, Stdin, Target};
use super::environment::Environment;
use super::go_ahead::GoAhead;
use super::program::{Program, argument};
use super::report::ReportSocket;
use super::{LaunchError, child};
use crate::activation::{self, Told, Values};
use crate::sys::{self, errno_text};
use nix::errno::Errno;
use nix::unistd::Pid;
use std::ffi::{CString, OsStr};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

/// A socket that is lent to a worker under a name. The supervisor keeps its own fd.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lent<'a> {
    /// Its entry in `LISTEN_FDNAMES`.
    pub(crate) name: &'a str,
    /// The supervisor's fd.
    pub(crate) fd: BorrowedFd<'a>,
    /// What `{address:NAME}` stands for.
    pub(crate) address: &'a OsStr,
    /// What `{port:NAME}` stands for; a Unix socket has none.
    pub(crate) port: Option<u16>,
}

/// Which worker is started; its `SEGUE_GENERATION` and `SEGUE_WORKER`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WorkerIdentity {
    /// The generation's number.
    pub(crate) generation: u64,
    /// The worker's place within the generation.
    pub(crate) slot: u16,
}

/// What is particular to this start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extra<'a> {
    /// The instance's name, `SEGUE_NAME`.
    pub(crate) name: &'a str,
    /// Where this worker's notify socket is bound, `NOTIFY_SOCKET`; the child gives it to the app's user.
    pub(crate) notify_path: &'a Path,
    /// Where it acks under einhorn's protocol.
    pub(crate) ack_path: Option<&'a Path>,
    /// Whether the launch fails if the app's user cannot reach that socket.
    pub(crate) voice: Voice,
    /// `SEGUE_DRAIN_TIMEOUT_MS`; left out if there is none.
    pub(crate) drain_ms: Option<u64>,
    /// `WATCHDOG_USEC`; left out if there is none.
    pub(crate) watchdog: Option<Duration>,
    /// The private listener that comes last. Its address is `SEGUE_PROBE`.
    pub(crate) probe: Option<Lent<'a>>,
    /// What `{runtime}` stands for, if the record asks for it; the child gives it to the app's user.
    pub(crate) runtime: Option<&'a Path>,
}

/// What a probe is started with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    /// The instance's name, `SEGUE_NAME`.
    pub(crate) name: &'a str,
    /// The command for `/bin/sh -c`.
    pub(crate) command: &'a str,
    /// `SEGUE_PROBE`; none for an app that is not given the private listener.
    pub(crate) probe_path: Option<&'a Path>,
    /// `SEGUE_PROBE_ADDRESS` and `SEGUE_PROBE_SOURCE`: whoever connects to the first from the second reaches the candidate alone.
    pub(crate) front_door: Option<(SocketAddr, &'a str)>,
    /// What `{runtime}` stands for.
    pub(crate) runtime: Option<&'a Path>,
}

/// What a hook is started with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Errand<'a> {
    /// The instance's name, `SEGUE_NAME`.
    pub(crate) name: &'a str,
    /// The command for `/bin/sh -c`.
    pub(crate) command: &'a str,
    /// More variables.
    pub(crate) facts: &'a [(&'static str, String)],
    /// What `{runtime}` stands for.
    pub(crate) runtime: Option<&'a Path>,
    /// Where all goes that it writes.
    pub(crate) output: BorrowedFd<'a>,
}

/// Whether anything depends on what the app says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Voice {
    /// Without its READY=1 it is never ready.
    Needed,
    /// It may be silent.
    Spare,
}

/// A child that has been forked and is on its way to exec.
#[derive(Debug)]
pub(crate) struct Spawned {
    /// Its pid, which is also its session and process group, or will be as soon as it runs.
    pub(crate) pid: Pid,
    /// The handle by which it is signalled. Close-on-exec.
    pub(crate) pidfd: OwnedFd,
    /// What it tells before exec.
    pub(crate) report: ReportSocket,
    /// What it waits for before exec.
    pub(crate) go: GoAhead,
}

/// Whether `LISTEN_PID` (and `WATCHDOG_PID`) are set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OwnPid {
    /// They are the pid of the worker.
    Set,
    /// They are left out, for wrappers that fork.
    LeftOut,
}

/// Starts one worker of `program`.
pub(super) fn worker(
    program: &Program,
    listeners: &[Lent<'_>],
    own_pid: OwnPid,
    worker: WorkerIdentity,
    extra: &Extra<'_>,
) -> Result<Spawned, LaunchError> {
    let lent: Vec<Lent<'_>> = listeners.iter().copied().chain(extra.probe).collect();
    let told = told(&lent);
    let values = Values {
        acks: extra.ack_path,
        ..values(&told, worker, extra.runtime)
    };
    let mut environment = common_environment(program, &values, extra.name)?;
    environment.set("NOTIFY_SOCKET", extra.notify_path);
    if let Some(probe) = extra.probe {
        environment.set("SEGUE_PROBE", probe.address);
    }
    let mut pid_variables = Vec::new();
    if !lent.is_empty() {
        for (name, value) in program.protocol().variables(&values, sys::own_pid()) {
            environment.set(&name, value);
        }
    }
    if !lent.is_empty() && program.protocol().is_systemd() {
        let names: Vec<&str> = lent.iter().map(|socket| socket.name).collect();
        environment.set("LISTEN_FDS", lent.len().to_string());
        environment.set("LISTEN_FDNAMES", names.join(":"));
        pid_variables.push("LISTEN_PID");
    }
    if let Some(drain) = extra.drain_ms {
        environment.set("SEGUE_DRAIN_TIMEOUT_MS", drain.to_string());
    }
    if let Some(watchdog) = extra.watchdog {
        environment.set("WATCHDOG_USEC", watchdog.as_micros().to_string());
        pid_variables.push("WATCHDOG_PID");
    }
    if own_pid == OwnPid::LeftOut {
        pid_variables.clear();
    }
    let argv = filled_arguments(program, &values)?;
    start(Job {
        program,
        target: Target::Binary(program.binary()),
        argv: &argv,
        environment,
        sockets: lent.iter().map(|socket| socket.fd).collect(),
        pid_variables,
        own_socket: Some((extra.notify_path, extra.voice)),
        own_directory: extra.runtime,
        stdin: Stdin::Inherited,
        output: None,
        identifier: identifier(worker, extra.name),
    })
}

/// Starts `/bin/sh -c command` as the app's user, in its directory and environment, where placeholders mean what they mean for
/// the worker. The listeners themselves are not lent.
pub(super) fn shell(
    program: &Program,
    listeners: &[Lent<'_>],
    worker: WorkerIdentity,
    question: &Question<'_>,
) -> Result<Spawned, LaunchError> {
    // A container image may have no shell. A run of the probe gives back only how it ended, so that this is looked at before.
    std::fs::metadata("/bin/sh")
        .map_err(|error| LaunchError::new(format!("exec /bin/sh: {}", errno_text(error))))?;
    let told = told(listeners);
    let values = values(&told, worker, question.runtime);
    let mut environment = common_environment(program, &values, question.name)?;
    if let Some(path) = question.probe_path {
        environment.set("SEGUE_PROBE", path);
    }
    if let Some((address, source)) = question.front_door {
        environment.set("SEGUE_PROBE_ADDRESS", address.to_string());
        environment.set("SEGUE_PROBE_SOURCE", source);
    }
    let command = CString::new(question.command)
        .map_err(|_| LaunchError::new("the probe command contains a NUL byte".to_owned()))?;
    let argv = [c"/bin/sh".to_owned(), c"-c".to_owned(), command];
    start(Job {
        program,
        target: Target::Shell,
        argv: &argv,
        environment,
        sockets: Vec::new(),
        pid_variables: Vec::new(),
        own_socket: question.probe_path.map(|path| (path, Voice::Spare)),
        own_directory: None,
        stdin: Stdin::Null,
        output: None,
        identifier: identifier(worker, question.name),
    })
}

/// Starts a hook, as [`shell`] starts a probe.
pub(super) fn hook(
    program: &Program,
    listeners: &[Lent<'_>],
    worker: WorkerIdentity,
    errand: &Errand<'_>,
) -> Result<Spawned, LaunchError> {
    let told = told(listeners);
    let values = values(&told, worker, errand.runtime);
    let mut environment = common_environment(program, &values, errand.name)?;
    for (name, value) in errand.facts {
        environment.set(name, value);
    }
    let command = CString::new(errand.command)
        .map_err(|_| LaunchError::new("the hook contains a NUL byte".to_owned()))?;
    let argv = [c"/bin/sh".to_owned(), c"-c".to_owned(), command];
    start(Job {
        program,
        target: Target::Shell,
        argv: &argv,
        environment,
        sockets: Vec::new(),
        pid_variables: Vec::new(),
        own_socket: None,
        own_directory: None,
        stdin: Stdin::Null,
        output: Some(errand.output),
        identifier: identifier(worker, errand.name),
    })
}

/// `app.7`: the workers of a generation, and its probes, are one in the journal.
fn identifier(worker: WorkerIdentity, name: &str) -> String {
    format!("{name}.{}", worker.generation)
}

fn common_environment(
    program: &Program,
    values: &Values<'_>,
    name: &str,
) -> Result<Environment, LaunchError> {
    let mut environment = program.environment().clone();
    environment.fill(values)?;
    environment.set("SEGUE_NAME", name);
    environment.set("SEGUE_GENERATION", values.generation.to_string());
    environment.set("SEGUE_WORKER", values.worker.to_string());
    Ok(environment)
}

/// What the worker finds at fd 3 and up.
fn told<'a>(lent: &[Lent<'a>]) -> Vec<Told<'a>> {
    let told = (FIRST_LISTENER..).zip(lent).map(|(fd, socket)| Told {
        name: socket.name,
        fd,
        address: socket.address,
        port: socket.port,
    });
    told.collect()
}

fn values<'a>(listeners: &'a [Told<'a>], worker: WorkerIdentity, runtime: Option<&'a Path>) -> Values<'a> {
    Values {
        listeners,
        generation: worker.generation,
        worker: worker.slot,
        runtime,
        acks: None,
    }
}

/// The arguments of one worker. The program itself is looked up as it is written.
fn filled_arguments(program: &Program, values: &Values<'_>) -> Result<Vec<CString>, LaunchError> {
    let filled = |(index, word): (usize, &CString)| {
        if index == 0 {
            return Ok(word.clone());
        }
        let filled = activation::fill(OsStr::from_bytes(word.as_bytes()), values);
        let filled = filled.map_err(|why| LaunchError::new(format!("argument {why}")))?;
        argument(&filled)
    };
    program.argv().iter().enumerate().map(filled).collect()
}

fn start(job: Job<'_>) -> Result<Spawned, LaunchError> {
    let failed = |attempt: &str, errno: Errno| LaunchError::new(format!("{attempt}: {}", errno_text(errno)));
    let (report, child_end) = ReportSocket::open().map_err(|errno| failed("socketpair", errno))?;
    let go = report.go_ahead();
    let forked = sys::fork(|in_child| {
        report.close_copy(in_child);
        child::run(in_child, job, child_end.as_fd())
    });
    let pid = forked.map_err(|errno| LaunchError::new(fork_failed(errno)))?;
    match sys::open_pidfd(pid) {
        Ok(pidfd) => Ok(Spawned {
            pid,
            pidfd,
            report,
            go,
        }),
        Err(errno) => {
            abandon(pid);
            Err(failed("pidfd", errno))
        }
    }
}

/// Why there is no new process.
pub(crate) fn fork_failed(errno: Errno) -> String {
    if errno == Errno::EAGAIN {
        // fork(2) has this one reason for it, and "try again" does not tell it.
        return "fork: no more processes allowed (RLIMIT_NPROC, or pids.max of the cgroup)".to_owned();
    }
    format!("fork: {}", errno_text(errno))
}

/// Kills and reaps a child that cannot be given to anybody. It has started nobody: it was not told to begin.
fn abandon(pid: Pid) {
    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
    let _ = nix::sys::wait::waitpid(pid, None);
}
