//! Steering is switched on and off at a reload: what is done, and what is refused before anything is told to the kernel.

use std::net::TcpStream;

use super::*;

fn reload_as(shared: SharedSlot, texts: &[&str], current: &[Rc<Listener>]) -> Result<Opened, ListenError> {
    let specs = specs(texts);
    let taken = Taken { shared, pointed: 0 };
    open(&specs, current, &mut Inherited::none(), Lookup::Refused, taken)
}

fn queues(listeners: &[Rc<Listener>]) -> Vec<u32> {
    let queues = listeners.iter().map(|one| sock::tcp_queue(one.as_fd()));
    queues.map(Option::unwrap).collect()
}

fn clients_of(listener: &Listener, count: usize) -> Vec<TcpStream> {
    let client = |_| TcpStream::connect(address(listener)).unwrap();
    (0..count).map(client).collect()
}

#[test]
fn a_socket_becomes_the_slot_of_those_who_share_it() {
    for slot in 0..4u8 {
        let before = open_all(&["web=127.0.0.1:0"]);
        let spec = format!("web={},steer", address(&before[0]));
        let slots = reload_as(SharedSlot::Is(slot), &[&spec], &before)
            .unwrap()
            .listeners;
        let numbers: Vec<_> = slots.iter().map(|one| one.slot()).collect();
        assert_eq!(numbers, [Some(0), Some(1), Some(2), Some(3)]);
        let place = usize::from(slot);
        assert!(slots[place].shares_socket(&before[0]), "slot {slot}");
        let mut clients = clients_of(&slots[0], 5);
        let mut expected = vec![0; 4];
        expected[place] = 5;
        assert_eq!(queues(&slots), expected, "clients come to those who share it");
        for meant in [3, place, 0, 1, 2, place] {
            slots[meant].send_clients_here().unwrap();
            clients.extend(clients_of(&slots[0], 5));
            expected[meant] += 5;
            assert_eq!(
                queues(&slots),
                expected,
                "slot {slot} is theirs, {meant} is meant"
            );
        }
        // Those who share it know all of them.
        let known = before[0].over_slots(&slots).unwrap();
        assert_eq!(known.len(), 4);
        assert!(known[place].shares_socket(&before[0]) && !known[place].is_steered());
    }
}

#[test]
fn there_must_be_a_slot_for_those_who_share_it() {
    let before = open_all(&["web=127.0.0.1:0"]);
    let spec = format!("web={},steer,slots=3", address(&before[0]));
    let refused = |shared| line(reload_as(shared, &[&spec], &before));
    assert!(refused(SharedSlot::Is(3)).contains("start segue again"));
    assert!(refused(SharedSlot::Several).contains("reload again when they have ended"));
    assert!(reload_as(SharedSlot::Is(2), &[&spec], &before).is_ok());
}

#[test]
fn a_listener_beside_a_steered_one_is_not_switched_on() {
    let before = open_all(&["web=127.0.0.1:0,steer", "two=127.0.0.1:0"]);
    let (web, two) = (address(&before[0]), address(&before[4]));
    let both = [format!("web={web},steer"), format!("two={two},steer")];
    let both: Vec<&str> = both.iter().map(String::as_str).collect();
    let refusal = line(reload(&both, &before));
    assert!(
        refusal.contains("steer cannot be switched on") && refusal.contains("start segue again"),
        "{refusal}"
    );
    // Nobody else can share the address.
    assert!(std::net::TcpListener::bind(&two).is_err());
    assert_eq!(
        reload(&[both[0], &format!("two={two}")], &before)
            .unwrap()
            .listeners
            .len(),
        5
    );
}

#[test]
fn all_are_switched_off_or_none() {
    let before = open_all(&["web=127.0.0.1:0,steer", "two=127.0.0.1:0,steer,slots=8"]);
    let (web, two) = (address(&before[0]), address(&before[4]));
    let (web_off, two_on) = (format!("web={web},steer=no"), format!("two={two},steer,slots=8"));
    let refusal = line(reload(&[&web_off, &two_on], &before));
    assert!(
        refusal.contains("steer cannot be switched off") && refusal.contains("at once"),
        "{refusal}"
    );
    // One that comes is like one that is there.
    let new = line(reload(&[&web_off, "three=127.0.0.1:0,steer"], &before));
    assert!(new.contains("steer cannot be switched off"), "{new}");
    let off = reload(&[&web_off, &format!("two={two}")], &before)
        .unwrap()
        .listeners;
    assert_eq!(off.len(), 12);
    assert!(off.iter().all(|one| !one.is_steered() && one.slots() == 0));
    assert!(reload(&[&format!("web={web},steer"), &two_on], &off).is_ok());
}

