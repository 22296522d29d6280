//! Everything at once, at random: deploys good and bad, reloads at once and in vain, kill -9 of the supervisor, upgrades in place, storms of
//! signals, more and fewer workers, clients that say nothing, and the death of the incumbent, all under load; while the events that the
//! supervisor writes down are replayed through the pure core.
//!
//! The seed is printed; `SEGUE_SEED` plays a run again (as far as the machine's own timing allows). `SEGUE_LONG=1` goes on for an hour.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot look at its subject has failed"
)]

mod acts;
mod deaths;
mod world;

use segue_tests::ledger::{Reason, Tally};

use acts::ACTS;
use deaths::DEATHS_OF_WHO_SERVES;
use world::Chaos;

#[test]
fn whatever_happens_nothing_is_lost() {
    Chaos::run(&ACTS, Tally::assert_nothing_lost);
}

/// A crash cuts what the app had accepted. But the listener stands, and so nobody is refused or waits in vain, and every answer that comes
/// is right.
#[test]
fn others_serve_for_the_dead_and_nobody_is_refused() {
    let all: Vec<_> = ACTS.into_iter().chain(DEATHS_OF_WHO_SERVES).collect();
    Chaos::run(&all, |tally| {
        let by_right = |reason: &Reason| match reason {
            Reason::ResetUnanswered | Reason::ClosedUnanswered | Reason::CutHead | Reason::CutBody => true,
            Reason::Refused
            | Reason::NotConnected
            | Reason::TimedOut
            | Reason::Malformed
            | Reason::WrongStatus
            | Reason::WrongBody
            | Reason::StreamFailed
            | Reason::Abandoned => false,
        };
        let reasons = tally.reasons();
        assert!(reasons.keys().all(by_right), "{tally}");
    });
}
