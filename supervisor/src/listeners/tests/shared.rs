//! What an app does to a socket that all share, and how it is put right.

use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use nix::sys::socket::{Shutdown, shutdown};
use std::os::fd::AsRawFd;

use super::*;
use crate::listeners::socket::{IoMode, set_io_mode};

/// Another fd of the same open file description, as an app has it.
fn lent(listener: &Listener) -> std::os::fd::OwnedFd {
    listener.as_fd().try_clone_to_owned().unwrap()
}

#[test]
fn nonblocking_is_restored_to_what_the_app_had_at_readiness() {
    let listener = open_one("0");
    let app = lent(&listener);
    set_io_mode(app.as_fd(), IoMode::NonBlocking).unwrap();
    listener.restore_flags().unwrap();
    assert!(
        !is_nonblocking(&listener),
        "before readiness it is as systemd hands sockets over"
    );

    set_io_mode(app.as_fd(), IoMode::NonBlocking).unwrap();
    listener.keep_flags(listener.chosen_flags().unwrap());
    set_io_mode(app.as_fd(), IoMode::Blocking).unwrap();
    listener.restore_flags().unwrap();
    assert!(is_nonblocking(&listener));
}

#[test]
fn the_backlog_is_restored() {
    let listener = open_one("0,backlog=64");
    sock::listen(lent(&listener).as_fd(), 1).unwrap();
    assert_eq!(sock::tcp_backlog(listener.as_fd()), Some(1));
    listener.restore_flags().unwrap();
    assert_eq!(sock::tcp_backlog(listener.as_fd()), Some(64));
}

#[test]
fn a_tcp_listener_that_was_shut_down_listens_again_and_says_so() {
    let listener = open_one("web=0");
    shutdown(lent(&listener).as_raw_fd(), Shutdown::Read).unwrap();
    TcpStream::connect(address(&listener)).unwrap_err();
    let text = address(&listener);
    assert_eq!(
        line(listener.restore_flags()),
        format!("listener web ({text}): an app shut it down; it listens again")
    );
    TcpStream::connect(address(&listener)).unwrap();
    listener.restore_flags().unwrap();
}

#[test]
fn a_unix_listener_that_was_shut_down_is_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = open_one(&format!("web=unix:{}", path.display()));
    listener.restore_flags().unwrap();
    shutdown(lent(&listener).as_raw_fd(), Shutdown::Read).unwrap();
    UnixStream::connect(&path).unwrap_err();
    let alarm = line(listener.restore_flags());
    assert!(
        alarm.ends_with("an app shut it down, and clients are refused until the next reload"),
        "{alarm}"
    );
    listener.restore_flags().unwrap();
}

#[test]
fn a_path_that_an_app_removed_is_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = open_one(&format!("web=unix:{}", path.display()));
    std::fs::remove_file(&path).unwrap();
    let alarm = line(listener.restore_flags());
    assert!(
        alarm.ends_with("an app removed its path, and no client finds it until the next reload"),
        "{alarm}"
    );
    listener.restore_flags().unwrap();
}
