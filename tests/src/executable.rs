//! Programs that a test puts in place and that are executed right then.
//!
//! Other threads of a test program fork all the time, and each child has every fd of the program until it executes. If such
//! a child has the fd through which a program is just being written, the kernel refuses to execute that (ETXTBSY,
//! execve(2)). So another process writes: its fd is nobody else's.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Writes a file that may be executed from now on, whatever was there.
///
/// # Panics
/// When it cannot be written.
#[track_caller]
pub fn write(path: &Path, content: &[u8]) {
    write_with(path, content, 0o755);
}

/// The same with these permissions.
///
/// # Panics
/// When it cannot be written.
#[track_caller]
pub fn write_with(path: &Path, content: &[u8], mode: u32) {
    let outcome = try_write(path, content, Some(mode));
    outcome.unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
}

/// The same, and leaves the permissions as they are.
///
/// # Errors
/// Those of writing.
pub fn rewrite(path: &Path, content: &[u8]) -> std::io::Result<()> {
    try_write(path, content, None)
}

/// Copies a program, with its permissions.
///
/// # Errors
/// Those of copying.
pub fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    let status = Command::new("cp").arg("--").args([from, to]).status()?;
    match status.success() {
        true => Ok(()),
        false => Err(std::io::Error::other(status.to_string())),
    }
}

fn try_write(path: &Path, content: &[u8], mode: Option<u32>) -> std::io::Result<()> {
    let mut child = Command::new("/bin/sh")
        .args(["-c", "cat >\"$0\" && { [ -z \"$1\" ] || chmod \"$1\" \"$0\"; }"])
        .arg(path)
        .arg(mode.map_or_else(String::new, |mode| format!("{mode:o}")))
        .stdin(Stdio::piped())
        .spawn()?;
    let written = child
        .stdin
        .take()
        .map_or(Ok(()), |mut stdin| stdin.write_all(content));
    let status = child.wait()?;
    written?;
    match status.success() {
        true => Ok(()),
        false => Err(std::io::Error::other(status.to_string())),
    }
}
