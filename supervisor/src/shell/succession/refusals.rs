//! After `kill -9`: why an app is not adopted or a listener is not had back, and what to do, in words.

use nix::errno::Errno;
use nix::unistd::Pid;

use crate::listeners::{self, SocketIdentity};
use crate::shell::succession::holders::Withheld;
use crate::shell::succession::orphan_processes::{OrphanProcess, pids};
use crate::state::{Flaw, Row};
use crate::sys::{self, errno_text};

/// Why the listeners cannot be what they were, and what to do, in one line.
pub(crate) fn not_adopted(flaw: &Flaw, remains: &[OrphanProcess]) -> String {
    let pids = pids(remains);
    if pids.is_empty() {
        return flaw.to_string();
    }
    format!(
        "the previous supervisor was killed and its app lives on (pid {pids}), but it cannot be adopted: {flaw}; mend that, or stop the app (kill \
         {pids}), and start segue again"
    )
}

/// A listener was had back from a process that is no worker, in one line.
pub(crate) fn had_back_from(pid: Pid, wanted: SocketIdentity, rows: &[Row<'_>]) -> String {
    let address = listeners::label_of(rows, wanted);
    let command = sys::command_of(pid).unwrap_or_default();
    format!("no worker has the listener {address} any more; it is taken back from {command}, pid {pid}")
}

/// Why a worker does not let us have a listener, and what would help.
pub(crate) fn why_withheld(withheld: Withheld) -> String {
    let Withheld { worker, pid, errno } = withheld;
    let generation = worker.generation;
    // Its fds are looked for in /proc first, which says EACCES; pidfd_getfd says EPERM.
    let attempt = if errno == Errno::EACCES {
        format!("/proc/{pid}/fd of")
    } else {
        "pidfd_getfd from".to_owned()
    };
    let hint = if errno == Errno::EACCES || errno == Errno::EPERM {
        "; CAP_SYS_PTRACE permits it"
    } else {
        ""
    };
    format!(
        "{attempt} generation {generation}, pid {pid}: {}{hint}",
        errno_text(errno)
    )
}

/// What was found where a listener cannot be taken back, and what to do, in one line.
pub(crate) fn not_had_back(
    wanted: SocketIdentity,
    remains: &[OrphanProcess],
    withheld: Option<Withheld>,
    rows: &[Row<'_>],
) -> String {
    let address = listeners::label_of(rows, wanted);
    let pids = pids(remains);
    let why = match withheld {
        Some(withheld) => why_withheld(withheld),
        None => "no process of the app has it open".to_owned(),
    };
    format!(
        "the previous supervisor was killed and its app lives on (pid {pids}), but the listener {address} cannot be taken back from it: \
         {why}; stop the app (kill {pids}) and start segue again"
    )
}
