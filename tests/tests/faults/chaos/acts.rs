//! What is done to a supervisor and its candidates. The incumbent is left alone, and loses nothing.

use std::io::Write as _;
use std::os::unix::net::UnixStream;

use nix::sys::signal::Signal;
use segue_tests::program::Program;
use segue_tests::segue::Status;

use super::world::{Act, Chaos};

/// Versions that never serve: a reload with one of them fails, and nothing else happens.
const BAD: [&str; 6] = [
    "crash-at-start",
    "killed-at-start",
    "exit-0-at-once",
    "ready-and-exit",
    "waits-in-vain",
    "forks-child-and-exits",
];

pub(crate) const ACTS: [Act; 10] = [
    ("a good reload", Chaos::good_reload),
    ("a bad reload", Chaos::bad_reload),
    ("two reloads at once", Chaos::two_reloads),
    ("kill -9", Chaos::kill_supervisor),
    ("kill -9 in a reload", Chaos::kill_in_reload),
    ("an upgrade", Chaos::upgrade),
    ("an upgrade in a reload", Chaos::upgrade_in_reload),
    ("a storm of signals", Chaos::storm),
    ("other workers", Chaos::workers),
    ("clients that say nothing", Chaos::silence),
];

impl Chaos {
    fn good_reload(&mut self, before: &Status) {
        self.good();
        self.segue.reload_ok(&[]);
        assert!(self.at_rest().generation() > before.generation());
    }

    fn bad_reload(&mut self, before: &Status) {
        let vice = BAD[self.random.usize(..BAD.len())];
        self.segue.deploy("app", &Program::fixture(vice));
        // One that dies a moment before or after its READY=1 may take over first, and is then rolled back on probation.
        let done = self.segue.reload(&["--settled"]);
        assert_eq!(done.code, Some(1), "{vice}: {done:?}");
        let after = self.at_rest();
        let number = before.generation();
        if after.last_outcome() == "rolled-back" {
            assert!(
                matches!(vice, "ready-and-exit" | "forks-child-and-exits"),
                "{vice}: {}",
                after.0
            );
            assert!(after.generation() > number, "{}", after.0);
        } else {
            assert_eq!(after.generation(), number, "{vice}: it harms nobody");
            assert_eq!(after.pids(number), before.pids(number), "{vice}");
        }
        self.good();
    }

    fn two_reloads(&mut self, _: &Status) {
        self.good();
        let first = self.segue.begin("reload", &[]);
        self.pause();
        self.segue.reload_ok(&[]);
        assert_eq!(first.finish().code, Some(0));
    }

    fn kill_supervisor(&mut self, before: &Status) {
        self.segue.kill();
        self.pause();
        self.segue.start_again();
        let after = self.at_rest();
        assert_eq!(after.generation(), before.generation());
        let number = before.generation();
        assert_eq!(after.pids(number), before.pids(number), "adopted");
        self.renew();
    }

    /// Without systemd's store a script that was replaced meanwhile went with the supervisor that was killed: until a reload nothing
    /// is started from what serves, nor from what was the last good.
    pub(crate) fn renew(&mut self) {
        self.good();
        self.segue.reload_ok(&["--settled"]);
        self.at_rest();
    }

    /// Without systemd's store a READY=1 that is said while nobody listens is lost, and the candidate fails at its timeout: that
    /// harms nobody either.
    fn kill_in_reload(&mut self, _: &Status) {
        self.good();
        let reload = self.segue.begin("reload", &[]);
        self.pause();
        self.segue.kill();
        let _ = reload.finish();
        self.segue.start_again();
        self.at_rest();
        self.renew();
    }

    fn upgrade(&mut self, before: &Status) {
        let done = self.segue.run("upgrade", &[]);
        assert_eq!(done.code, Some(0), "{done:?}\n{}", self.segue.process().stderr());
        let number = before.generation();
        assert_eq!(self.at_rest().pids(number), before.pids(number));
    }

    fn upgrade_in_reload(&mut self, before: &Status) {
        self.good();
        let reload = self.segue.begin("reload", &[]);
        self.pause();
        let done = self.segue.run("upgrade", &[]);
        assert_eq!(done.code, Some(0), "{done:?}");
        assert_eq!(reload.finish().code, Some(0), "{}", self.segue.process().stderr());
        assert!(self.at_rest().generation() > before.generation());
    }

    fn storm(&mut self, _: &Status) {
        self.good();
        for _ in 0..50 {
            let signal = [Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGCHLD][self.random.usize(..3)];
            self.segue.signal(signal);
        }
        // HUPs that come during a handoff share the next one.
        self.segue.reload_ok(&[]);
    }

    fn workers(&mut self, _: &Status) {
        let count = self.random.usize(1..4);
        let done = self.segue.run("workers", &[&count.to_string()]);
        assert_eq!(done.code, Some(0), "{done:?}");
        self.segue.wait_until("so many workers serve", |status| {
            status.state() == "serving" && status.pids(status.generation()).len() == count
        });
    }

    fn silence(&mut self, _: &Status) {
        self.silent.clear();
        for _ in 0..self.random.usize(1..40) {
            if let Ok(mut stream) = UnixStream::connect(self.segue.control()) {
                if self.random.bool() {
                    let _ = stream.write_all(b"{\"request\":\"sta");
                }
                self.silent.push(stream);
            }
        }
    }
}
