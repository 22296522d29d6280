//! Tests that need neither root nor an engine, a service manager or the network: `cargo test -p segue-tests --test fast`.
//! A module is a subject.
//!
//! All of them share this process, so none changes what belongs to a process as a whole: its directory, environment,
//! umask, limits and signals; and none reaps a child that is not its own.

mod accepts;
mod activation;
mod attack_control;
mod birth;
mod book;
mod coming_from;
mod commands;
mod cost;
mod dead_listeners;
mod demo;
mod deploy;
mod deploy_edges;
mod deploy_links;
mod detectors;
mod dev;
mod docs;
mod einhorn;
mod fixtures;
mod front_door;
mod half_written;
mod handoff;
mod hooks;
mod init;
mod install;
mod last_words;
mod lingering;
mod loss_load;
mod loss_parked;
mod loss_races;
mod manager;
mod manual;
mod many_workers;
mod neighbours;
mod package;
mod ready_auto;
mod reloads;
mod rolling;
mod scale;
mod shared_flags;
mod sockets;
mod steered_comings;
mod steered_flags;
mod steered_late;
mod steered_stuck;
mod steered_switch;
mod steering;
mod switched;
mod taken_paths;
mod terminal;
mod token;
mod turns;
