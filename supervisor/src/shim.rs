//! `segue exec -- COMMAND`: makes the sockets of LISTEN_FDS those of this process, and becomes COMMAND.
//!
//! Runs in the app's place, behind a wrapper that forks (`uv run segue exec -- gunicorn wsgi:app`). sd_listen_fds(3) and its like
//! take sockets only in the process that LISTEN_PID names, which then is the wrapper. It knows nothing of a supervisor: it does
//! the same below systemd.

use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::sys::stat::{SFlag, fstat};

use crate::address::quoted;
use crate::sys::{errno_text, sock};

/// Where socket activation begins, `SD_LISTEN_FDS_START` of sd_listen_fds(3).
const FIRST_FD: i32 = 3;

/// More sockets than anybody hands over; what is above it is no number of sockets.
const MOST_FDS: i32 = 65_536;

/// What takes fds away, and what does not; most are tried by `tests/tests/root/wrappers.rs`.
const WHO_CLOSES: &str = "a wrapper above has closed it, as sudo, Python's subprocess without pass_fds, Node and npm do \
                          (sh, env, uv, runuser and tini do not)";

/// Exit codes as env(1), nohup(1) and timeout(1) have them: those of the shell, and one more for the shim's own failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Code {
    /// The sockets are not there: COMMAND was not tried.
    NothingToHandOn = 125,
    /// COMMAND is there and cannot be executed.
    NotExecutable = 126,
    /// There is no such COMMAND.
    NotFound = 127,
}

/// Why COMMAND does not run.
#[derive(Debug)]
pub(crate) struct Refused {
    /// One line.
    pub(crate) text: String,
    /// The exit code.
    pub(crate) code: u8,
}

impl Refused {
    fn new(code: Code, text: impl Display) -> Self {
        Self {
            text: format!("exec: {text}"),
            code: code as u8,
        }
    }
}

/// Becomes `command`. Returns only if that failed.
///
/// LISTEN_PID is set to this pid, and WATCHDOG_PID where there is a watchdog. LISTEN_PIDFDID, by which a newer systemd names the
/// process a second time, is taken out. All else stays as it is, the fds included.
pub(crate) fn run(command: &[OsString]) -> Refused {
    let Some((program, arguments)) = command.split_first() else {
        return Refused::new(Code::NotFound, "no command given");
    };
    if let Err(text) = check_sockets(&|key| std::env::var_os(key)) {
        return Refused::new(Code::NothingToHandOn, text);
    }
    let pid = std::process::id().to_string();
    let mut next = Command::new(program);
    next.args(arguments)
        .env("LISTEN_PID", &pid)
        .env_remove("LISTEN_PIDFDID");
    if std::env::var_os("WATCHDOG_USEC").is_some() {
        next.env("WATCHDOG_PID", &pid);
    }
    not_executed(program, &next.exec())
}

fn not_executed(program: &OsStr, error: &io::Error) -> Refused {
    let missing = error.kind() == io::ErrorKind::NotFound;
    let code = if missing {
        Code::NotFound
    } else {
        Code::NotExecutable
    };
    let has_a_place = program.as_encoded_bytes().contains(&b'/');
    let why = match (missing, has_a_place) {
        (true, true) if Path::new(program).exists() => " (its interpreter is missing)",
        (true, false) => " (looked for in PATH)",
        (true | false, true | false) => "",
    };
    let program = program.to_string_lossy();
    Refused::new(
        code,
        format_args!("{}: {}{why}", quoted(&program), errno_text(error)),
    )
}

/// Whether every socket that LISTEN_FDS promises is there.
fn check_sockets(get: &dyn Fn(&str) -> Option<OsString>) -> Result<(), String> {
    let text = get("LISTEN_FDS").ok_or(
        "LISTEN_FDS is not set: no sockets were handed over, or what started this has cleared the environment \
         (sudo and `env -i` do); `segue run` sets it where it has a --listen",
    )?;
    let text = text.to_string_lossy();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let count = text
        .parse()
        .ok()
        .filter(|count| digits && (1..=MOST_FDS).contains(count));
    let count = count.ok_or_else(|| {
        format!(
            "LISTEN_FDS={}: it must be a number from 1 to {MOST_FDS}",
            quoted(&text)
        )
    })?;
    let names = get("LISTEN_FDNAMES").unwrap_or_default();
    let names = names.to_string_lossy();
    let mut names = names.split(':').filter(|name| !name.is_empty());
    for fd in (FIRST_FD..).take(usize::try_from(count).unwrap_or_default()) {
        let name = names
            .next()
            .map_or_else(String::new, |name| format!(" ({})", quoted(name)));
        check_socket(fd).map_err(|what| {
            format!("fd {fd}{name}, which LISTEN_FDS={count} promises, is {what}: {WHO_CLOSES}")
        })?;
    }
    Ok(())
}

/// What is there in place of a socket, if there is none.
fn check_socket(fd: i32) -> Result<(), &'static str> {
    let Some(fd) = sock::born_with(fd) else {
        return Err("not open");
    };
    // Something else may have been opened in its place since it was closed.
    let kind = fstat(fd).map(|stat| SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT);
    if kind == Ok(SFlag::S_IFSOCK) {
        Ok(())
    } else {
        Err("no socket")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(count: Option<&str>, names: Option<&str>) -> String {
        let get = |key: &str| match key {
            "LISTEN_FDS" => count.map(OsString::from),
            _ => names.map(OsString::from),
        };
        check_sockets(&get).unwrap_err()
    }

    #[test]
    fn what_is_no_number_of_sockets_is_refused_by_its_variable() {
        assert!(checked(None, None).starts_with("LISTEN_FDS is not set: "));
        for count in ["", "0", "+1", "-1", "1 ", "x", "65537", "99999999999999999999"] {
            let text = checked(Some(count), None);
            assert!(text.starts_with(&format!("LISTEN_FDS=\"{count}\": ")), "{text}");
        }
    }

    #[test]
    fn a_missing_program_and_one_that_cannot_run_have_the_codes_of_a_shell() {
        let refused = |program: &str, kind: io::ErrorKind| not_executed(OsStr::new(program), &kind.into());
        let missing = refused("gunicorn", io::ErrorKind::NotFound);
        assert!(missing.text.ends_with("(looked for in PATH)"), "{}", missing.text);
        assert_eq!(missing.code, 127);
        let interpreter = refused("/", io::ErrorKind::NotFound);
        assert!(
            interpreter.text.ends_with("(its interpreter is missing)"),
            "{}",
            interpreter.text
        );
        assert_eq!(refused("./app", io::ErrorKind::PermissionDenied).code, 126);
    }
}
