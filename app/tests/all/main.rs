//! The tests of `segue-app` from the outside, in one executable: `cargo test -p segue-app --test all drain::` plays one
//! module. They share the process, so none changes what belongs to it as a whole.
#![allow(clippy::unwrap_used)] // A test that cannot go on ends there.

mod common;
mod drain;
mod environment;
mod examples;
mod fates;
mod http2;
mod in_process;
mod programs;
mod races;
