//! What a reload asks of the kernel, counted: system calls of the supervisor, and the bytes that it writes to keep its state. A
//! count does not depend on how busy the machine is, so that it is held to a limit: that is what was reached.

use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use segue_tests::binaries::Binary;
use segue_tests::figures::say;
use segue_tests::needs;
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};
use segue_tests::strace::{self, Tracer};
use tempfile::NamedTempFile;

/// The least of so many reloads counts: what the supervisor hears of in two turns or in one, and whether the app has come to rest
/// when it is looked at, is chance. A snapshot of the whole state is written now and then, too.
const RELOADS: usize = 5;

/// What one reload has cost: one worker, one shared listener, READY=1 from the process in LISTEN_PID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cost {
    /// From the signal that asks for it to the fork.
    to_fork: usize,
    /// From READY=1 to the stop signal for the old generation.
    to_stop: usize,
    /// Until the old generation is gone.
    all: usize,
    /// Written to the state files.
    state: usize,
}

const LIMIT: Cost = Cost {
    to_fork: 20,
    to_stop: 8,
    all: 90,
    state: 4 * 1024,
};

impl Cost {
    /// Reads the trace of one reload. `None` if it is not whole.
    fn of(trace: &str) -> Option<Self> {
        let calls: Vec<&str> = trace.lines().filter(|line| counts(line)).collect();
        let find = |from: usize, is_it: &dyn Fn(&str) -> bool| {
            let found = calls.get(from..)?.iter().position(|line| is_it(line))?;
            Some(from + found)
        };
        let begin = find(0, &|line| line.starts_with("read(") && line.contains("signalfd"))?;
        let fork = find(begin, &|line| line.starts_with("clone"))?;
        let ready = find(fork, &|line| {
            line.starts_with("recvmsg(") && line.contains("READY=1")
        })?;
        let stop = find(ready, &|line| {
            line.starts_with("pidfd_send_signal(") && line.contains("SIGTERM")
        })?;
        let gone = find(stop, &|line| line.contains(" is gone\\n"))?;
        // The state is written down once more.
        let end = find(gone, &|line| is_of_state(line))?;
        let state = calls
            .iter()
            .filter(|line| is_of_state(line))
            .map(|line| written(line));
        Some(Self {
            to_fork: fork - begin,
            to_stop: stop - ready,
            all: end + 1 - begin,
            state: state.sum(),
        })
    }

    fn least(self, other: Self) -> Self {
        Self {
            to_fork: self.to_fork.min(other.to_fork),
            to_stop: self.to_stop.min(other.to_stop),
            all: self.all.min(other.all),
            state: self.state.min(other.state),
        }
    }
}

/// Waits and looks at whether the app has come to rest, of which there are more on a busy machine, do not count. A build for tests
/// looks at each fd before it closes it.
fn counts(line: &str) -> bool {
    let left_out = [
        "epoll_wait(",
        "epoll_pwait(",
        "poll(",
        "ppoll(",
        "waitid(",
        "+++",
        "---",
        "strace:",
    ];
    !left_out.iter().any(|call| line.starts_with(call))
        && !line.contains("/stat")
        && !line.contains(", F_GETFD)")
}

fn is_of_state(line: &str) -> bool {
    line.starts_with("pwrite64(") && line.split(',').next().is_some_and(|fd| fd.contains("state-"))
}

/// What the call has returned.
fn written(line: &str) -> usize {
    let (_, result) = line.rsplit_once("= ").unwrap_or_default();
    result.parse().unwrap_or_else(|_| panic!("{line}"))
}

fn reload(segue: &Segue, generation: u64) -> Cost {
    let output = NamedTempFile::new().expect("a file");
    let arguments = ["-y", "-s", "200", "-o"].map(Into::into);
    let tracer = Tracer::attach(
        segue.process().pid(),
        arguments
            .into_iter()
            .chain([output.path().as_os_str().to_owned()]),
    );
    segue.signal(Signal::SIGHUP);
    segue
        .process()
        .wait_for_line(&format!("generation {} is gone", generation - 1));
    // Asked in a later turn: the one that told of it has written down its state by then.
    let _ = segue.status();
    tracer.detach();
    let trace = strace::read(output.path());
    let cost = Cost::of(&trace).unwrap_or_else(|| panic!("no whole reload in this trace:\n{trace}"));
    say(format_args!("generation {generation}: {cost:?}"));
    cost
}

#[test]
fn a_reload_asks_no_more_of_the_kernel_than_it_did() {
    let Some(()) = needs::or_skip("the cost of a reload", strace::available()) else {
        return;
    };
    let segue = Setup::new(Program::app()).start();
    // The first ones see what later ones remember.
    segue.reload_ok(&["--drained"]);
    segue.reload_ok(&["--drained"]);
    let costs = (4..).take(RELOADS).map(|generation| reload(&segue, generation));
    let least = costs.reduce(Cost::least).unwrap();
    let Cost {
        to_fork,
        to_stop,
        all,
        state,
    } = least;
    assert!(
        to_fork <= LIMIT.to_fork,
        "{to_fork} system calls to the fork: {LIMIT:?}"
    );
    assert!(
        to_stop <= LIMIT.to_stop,
        "{to_stop} system calls from READY=1 to the stop signal: {LIMIT:?}"
    );
    assert!(all <= LIMIT.all, "{all} system calls: {LIMIT:?}");
    assert!(state <= LIMIT.state, "{state} bytes of state: {LIMIT:?}");
    segue.stop();
}

/// System calls of a command from the first that is its own to the connection with its supervisor. What comes before is the dynamic
/// linker's, the C library's and Rust's: a program that does nothing makes as many.
const UNTIL_CONNECTED: usize = 8;

/// What a command does itself until it has a connection.
fn until_connected(word: &str, control: &Path) {
    let output = NamedTempFile::new().expect("a file");
    let status = Command::new("strace")
        .args(["-qq", "-o"])
        .arg(output.path())
        .arg(Binary::Segue.path())
        .args([word, "--control"])
        .arg(control)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status();
    assert!(status.is_ok_and(|status| status.success()), "segue {word}");
    let trace = strace::read(output.path());
    let lines: Vec<&str> = trace.lines().collect();
    // The first thing that every command does, beside SIGPIPE, which is Rust's.
    let begin = lines.iter().position(|line| line.contains("SIGXFSZ"));
    let end = lines.iter().position(|line| line.starts_with("connect("));
    let (Some(begin), Some(end)) = (begin, end) else {
        panic!("segue {word} has not begun, or never connected:\n{trace}");
    };
    let own = &lines[begin..=end];
    say(format_args!("{word}: {} calls until it is connected", own.len()));
    assert!(own.len() <= UNTIL_CONNECTED, "{word}: {own:#?}");
}

#[test]
fn a_command_reaches_its_supervisor_in_few_calls() {
    let Some(()) = needs::or_skip("the cost of a command", strace::available()) else {
        return;
    };
    let segue = Setup::new(Program::app()).start();
    for word in ["status", "reload"] {
        until_connected(word, segue.control());
    }
    segue.stop();
}
