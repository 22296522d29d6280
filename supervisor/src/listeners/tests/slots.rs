//! The slots of an address: made at once, each reached when it is meant, whatever apps do to them.

use super::*;
use crate::listeners::slots::order_after;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd as _;

fn address_of(listener: &Listener) -> SocketAddr {
    listener.address_text().replace('*', "127.0.0.1").parse().unwrap()
}

fn waiting(slots: &[Rc<Listener>]) -> Vec<u32> {
    slots
        .iter()
        .map(|slot| sock::tcp_queue(slot.as_fd()).unwrap())
        .collect()
}

#[test]
fn clients_come_to_the_first_slot_until_they_are_sent_elsewhere() {
    let slots = open_all(&["web=*:0,steer,slots=3"]);
    assert_eq!(
        slots.iter().map(|slot| slot.slot()).collect::<Vec<_>>(),
        [Some(0), Some(1), Some(2)]
    );
    let address = address_of(&slots[0]);
    let mut clients: Vec<TcpStream> = Vec::new();
    for (pointed, expected) in [(None, [5, 0, 0]), (Some(2), [5, 0, 5]), (Some(1), [5, 5, 5])] {
        if let Some(pointed) = pointed {
            slots[pointed].send_clients_here().unwrap();
        }
        clients.extend((0..5).map(|_| TcpStream::connect(address).unwrap()));
        assert_eq!(waiting(&slots), expected);
    }
}

#[test]
fn a_slot_that_was_shut_down_has_another_index_and_clients_go_where_they_went() {
    use nix::sys::socket::{Shutdown, shutdown};
    use std::os::fd::AsRawFd as _;
    let slots = open_all(&["web=127.0.0.1:0,steer"]);
    let address = address_of(&slots[0]);
    slots[3].send_clients_here().unwrap();
    shutdown(slots[0].as_fd().as_raw_fd(), Shutdown::Both).unwrap();
    assert!(slots[0].restore_flags().is_err(), "an app shut it down");
    let _clients: Vec<TcpStream> = (0..5).map(|_| TcpStream::connect(address).unwrap()).collect();
    assert_eq!(waiting(&slots), [0, 0, 0, 5]);
    slots[0].send_clients_here().unwrap();
    let _more: Vec<TcpStream> = (0..5).map(|_| TcpStream::connect(address).unwrap()).collect();
    assert_eq!(waiting(&slots), [5, 0, 0, 5]);
}

#[test]
fn what_a_killed_supervisor_leaves_stands_as_the_kernel_has_it() {
    let order = |closed: &[u8], anew: &[u8]| -> Vec<u8> {
        let after = order_after((0..4).map(Some).collect(), closed, anew);
        after.into_iter().map(|place| place.unwrap()).collect()
    };
    assert_eq!(order(&[], &[]), [0, 1, 2, 3]);
    assert_eq!(order(&[1, 3], &[1, 3]), [0, 2, 1, 3]);
    assert_eq!(order(&[0, 2], &[0, 2]), [3, 1, 0, 2]);
    assert_eq!(order(&[1, 0], &[0]), [2, 3, 0]);
    let with_a_stranger = vec![None, Some(1), Some(2)];
    assert_eq!(order_after(with_a_stranger, &[1], &[1]), [None, Some(2), Some(1)]);
}

/// In any order of shutting down and of looking: clients of each slot come to it.
#[test]
fn several_slots_that_were_shut_down_before_anybody_looked_are_found_again() {
    use nix::sys::socket::{Shutdown, shutdown};
    use std::os::fd::AsRawFd as _;
    for (down, looked_at) in [
        ([0, 1], 0),
        ([1, 0], 0),
        ([1, 3], 1),
        ([3, 1], 1),
        ([2, 0], 2),
        ([0, 2], 2),
    ] {
        let slots = open_all(&["web=127.0.0.1:0,steer"]);
        slots[3].send_clients_here().unwrap();
        for place in down {
            shutdown(slots[place].as_fd().as_raw_fd(), Shutdown::Both).unwrap();
        }
        let told = line(slots[looked_at].restore_flags());
        let other: usize = down.iter().sum::<usize>() - looked_at;
        assert!(told.contains(&format!("and so does slot {other}")), "{told}");
        slots.iter().for_each(|one| one.restore_flags().unwrap());
        let address = address_of(&slots[0]);
        let before = waiting(&slots);
        let _clients: Vec<TcpStream> = (0..5).map(|_| TcpStream::connect(address).unwrap()).collect();
        let after = waiting(&slots);
        assert_eq!(after[3], before[3] + 5, "{down:?}: {before:?}, {after:?}");
        super::steered::assert_each_is_reached(&slots);
    }
}
