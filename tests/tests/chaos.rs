//! Everything at once, at random: deploys good and bad, reloads at once and in vain, kill -9 of the supervisor, upgrades in place, storms of
//! signals, candidates that are stopped or killed, more and fewer workers, clients that say nothing, all under load.
//!
//! The seed is printed; `SEGUE_SEED` plays a run again (as far as the machine's own timing allows). `SEGUE_LONG=1` goes on for an
//! hour. Crashes of whoever serves cut requests by right: `killed.rs` and `handoff.rs` have those.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot look at its subject has failed"
)]

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use segue_tests::figures::{say, scale};
use segue_tests::load::{Kind, Load};
use segue_tests::program::Program;
use segue_tests::replay::Replay;
use segue_tests::segue::{Segue, Setup, Status};

/// What the fixtures speak.
const LOADS: [Kind; 5] = [
    Kind::Fresh,
    Kind::KeepAlive,
    Kind::Pipelined,
    Kind::Post,
    Kind::Slow,
];

/// Versions that never serve: a reload with one of them fails, and nothing else happens.
const BAD: [&str; 6] = [
    "crash-at-start",
    "killed-at-start",
    "exit-0-at-once",
    "ready-and-exit",
    "waits-in-vain",
    "forks-child-and-exits",
];

/// What may be done, and what it is called.
type Act = (&'static str, fn(&mut Chaos, &Status));

struct Chaos {
    segue: Segue,
    random: fastrand::Rng,
    done: Vec<&'static str>,
    silent: Vec<UnixStream>,
}

impl Chaos {
    fn good(&mut self) {
        self.segue.deploy("app", &Program::fixture("good"));
    }

    /// The supervisor answers, somebody serves, and no handoff is under way.
    #[track_caller]
    fn settled(&self) -> Status {
        let done = &self.done;
        let status = self
            .segue
            .wait_until(&format!("settled after {done:?}"), |status| {
                // Nor does a worker that was one too many still drain.
                let all = status.0["generations"].as_array().unwrap();
                let incumbent = all.iter().find(|one| one["role"] == "incumbent");
                let workers = incumbent.and_then(|one| one["workers"].as_array());
                let at_rest =
                    workers.is_some_and(|workers| workers.iter().all(|one| one["state"] == "serving"));
                status.state() == "serving" && status.in_role("candidate").is_empty() && at_rest
            });
        let workers = status.pids(status.generation()).len();
        assert!(workers >= 1, "{}", status.0);
        status
    }

    /// Some part of the time that a reload takes.
    fn pause(&mut self) {
        let until = Instant::now() + Duration::from_micros(self.random.u64(0..15_000));
        while Instant::now() < until {
            std::thread::yield_now();
        }
    }

    #[track_caller]
    fn act(&mut self) {
        let before = self.settled();
        let acts: [Act; 10] = [
            ("a good reload", Self::good_reload),
            ("a bad reload", Self::bad_reload),
            ("two reloads at once", Self::two_reloads),
            ("kill -9", Self::kill_supervisor),
            ("kill -9 in a reload", Self::kill_in_reload),
            ("an upgrade", Self::upgrade),
            ("an upgrade in a reload", Self::upgrade_in_reload),
            ("a storm of signals", Self::storm),
            ("other workers", Self::workers),
            ("clients that say nothing", Self::silence),
        ];
        let (name, act) = acts[self.random.usize(..acts.len())];
        self.done.push(name);
        act(self, &before);
    }

    fn good_reload(&mut self, before: &Status) {
        self.good();
        self.segue.reload_ok(&[]);
        assert!(self.settled().generation() > before.generation());
    }

    fn bad_reload(&mut self, before: &Status) {
        let vice = BAD[self.random.usize(..BAD.len())];
        self.segue.deploy("app", &Program::fixture(vice));
        let done = self.segue.reload(&[]);
        assert_eq!(done.code, Some(1), "{vice}: {done:?}");
        let after = self.settled();
        assert_eq!(after.generation(), before.generation(), "{vice}: it harms nobody");
        let number = before.generation();
        assert_eq!(after.pids(number), before.pids(number), "{vice}");
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
        let after = self.settled();
        assert_eq!(after.generation(), before.generation());
        let number = before.generation();
        assert_eq!(after.pids(number), before.pids(number), "adopted");
        self.renew();
    }

    /// Without systemd's store a script that was replaced meanwhile went with the supervisor that was killed: until a reload nothing
    /// is started from what serves.
    fn renew(&mut self) {
        self.good();
        self.segue.reload_ok(&[]);
        self.settled();
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
        self.settled();
        self.renew();
    }

    fn upgrade(&mut self, before: &Status) {
        let done = self.segue.run("upgrade", &[]);
        assert_eq!(done.code, Some(0), "{done:?}\n{}", self.segue.process().stderr());
        let number = before.generation();
        assert_eq!(self.settled().pids(number), before.pids(number));
    }

    fn upgrade_in_reload(&mut self, before: &Status) {
        self.good();
        let reload = self.segue.begin("reload", &[]);
        self.pause();
        let done = self.segue.run("upgrade", &[]);
        assert_eq!(done.code, Some(0), "{done:?}");
        assert_eq!(reload.finish().code, Some(0), "{}", self.segue.process().stderr());
        assert!(self.settled().generation() > before.generation());
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

#[test]
fn whatever_happens_nothing_is_lost() {
    let seed = std::env::var("SEGUE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    say(format_args!("chaos: SEGUE_SEED={seed}"));
    let setup = Setup::new(Program::new("./app")).flags([
        "--probation",
        "300ms",
        "--start-timeout",
        "5s",
        "--drain-timeout",
        "60s",
    ]);
    setup.deploy("app", &Program::fixture("good"));
    let mut chaos = Chaos {
        segue: setup.start(),
        random: fastrand::Rng::with_seed(seed),
        done: Vec::new(),
        silent: Vec::new(),
    };
    let target = chaos.segue.target();
    let replay = Replay::of(chaos.segue.control());
    let loads = LOADS.map(|kind| Load::start(kind, &target, 1));
    let until = Instant::now() + scale(Duration::from_secs(20), Duration::from_secs(3_600));
    let (mut acts, least) = (0, 12);
    while acts < least || Instant::now() < until {
        chaos.act();
        acts += 1;
    }
    for load in loads {
        let tally = load.stop();
        say(format_args!("chaos, {acts} acts: {}", tally.figures()));
        tally.assert_nothing_lost();
    }
    say(format_args!(
        "chaos: {} events replayed through the core",
        replay.stop()
    ));
    chaos.settled();
    chaos.good();
    chaos.segue.reload_ok(&["--drained"]);
    chaos.segue.stop();
}
