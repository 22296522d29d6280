//! Segue: a tiny supervisor that hands listening sockets from one generation of an app to the next.

#[cfg(not(target_os = "linux"))]
compile_error!(
    "segue supervises with Linux facilities (signalfd, pidfd, SO_PEERCRED); it builds on Linux only"
);

mod address;
mod children;
mod cli;
mod client;
mod clock;
mod config;
mod control;
mod journal;
mod launch;
mod listeners;
mod manager;
mod place;
mod protocol;
mod readiness;
mod shell;
mod sources;
mod status;
mod sys;

fn main() {}
