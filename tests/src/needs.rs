//! What a test needs of its surroundings (root, systemd, an engine, the network) and may not find there.

use std::fmt;
use std::io::Write;

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
            // Past the runner's capture: a test that passed has its output thrown away.
            let _ = std::io::stderr().write_all(format!("skipped: {test}: {reason}\n").as_bytes());
            None
        }
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
