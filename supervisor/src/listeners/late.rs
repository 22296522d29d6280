//! Sockets that stand in for a spec, since Segue was given them; and slots beside one that was given once: by a socket unit with one
//! `ListenStream=`, by systemfd, by another Segue.
//!
//! Such a socket shares its address from then on (SO_REUSEPORT, which can be set while it listens), and Segue binds the other slots. The
//! kernel lets the sockets of one user alone share an address, and tells nobody in which order they stand: so the socket must be ours by
//! its user, and the only one at its address.

use std::ops::ControlFlow;
use std::rc::Rc;

use nix::sys::stat::fstat;
use nix::unistd::geteuid;

use super::bind::Wanted;
use super::local::{BoundTo, SocketKind};
use super::resolve::{Lookup, Owner};
use super::slots;
use super::socket::{IoMode, Socket, Source};
use super::switch::SharedSlot;
use super::{ListenError, Listener, switch};
use crate::address::{Address, Key, ListenSpec, SocketOptions};
use crate::state::Guard;
use crate::sys::diag::{self, States};
use crate::sys::{errno_text, steering};

/// What a spec says of a socket that was given and of those beside it: all else is as it came.
pub(super) const COUNTS: [Key; 3] = [Key::NonBlocking, Key::Steer, Key::Slots];

/// So many listening sockets at one port are looked at.
const MOST_LISTENERS: usize = 4096;

/// What becomes of a listener that Segue was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// All generations share it.
    Shared,
    /// It is to be steered from now on.
    Begins,
    /// It goes on as it was: steered, or shared since it could not be had.
    GoesOn,
}

impl Turn {
    /// As the spec asks for it.
    pub(super) fn of(spec: &ListenSpec, held: &[Rc<Listener>], lookup: Lookup) -> Self {
        match lookup {
            _ if !slots::is_asked(&spec.options) => Self::Shared,
            Lookup::AtStart => Self::Begins,
            Lookup::Refused if switch::switches_on(spec, held) => Self::Begins,
            Lookup::Refused => Self::GoesOn,
        }
    }
}

impl Listener {
    /// Whether both are slots of one address.
    pub(super) fn is_of_group_of(&self, other: &Self) -> bool {
        match (&self.slot, &other.slot) {
            (Some(own), Some(others)) => Rc::ptr_eq(&own.group, &others.group),
            (Some(_) | None, Some(_) | None) => false,
        }
    }

    /// Whether this slot goes where the socket goes that Segue was given: a slot of its group, or one that a supervisor which was killed
    /// had bound beside it, and that an orphan has kept.
    pub(super) fn goes_with(&self, given: &Self) -> bool {
        let was_left_beside = || {
            self.slot.is_some()
                && given.slot.is_none()
                && self.socket.local() == given.socket.local()
                && steering::shares_address(given.socket.as_fd())
        };
        self.is_of_group_of(given) || was_left_beside()
    }
}

/// The socket that was given, as a slot of the group to which those that were left beside it belong. Where it stands among them has to
/// be found out: what was closed has changed the order.
fn joined(given: Rc<Listener>, beside: &[Rc<Listener>]) -> Rc<Listener> {
    let Some(left) = beside.iter().find_map(|one| one.slot.as_ref()) else {
        return given;
    };
    if given.slot.is_some() {
        return given;
    }
    let is_free = |number: &u8| beside.iter().all(|one| one.slot() != Some(*number));
    let number = (0..u8::MAX).find(is_free).unwrap_or(u8::MAX);
    let mut order = left.group.order();
    match order.iter_mut().find(|place| place.is_none()) {
        Some(place) => *place = Some(number),
        None => order.push(Some(number)),
    }
    left.group.set_order(order);
    let joined = given.in_slot(&left.group, number);
    left.group.certainty.guess(left.group.members());
    joined
}

/// A socket that came without a name gets the one that the spec gives to its address; one that has a name keeps it. What the spec
/// says of O_NONBLOCK and of steering counts for it as well.
pub(super) fn under_name_of(spec: &ListenSpec, held: Rc<Listener>) -> Rc<Listener> {
    let nameless = *held.socket.source() == Source::Inherited { named: false };
    let name = spec.name.as_ref().filter(|_| nameless).unwrap_or(&held.name);
    let (name, options) = (name.clone(), spec.options.only(&COUNTS));
    held.with(name, options)
}

pub(super) fn ignored_options(spec: &ListenSpec, held: &[Rc<Listener>]) -> Option<String> {
    let ignored = spec.options.given().filter(|key| !COUNTS.contains(key));
    let words: Vec<&str> = ignored.map(Key::name).collect();
    let first = held.first()?;
    if words.is_empty() {
        return None;
    }
    let cause = format!(
        "the inherited socket {} stands in, without {}",
        first.name(),
        words.join(", ")
    );
    Some(ListenError::at(&spec.address, cause).to_string())
}

