//! `segue cleanup`, for the lines `ExecStop=` and `ExecStopPost=` of a systemd unit with `KillMode=process`.
//!
//! With that kill mode systemd ends the supervisor alone, so that an app outlives it if it is killed, and waits for its
//! successor. When a stop was asked for, nothing of the unit must be left, even if the supervisor could not see to
//! it in time. `ExecStopPost=` runs after both, so whether a stop was asked for must be known: `ExecStop=` leaves a mark (it
//! runs after a crash, too, but then without `$MAINPID`, systemd.service(5)), and the supervisor writes it into its state.

use std::ffi::OsStr;
use std::fs;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use segue_lifecycle::{Lifecycle, State};

use crate::clock;
use crate::keeper;
use crate::own_unit;
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
    /// It was killed, by itself or by systemd's watchdog.
    Killed,
    /// It has ended in any other way: it failed, or systemd has waited long enough for it.
    EndBadly,
}

impl Moment {
    /// `$MAINPID` is there as long as the main process lives; `$SERVICE_RESULT` in both lines.
    fn of(result: Option<&OsStr>, main_pid: Option<&OsStr>) -> Option<Self> {
        match (result, main_pid) {
            (None, _) => None,
            (Some(_), Some(_)) => Some(Self::Stop),
            (Some(result), None) => Some(Self::of_end(result)),
        }
    }

    fn of_end(result: &OsStr) -> Self {
        match result.to_str() {
            Some("success") => Self::EndWell,
            Some("signal" | "core-dump" | "watchdog" | "oom-kill") => Self::Killed,
            Some(_) | None => Self::EndBadly,
        }
    }
}

/// Do what is to be done at this moment. Returns a line about it, if there is something to tell.
///
/// # Errors
/// One line: it was not started by systemd, or the processes of the unit cannot be found or ended.
pub(crate) fn run(place: impl FnOnce() -> Result<Place, String>) -> Result<Option<String>, String> {
    let variable = |name| std::env::var_os(name);
    let (result, main_pid) = (variable("SERVICE_RESULT"), variable("MAINPID"));
    let moment = Moment::of(result.as_deref(), main_pid.as_deref());
    let moment =
        moment.ok_or("cleanup: not started by systemd: it is for ExecStop= and ExecStopPost= of a unit")?;
    // Not before: choosing a place makes its directories.
    let place = place()?;
    let mark = place.stop_mark();
    match moment {
        Moment::Stop => match fs::write(&mark, "") {
            Ok(()) => Ok(None),
            Err(error) => Err(format!("cleanup: {}: {}", mark.display(), errno_text(&error))),
        },
        // Also in the middle of `segue stop`: what drains has its time, and the next one keeps the deadline.
        Moment::Killed if !mark.exists() => Ok(Some(left_to_the_next())),
        Moment::EndBadly if !mark.exists() && !was_stopping(&place) => Ok(Some(left_to_the_next())),
        Moment::EndWell | Moment::Killed | Moment::EndBadly => {
            let outcome = end_all();
            let _ = fs::remove_file(&mark);
            outcome
        }
    }
}

fn left_to_the_next() -> String {
    "cleanup: nobody asked systemd for a stop: the app serves on until segue is started again and adopts it"
        .to_owned()
}

/// Whether the supervisor was stopping when it ended.
fn was_stopping(place: &Place) -> bool {
    let rows = keeper::read_at(place.state_files()).map(|kept| kept.rows);
    let text = rows.and_then(|rows| String::from_utf8(rows).ok());
    let machine = text.and_then(|text| Lifecycle::load(&text).ok());
    machine.is_some_and(|machine| machine.state() == State::Stopping)
}

/// Kills every process of the unit but this one.
fn end_all() -> Result<Option<String>, String> {
    let until = clock::now() + KILL_GRACE;
    let mut killed: usize = 0;
    loop {
        let left = own_unit::processes().map_err(|text| format!("cleanup: {text}"))?;
        if left.is_empty() {
            return Ok(
                (killed > 0).then(|| format!("cleanup: killed {} that the stop had left", processes(killed)))
            );
        }
        if clock::now() > until {
            return Err(format!("cleanup: {} left after SIGKILL", processes(left.len())));
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

fn processes(count: usize) -> String {
    match count {
        1 => "1 process".to_owned(),
        _ => format!("{count} processes"),
    }
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
        for result in ["signal", "watchdog", "oom-kill", "core-dump"] {
            assert_eq!(of(Some(result), None), Some(Moment::Killed), "{result}");
        }
        for result in ["timeout", "exit-code", "resources", "protocol"] {
            assert_eq!(of(Some(result), None), Some(Moment::EndBadly), "{result}");
        }
        assert_eq!(of(None, None), None, "by hand it does nothing");
        assert_eq!(of(None, Some("812")), None, "nor in ExecReload=");
    }
}
