//! For tests that need a process to themselves: those that reap any child, count fds, or fork and look names up.

use std::process::{Command, ExitStatus};

const MARK: &str = "SEGUE_TEST_ALONE";

/// Runs `body` in a process in which no other test runs. `name` is the full name of the calling test.
pub(crate) fn alone(name: &str, body: fn()) {
    let Some((status, said)) = elsewhere(name, body) else {
        return;
    };
    assert!(status.success(), "{name} alone: {status}\n{said}");
    assert!(
        said.contains("1 passed"),
        "{name} is not the name of a test\n{said}"
    );
}

/// The same for a `body` that panics on purpose: gives what the process wrote; in that process itself nothing.
pub(crate) fn alone_to_its_end(name: &str, body: fn()) -> Option<String> {
    let (status, said) = elsewhere(name, body)?;
    assert!(!status.success(), "{name} does not panic\n{said}");
    Some(said)
}

/// How the other process ended and what it wrote; in that process itself nothing.
fn elsewhere(name: &str, body: fn()) -> Option<(ExitStatus, String)> {
    if std::env::var_os(MARK).is_some() {
        body();
        return None;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(MARK, "1")
        .output()
        .unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Some((output.status, said))
}
