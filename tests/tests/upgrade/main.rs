//! The upgrade in place: the supervisor goes on as another binary, and nobody notices.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot look at its subject has failed"
)]

mod refused;
mod shelf;
