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
fn nonblocking_that_an_app_has_set_is_restored_and_never_cleared() {
    let listener = open_one("0");
    let app = lent(&listener);
    assert!(!is_nonblocking(&listener), "as systemd hands sockets over");
    assert_eq!(
        listener.chosen_flags().unwrap(),
        None,
        "an event loop may set it later"
    );
    set_io_mode(app.as_fd(), IoMode::NonBlocking).unwrap();
    listener.restore_flags().unwrap();
    assert!(is_nonblocking(&listener) && listener.is_raised_by_an_app());

    listener.keep_flags(IoMode::NonBlocking).unwrap();
    assert!(!listener.is_raised_by_an_app());
    set_io_mode(app.as_fd(), IoMode::Blocking).unwrap();
    assert_eq!(listener.chosen_flags().unwrap(), Some(IoMode::Blocking));
    listener.restore_flags().unwrap();
    assert!(is_nonblocking(&listener));
}

#[test]
fn an_option_that_is_no_longer_given_clears_nothing_that_an_app_relies_on() {
    let before = open_all(&["0,non-blocking"]);
    let after = super::reload(&["0"], &before).unwrap().listeners;
    assert!(is_nonblocking(&after[0]), "it is opened with the option");
    let listener = open_all(&["0"]);
    set_io_mode(lent(&listener[0]).as_fd(), IoMode::NonBlocking).unwrap();
    listener[0].keep_flags(IoMode::NonBlocking).unwrap();
    let with = super::reload(&["0,non-blocking"], &listener).unwrap().listeners;
    with[0].keep_flags(IoMode::NonBlocking).unwrap();
    let without = super::reload(&["0"], &with).unwrap().listeners;
    assert!(is_nonblocking(&without[0]));
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
