//! Every system call that the supervisor makes fails at least once, at its start, while it supervises and at its end; and what
//! it needs is taken away for real. The incumbent serves on.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot look at its subject has failed"
)]

mod injected;
mod real;
mod strace;
mod table;
mod upgraded;

/// How many faults at once: most of their time they wait for a process that starts.
const AT_ONCE: usize = 4;

/// The flags of every supervisor here: what a success brings about is over soon, even if the old generation could not be told to
/// drain.
const FLAGS: [&str; 4] = ["--probation", "50ms", "--drain-timeout", "5s"];
