//! For tests that need a process to themselves: those that reap any child, count fds, or fork and look names up.

use std::process::Command;

const MARK: &str = "SEGUE_TEST_ALONE";

/// Runs `body` in a process in which no other test runs. `name` is the full name of the calling test.
pub(crate) fn alone(name: &str, body: fn()) {
    if std::env::var_os(MARK).is_some() {
        return body();
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
    assert!(output.status.success(), "{name} alone: {}\n{said}", output.status);
    assert!(
        said.contains("1 passed"),
        "{name} is not the name of a test\n{said}"
    );
}
