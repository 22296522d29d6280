//! A socket that Segue was given once becomes a slot, and others are bound beside it.

use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use super::steered::saved;
use super::*;
use crate::listeners::settings::Originals;
use crate::listeners::socket::{Birth, Source};
use crate::state::{Custody, Fds, Row};
use crate::sys::alone::alone;
use crate::sys::steering::shares_address;

/// As systemd gives it, with this name.
fn given(listener: TcpListener) -> Inherited {
    given_as("web", Source::Inherited { named: true }, listener)
}

fn given_as(name: &str, source: Source, listener: TcpListener) -> Inherited {
    let socket = Socket::new(Birth {
        file: None,
        fd: OwnedFd::from(listener),
        source,
        options: SocketOptions::default(),
        owner: Owner::default(),
        originals: Originals::new(),
        backlog: None,
    });
    Inherited {
        listeners: vec![Rc::new(Listener {
            name: name.to_owned(),
            options: SocketOptions::default(),
            owner: Owner::default(),
            socket: Rc::new(socket.unwrap()),
            slot: None,
        })],
    }
}

fn start(listener: TcpListener, texts: &[&str]) -> Opened {
    let (specs, mut inherited) = (specs(texts), given(listener));
    open(&specs, &[], &mut inherited, Lookup::AtStart, IN_THE_FIRST).unwrap()
}

fn reload_in(slot: u8, texts: &[&str], current: &[Rc<Listener>]) -> Opened {
    let taken = Taken {
        shared: SharedSlot::Is(slot),
        pointed: slot,
    };
    open(
        &specs(texts),
        current,
        &mut Inherited::none(),
        Lookup::Refused,
        taken,
    )
    .unwrap()
}

fn queues(listeners: &[Rc<Listener>]) -> Vec<u32> {
    let queues = listeners.iter().map(|one| sock::tcp_queue(one.as_fd()));
    queues.map(Option::unwrap).collect()
}

fn assert_each_is_reached(slots: &[Rc<Listener>]) {
    let numbers: Vec<_> = slots.iter().map(|one| one.slot()).collect();
    let count = u8::try_from(slots.len()).unwrap();
    assert_eq!(numbers, (0..count).map(Some).collect::<Vec<_>>());
    let target = address(&slots[0]).replace('*', "127.0.0.1");
    let mut clients = Vec::new();
    for (place, meant) in slots.iter().enumerate() {
        meant.send_clients_here().unwrap();
        let mut expected = queues(slots);
        expected[place] += 5;
        clients.extend((0..5).map(|_| TcpStream::connect(&target).unwrap()));
        assert_eq!(queues(slots), expected, "clients for slot {place}");
    }
}

#[test]
fn what_was_given_once_is_the_first_of_several_slots() {
    for address in ["127.0.0.1:0", "0.0.0.0:0", "[::]:0"] {
        let Ok(listener) = TcpListener::bind(address) else {
            println!("skipped: no {address} here");
            continue;
        };
        let inode = nix::sys::stat::fstat(&listener).unwrap().st_ino;
        let opened = start(listener, &["web=0,steer"]);
        assert!(opened.warnings.is_empty(), "{:?}", opened.warnings);
        assert_eq!(opened.listeners.len(), 4);
        assert_eq!(opened.listeners[0].inode(), inode);
        assert!(
            opened
                .listeners
                .iter()
                .all(|one| one.name() == "web" && one.is_steered())
        );
        assert_each_is_reached(&opened.listeners);
    }
}

/// Each generation gets a socket that is like the one that was given.
#[test]
fn the_slots_beside_it_are_like_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let options = [
        (libc::IPPROTO_TCP, libc::TCP_NODELAY, 1),
        (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, 77),
        (libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1),
        (libc::IPPROTO_IP, libc::IP_TOS, 16),
    ];
    for (level, name, value) in options {
        sock::set_option_int(listener.as_fd(), sock::SocketOption { level, name }, value).unwrap();
    }
    listener.set_nonblocking(true).unwrap();
    let slots = start(listener, &["web=0,steer"]).listeners;
    for one in &slots {
        for (level, name, value) in options {
            assert_eq!(
                number(one, level, name),
                value,
                "slot {:?}, option {name}",
                one.slot()
            );
        }
        one.lend_anew().unwrap();
        assert!(is_nonblocking(one), "slot {:?}", one.slot());
    }
    let plain = |one: &Listener| number(one, libc::SOL_SOCKET, libc::SO_RCVBUF);
    assert!(slots.iter().all(|one| plain(one) == plain(&slots[0])));
}

