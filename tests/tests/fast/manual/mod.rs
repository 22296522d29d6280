//! The man pages are kept true: what they say is compared with what the programs and the sources say, in both
//! directions and by name. Each comparison is a function from a page to complaints, so that a test can show that it
//! finds what is missing and what is too much.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot look at its subject has failed"
)]

mod commands;
mod examples;
mod help;
mod lint;
mod options;
mod pages;
mod programs;
mod protocol;
mod settings;
mod surroundings;
