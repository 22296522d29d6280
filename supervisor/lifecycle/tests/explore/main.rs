//! The core, explored: every order of events up to a bound, and every invariant at every step.
//!
//! * `world.rs`: what can happen outside, and the books of what the core has asked for;
//! * `explorer.rs`: breadth first through all of it, so that the first failure is the shortest story; `fingerprint.rs`: its hashes;
//! * `invariants/`: what must hold, one function each;
//! * `scenarios.rs`: the worlds and their bounds; `SEGUE_LONG=1` raises them;
//! * `bugs.rs`: planted bugs prove that each invariant can fail; `SEGUE_STORIES=1` prints how;
//! * `mutations.rs`: saved texts that were changed at random;
//! * `upgrade.rs`: the same for the upgrade in place, a machine of its own;
//! * `table.rs`, `words.rs`, `document.rs`: what was seen, as `docs/LIFECYCLE.md` shows it; `SEGUE_BLESS=1` writes it.
//!
//! It is compiled into the tests of the crate, and uses nothing of it but what is public: the bugs are planted under
//! `cfg(test)` and so exist in no other build.

mod bugs;
mod document;
mod explorer;
mod fingerprint;
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "an invariant looks for the few words that it is about; those that must know all of them are in world.rs"
)]
mod invariants;
mod mutations;
mod scenarios;
mod story;
mod table;
mod upgrade;
mod words;
mod world;
