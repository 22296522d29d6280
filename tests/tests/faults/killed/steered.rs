//! `kill -9` at every system call of a steered reload while three generations live. Nothing is lost, and the next supervisor knows where
//! each slot stands in the kernel's order.

use segue_tests::figures::say;
use segue_tests::http::Target;
use segue_tests::ledger::Ledger;
use segue_tests::load::parked::Parked;
use segue_tests::load::{Kind, Load};
use segue_tests::places::{self, Look};
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup, Status};
use segue_tests::strace;
use segue_tests::{long_run, needs};

use super::assert_nobody_is_a_stranger;
use super::at_every_call::{End, Last, calls_of, reload_until};

/// Calls between which the rest of a steered reload lies: the state is written, the token is placed, a process is forked, the kernel is
/// told where clients go, somebody is told to stop. Where this is not the long run, the first of each is tried.
const MILESTONES: [&str; 5] = ["pwrite64", "connect", "clone", "setsockopt", "pidfd_send_signal"];

/// The name of a listener without one.
const LISTENER: &str = "listen1";

/// How many generations live when a reload begins: it waits until the oldest is gone.
const LIVING: usize = 3;

/// An instance whose old generations keep a connection each, until the test lets go of it.
struct Scene {
    segue: Segue,
    target: Target,
    ledger: Ledger,
    /// Connections of each generation, oldest first.
    kept: Vec<(u64, Parked)>,
}

impl Scene {
    fn begin() -> Self {
        let living = LIVING.to_string();
        let setup = Setup::new(Program::app()).listen("127.0.0.1:0,steer,slots=5");
        let segue = setup
            .flags(["--probation", "200ms", "--linger", "1h"])
            .flags(["--max-generations", &living])
            .start();
        let mut scene = Self {
            target: segue.target(),
            segue,
            ledger: Ledger::default(),
            kept: Vec::new(),
        };
        for _ in 1..LIVING {
            scene.keep_a_connection();
            scene.segue.reload_ok(&[]);
        }
        scene
    }

    /// The generation that serves has a connection, and lingers once it is replaced.
    fn keep_a_connection(&mut self) {
        let serves = self.segue.status().generation();
        let kept = Parked::idle(&self.target, &self.ledger, 1);
        self.kept.push((serves, kept));
    }

    /// Every generation but the newest ones has its last request, so that the next reload finds room.
    fn let_go_of_the_oldest(&mut self) {
        let most = LIVING - 1;
        while self.kept.len() > most {
            let (_, kept) = self.kept.remove(0);
            kept.finish();
        }
    }

    /// The reload is over, and nobody is started for anybody any more.
    fn wait_until_it_rests(&self, when: &str) -> Status {
        self.segue.wait_until(when, |status| {
            let none = |role| status.in_role(role).is_empty();
            status.state() == "serving" && none("candidate") && none("relief") && none("retired")
        })
    }

    /// A connection to each place in the kernel's order meets who is believed to be there, and clients meet who serves.
    #[track_caller]
    fn assert_each_place_is_known(&self, when: &str) {
        let Target::Tcp(address) = &self.target else {
            unreachable!("it listens on TCP");
        };
        let mut looks = 1..=places::LOOKS;
        let serves = loop {
            let status = self.wait_until_it_rests(when);
            let slots = places::slots(&status, LISTENER);
            let look = Look {
                supervisor: self.segue.process().pid(),
                state: ["a", "b"].map(|name| self.segue.path(&format!("control.state-{name}"))),
                name: LISTENER,
                port: address.port(),
                serves: status.generation(),
            };
            let (met, said) = look.who_is_met(&slots);
            if places::is_by_relief(&met, &slots) && looks.next().is_some() {
                continue;
            }
            // One that was let go of is told to stop at a moment of its own: then its slot has nobody any more.
            if places::slots(&self.wait_until_it_rests(when), LISTENER) == slots {
                let log = self.segue.process().stderr();
                assert_eq!(met, places::expected(&slots), "{when}: {said}\nlog:\n{log}");
                break status.generation();
            }
        };
        for _ in 0..10 {
            assert_eq!(self.target.who_answers(), serves, "{when}");
        }
    }
}

/// The calls at which the supervisor is killed.
fn tried(counts: &strace::Counts) -> Vec<Last> {
    if long_run() {
        return Last::all(counts).collect();
    }
    let is_made = |call: &&str| counts.get(*call).is_some_and(|count| *count > 0);
    let made = MILESTONES.into_iter().filter(is_made);
    made.map(|call| Last::new(call, 1)).collect()
}

#[test]
fn killed_at_every_call_of_a_steered_reload_nothing_is_lost_and_each_slot_is_known() {
    let able = strace::available().and_then(|()| needs::program("python3"));
    if needs::or_skip("killed at every call, steered", able).is_none() {
        return;
    }
    let mut scene = Scene::begin();
    let loads = [Kind::Fresh, Kind::Post, Kind::Http2].map(|kind| Load::start(kind, &scene.target, 1));
    scene.keep_a_connection();
    scene.let_go_of_the_oldest();
    let counts = calls_of(&scene.segue, &[]);
    let (mut killed, mut survived) = (0, 0);
    for last in tried(&counts) {
        let when = last.to_string();
        scene.keep_a_connection();
        scene.let_go_of_the_oldest();
        match reload_until(&scene.segue, &last, &[]) {
            End::Survived => survived += 1,
            End::Killed => {
                killed += 1;
                scene.segue.resume();
            }
        }
        let status = scene.wait_until_it_rests(&when);
        assert_nobody_is_a_stranger(&scene.segue, &status, &when);
        scene.assert_each_place_is_known(&when);
        // However loaded a machine is where this takes hours, a token arrives within a second.
        let log = scene.segue.process().stderr();
        assert!(
            !long_run() || !log.contains("is judged by what /proc shows"),
            "{when}: {log}"
        );
    }
    say(format_args!(
        "a steered reload makes {} system calls; killed at {killed} of them, {survived} were not made again",
        counts.values().sum::<usize>()
    ));
    assert!(killed > 0, "nobody was killed");
    for (_, kept) in scene.kept.drain(..) {
        kept.finish();
    }
    for load in loads {
        load.stop().assert_nothing_lost();
    }
    scene.ledger.tally().assert_nothing_lost();
    scene.segue.reload_ok(&[]);
    scene.segue.stop();
}
