//! Slots that a supervisor has left, and groups that cannot be completed: clients come to the slot that is meant, whatever the kernel
//! has made of the order.

use std::net::TcpStream;
use std::os::fd::AsRawFd as _;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::*;
use crate::state::{Custody, Fds, Row, Rows};
use crate::sys::alone::alone;

/// What a supervisor writes of these listeners.
fn saved(slots: &[Rc<Listener>]) -> String {
    let mut saving = Saving::default();
    for slot in slots {
        saving.number(slot);
    }
    let mut rows = Rows::default();
    saving.save(&mut rows);
    String::from_utf8(rows.finish()).unwrap()
}

/// As if the fds of two listeners had changed places in the supervisor that wrote this.
fn with_fds_exchanged(state: &str, one: &Listener, other: &Listener) -> String {
    let fd_of = |listener: &Listener| format!(" fd={} ", listener.as_fd().as_raw_fd());
    let (one, other) = (fd_of(one), fd_of(other));
    assert!(state.contains(&one) && state.contains(&other), "{state}");
    let exchanged = state.replace(&one, " fd=? ").replace(&other, &one);
    exchanged.replace(" fd=? ", &other)
}

fn in_a_bag(slots: &[Rc<Listener>]) -> Fds {
    let mut fds = Fds::default();
    for slot in slots {
        let fd = slot.as_fd().try_clone_to_owned().unwrap();
        fds.put(slot.identity().fd_name(), fd);
    }
    fds
}

/// Clients of each slot in turn come to it.
fn assert_each_is_reached(slots: &[Rc<Listener>]) {
    let mut clients = Vec::new();
    for meant in slots {
        meant.send_clients_here().unwrap();
        clients.extend((0..5).map(|_| TcpStream::connect(address(meant)).unwrap()));
        let waiting: Vec<_> = slots.iter().map(|slot| sock::tcp_queue(slot.as_fd())).collect();
        let expected = slots.iter().position(|slot| Rc::ptr_eq(slot, meant)).unwrap();
        for (place, queue) in waiting.iter().enumerate() {
            let filled = if place <= expected { Some(5) } else { Some(0) };
            assert_eq!(*queue, filled, "clients for slot {:?}: {waiting:?}", meant.slot());
        }
    }
}

/// Four slots of which two are left, as the rows tell of them: the second was closed before the first.
fn two_of_four() -> (Vec<u8>, Fds) {
    let mut slots = open_all(&["web=127.0.0.1:0,steer"]);
    let state = with_fds_exchanged(&saved(&slots), &slots[0], &slots[1]);
    let fds = in_a_bag(&slots[2..]);
    drop(slots.remove(1));
    drop(slots.remove(0));
    (state.into_bytes(), fds)
}

#[test]
fn slots_that_were_found_stand_in_the_order_in_which_the_others_were_closed() {
    let (state, mut fds) = two_of_four();
    let rows = Row::all(&state).unwrap();
    let found = restore_found(&rows, &mut fds, &Custody::new()).unwrap();
    assert_eq!(found.len(), 2);
    assert_each_is_reached(&found);
    let spec = format!("web={},steer", address(&found[0]));
    let all = reload(&[&spec], &found).unwrap().listeners;
    assert_eq!(all.len(), 4);
    let (state, mut fds) = two_of_four();
    let rows = Row::all(&state).unwrap();
    let mut told = Vec::new();
    let absent = Absent::IsMadeAnew(&mut told);
    let all = restore(&rows, &mut fds, absent, &Custody::new()).unwrap();
    assert_eq!((all.len(), told.len()), (4, 2));
    assert_each_is_reached(&all);
}

#[test]
fn a_group_that_cannot_be_completed_is_what_it_was() {
    let name = "listeners::tests::steered::a_group_that_cannot_be_completed_is_what_it_was";
    alone(name, || {
        let (state, mut fds) = two_of_four();
        let rows = Row::all(&state).unwrap();
        let found = restore_found(&rows, &mut fds, &Custody::new()).unwrap();
        let spec = format!("web={},steer", address(&found[0]));
        // There is room for one of the two that are missing.
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let next = found[0].as_fd().try_clone_to_owned().unwrap().as_raw_fd();
        setrlimit(Resource::RLIMIT_NOFILE, u64::try_from(next + 1).unwrap(), hard).unwrap();
        let opened = reload(&[&spec], &found).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
        assert_eq!(opened.listeners.len(), 2, "{opened:?}");
        let [warning] = &opened.warnings[..] else {
            panic!("{:?}", opened.warnings)
        };
        assert!(
            warning.contains("has 2 slots, and can get no more: "),
            "{warning}"
        );
        let numbers: Vec<_> = opened.listeners.iter().map(|one| one.slot()).collect();
        assert_eq!(numbers, [Some(0), Some(1)], "each generation finds one");
        assert_each_is_reached(&opened.listeners);
    });
}
