//! A reload: what is asked for again is kept, what is new is bound, and a refusal changes nothing.

use std::net::TcpStream;
use std::os::fd::AsRawFd;

use nix::sys::socket::{Shutdown, shutdown};

use super::*;

#[test]
fn the_same_words_keep_the_same_listener() {
    let before = open_all(&["web=0", "0"]);
    let after = reload(&["web=0", "0"], &before).unwrap();
    assert!(after.warnings.is_empty());
    for (old, new) in before.iter().zip(&after.listeners) {
        assert!(Rc::ptr_eq(old, new));
    }
}

#[test]
fn ports_picked_for_0_stay_with_their_names_in_any_order() {
    let before = open_all(&["a=0", "b=0"]);
    let after = reload(&["b=0", "a=0", "c=0"], &before).unwrap().listeners;
    assert!(Rc::ptr_eq(&after[0], &before[1]));
    assert!(Rc::ptr_eq(&after[1], &before[0]));
    assert!(!before.iter().any(|old| old.shares_socket(&after[2])));
}

#[test]
fn the_port_that_was_picked_may_be_spelled_out() {
    let before = open_all(&["0"]);
    let after = reload(&[&format!("web={}", address(&before[0]))], &before)
        .unwrap()
        .listeners;
    assert!(after[0].shares_socket(&before[0]));
    assert_eq!(after[0].name(), "web");
}

#[test]
fn a_new_name_shares_the_socket() {
    let before = open_all(&["web=0"]);
    let after = reload(&["api=0"], &before).unwrap().listeners;
    assert_eq!((before[0].name(), after[0].name()), ("web", "api"));
    assert!(after[0].shares_socket(&before[0]));
    let text = address(&after[0]);
    drop(before);
    TcpStream::connect(&text).unwrap();
    drop(after);
    TcpStream::connect(&text).unwrap_err();
}

#[test]
fn a_unix_listener_of_any_kind_that_was_shut_down_is_bound_afresh_under_the_same_lock() {
    for kind in ["unix", "unix-dgram", "unix-seqpacket"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let spec = format!("web={kind}:{}", path.display());
        let before = open_all(&[&spec]);
        assert_eq!(before[0].trouble(), None, "{kind}");
        shutdown(before[0].as_fd().as_raw_fd(), Shutdown::Both).unwrap();
        assert!(before[0].trouble().is_some(), "{kind}");
        let after = reload(&[&spec], &before).unwrap();
        assert!(after.warnings.is_empty(), "{kind}: {:?}", after.warnings);
        let fresh = &after.listeners[0];
        assert!(!fresh.shares_socket(&before[0]), "{kind}");
        let mended = before[0].mended_by(fresh).unwrap();
        assert!(mended.shares_socket(fresh), "{kind}");
        assert!(fresh.mended_by(&mended).is_none(), "{kind}");
        drop(before);
        assert_eq!(fresh.trouble(), None, "{kind}");
        let files = std::fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(files, 3, "{kind}: the path, its second link and its lock");
        drop((mended, after));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "{kind}");
    }
}

#[test]
fn a_removed_listener_is_closed_with_its_last_generation() {
    let before = open_all(&["a=0", "b=0"]);
    let text = address(&before[1]);
    let after = reload(&["a=0"], &before).unwrap().listeners;
    assert_eq!(after.len(), 1);
    TcpStream::connect(&text).unwrap();
    drop(before);
    TcpStream::connect(&text).unwrap_err();
}