/// What cannot change while a socket is open is refused before its sockets are taken for slots: clients come to all of them.
#[test]
fn several_sockets_are_never_taken_for_slots() {
    for options in ["sockets=4", "reuse-port"] {
        let before = open_all(&[&format!("web=127.0.0.1:0,{options}")]);
        let spec = format!("web={},steer", address(&before[0]));
        let refusal = line(reload(&[&spec], &before));
        assert!(
            refusal.contains("cannot change while the socket is open"),
            "{refusal}"
        );
        assert!(before.iter().all(|one| one.slot().is_none()));
        if before.len() > 1 {
            let _clients = clients_of(&before[0], 100);
            let at_work = queues(&before).into_iter().filter(|waiting| *waiting > 0);
            assert!(at_work.count() > 1, "all clients come to one socket");
        }
    }
}

/// The flag is one for all who share a slot.
#[test]
fn o_nonblock_is_guarded_in_a_slot_that_is_shared() {
    let steered = open_all(&["web=127.0.0.1:0,steer"]);
    let off = reload(&[&format!("web={}", address(&steered[0]))], &steered)
        .unwrap()
        .listeners;
    for one in &off {
        one.keep_flags(IoMode::NonBlocking).unwrap();
        assert!(one.is_known_as_non_blocking());
        set_nonblocking(one, false);
        one.restore_flags().unwrap();
        assert!(is_nonblocking(one));
        one.keep_flags(IoMode::Blocking).unwrap();
        set_nonblocking(one, true);
        assert!(one.is_raised_by_an_app());
    }
}

/// As an app does that has the socket.
fn set_nonblocking(listener: &Listener, on: bool) {
    let copy = listener.as_fd().try_clone_to_owned().unwrap();
    std::net::TcpListener::from(copy).set_nonblocking(on).unwrap();
}

/// Slots that were left of a listener which is not to be steered any more, beside one that is: they serve, and reloads say the way out.
#[test]
fn a_start_takes_what_a_reload_refuses() {
    let left = open_all(&["web=127.0.0.1:0,steer"]);
    let web = format!("web={}", address(&left[0]));
    let asked = specs(&[&web, "side=127.0.0.1:0,steer"]);
    let opened = open(
        &asked,
        &left,
        &mut Inherited::none(),
        Lookup::AtStart,
        IN_THE_FIRST,
    );
    let listeners = opened.unwrap().listeners;
    assert_eq!(listeners.len(), 8);
    listeners[2].send_clients_here().unwrap();
    let _clients = clients_of(&listeners[0], 5);
    assert_eq!(queues(&listeners[..4]), [0, 0, 5, 0]);
    let refused = line(reload(&[&web, "side=127.0.0.1:0,steer"], &listeners));
    assert!(refused.contains("steer cannot be switched off here"), "{refused}");
    assert!(refused.contains("start segue again"), "{refused}");
}

/// An address that is new with a reload: its clients wait where all others go, in whichever slot that is.
#[test]
fn a_new_listener_has_the_slot_to_which_clients_go() {
    for (pointed, spec, slots) in [
        (0, "side=127.0.0.1:0,steer", 4),
        (2, "side=127.0.0.1:0,steer", 4),
        (3, "side=127.0.0.1:0,steer,slots=2", 4),
        (1, "side=127.0.0.1:0,steer,slots=2", 2),
    ] {
        let taken = Taken {
            shared: SharedSlot::Several,
            pointed,
        };
        let specs = specs(&[spec]);
        let opened = open(&specs, &[], &mut Inherited::none(), Lookup::Refused, taken).unwrap();
        let side = opened.listeners;
        assert_eq!(side.len(), slots, "{spec} {pointed}");
        let told = opened
            .warnings
            .iter()
            .any(|text| text.contains("has 4 slots, for the version that serves has the last of them"));
        assert_eq!(told, pointed == 3, "{:?}", opened.warnings);
        let _clients = clients_of(&side[0], 5);
        let mut expected = vec![0; slots];
        expected[usize::from(pointed)] = 5;
        assert_eq!(queues(&side), expected, "{spec} {pointed}");
        side[0].send_clients_here().unwrap();
        let _more = clients_of(&side[0], 5);
        expected[0] += 5;
        assert_eq!(queues(&side), expected, "{spec} {pointed}");
    }
}
