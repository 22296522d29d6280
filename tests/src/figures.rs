//! Figures that a test measured, said aloud.

use std::fmt;
use std::io::Write;

/// Prints one line of figures past the test runner's capture, so that a plain `cargo test` shows what was measured.
pub fn say(line: impl fmt::Display) {
    // One write: tests run at the same time and their lines must not mix.
    let _ = std::io::stderr().write_all(format!("figures: {line}\n").as_bytes());
}

/// How much work: a small number in CI, a large one with `SEGUE_LONG=1`.
#[must_use]
pub fn scale<T>(short: T, long: T) -> T {
    if crate::long_run() { long } else { short }
}
