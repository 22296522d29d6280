//! `segue cleanup`, for the lines `ExecStop=` and `ExecStopPost=` of a systemd unit with `KillMode=process`.
//!
//! With that kill mode systemd ends the supervisor alone, so that an app outlives it if it is killed, and waits for its
//! successor. When a stop was asked for, nothing of the unit must be left, even if the supervisor could not see to
//! it in time. `ExecStopPost=` runs after both, so whether a stop was asked for must be known: `ExecStop=` leaves a mark (it
//! runs after a crash, too, but then without `$MAINPID`, systemd.service(5)), and the supervisor writes it into its state.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use segue_lifecycle::{Lifecycle, State};

use crate::keeper;
use crate::place::Place;
use crate::sys::errno_text;

/// How long processes have to end after SIGKILL before they are named and left: the time that the supervisor gives them, too.
const KILL_GRACE: Duration = Duration::from_secs(5);

/// The pause between two looks at who is left. Nothing tells when a cgroup has become empty that is not ours to watch.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// What there is to do, by the variables that systemd sets (systemd.exec(5), `$MAINPID` and `$SERVICE_RESULT`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// `ExecStop=` while the supervisor lives: a stop is asked for.
    Stop,
    /// The supervisor has ended without a failure.
    EndWell,
    /// It has ended in any other way.
    EndBadly,
}

impl Moment {
    /// `$MAINPID` is there as long as the main process lives; `$SERVICE_RESULT` in both lines.
    fn of(result: Option<&OsStr>, main_pid: Option<&OsStr>) -> Option<Self> {
        match (result, main_pid) {
            (None, _) => None,
            (Some(_), Some(_)) => Some(Self::Stop),
            (Some(result), None) if result == "success" => Some(Self::EndWell),
            (Some(_), None) => Some(Self::EndBadly),
        }
    }
}

/// Do what is to be done at this moment. Returns a line about it, if there is something to tell.
///
/// # Errors
/// One line: it was not started by systemd, or the processes of the unit cannot be found or ended.
pub(crate) fn run(place: &Place) -> Result<Option<String>, String> {
    let variable = |name| std::env::var_os(name);
    let (result, main_pid) = (variable("SERVICE_RESULT"), variable("MAINPID"));
    let moment = Moment::of(result.as_deref(), main_pid.as_deref());
    let mark = place.stop_mark();
    match moment.ok_or("cleanup: not started by systemd: it is for ExecStop= and ExecStopPost= of a unit")? {
        Moment::Stop => match fs::write(&mark, "") {
            Ok(()) => Ok(None),
            Err(error) => Err(format!("cleanup: {}: {}", mark.display(), errno_text(&error))),
        },
        Moment::EndBadly if !mark.exists() && !was_stopping(place) => Ok(Some(
            "cleanup: no stop was asked for: what is left waits for the next segue".to_owned(),
        )),
        Moment::EndWell | Moment::EndBadly => {
            let outcome = end_all();
            let _ = fs::remove_file(&mark);
            outcome
        }
    }
}

/// Whether the supervisor was stopping when it ended.
fn was_stopping(place: &Place) -> bool {
    let rows = keeper::read_at(place.state_files()).map(|kept| kept.rows);
    let text = rows.and_then(|rows| String::from_utf8(rows).ok());
    let machine = text.and_then(|text| Lifecycle::load(&text).ok());
    machine.is_some_and(|machine| machine.state() == State::Stopping)
}

/// Kills every process of this process's own cgroup but itself.
fn end_all() -> Result<Option<String>, String> {
    let cgroup = own_cgroup().ok_or("cleanup: the cgroup of the unit cannot be found")?;
    let until = Instant::now() + KILL_GRACE;
    let mut killed = 0;
    loop {
        let left = processes(&cgroup)?;
        if left.is_empty() {
            return Ok(
                (killed > 0).then(|| format!("cleanup: killed {killed} processes that the stop had left"))
            );
        }
        if Instant::now() > until {
            return Err(format!("cleanup: {} processes survive SIGKILL", left.len()));
        }
        for pid in left {
            match kill(pid, Signal::SIGKILL) {
                Ok(()) => killed += 1,
                Err(Errno::ESRCH) => {}
                Err(errno) => return Err(format!("cleanup: kill {pid}: {}", errno_text(errno))),
            }
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// The directory of our cgroup: the unified one, or systemd's own on machines with the older hierarchies (cgroups(7)). Never the
/// root, and never a session: only units have processes that are all ours to end.
fn own_cgroup() -> Option<PathBuf> {
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    let found = |prefix: &str, root: &str| {
        let path = text.lines().find_map(|line| line.strip_prefix(prefix))?;
        let unit = path.trim_start_matches('/');
        let is_service = unit.split('/').any(|part| {
            Path::new(part)
                .extension()
                .is_some_and(|extension| extension == "service")
        });
        let directory = Path::new(root).join(unit);
        (is_service && directory.join("cgroup.procs").exists()).then_some(directory)
    };
    found("0::/", "/sys/fs/cgroup")
        .or_else(|| found("0::/", "/sys/fs/cgroup/unified"))
        .or_else(|| found("1:name=systemd:/", "/sys/fs/cgroup/systemd"))
        .or_else(|| {
            let line = text.lines().find(|line| line.contains(":name=systemd:"))?;
            let prefix = format!("{}:name=systemd:/", line.split(':').next()?);
            found(&prefix, "/sys/fs/cgroup/systemd")
        })
}

/// Who is in it or below it, without this process.
fn processes(cgroup: &Path) -> Result<Vec<Pid>, String> {
    let procs = cgroup.join("cgroup.procs");
    let text = match fs::read_to_string(&procs) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("cleanup: {}: {}", procs.display(), errno_text(&error))),
    };
    let own = Pid::this();
    let mut pids: Vec<Pid> = text
        .lines()
        .filter_map(|line| line.parse().ok().map(Pid::from_raw))
        .filter(|pid| *pid != own && pid.as_raw() > 0)
        .collect();
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            pids.extend(processes(&entry.path())?);
        }
    }
    Ok(pids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_moment_is_told_by_what_systemd_sets() {
        let of = |result: Option<&str>, main: Option<&str>| {
            Moment::of(result.map(OsStr::new), main.map(OsStr::new))
        };
        assert_eq!(of(Some("success"), Some("812")), Some(Moment::Stop));
        assert_eq!(of(Some("success"), None), Some(Moment::EndWell));
        for result in [
            "signal",
            "timeout",
            "exit-code",
            "watchdog",
            "oom-kill",
            "core-dump",
        ] {
            assert_eq!(of(Some(result), None), Some(Moment::EndBadly), "{result}");
        }
        assert_eq!(of(None, None), None, "by hand it does nothing");
        assert_eq!(of(None, Some("812")), None, "nor in ExecReload=");
    }
}
