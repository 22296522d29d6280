//! A socket of which nobody has a copy any more, made anew at its address.

use std::rc::Rc;

use super::bind::{self, Wanted};
use super::resolve::{self, Lookup, Owner};
use super::socket::{Socket, Source};
use super::{ListenError, holder, slots};
use crate::address::{Address, Key, ListenSpec, SocketOptions};
use crate::state::Guard;

/// Makes it: beside one of those that are there if they share an address (`sockets=N`, `steer`). A port that the kernel chose is otherwise
/// chosen again. What arrives for one that is made beside another is dropped until [`super::Listener::take_clients`], so that nobody waits
/// in it if the adoption fails. Where the kernel lets only CAP_NET_ADMIN have that, clients wait in it, and a failed adoption resets them.
///
/// # Errors
/// One line, as for every other listener. Nothing is left behind.
pub(super) fn at(
    address: &Address,
    options: SocketOptions,
    owner: Owner,
    there: &[Rc<Socket>],
    guard: Guard,
) -> Result<Socket, ListenError> {
    let addresses = match address.host_port() {
        Some(place) => {
            resolve::addresses(place, Lookup::AtStart).map_err(|cause| ListenError::at(address, cause))?
        }
        None => Vec::new(),
    };
    let spec = ListenSpec {
        name: None,
        address: address.clone(),
        options,
    };
    let wanted = Wanted {
        spec: &spec,
        addresses,
        owner,
        guard,
    };
    // One that was given has the options that the others were made with.
    let is_given_there =
        |one: &Socket| one.is_inherited() && one.local().text().parse::<Address>().as_ref() == Ok(address);
    let is_there = |one: &&Rc<Socket>| *one.source() == Source::Spec(address.clone()) || is_given_there(one);
    let shares = spec.options.number(Key::Sockets).is_some() || slots::is_asked(&spec.options);
    let first = there.iter().filter(is_there);
    let bound = match first.min_by_key(|one| !one.is_inherited()) {
        Some(first) if shares => bind::beside_in_silence(&wanted, first)?,
        Some(_) | None => bind::open(&wanted, &holder::of_port)?,
    };
    Ok(bound.socket)
}
