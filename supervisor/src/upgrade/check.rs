//! The next binary: first asked who it is, then run as a check, then executed.

use std::convert::Infallible;
use std::ffi::{CString, OsStr, OsString};
use std::io::Write as _;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, open};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, getppid, setsid};

use super::exec::execute;
use super::introduction::introduce;
use super::reply::{self, Reply};
use super::{Origin, Saved, parcel};
use crate::launch::{self, Binary, Format};
use crate::protocol::{one_line, setting};
use crate::state::{Flaw, Passed};
use crate::sys::{self, ExitStatus, InChild, errno_text};

/// How long the check may take. It reads some kilobytes, within milliseconds; the rest is for a machine that swaps, or for a
/// binary on a slow disk.
pub(crate) const CHECK_TIME: Duration = Duration::from_secs(10);

/// The hidden subcommand by which a binary is asked whether it understands a state; the number of its fd follows. It is no
/// word of the command line's grammar, and so in no help and no completion.
const SUBCOMMAND: &str = "check-state";

/// What the answer begins with if it is yes; the version follows. An exit status of 0 alone says little: that of
/// /bin/true is 0.
const YES: &str = "ok segue ";

/// The first fd behind standard input, output and error.
const ABOVE_STANDARD: RawFd = libc::STDERR_FILENO + 1;

/// The longest version that is believed to be one, in characters.
const LONGEST_VERSION: usize = 40;

/// A binary that is being checked, or was.
#[derive(Debug)]
pub(crate) struct Check {
    binary: Binary,
    /// What the check says.
    answer: OwnedFd,
}

/// The process that checks.
#[derive(Debug)]
pub(crate) struct Started {
    /// It leads a session of its own.
    pub(crate) pid: Pid,
    /// Its handle.
    pub(crate) pidfd: OwnedFd,
    /// What it checks.
    pub(crate) check: Check,
}

/// One that has come to its answer.
#[cfg(test)]
pub(super) fn of(binary: Binary, answer: OwnedFd) -> Check {
    Check { binary, answer }
}

impl Check {
    /// Runs the binary that is on disk now as a check of this state.
    ///
    /// # Errors
    /// One line: there is no such binary, it cannot be executed, no process can be made.
    pub(crate) fn start(origin: &Origin, fds: &Passed<'_>, state: &[u8]) -> Result<Started, String> {
        let binary =
            Binary::find(origin.path()?.as_os_str(), AT_FDCWD, None).map_err(|error| error.to_string())?;
        if let Format::Script(_) = binary.format() {
            return Err(format!("{} is a script and no segue", binary.path().display()));
        }
        let parcel = parcel::write(origin, fds, state)?;
        let failed = |attempt: &str, errno: Errno| format!("{attempt}: {}", errno_text(errno));
        let (answer, end) = reply::pipe().map_err(|errno| failed("pipe", errno))?;
        let argv = check_argv(origin, parcel.as_fd());
        let this = Pid::this();
        let forked = sys::with_signals_blocked(|| {
            sys::fork(|child| {
                let Err(reason) =
                    ask_and_check(child, this, &binary, fds, parcel.as_fd(), end.as_fd(), &argv);
                reply::say_not_executed(end.as_fd(), &reason)
            })
        });
        let pid = forked.map_err(launch::fork_failed)?;
        match sys::open_pidfd(pid) {
            Ok(pidfd) => Ok(Started {
                pid,
                pidfd,
                check: Check { binary, answer },
            }),
            Err(errno) => {
                // Whomever it has asked by now ends with it.
                let _ = kill(pid, Signal::SIGKILL);
                let _ = waitpid(pid, None);
                Err(failed("pidfd", errno))
            }
        }
    }

    /// What came of it: the version of the segue that will take over, or why it will not.
    ///
    /// # Errors
    /// One line.
    pub(crate) fn verdict(&self, status: ExitStatus) -> Result<String, String> {
        let reply =
            Reply::read(&self.answer, status).map_err(|errno| format!("read: {}", errno_text(errno)))?;
        let path = self.binary.path().display();
        match (reply.not_executed(), reply.after(YES)) {
            (Some(reason), _) => Err(reason.to_owned()),
            (None, Some(version)) if reply.is_success() => Ok(one_line(version, LONGEST_VERSION)),
            (None, _) if reply.is_success() => Err(format!(
                "{path} knows of no upgrades: asked, it said {}",
                reply.words()
            )),
            (None, _) => Err(format!("{path} says no: {reply}")),
        }
    }