#[test]
fn a_reload_switches_it_on_and_off_and_makes_more() {
    for slot in [0, 2] {
        let shared = start(TcpListener::bind("127.0.0.1:0").unwrap(), &["web=0"]).listeners;
        assert_eq!((shared.len(), shared[0].slot()), (1, None));
        let on = reload_in(slot, &["web=0,steer"], &shared);
        assert!(on.warnings.is_empty(), "{:?}", on.warnings);
        assert!(on.listeners[usize::from(slot)].shares_socket(&shared[0]));
        assert_each_is_reached(&on.listeners);
        assert_eq!(shared[0].over_slots(&on.listeners).unwrap().len(), 4);
        let more = reload(&["web=0,steer,slots=6"], &on.listeners).unwrap();
        assert!(more.warnings.is_empty(), "{:?}", more.warnings);
        assert_each_is_reached(&more.listeners);
        let off = reload(&["web=0"], &more.listeners).unwrap().listeners;
        assert_eq!(off.len(), 6, "clients may wait in each");
        assert!(off.iter().all(|one| !one.is_steered()));
        let unasked = reload(&[], &more.listeners).unwrap().listeners;
        assert_eq!(unasked.len(), 6);
        // Another name for its address changes nothing about it.
        let renamed = format!("other={},steer", address(&shared[0]));
        assert_eq!(reload(&[&renamed], &more.listeners).unwrap().listeners.len(), 6);
        assert_each_is_reached(&reload(&["web=0,steer"], &off).unwrap().listeners);
    }
}

#[test]
fn the_socket_of_another_user_stays_shared_and_is_not_touched() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // Whose it is decides who may join it (sockfs_setattr of the kernel).
    if std::os::unix::fs::fchown(&listener, Some(1), None).is_err() {
        return println!("skipped: only root gives sockets away");
    }
    let opened = start(listener, &["web=0,steer"]);
    assert_eq!((opened.listeners.len(), opened.listeners[0].slot()), (1, None));
    let text = opened.warnings.concat();
    let who = format!(
        "user 1 has bound it and segue runs as user {}",
        nix::unistd::geteuid()
    );
    assert!(text.contains(&who) && text.contains("ReusePort=yes"), "{text}");
    assert!(!shares_address(opened.listeners[0].as_fd()));
    // It was asked for and could not be had.
    let again = reload(&["web=0,steer"], &opened.listeners).unwrap();
    assert!(again.warnings.is_empty(), "{:?}", again.warnings);
}

#[test]
fn an_address_that_others_share_already_stays_shared() {
    let first = TcpListener::bind("127.0.0.1:0").unwrap();
    crate::sys::steering::share_address(first.as_fd()).unwrap();
    let port = first.local_addr().unwrap().port();
    let spec = format!("other=127.0.0.1:{port},reuse-port");
    let other = open_one(&spec);
    let opened = start(first, &["web=0,steer"]);
    assert_eq!(opened.listeners[0].slot(), None);
    let text = opened.warnings.concat();
    assert!(text.contains("others share its address already"), "{text}");
    drop(other);
}

/// What a successor has of these, if nobody else has more than the slots 1 and 2: the others are made anew.
fn with_the_others_made_anew(slots: Vec<Rc<Listener>>) -> Vec<Rc<Listener>> {
    let state = saved(&slots);
    let mut fds = Fds::default();
    let (kept, lost): (Vec<_>, Vec<_>) = slots
        .into_iter()
        .partition(|one| [Some(1), Some(2)].contains(&one.slot()));
    for slot in &kept {
        fds.put(
            slot.identity().fd_name(),
            slot.as_fd().try_clone_to_owned().unwrap(),
        );
    }
    let rows = Row::all(state.as_bytes()).unwrap();
    assert!(lost.iter().all(|one| can_be_made_anew(&rows, one.identity())));
    let count = lost.len();
    drop((kept, lost));
    let mut told = Vec::new();
    let all = restore(&rows, &mut fds, Absent::IsMadeAnew(&mut told), &Custody::new()).unwrap();
    assert_eq!(told.len(), count);
    all
}

fn all_but_two_are_made_anew(slots: Vec<Rc<Listener>>) -> Vec<Rc<Listener>> {
    let all = with_the_others_made_anew(slots);
    assert_eq!(all.len(), 4);
    all.iter().for_each(|one| one.take_clients().unwrap());
    assert_each_is_reached(&all);
    all
}

