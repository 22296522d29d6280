//! A supervisor under load to which things are done at random.

use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use segue_tests::figures::{say, scale};
use segue_tests::ledger::Tally;
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

/// At least so many acts, however slow the machine is.
const LEAST: usize = 12;

/// What may be done, and what it is called.
pub(crate) type Act = (&'static str, fn(&mut Chaos, &Status));

pub(crate) struct Chaos {
    pub(crate) segue: Segue,
    pub(crate) random: fastrand::Rng,
    pub(crate) silent: Vec<UnixStream>,
    done: Vec<&'static str>,
}

impl Chaos {
    fn start() -> Self {
        let seed = std::env::var("SEGUE_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| fastrand::u64(..));
        say(format_args!("chaos: SEGUE_SEED={seed}"));
        let setup = Setup::new(Program::new("./app")).flags([
            "--probation",
            "300ms",
            // As long as a candidate may take on a machine that is busy with the loads.
            "--start-timeout",
            "15s",
            "--drain-timeout",
            "60s",
        ]);
        setup.deploy("app", &Program::fixture("good"));
        Self {
            segue: setup.start(),
            random: fastrand::Rng::with_seed(seed),
            silent: Vec::new(),
            done: Vec::new(),
        }
    }

    /// Do any of these acts, again and again under every load; then end in peace. Each account is judged.
    #[track_caller]
    pub(crate) fn run(acts: &[Act], judge: fn(&Tally)) {
        let mut chaos = Self::start();
        let target = chaos.segue.target();
        let replay = Replay::of(chaos.segue.control());
        let loads = LOADS.map(|kind| Load::start(kind, &target, 1));
        let until = Instant::now() + scale(Duration::from_secs(20), Duration::from_secs(3_600));
        while chaos.done.len() < LEAST || Instant::now() < until {
            chaos.act(acts);
        }
        for load in loads {
            let tally = load.stop();
            say(format_args!(
                "chaos, {} acts: {}",
                chaos.done.len(),
                tally.figures()
            ));
            judge(&tally);
        }
        say(format_args!("chaos: {}", replay.stop()));
        chaos.at_rest();
        chaos.good();
        chaos.segue.reload_ok(&["--drained"]);
        chaos.segue.stop();
    }

    #[track_caller]
    fn act(&mut self, acts: &[Act]) {
        let before = self.at_rest();
        let (name, act) = acts[self.random.usize(..acts.len())];
        self.done.push(name);
        act(self, &before);
    }

    pub(crate) fn good(&mut self) {
        self.segue.deploy("app", &Program::fixture("good"));
    }

    /// The supervisor answers, somebody serves, and no handoff is under way.
    #[track_caller]
    pub(crate) fn at_rest(&self) -> Status {
        let done = &self.done;
        let status = self
            .segue
            .wait_until(&format!("at rest after {done:?}"), |status| {
                // Nor does a worker that was one too many still drain.
                let all = status.0["generations"].as_array().unwrap();
                let incumbent = all.iter().find(|one| one["role"] == "incumbent");
                let workers = incumbent.and_then(|one| one["workers"].as_array());
                let all_serve =
                    workers.is_some_and(|workers| workers.iter().all(|one| one["state"] == "serving"));
                status.state() == "serving" && status.in_role("candidate").is_empty() && all_serve
            });
        let workers = status.pids(status.generation()).len();
        assert!(workers >= 1, "{}", status.0);
        status
    }

    /// Some part of the time that a reload takes.
    pub(crate) fn pause(&mut self) {
        std::thread::sleep(Duration::from_micros(self.random.u64(0..15_000)));
    }
}
