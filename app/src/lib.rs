//! The library that makes a Rust server handoff-ready.