/// The supervisor is killed, and nobody has the socket that it was given: it is bound anew beside those that an app has.
#[test]
fn what_was_given_is_made_anew_if_nobody_has_it_any_more() {
    let name = "listeners::tests::late::what_was_given_is_made_anew_if_nobody_has_it_any_more";
    alone(name, || {
        let slots = start(TcpListener::bind("127.0.0.1:0").unwrap(), &["web=0,steer"]).listeners;
        let all = all_but_two_are_made_anew(slots);
        let spec = format!("web={},steer", address(&all[0]));
        assert_eq!(reload(&[&spec], &all).unwrap().listeners.len(), 4);
    });
}

/// Some kernels let nobody but CAP_NET_ADMIN drop what arrives for a TCP socket.
#[test]
fn an_ordinary_user_has_slots_beside_it_and_made_anew() {
    let name = "listeners::tests::late::an_ordinary_user_has_slots_beside_it_and_made_anew";
    alone(name, || {
        let nobody = nix::unistd::Uid::from_raw(65534);
        if nix::unistd::geteuid().is_root() {
            nix::unistd::setresuid(nobody, nobody, nobody).unwrap();
        }
        let slots = start(TcpListener::bind("127.0.0.1:0").unwrap(), &["web=0,steer"]).listeners;
        assert_each_is_reached(&slots);
        all_but_two_are_made_anew(slots);
    });
}

/// Several listeners may have one name, which systemfd's have from their specs, or ask for port 0: each is made anew where it was.
#[test]
fn slots_of_two_listeners_are_made_anew_each_at_its_own_address() {
    let name = "listeners::tests::late::slots_of_two_listeners_are_made_anew_each_at_its_own_address";
    alone(name, || {
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let texts = listeners
            .each_ref()
            .map(|one| format!("web={},steer", one.local_addr().unwrap()));
        let mut inherited = Inherited::none();
        inherited.listeners = listeners
            .into_iter()
            .flat_map(|one| given_as("unknown", Source::Inherited { named: false }, one).listeners)
            .collect();
        let specs = specs(&texts.each_ref().map(String::as_str));
        let given = open(&specs, &[], &mut inherited, Lookup::AtStart, IN_THE_FIRST).unwrap();
        let chosen = open_all(&["web=127.0.0.1:0,steer", "web=127.0.0.1:0,steer"]);
        for slots in [given.listeners, chosen] {
            let before: Vec<_> = slots.iter().map(|one| (address(one), one.slot())).collect();
            assert_eq!(before.len(), 8);
            let after = with_the_others_made_anew(slots);
            let after: Vec<_> = after.iter().map(|one| (address(one), one.slot())).collect();
            assert_eq!(after, before);
        }
    });
}

/// The supervisor is killed while it stops, and its app is not adopted; an orphan drains in this slot, and systemd gives the socket again.
#[test]
fn a_slot_that_an_orphan_has_is_one_beside_the_socket_that_is_given_again() {
    let name =
        "listeners::tests::late::a_slot_that_an_orphan_has_is_one_beside_the_socket_that_is_given_again";
    alone(name, || (1..4).for_each(is_one_beside));
}

fn is_one_beside(place: usize) {
    let systemds = TcpListener::bind("127.0.0.1:0").unwrap();
    let slots = start(systemds.try_clone().unwrap(), &["web=0,steer"]).listeners;
    slots[place].send_clients_here().unwrap();
    let state = saved(&slots);
    let rows = Row::all(state.as_bytes()).unwrap();
    let mut fds = Fds::default();
    let orphans = slots[place].as_fd().try_clone_to_owned().unwrap();
    fds.put(slots[place].identity().fd_name(), orphans);
    drop(slots);
    // It waits for a relief worker.
    let _client = TcpStream::connect(systemds.local_addr().unwrap()).unwrap();
    let left = restore_found(&rows, &mut fds, &Custody::new()).unwrap();
    assert_eq!(left.len(), 1);
    let mut inherited = given(systemds);
    let specs = specs(&["web=0,steer"]);
    let opened = open(&specs, &left, &mut inherited, Lookup::AtStart, IN_THE_FIRST).unwrap();
    assert_eq!(opened.warnings, [""; 0]);
    let all = opened.listeners;
    assert_eq!(all.len(), 4);
    assert!(all.iter().any(|one| one.shares_socket(&left[0])));
    drop(left);
    assert_each_is_reached(&all);
    assert_eq!(all[0].take_doubt(), None);
}
