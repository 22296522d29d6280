//! Tests that need more of the machine than a compiler: root, cgroups, a systemd, an sshd, Gunicorn, systemfd. Each says by
//! name what it does not find (`src/needs.rs`).
//!
//! All of them share this process: see `tests/fast/main.rs`.

mod a_systemd;
mod activation;
mod deploy_ssh;
mod drops_uid;
mod guides;
mod gunicorn;
mod hooks_user;
mod late;
mod memory;
mod servers;
mod systemd;
mod wrappers;
