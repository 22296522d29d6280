//! What the standard library and `nix` do not offer safely: every `unsafe` of the supervisor, one topic a file.
//!
//! Floor 1: this room knows no other. The supervisor has one thread, and [`fork`] relies on it; everything that
//! is only right in the forked child asks for an [`InChild`], which only [`fork`] gives.

mod datagram;
pub(crate) mod diag;
mod errno;
mod fds;
mod fork;
mod handing_over;
mod kernel_file;
mod limits;
mod lock;
mod memory;
mod oom_score;
mod peer;
mod pidfd;
mod process;
mod signals;
pub(crate) mod sock;
mod stat;
pub(crate) mod steering;
mod terminal;
mod unread;
mod wait;
mod write;

pub(crate) use datagram::{Beside, Datagram, ask_for_pidfds, drop_datagram, peek_datagram};
pub(crate) use errno::errno_text;
pub(crate) use fds::{
    close_all_but, close_in_child, close_on_exec_from, keep_over_exec, move_above, place_at,
};
pub(crate) use fork::{InChild, fork, start_in_our_group, start_on_its_own};
pub(crate) use handing_over::{
    close_left, close_on_exec, duplicate_fd, end_with, environment, memory_file, take_fd, take_variable,
};
pub(crate) use kernel_file::{kernel_text, kernel_text_of};
pub(crate) use limits::{Limits, open_many_files};
pub(crate) use lock::Locked;
pub(crate) use memory::trim_heap;
pub(crate) use oom_score::{
    LEAST_OOM_SCORE, MOST_OOM_SCORE, Numbered, lower_own_oom_score, own_oom_score, raise_oom_score,
    set_own_oom_score,
};
pub(crate) use peer::peer_groups;
pub(crate) use pidfd::{
    Told, exit_status_by_pidfd, fd_of, is_dead_by_pidfd, open_pidfd, signal_by_pidfd, signal_group_by_pidfd,
};
#[cfg(test)]
pub(crate) use process::is_at_rest;
pub(crate) use process::{
    Disposition, OpenFiles, become_subreaper, boot_id, catches_signal, children_of, command_of, disposition,
    has_ended, has_open, ignores_signal, is_childless, is_pending, open_files, open_files_in, open_sockets,
    own_children, own_pid, own_uid, pid_namespace, uid_of, was_given,
};
pub(crate) use signals::{
    default_dispositions, ignore_file_size_limit, read_signals, unblock_all, with_signals_blocked,
};
pub(crate) use stat::{ProcessRow, process_row, process_rows, sleeps, start_time};
pub(crate) use terminal::{TerminalSize, terminal_size};
pub(crate) use unread::is_read;
pub(crate) use wait::{Dead, ExitStatus, Who, peek, reap, wait_for};
pub(crate) use write::{Sink, open_terminal_anew, write_without_waiting};

#[cfg(test)]
pub(crate) mod alone;
#[cfg(test)]
mod tests;
