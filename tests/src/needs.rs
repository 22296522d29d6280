//! What a test needs of its surroundings (root, systemd, an engine, the network) and may not find there.

use std::fmt;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use crate::binaries;

/// What was needed, if it is there. If not, the test says so by name and reason and passes; in CI (the environment
/// variable `CI`) that is an error, so that nothing is left out there unseen.
///
/// # Panics
/// In CI, when it is not there.
#[must_use]
pub fn or_skip<T>(test: &str, needed: Result<T, impl fmt::Display>) -> Option<T> {
    match needed {
        Ok(found) => Some(found),
        Err(reason) => {
            assert!(std::env::var_os("CI").is_none(), "{test}: cannot run: {reason}");
            say(format_args!("skipped: {test}: {reason}"));
            None
        }
    }
}

/// Past the runner's capture: a test that passed has its output thrown away.
fn say(line: fmt::Arguments<'_>) {
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Whether tests that start a whole dockerd or systemd are wanted. `SEGUE_TEST_ONLY=fast` leaves them out, in CI too: each
/// says so by name.
///
/// # Panics
/// When the variable says anything else.
#[must_use]
pub fn whole_system(test: &str) -> bool {
    match std::env::var("SEGUE_TEST_ONLY").as_deref() {
        Err(_) | Ok("") => true,
        Ok("fast") => {
            say(format_args!("left out: {test}: SEGUE_TEST_ONLY=fast"));
            false
        }
        Ok(other) => panic!("SEGUE_TEST_ONLY={other}: it can be `fast` alone"),
    }
}

/// Where `tests/setup.sh` installs what no package has.
#[must_use]
pub fn tools() -> PathBuf {
    binaries::tools()
}

/// A program that `tests/setup.sh NAME` has installed.
///
/// # Errors
/// That it has not.
pub fn tool(name: &str, program: &str) -> Result<PathBuf, String> {
    let path = binaries::tools().join(program);
    if path.is_file() {
        Ok(path)
    } else {
        Err(format!(
            "there is no {}: tests/setup.sh {name} installs it",
            path.display()
        ))
    }
}

/// A bare Debian 13 with these further packages, which `tests/setup.sh` has made. Nobody may write into it.
///
/// # Errors
/// That it has not.
pub fn debian_tree(packages: &[&str]) -> Result<PathBuf, String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/rootfs.sh");
    let found = Command::new(script)
        .args(["--find", &packages.join(",")])
        .output()
        .map_err(|error| format!("{script}: {error}"))?;
    if found.status.success() {
        Ok(String::from_utf8_lossy(&found.stdout).trim().into())
    } else {
        Err(String::from_utf8_lossy(&found.stderr).trim().to_owned())
    }
}

/// Whether we are root.
///
/// # Errors
/// What is missing.
pub fn root() -> Result<(), String> {
    if nix::unistd::geteuid().is_root() {
        Ok(())
    } else {
        Err("only root can do this".to_owned())
    }
}

/// Whether a program is in `PATH`.
///
/// # Errors
/// What is missing.
pub fn program(name: &str) -> Result<(), String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|directory| directory.join(name).is_file()) {
        Ok(())
    } else {
        Err(format!("{name} is not installed"))
    }
}