#[test]
fn an_option_changes_and_changes_back_when_the_reload_fails() {
    let before = open_all(&["0,backlog=64,keep-alive-time=50"]);
    let kernels_own = number(&open_one("0"), libc::IPPROTO_TCP, libc::TCP_KEEPIDLE);
    let idle = || number(&before[0], libc::IPPROTO_TCP, libc::TCP_KEEPIDLE);
    let after = reload(&["0,backlog=32,no-delay,non-blocking"], &before)
        .unwrap()
        .listeners;
    assert_eq!(after[0].backlog(), Some(32));
    assert_eq!(number(&after[0], libc::IPPROTO_TCP, libc::TCP_NODELAY), 1);
    assert_eq!(
        idle(),
        kernels_own,
        "an option that is not said any more has the kernel's value again"
    );
    assert!(after[0].asks_for_non_blocking());
    assert!(!is_nonblocking(&after[0]), "the incumbent may wait in accept");

    before[0].restore_flags().unwrap();
    assert_eq!(before[0].backlog(), Some(64));
    assert_eq!(number(&before[0], libc::IPPROTO_TCP, libc::TCP_NODELAY), 0);
    assert_eq!(idle(), 50);
    assert!(!is_nonblocking(&before[0]));
}

#[test]
fn a_priority_survives_another_ip_tos() {
    let before = open_all(&["0,priority=3"]);
    let after = reload(&["0,priority=3,ip-tos=low-delay"], &before)
        .unwrap()
        .listeners;
    assert_eq!(number(&after[0], libc::SOL_SOCKET, libc::SO_PRIORITY), 3);
}

#[test]
fn buffers_go_back_to_their_size() {
    let before = open_all(&["0"]);
    let size = || number(&before[0], libc::SOL_SOCKET, libc::SO_RCVBUF);
    let at_first = size();
    reload(&["0,receive-buffer=8K"], &before).unwrap();
    assert_eq!(size(), 16384);
    before[0].restore_flags().unwrap();
    assert_eq!(size(), at_first);
}

#[test]
fn the_mode_of_a_path_changes_at_a_reload() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let text = format!("unix:{}", path.display());
    let mode = || std::fs::metadata(&path).unwrap().mode() & 0o777;
    let before = open_all(&[&format!("{text},mode=0600")]);
    let after = reload(&[&format!("{text},mode=0660")], &before)
        .unwrap()
        .listeners;
    assert_eq!(mode(), 0o660);
    let last = reload(&[&text], &after).unwrap().listeners;
    assert_eq!(mode(), 0o666);
    before[0].restore_flags().unwrap();
    assert_eq!(mode(), 0o600);
    drop((before, after));
    assert!(path.exists());
    drop(last);
    assert!(!path.exists());
}

#[test]
fn what_only_a_new_socket_can_have_is_refused_and_nothing_changes() {
    let before = open_all(&["a=0,backlog=64", "b=0"]);
    let error = line(reload(&["a=0,backlog=32", "b=0,reuse-port"], &before));
    assert_eq!(
        error,
        format!(
            "listen {}: reuse-port cannot change while the socket is open",
            address(&before[1])
        )
    );
    assert_eq!(sock::tcp_backlog(before[0].as_fd()), Some(64));
}

#[test]
fn a_port_that_cannot_be_bound_leaves_the_options_alone() {
    let before = open_all(&["0,backlog=64"]);
    let port = address(&before[0]).rsplit_once(':').unwrap().1.to_owned();
    let error = line(reload(&["0,backlog=32", &format!("*:{port}")], &before));
    assert_eq!(
        error,
        format!(
            "listen *:{port}: address already in use (by segue's own listener listen1, {}; the new one would take \
             IPv4 clients, too, unless it has bind-ipv6-only=ipv6-only)",
            address(&before[0])
        )
    );
    assert_eq!(sock::tcp_backlog(before[0].as_fd()), Some(64));
}

#[test]
fn users_are_looked_up_at_the_start_alone() {
    let dir = tempfile::tempdir().unwrap();
    let text = format!("unix:{}", dir.path().join("s").display());
    let before = open_all(&[&text]);
    assert_eq!(
        line(reload(&[&format!("{text},user=root")], &before)),
        format!("listen {text}: user \"root\" is looked up at start only, a reload needs its number")
    );
    let own = format!("{text},group={}", nix::unistd::getegid());
    reload(&[&own], &before).unwrap();
}
