//! Harness for tests with real processes and real sockets. `tests/README.md` is the tour.
//!
//! * [`segue`]: a supervisor under test, in a directory of its own, with a deadline on everything;
//! * [`stand_in`]: the barest loop that hands a listener over correctly, and a lossy restart: what the detectors and
//!   the fixtures are checked with when Segue is not the subject;
//! * [`manager`]: what a service manager above a supervisor hears;
//! * [`load`]: generators of requests, each of which accounts for every single one in a [`ledger::Ledger`];
//! * [`terminal`]: a command at a terminal of its own;
//! * [`process`], [`proc`], [`binaries`], [`program`]: children, `/proc`, where the binaries are, what to run;
//! * [`engine`]: a container engine in namespaces of its own, containers in it, and our images;
//! * [`machine`]: a real systemd in namespaces; [`mdoc`]: our man pages, taken apart; [`needs`]: what a test may not find
//!   where it runs;
//! * [`version`]: which version answers; [`places`]: where the slots of a steered listener stand;
//! * [`birth`]: what an app was born with; [`strace`]: calls of a running process, watched or made to fail;
//! * [`pool`]: many things at once that mostly wait;
//! * [`figures`]: what was measured, printed so that it can be quoted.
#![forbid(unsafe_code)]

pub mod binaries;
pub mod birth;
pub mod crowd;
pub mod deployed;
pub mod engine;
pub mod executable;
pub mod figures;
pub mod http;
pub mod ledger;
pub mod load;
pub mod machine;
pub mod manager;
pub mod mdoc;
pub mod memory_limit;
pub mod needs;
pub mod places;
pub mod podman;
pub mod pool;
pub mod proc;
pub mod process;
pub mod program;
pub mod replay;
pub mod segue;
pub mod stand_in;
pub mod strace;
pub mod terminal;
pub mod tree;
pub mod version;

use std::time::Duration;

/// The deadline on every wait of the harness. It is there to end a hung test, never to judge speed: nothing passes or
/// fails because of how soon it happened. `SEGUE_TEST_PATIENCE` sets it in seconds (default 180).
#[must_use]
pub fn patience() -> Duration {
    let seconds = std::env::var("SEGUE_TEST_PATIENCE")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(180);
    Duration::from_secs(seconds)
}

/// Whether the long run was asked for (`SEGUE_LONG=1`): 1,000 reloads and 100,000 trials of each race.
#[must_use]
pub fn long_run() -> bool {
    std::env::var_os("SEGUE_LONG").is_some_and(|value| value == "1")
}

/// How often a condition is looked at that nothing tells of. A test that looks without a pause takes the time of those who are
/// waited for.
pub const LOOK: Duration = Duration::from_millis(1);

/// A port of 127.0.0.1 that nobody has, and that the kernel gives to nobody who asks for any: not to a `:0` of another test, nor to
/// one end of somebody's connection. No other call in this process returns it.
///
/// # Panics
/// When all that may be tried are taken.
#[must_use]
#[track_caller]
pub fn free_port() -> u16 {
    // Below what ip_local_port_range begins with where nobody has changed it.
    const FIRST: u32 = 20_000;
    const COUNT: u32 = 12_000;
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    // Two test programs at the same time begin in different places.
    let begin = std::process::id() * 97;
    for _ in 0..COUNT {
        let next = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let port = FIRST + begin.wrapping_add(next) % COUNT;
        let port = u16::try_from(port).unwrap_or(u16::MAX);
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free");
}

/// Waits for what nothing tells: how a process is doing that is nobody's child here. It is looked at until it is so.
///
/// # Panics
/// When that takes longer than [`patience`].
#[track_caller]
pub fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let end = std::time::Instant::now() + patience();
    while !condition() {
        assert!(std::time::Instant::now() < end, "not in time: {what}");
        std::thread::sleep(LOOK);
    }
}
