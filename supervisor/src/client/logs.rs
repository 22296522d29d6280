//! `segue logs`: what the app writes, from where it goes: the journal, or a file.
//!
//! Whose lines they are, the standard error of a worker tells, or that of the supervisor where there is none. The reader of that place
//! takes our own: journalctl(1), or tail(1).

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::{Client, Exit, Failure, Follow, Seen, Target};
use crate::paint::When;
use crate::sys::errno_text;

/// How many lines are shown, before those that are yet to come.
const LINES: &str = "100";

/// Which lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lines {
    /// Those of this generation alone; its number.
    pub(crate) generation: Option<u64>,
    /// Whether those are waited for that are yet to come.
    pub(crate) follow: Follow,
    /// Whether the journal shows those of importance in colour.
    pub(crate) colours: When,
}

/// Where the lines are.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    File(PathBuf),
    /// The journal, under this unit: the option of journalctl that names it.
    Journal(String),
}

impl Client<'_> {
    pub(super) fn logs(
        &mut self,
        target: &Target,
        lines: Lines,
        timeout: Option<Duration>,
    ) -> Result<Exit, Failure> {
        let (seen, _) = self.fetch(target, timeout)?;
        let failed = |text: String| Failure::new(Exit::Failed, text);
        let place = place_of(&seen).map_err(failed)?;
        let mut reader = reader(&place, &seen.status.name, lines).map_err(failed)?;
        let error = reader.exec();
        let program = reader.get_program().display();
        Err(failed(format!("{program}: {}", errno_text(&error))))
    }
}

/// Where the first worker of the newest generation that has one writes, or else the supervisor.
fn place_of(seen: &Seen) -> Result<Place, String> {
    let workers = seen.status.generations.iter().rev().flat_map(|one| &one.workers);
    let supervisor = seen.supervisor.unwrap_or(seen.status.pid);
    let pid = workers.map(|worker| worker.pid).next().unwrap_or(supervisor);
    let link = format!("/proc/{pid}/fd/2");
    let place = fs::read_link(&link)
        .map_err(|error| format!("look where pid {pid} writes: {}", errno_text(&error)))?;
    let text = place.to_string_lossy();
    if let Ok(found) = fs::metadata(&link)
        && found.is_file()
    {
        return if found.nlink() == 0 {
            Err(removed(pid, &text, &link))
        } else {
            Ok(Place::File(place))
        };
    }
    let unit = unit_of(&fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default());
    match unit {
        Some(unit) if text.starts_with("socket:") => Ok(Place::Journal(unit)),
        Some(_) | None => Err(format!(
            "the lines of pid {pid} go to {text}, where they cannot be read again; whoever reads that has them (docker logs, a terminal)"
        )),
    }
}

fn removed(pid: i32, text: &str, link: &str) -> String {
    let path = text.strip_suffix(" (deleted)").unwrap_or(text);
    format!(
        "the file that pid {pid} writes to was removed, or another one was renamed to its name: {path}; as long as that process \
         lives, its lines are in {link}"
    )
}

/// The unit of systemd in the lines of /proc/PID/cgroup, as journalctl is asked for it.
fn unit_of(cgroup: &str) -> Option<String> {
    let path = |line: &str| line.splitn(3, ':').nth(2).map(str::to_owned);
    let is_service = |part: &&str| part.ends_with(".service");
    let paths: Vec<String> = cgroup.lines().filter_map(path).collect();
    let path = paths
        .iter()
        .find(|path| path.split('/').any(|part| is_service(&part)))?;
    let unit = path.split('/').rfind(is_service)?;
    // Below a user's own systemd its units have another name for the journal.
    let option = if path.contains("/user@") {
        "--user-unit"
    } else {
        "--unit"
    };
    Some(format!("{option}={unit}"))
}

/// The command that reads it.
fn reader(place: &Place, name: &str, lines: Lines) -> Result<Command, String> {
    let follows = lines.follow == Follow::Yes;
    match (place, lines.generation) {
        (Place::File(path), Some(_)) => Err(format!(
            "{} does not say which generation has written a line; -g is for the journal",
            path.display()
        )),
        (Place::File(path), None) => {
            let mut command = Command::new("tail");
            command.args(["-n", LINES]);
            if follows {
                command.arg("-F");
            }
            command.arg("--").arg(path);
            Ok(command)
        }
        (Place::Journal(unit), generation) => {
            let mut command = Command::new("journalctl");
            command.args(["--no-pager", "--lines", LINES, unit]);
            if let Some(number) = generation {
                command.arg(format!("--identifier={name}.{number}"));
            }
            if follows {
                command.arg("--follow");
            }
            match lines.colours {
                // It heeds NO_COLOR and TERM itself (journalctl(1)).
                When::Auto => {}
                When::Always => drop(command.env("SYSTEMD_COLORS", "1")),
                When::Never => drop(command.env("SYSTEMD_COLORS", "0")),
            }
            Ok(command)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(place: &Place, generation: Option<u64>, follow: Follow) -> Result<String, String> {
        let colours = When::Auto;
        let lines = Lines {
            generation,
            follow,
            colours,
        };
        let command = reader(place, "shop", lines)?;
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
        Ok(words.join(" "))
    }

    #[test]
    fn the_reader_of_the_place_is_asked_for_the_lines() {
        let file = Place::File("/var/log/shop.log".into());
        assert_eq!(
            words(&file, None, Follow::Yes).unwrap(),
            "tail -n 100 -F -- /var/log/shop.log"
        );
        let refused = words(&file, Some(3), Follow::No).unwrap_err();
        assert!(refused.ends_with("-g is for the journal"), "{refused}");
        let journal = Place::Journal("--unit=shop.service".to_owned());
        assert_eq!(
            words(&journal, Some(3), Follow::Yes).unwrap(),
            "journalctl --no-pager --lines 100 --unit=shop.service --identifier=shop.3 --follow"
        );
        assert_eq!(
            words(&journal, None, Follow::No).unwrap(),
            "journalctl --no-pager --lines 100 --unit=shop.service"
        );
    }

    #[test]
    fn the_unit_is_the_innermost_service() {
        let unit = |text| unit_of(text);
        assert_eq!(
            unit("0::/system.slice/shop.service\n").as_deref(),
            Some("--unit=shop.service")
        );
        assert_eq!(
            unit("1:name=systemd:/system.slice/system-segue.slice/segue@shop.service/x\n0::/\n").as_deref(),
            Some("--unit=segue@shop.service")
        );
        assert_eq!(
            unit("0::/user.slice/user-7.slice/user@7.service/app.slice/shop.service\n").as_deref(),
            Some("--user-unit=shop.service")
        );
        assert_eq!(unit("0::/user.slice/session-2.scope\n"), None);
        assert_eq!(unit(""), None);
    }
}