    /// Why a check that took too long is no yes.
    pub(crate) fn overdue(&self) -> String {
        let path = self.binary.path().display();
        format!(
            "{path} did not say within {} whether it understands the state",
            setting(CHECK_TIME)
        )
    }

    /// Executes the binary in the place of this process. It returns only on failure, and nothing has changed then.
    ///
    /// # Errors
    /// One line: why it was not executed.
    pub(crate) fn execute(
        &self,
        origin: &Origin,
        fds: &Passed<'_>,
        state: &[u8],
    ) -> Result<Infallible, String> {
        let parcel = parcel::write(origin, fds, state)?;
        let mut environment = sys::environment();
        let number = parcel.as_raw_fd().to_string();
        environment.push(parcel::variable(number.as_ref()));
        let outcome = keep_all(fds, parcel.as_fd())
            .map_err(|errno| format!("file descriptors: {}", errno_text(errno)))
            .and_then(|()| execute(&self.binary, &origin.argv(), &environment));
        for (_, fd) in fds {
            // It cannot fail on an open fd.
            let _ = sys::close_on_exec(*fd);
        }
        outcome
    }
}

fn check_argv(origin: &Origin, parcel: BorrowedFd<'_>) -> Vec<CString> {
    let name = origin.argv().into_iter().take(1);
    let rest = [SUBCOMMAND.to_owned(), parcel.as_raw_fd().to_string()];
    // A word and a number: there is no NUL in them.
    name.chain(rest.into_iter().filter_map(|word| CString::new(word).ok()))
        .collect()
}

fn keep_all(fds: &Passed<'_>, parcel: BorrowedFd<'_>) -> Result<(), Errno> {
    for (_, fd) in fds {
        sys::keep_over_exec(*fd)?;
    }
    sys::keep_over_exec(parcel)
}

/// Prepares the forked child, asks the binary whether it is a segue, and executes it. It has all fds of the state by then, and no
/// other but the first three.
fn ask_and_check(
    child: &InChild,
    supervisor: Pid,
    binary: &Binary,
    fds: &Passed<'_>,
    parcel: BorrowedFd<'_>,
    answer: BorrowedFd<'_>,
    argv: &[CString],
) -> Result<Infallible, String> {
    let failed = |errno: Errno| format!("exec {}: {}", binary.path().display(), errno_text(errno));
    let prepared = || {
        setsid()?;
        sys::end_with(child, supervisor, Signal::SIGKILL)?;
        // Not only at exec, from which a binary that does not answer keeps us: a worker that is being started may wait for the end of
        // a pipe.
        let of_state = fds.iter().map(|(_, fd)| *fd);
        let kept: Vec<_> = of_state.chain([parcel, answer, binary.as_fd()]).collect();
        sys::close_all_but(child, ABOVE_STANDARD, &kept);
        sys::close_on_exec_from(child, ABOVE_STANDARD)?;
        let null = open("/dev/null", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
        for (fd, number) in [
            (null.as_fd(), libc::STDIN_FILENO),
            (answer, libc::STDOUT_FILENO),
            // Reasons of others than segue, such as a missing library, come here.
            (answer, libc::STDERR_FILENO),
        ] {
            sys::place_at(child, fd, number)?;
        }
        sys::default_dispositions(child);
        sys::unblock_all(child)
    };
    prepared().map_err(failed)?;
    let environment = sys::environment();
    introduce(child, binary, &argv[..1], &environment)?;
    keep_all(fds, parcel).map_err(failed)?;
    execute(binary, argv, &environment)
}

/// The number of the state that this process is asked to check, if it is.
pub(crate) fn asked_to_check(arguments: &[OsString]) -> Option<OsString> {
    match arguments {
        [_, word, number] if word == OsStr::new(SUBCOMMAND) => Some(number.clone()),
        _ => None,
    }
}

/// Answers whether a state is understood. Gives the exit status. Nothing outside is touched: to be called
/// by a process that only stands by.
pub(crate) fn answer(number: &OsString, understand: impl FnOnce(Saved) -> Result<(), Flaw>) -> u8 {
    let outcome = parcel::receive(number, getppid()).and_then(understand);
    let (line, status) = match outcome {
        Ok(()) => (format!("{YES}{}\n", env!("CARGO_PKG_VERSION")), 0),
        Err(flaw) => (format!("{flaw}\n"), 1),
    };
    // A pipe with room for it. If nobody reads, nobody asks.
    let _ = std::io::stdout().write_all(line.as_bytes());
    status
}
