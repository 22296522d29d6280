//! The example servers under a handoff as a supervisor makes it: `cargo test --manifest-path examples/servers/Cargo.toml`.
//! `SEGUE_TRIALS=100000` and `--release` are the long run of the races.
#![allow(clippy::unwrap_used)] // A test that cannot go on ends there.

mod common;
#[path = "../../../../app/tests/all/fates.rs"]
mod fates;
mod grpc;
mod plain;
mod races;
mod websocket;
