//! A hundred reloads under load (a thousand with `SEGUE_LONG=1`): nothing is lost, and the supervisor is as after ten.

use std::time::Instant;

use segue_tests::figures::{say, scale};
use segue_tests::load::{Kind, Load};
use segue_tests::proc::{self, Footprint, Waiting};
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};

/// What the heap may differ by for reasons of its own, KiB: a leak of 132 bytes a reload exceeds it in the long run.
const HEAP_SLACK_KIB: u64 = 128;

/// How often to go on where the heap has grown by more. The C library keeps what was used at once at a peak (many generations at a time,
/// on a busy machine), and more of it each time that the peak is higher (`M_TRIM_THRESHOLD`, mallopt(3)): that comes to an end. A leak
/// does not.
const PEAKS: usize = 3;

/// How quiet the supervisor has to be.
#[derive(Clone, Copy)]
enum Rest {
    /// Asleep. Clients come all the time, so the queues are looked at about once a second.
    UnderLoad,
    /// Asleep, and nothing but an event ends that: no timer is armed.
    Complete,
}

impl Rest {
    fn is_reached(self, waiting: Waiting, footprint: &Footprint) -> bool {
        // One generation and no client is what can be seen of rest from outside.
        let seen = footprint.children == 1 && footprint.zombies == 0;
        match (self, waiting) {
            (_, Waiting::Not) => false,
            (Self::UnderLoad, Waiting::UntilTimer | Waiting::ForEver) => seen,
            (Self::Complete, Waiting::UntilTimer) => false,
            (Self::Complete, Waiting::ForEver) => true,
            (_, Waiting::Unknown) => seen,
        }
    }
}

/// The supervisor's footprint when it is asleep.
///
/// # Panics
/// When it does not come to rest.
#[track_caller]
fn at_rest(segue: &Segue, rest: Rest) -> Footprint {
    let pid = segue.process().pid();
    let end = Instant::now() + segue_tests::patience();
    loop {
        let mark = segue.process().mark();
        let sleeps = proc::sleeps(pid);
        let before = proc::waiting(pid);
        let footprint = Footprint::of(pid);
        let still = rest.is_reached(before, &footprint) && rest.is_reached(proc::waiting(pid), &footprint);
        // What it has open for a moment counts only if it ran meanwhile.
        if still && proc::sleeps(pid) == sleeps {
            return footprint;
        }
        assert!(
            Instant::now() < end,
            "the supervisor does not come to rest, it waits: {before:?}, {footprint:?}; log:\n{}",
            segue.process().stderr()
        );
        segue.process().wait_for_news(mark);
    }
}

/// A settled reload: all older generations gone, probation passed, so that no timer but that of the queues has a reason to be armed.
fn reload_to_rest(segue: &Segue) -> Footprint {
    segue.reload_ok(&["--drained"]);
    segue.reload_ok(&["--settled"]);
    segue.wait_until("one generation", |status| status.in_role("retired").is_empty());
    at_rest(segue, Rest::UnderLoad)
}

#[test]
fn many_reloads_lose_nothing_and_leave_the_supervisor_as_after_ten() {
    let mut reloads: u64 = scale(100, 1_000);
    let segue = Setup::new(Program::app()).flags(["--probation", "100ms"]).start();
    let target = segue.target();
    let loads = Kind::ALL.map(|kind| (kind, Load::start(kind, &target, 1)));
    let mut done = 0;
    let mut reload = |until: u64| {
        while done + 2 < until {
            segue.reload_ok(&[]);
            done += 1;
            // Every generation answers somebody.
            loads[0].1.wait_for_generation(done + 1);
        }
        done += 2;
        reload_to_rest(&segue)
    };
    let mut early = reload(10);
    let mut late = reload(reloads);
    for _ in 0..PEAKS {
        if !late.has_grown_since(&early, HEAP_SLACK_KIB) {
            break;
        }
        say(format_args!("more reloads, for it has grown: {early:?} {late:?}"));
        reloads += scale(100, 1_000);
        early = late;
        late = reload(reloads);
    }
    for (kind, load) in loads {
        load.wait_for_generation(reloads + 1);
        let tally = load.stop();
        say(format_args!(
            "{kind:?}, {reloads} reloads, seven loads at once: {}",
            tally.figures()
        ));
        tally.assert_nothing_lost();
    }
    at_rest(&segue, Rest::Complete);
    say(format_args!("supervisor after 10 reloads: {early:?}"));
    say(format_args!(
        "supervisor after {reloads} reloads: {late:?}, asleep: {:?}",
        proc::waiting(segue.process().pid())
    ));
    assert_eq!(segue.status().generation(), reloads + 1);
    late.assert_as(&early, HEAP_SLACK_KIB);
    segue_tests::wait_until("only supervisor and app are left", || {
        segue.leftover_processes().len() == 2
    });
    segue.stop();
}
