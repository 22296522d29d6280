//! Upgrades in a row (500 with `SEGUE_LONG=1`) under every kind of load, good and bad binaries mixed, with reloads in between:
//! nothing is lost, and the supervisor is as after a few.

use segue_tests::figures::{say, scale};
use segue_tests::load::{Kind, Load};
use segue_tests::proc::Footprint;
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};
use segue_tests::stand_in::{Family, StandIn};
use segue_tests::wait_until;

use super::shelf::{self, Next};
use super::upgrade;

/// What the heap may differ by for reasons of its own, KiB. An upgrade begins with an empty heap, so that a leak can only be in what
/// is passed on; in the long run 132 bytes each time exceed it.
const HEAP_SLACK_KIB: u64 = 64;

/// Those that are refused.
const BAD: [Next; 5] = [
    Next::Missing,
    Next::Empty,
    Next::Impostor("crashes"),
    Next::Stranger,
    Next::Script,
];

/// One generation, trusted, and no client: nothing else is known.
fn at_rest(segue: &Segue) -> Footprint {
    segue.reload_ok(&["--drained"]);
    segue.reload_ok(&["--settled"]);
    segue.wait_until("one generation", |status| status.in_role("retired").is_empty());
    upgrade(segue);
    Footprint::of(segue.process().pid())
}

#[test]
fn many_upgrades_lose_nothing_and_leak_nothing() {
    let upgrades: usize = scale(12, 500);
    let setup = Setup::new(Program::app()).flags(["--probation", "100ms", "--drain-timeout", "30s"]);
    let segue = shelf::start(setup);
    let target = segue.target();
    let loads = Kind::ALL.map(|kind| (kind, Load::start(kind, &target, 1)));
    let early = at_rest(&segue);
    let (mut refused, mut reloads) = (0, 0);
    for count in 0..upgrades {
        upgrade(&segue);
        if count % 3 == 0 {
            shelf::put(&segue, BAD[count / 3 % BAD.len()]);
            let done = segue.run("upgrade", &[]);
            assert_eq!(done.code, Some(1), "{done:?}");
            refused += 1;
        }
        if count % 5 == 0 {
            segue.reload_ok(&[]);
            reloads += 1;
            loads[0].1.wait_for_more(3);
        }
    }
    let late = at_rest(&segue);
    for (kind, load) in loads {
        let tally = load.stop();
        say(format_args!(
            "{kind:?}, {upgrades} upgrades, {refused} refused, {reloads} reloads, seven loads at once: {}",
            tally.figures()
        ));
        tally.assert_nothing_lost();
    }
    say(format_args!(
        "supervisor after one upgrade: {early:?}, after {upgrades}: {late:?}"
    ));
    late.assert_as(&early, HEAP_SLACK_KIB);
    wait_until("only supervisor and app are left", || {
        segue.leftover_processes().len() == 2
    });
    segue.stop();
}

/// The same loads lose something when the supervisor is replaced by stopping it and starting the next.
#[test]
fn the_detectors_fire_when_it_is_stopped_and_started_instead() {
    for kind in [Kind::Fresh, Kind::KeepAlive] {
        let mut stand_in = StandIn::start(Program::app(), Family::Tcp);
        let load = Load::start(kind, stand_in.target(), 2);
        load.wait_for_more(10);
        stand_in.restart_lossy(|| load.wait_for_loss());
        load.wait_for_more(10);
        load.stop().assert_detector_fired();
    }
}
