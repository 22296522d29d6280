//! The only place of this room that looks names up: hosts, users and groups.
//!
//! A look-up may block for as long as a DNS server likes, so the loop never makes one: a reload passes
//! [`Lookup::Refused`] and keeps what was looked up at the start.

use std::net::{IpAddr, SocketAddr, SocketAddrV6, ToSocketAddrs};

use nix::net::if_::if_nametoindex;
use nix::unistd::{Gid, Group, Uid, User};

use crate::address::{Host, HostPort, Key, SocketOptions, quoted};
use crate::sys::errno_text;

/// Whether names may be looked up now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// At the start, before anything serves: yes.
    AtStart,
    /// In the loop: never. What is named must be known already, or be a number.
    Refused,
}

/// Who shall own a Unix path; `None` leaves the supervisor's own user or group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) user: Option<Uid>,
    pub(super) group: Option<Gid>,
}

/// The addresses behind a host, the preferred one first, without repetitions and never empty. `*` is not asked
/// about here: it is no single address.
///
/// # Errors
/// One clause: the name is not known, or may not be looked up now.
pub(super) fn addresses(place: &HostPort, lookup: Lookup) -> Result<Vec<SocketAddr>, String> {
    match &place.host {
        Host::Every => Ok(Vec::new()),
        Host::Ip(ip) => Ok(vec![SocketAddr::new(*ip, place.port)]),
        Host::Zoned(ip, zone) => {
            let scope = interface(zone)?;
            Ok(vec![SocketAddr::V6(SocketAddrV6::new(*ip, place.port, 0, scope))])
        }
        Host::Name(name) => match lookup {
            Lookup::AtStart => host(name, place.port),
            Lookup::Refused => {
                Err("a new host name is looked up at start only, a reload needs an address".to_owned())
            }
        },
    }
}

/// Asks the kernel, not a server: this blocks nowhere.
fn interface(zone: &str) -> Result<u32, String> {
    if let Ok(number) = zone.parse() {
        return Ok(number);
    }
    if_nametoindex(zone).map_err(|_| format!("there is no network interface {}", quoted(zone)))
}

fn host(name: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let found = (name, port)
        .to_socket_addrs()
        .map_err(|error| format!("host not found: {}", errno_text(&error)))?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        Err("the host has no address".to_owned())
    } else {
        Ok(addresses)
    }
}

/// What to say when a host has several addresses: the first is used, and nobody should have to guess which.
pub(super) fn several(addresses: &[SocketAddr]) -> Option<String> {
    let (first, rest) = addresses.split_first()?;
    if rest.is_empty() {
        return None;
    }
    let rest: Vec<String> = rest.iter().map(|address| show_ip(address.ip())).collect();
    Some(format!(
        "the host has {} addresses; {} is used, not {}",
        addresses.len(),
        show_ip(first.ip()),
        rest.join(", ")
    ))
}

fn show_ip(ip: IpAddr) -> String {
    ip.to_string()
}

/// Who `user` and `group` are. A number stands for itself; a user's name alone also gives the user's primary group, as
/// in systemd.socket(5).
///
/// # Errors
/// One clause: no such user or group, or a name that may not be looked up now.
pub(super) fn owner(options: &SocketOptions, lookup: Lookup) -> Result<Owner, String> {
    let mut owner = Owner::default();
    if let Some(name) = options.text(Key::User) {
        match name.parse() {
            Ok(number) => owner.user = Some(Uid::from_raw(number)),
            Err(_) => {
                let user = find(lookup, "user", name, User::from_name)?;
                owner = Owner {
                    user: Some(user.uid),
                    group: Some(user.gid),
                };
            }
        }
    }
    if let Some(name) = options.text(Key::Group) {
        owner.group = Some(match name.parse() {
            Ok(number) => Gid::from_raw(number),
            Err(_) => find(lookup, "group", name, Group::from_name)?.gid,
        });
    }
    Ok(owner)
}

fn find<T>(
    lookup: Lookup,
    what: &str,
    name: &str,
    ask: impl Fn(&str) -> nix::Result<Option<T>>,
) -> Result<T, String> {
    match lookup {
        Lookup::AtStart => match ask(name) {
            Ok(Some(found)) => Ok(found),
            Ok(None) => Err(format!("there is no {what} {}", quoted(name))),
            Err(errno) => Err(format!("{what} {}: {}", quoted(name), errno_text(errno))),
        },
        Lookup::Refused => Err(format!(
            "{what} {} is looked up at start only, a reload needs its number",
            quoted(name)
        )),
    }
}
