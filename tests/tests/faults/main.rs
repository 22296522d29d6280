//! Tests in which something goes wrong: bad apps, refused system calls, killed supervisors, a clock that jumps. What makes
//! system calls fail is strace.
//!
//! All of them share this process: see `tests/fast/main.rs`.

mod chaos;
mod clock;
mod deploy_interrupted;
mod deploy_killed;
mod deploy_synced;
mod fault_table;
mod file_size;
mod killed;
mod orphans;
mod replaced_files;
mod starved;
mod steered;
mod stop_signal;
mod strays;
mod told;
mod upgrade;