/// The slots of a listener that stands in for a spec: `held` as they were given, under the name and with the options of the spec, and
/// `beside` those that Segue has bound at the same address. Where it cannot be steered a warning says why.
pub(super) fn slots_of(
    held: Vec<Rc<Listener>>,
    beside: Vec<Rc<Listener>>,
    (turn, lookup, shared): (Turn, Lookup, SharedSlot),
    warnings: &mut Vec<String>,
) -> Vec<Rc<Listener>> {
    let held: Vec<Rc<Listener>> = match held.len() {
        1 => held.into_iter().map(|one| joined(one, &beside)).collect(),
        _ => held,
    };
    let (one, is_grouped) = match &held[..] {
        [one] => (Rc::clone(one), one.slot.is_some()),
        // Given as often as there are slots.
        _ if turn == Turn::Shared => return held,
        _ => return slots::of_inherited(held, lookup, warnings),
    };
    let spec = match spec_beside(&one) {
        _ if !is_grouped && turn != Turn::Begins => return held,
        Ok(spec) if is_grouped => spec,
        Ok(spec) => match may_share(&one.socket) {
            Ok(()) => spec,
            Err(cause) => return unsteered(held, &cause, warnings),
        },
        Err(cause) => return unsteered(held, &cause, warnings),
    };
    let like_it = |mate: Rc<Listener>| mate.with(one.name.clone(), spec.options.clone());
    let all: Vec<Rc<Listener>> = held.into_iter().chain(beside.into_iter().map(like_it)).collect();
    if turn == Turn::Shared {
        // Clients may wait in each of them.
        return all;
    }
    let wanted = Wanted {
        spec: &spec,
        addresses: Vec::new(),
        owner: Owner::default(),
        guard: Guard::armed(),
    };
    slots::complete(all, &wanted, shared, warnings)
}

fn unsteered(held: Vec<Rc<Listener>>, cause: &str, warnings: &mut Vec<String>) -> Vec<Rc<Listener>> {
    let text = format!("cannot be steered, so all generations share one socket: {cause}");
    warnings.extend(held.first().map(|one| one.alarm(&text).to_string()));
    held
}

/// What the slots beside it are made for. They come to an app as this one came to us.
fn spec_beside(given: &Listener) -> Result<ListenSpec, String> {
    let address = given.address_text().parse::<Address>();
    let mut options = given.options.only(&COUNTS);
    if options.flag(Key::NonBlocking).is_none() && given.socket.born_io_mode() == IoMode::NonBlocking {
        set(&mut options, Key::NonBlocking)?;
    }
    Ok(ListenSpec {
        name: Some(given.name.clone()),
        address: address.map_err(|error| error.to_string())?,
        options,
    })
}

fn set(options: &mut SocketOptions, key: Key) -> Result<(), String> {
    options.set(key.name(), "true").map_err(|error| error.to_string())
}

/// Whether Segue may bind sockets at the address of this one and say which of them gets a client.
///
/// # Errors
/// Why not, in one clause. Nothing has been touched.
fn may_share(given: &Socket) -> Result<(), String> {
    let fd = given.as_fd();
    let (SocketKind::Tcp, BoundTo::Internet { address, .. }) = (given.local().kind, &given.local().bound_to)
    else {
        return Err("it is no TCP socket".to_owned());
    };
    let (its, ours) = (fstat(fd).map_err(errno_text)?.st_uid, geteuid().as_raw());
    if its != ours {
        return Err(format!(
            "user {its} has bound it and segue runs as user {ours}, and sockets of one user alone can share an address (a socket unit \
             needs the same ListenStream= on several lines, and ReusePort=yes)"
        ));
    }
    if !steering::is_of_our_network(fd) {
        return Err("it is of another network namespace".to_owned());
    }
    match steering::shares_address(fd) {
        true => is_alone_at(given.inode(), *address),
        // Nobody could join it.
        false => Ok(()),
    }
}

/// Whether no other socket listens at this address.
fn is_alone_at(inode: u64, address: std::net::SocketAddr) -> Result<(), String> {
    let mut others = 0;
    let searched = diag::search(States::LISTEN, address.port(), MOST_LISTENERS, |found| {
        others += u32::from(found.local == address && found.inode != inode);
        match others {
            0 => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    });
    match searched {
        Err(errno) => Err(format!(
            "whether others share its address cannot be seen: {}",
            errno_text(errno)
        )),
        Ok(_) if others > 0 => Err("others share its address already".to_owned()),
        Ok(_) => Ok(()),
    }
}
