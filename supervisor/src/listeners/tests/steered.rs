//! Slots that a supervisor has left, and groups that cannot be completed: clients come to the slot that is meant, whatever the kernel
//! has made of the order.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::*;
use crate::clock;
use crate::state::{Custody, Fds, Row, Rows};
use crate::sys::alone::alone;
use crate::sys::steering::{self, Arrivals};

/// What a supervisor writes of these listeners.
pub(super) fn saved(slots: &[Rc<Listener>]) -> String {
    let mut saving = Saving::default();
    for slot in slots {
        saving.number(slot);
    }
    let mut rows = Rows::default();
    saving.save(&mut rows);
    String::from_utf8(rows.finish()).unwrap()
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
pub(super) fn assert_each_is_reached(slots: &[Rc<Listener>]) {
    let queues = || -> Vec<u32> {
        let queues = slots.iter().map(|slot| sock::tcp_queue(slot.as_fd()));
        queues.map(Option::unwrap).collect()
    };
    let mut clients = Vec::new();
    for (place, meant) in slots.iter().enumerate() {
        meant.send_clients_here().unwrap();
        let mut expected = queues();
        expected[place] += 5;
        clients.extend((0..5).map(|_| TcpStream::connect(address(meant)).unwrap()));
        assert_eq!(queues(), expected, "clients for slot {:?}", meant.slot());
    }
}

/// Four slots of which two are left, as the rows tell of them; the others were closed in this order.
fn two_of_four(closed: [usize; 2]) -> (Vec<u8>, Fds) {
    let slots = open_all(&["web=127.0.0.1:0,steer"]);
    let state = saved(&slots);
    let fds = in_a_bag(&slots[2..]);
    let mut slots: Vec<_> = slots.into_iter().map(Some).collect();
    closed.into_iter().for_each(|place| slots[place] = None);
    (state.into_bytes(), fds)
}

#[test]
fn slots_that_were_found_stand_where_connections_of_our_own_find_them() {
    // What another test forks has our sockets until it executes, and so they are closed later than it seems.
    let name =
        "listeners::tests::steered::slots_that_were_found_stand_where_connections_of_our_own_find_them";
    alone(name, || {
        [[0, 1], [1, 0]].into_iter().for_each(are_found_where_they_stand)
    });
}

fn are_found_where_they_stand(closed: [usize; 2]) {
    let (state, mut fds) = two_of_four(closed);
    let rows = Row::all(&state).unwrap();
    let found = restore_found(&rows, &mut fds, &Custody::new()).unwrap();
    assert_eq!(found.len(), 2);
    assert_each_is_reached(&found);
    let spec = format!("web={},steer", address(&found[0]));
    let all = reload(&[&spec], &found).unwrap().listeners;
    assert_eq!(all.len(), 4);
    let (state, mut fds) = two_of_four(closed);
    let rows = Row::all(&state).unwrap();
    let mut told = Vec::new();
    let absent = Absent::IsMadeAnew(&mut told);
    let all = restore(&rows, &mut fds, absent, &Custody::new()).unwrap();
    assert_eq!((all.len(), told.len()), (4, 2));
    all.iter().for_each(|one| one.take_clients().unwrap());
    assert_each_is_reached(&all);
    assert_eq!(all[0].take_doubt(), None);
}

/// An app that accepts whatever comes, at once, in all the slots that are left.
#[test]
fn an_app_that_accepts_does_not_hide_where_its_slot_stands() {
    let name = "listeners::tests::steered::an_app_that_accepts_does_not_hide_where_its_slot_stands";
    alone(name, || {
        [[0, 1], [1, 0]].into_iter().for_each(is_found_though_it_accepts)
    });
}

fn is_found_though_it_accepts(closed: [usize; 2]) {
    let (state, mut fds) = two_of_four(closed);
    let rows = Row::all(&state).unwrap();
    let mut told = Vec::new();
    let absent = Absent::IsMadeAnew(&mut told);
    let copies: Vec<TcpListener> = [2, 3]
        .iter()
        .map(|slot| {
            let listener = rows
                .iter()
                .find(|row| row.number_if_any("slot") == Ok(Some(*slot)));
            let inode = listener.unwrap().number("socket").unwrap();
            let name = format!("listener-{inode}");
            let fd = fds.take(&name).unwrap();
            let copy = fd.try_clone().unwrap();
            fds.put(name, fd);
            copy.into()
        })
        .collect();
    let all = restore(&rows, &mut fds, absent, &Custody::new()).unwrap();
    let answers: Vec<_> = (2u8..)
        .zip(copies)
        .map(|(slot, copy)| {
            std::thread::spawn(move || {
                // Until a client says that it is over.
                for client in copy.incoming() {
                    let mut word = [0];
                    let mut client = client.unwrap();
                    if client.read(&mut word).unwrap() == 1 && word == [b'?'] {
                        client.write_all(&[slot]).unwrap();
                    } else if word == [b'!'] {
                        return;
                    }
                }
            })
        })
        .collect();
    for slot in [3u8, 2, 3] {
        all[usize::from(slot)].send_clients_here().unwrap();
        let mut client = TcpStream::connect(address(&all[0])).unwrap();
        client.write_all(b"?").unwrap();
        let mut answer = [0];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(answer, [slot], "closed: {closed:?}");
    }
    for slot in [2, 3] {
        all[slot].send_clients_here().unwrap();
        TcpStream::connect(address(&all[0]))
            .unwrap()
            .write_all(b"!")
            .unwrap();
    }
    for answer in answers {
        answer.join().unwrap();
    }
}

/// One slot is left, or two; somebody has copies of others and cannot be asked: no client is sent there, also once they are closed.
#[test]
fn slots_that_somebody_unknown_has_are_passed_over() {
    let name = "listeners::tests::steered::slots_that_somebody_unknown_has_are_passed_over";
    alone(name, || {
        for (unknown, kept) in [
            (&[0][..], &[3][..]),
            (&[2], &[0]),
            (&[0, 1], &[3]),
            (&[1, 3], &[0, 2]),
        ] {
            are_passed_over(unknown, kept);
        }
    });
}

fn are_passed_over(unknown: &[usize], kept: &[usize]) {
    let mut slots = open_all(&["web=127.0.0.1:0,steer"]);
    let state = saved(&slots);
    let kept_slots: Vec<_> = kept.iter().map(|place| Rc::clone(&slots[*place])).collect();
    let mut fds = in_a_bag(&kept_slots);
    drop(kept_slots);
    let mut strangers: Vec<_> = unknown
        .iter()
        .map(|place| slots[*place].as_fd().try_clone_to_owned().unwrap())
        .collect();
    while slots.pop().is_some() {}
    let rows = Row::all(state.as_bytes()).unwrap();
    let mut told = Vec::new();
    let absent = Absent::IsMadeAnew(&mut told);
    let all = restore(&rows, &mut fds, absent, &Custody::new()).unwrap();
    let stranger = || all[0].stranger_beside().unwrap();
    let who = format!("pid {} listens at its address", std::process::id());
    assert!(stranger().contains(&who), "{}", stranger());
    assert!(stranger().contains("clients may come there"), "{}", stranger());
    let pointed = &all[kept[0]];
    pointed.note_clients_come_here();
    pointed.send_clients_here().unwrap();
    assert_eq!(pointed.take_doubt(), None, "{unknown:?} {kept:?}");
    assert!(stranger().contains("no client is sent there"), "{}", stranger());
    all.iter().for_each(|one| one.take_clients().unwrap());
    let nobody_came = |strangers: &[std::os::fd::OwnedFd]| {
        let waiting = strangers.iter().map(|one| sock::tcp_queue(one.as_fd()).unwrap());
        waiting.collect::<Vec<u32>>()
    };
    let before = nobody_came(&strangers);
    assert_each_is_reached(&all);
    assert!(all[0].is_beside_strangers());
    assert_eq!(nobody_came(&strangers), before, "{unknown:?} {kept:?}");
    // What an upgrade in place goes on with.
    let state = saved(&all);
    let rows = Row::all(state.as_bytes()).unwrap();
    let successor = restore(&rows, &mut in_a_bag(&all), Absent::IsAFlaw, &Custody::new()).unwrap();
    assert_each_is_reached(&successor);
    drop(successor);
    while strangers.pop().is_some() {
        assert_each_is_reached(&all);
        assert_eq!(all[0].is_beside_strangers(), !strangers.is_empty());
    }
}

#[test]
fn nobody_is_beside_slots_that_are_all_ours() {
    let mut slots = open_all(&["web=127.0.0.1:0,steer"]);
    assert_eq!(slots[0].stranger_beside(), None);
    let last = slots.pop().unwrap();
    let _somebody_has_it = last.as_fd().try_clone_to_owned().unwrap();
    drop(last);
    assert!(slots[0].stranger_beside().is_some());
}

/// If the adoption fails, they are closed again: nobody may wait in them, where the kernel lets us have it so.
#[test]
fn slots_that_are_made_anew_take_nobody_until_they_are_told_to() {
    let name = "listeners::tests::steered::slots_that_are_made_anew_take_nobody_until_they_are_told_to";
    alone(name, || {
        let (state, mut fds) = two_of_four([1, 0]);
        let rows = Row::all(&state).unwrap();
        let mut told = Vec::new();
        let absent = Absent::IsMadeAnew(&mut told);
        let all = restore(&rows, &mut fds, absent, &Custody::new()).unwrap();
        all[0].send_clients_here().unwrap();
        let wait = std::time::Duration::from_millis(100);
        let came = TcpStream::connect_timeout(&address(&all[0]).parse().unwrap(), wait);
        match what_a_silent_socket_does() {
            Arrivals::Dropped => assert_eq!(came.unwrap_err().kind(), std::io::ErrorKind::TimedOut),
            // A client of an ordinary user's listener waits in it.
            Arrivals::Taken => drop(came.unwrap()),
        }
        all.iter().for_each(|one| one.take_clients().unwrap());
        TcpStream::connect(address(&all[0])).unwrap();
    });
}

/// Some kernels let nobody but CAP_NET_ADMIN have arrivals dropped.
fn what_a_silent_socket_does() -> Arrivals {
    let probed = TcpListener::bind("127.0.0.1:0").unwrap();
    steering::set_arrivals(probed.as_fd(), Arrivals::Dropped).unwrap()
}

#[test]
fn a_group_that_cannot_be_completed_is_what_it_was() {
    let name = "listeners::tests::steered::a_group_that_cannot_be_completed_is_what_it_was";
    alone(name, || {
        let (state, mut fds) = two_of_four([1, 0]);
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

/// No connection of our own can tell where slots stand that wait for data. One is kept, and somebody unknown has another: that is said, and
/// tried again a few times.
#[test]
fn what_cannot_be_found_out_stays_a_guess_and_is_told_once() {
    let name = "listeners::tests::steered::what_cannot_be_found_out_stays_a_guess_and_is_told_once";
    alone(name, || {
        let mut slots = open_all(&["web=127.0.0.1:0,steer,defer-accept=5s"]);
        let state = saved(&slots);
        let mut fds = in_a_bag(&slots[3..]);
        let stranger = slots[0].as_fd().try_clone_to_owned().unwrap();
        while slots.pop().is_some() {}
        let rows = Row::all(state.as_bytes()).unwrap();
        let mut told = Vec::new();
        let absent = Absent::IsMadeAnew(&mut told);
        let all = restore(&rows, &mut fds, absent, &Custody::new()).unwrap();
        all[3].send_clients_here().unwrap();
        let doubt = all[3].take_doubt().unwrap();
        assert!(
            doubt.contains("is a guess") && doubt.contains("defer-accept"),
            "{doubt}"
        );
        let beside = all[3].stranger_beside().unwrap();
        assert!(beside.contains("clients may come there"), "{beside}");
        assert!(all[3].is_beside_strangers());
        let now = clock::now();
        assert!(all[3].next_look_at_order(now).is_some_and(|at| at > now));
        all[3].send_clients_here_still().unwrap();
        assert_eq!(all[3].take_doubt(), None, "told once");
        // Where slots that were made anew stand is no question.
        let group = &all[3].slot.as_ref().unwrap().group;
        assert_eq!(group.order(), [Some(3), None, Some(0), Some(1), Some(2)]);
        // It leaves: whether the guess was right nobody knows.
        drop(stranger);
        all[3].send_clients_here_still().unwrap();
        assert!(!all[3].is_beside_strangers());
        assert!(!group.certainty.guessed.borrow().is_empty());
    });
}

/// Connections of our own come by the same door as tokens, which ask for the order first.
#[test]
fn the_order_is_not_looked_for_while_it_is_looked_for() {
    let slots = open_all(&["web=127.0.0.1:0,steer"]);
    let group = &slots[0].slot.as_ref().unwrap().group;
    group.certainty.guess(group.members());
    group.doors.visited.set(Some(2));
    group.settle_order();
    assert_eq!(group.doors.visited.get(), Some(2));
    assert_eq!(group.certainty.guessed.borrow().len(), 4);
    group.doors.visited.set(None);
    group.settle_order();
    assert!(group.certainty.guessed.borrow().is_empty());
}

/// The app that serves opens a socket of its own at the address, and a reload makes more slots: they stand behind it.
#[test]
fn slots_that_are_made_behind_a_socket_that_is_none_of_ours_are_reached() {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, socket};
    let name =
        "listeners::tests::steered::slots_that_are_made_behind_a_socket_that_is_none_of_ours_are_reached";
    alone(name, || {
        let slots = open_all(&["web=127.0.0.1:0,steer,slots=3"]);
        let at: std::net::SocketAddr = address(&slots[0]).parse().unwrap();
        let stranger = socket(
            AddressFamily::Inet,
            SockType::Stream,
            SockFlag::SOCK_CLOEXEC,
            None,
        )
        .unwrap();
        crate::sys::steering::share_address(stranger.as_fd()).unwrap();
        bind(stranger.as_raw_fd(), &SockaddrStorage::from(at)).unwrap();
        sock::listen(stranger.as_fd(), 4096).unwrap();
        let spec = format!("web={at},steer,slots=5");
        let all = reload(&[&spec], &slots).unwrap().listeners;
        assert_eq!(all.len(), 5);
        all[4].send_clients_here().unwrap();
        assert_eq!(all[4].take_doubt(), None);
        let queue = || sock::tcp_queue(stranger.as_fd()).unwrap();
        let before = queue();
        assert_each_is_reached(&all);
        assert_eq!(queue(), before);
    });
}
