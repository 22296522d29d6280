//! Doors: how a connection of our own reaches one slot of a steered listener, whoever new clients go to.
//!
//! The kernel's program looks at the address from which a connection comes. For IPv4 each slot has an address of its own in a
//! network of 127.0.0.0/8, which nobody can use from outside. IPv6 has one address for the machine's own connections, so that there a
//! single connection is told from all others by its port. Both are so only as long as our connection is on its way, lest other users
//! of this machine choose a slot.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use nix::errno::Errno;

use super::Listener;
use super::local::BoundTo;
use super::probe_source::ProbeSource;
use crate::sys::errno_text;
use crate::sys::sock::{self, SocketOption};
use crate::sys::steering::{self, Visitors};

/// The address of this slot's door: the network follows from the port, so that it is the same for whoever comes after us. The first
/// slot has 1.
fn door(port: u16, slot: u8) -> Ipv4Addr {
    /// 127.64.0.0 and up: people who choose an address there by hand choose a low one.
    const FIRST: u8 = 64;
    /// An odd number, so that ports beside each other have networks far apart.
    const SPREAD: u16 = 40_503;
    let [high, low] = port.wrapping_mul(SPREAD).to_be_bytes();
    Ipv4Addr::new(127, FIRST | (high & 63), low, slot.saturating_add(1))
}

/// What stands in front of the slots of one address.
#[derive(Debug, Default)]
pub(super) struct Doors {
    /// A door for IPv4 that is open, and its slot.
    open: Cell<Option<(Ipv4Addr, u8)>>,
    /// A connection over IPv6 that is on its way, and its slot.
    visitor: Cell<Option<(SocketAddrV6, u8)>>,
    /// As long as it is found out who stands at a place, both lead to this one, whatever the slot.
    pub(super) visited: Cell<Option<u32>>,
    /// From where the connections of a probe come that runs, and the slot that is probed.
    pub(super) probe: Cell<Option<(ProbeSource, u8)>>,
}

impl Doors {
    /// Tell the kernel where connections go: all but our own to the member with the index `others`.
    pub(super) fn attach(&self, order: &[Option<u8>], others: u32, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        let index_of = |slot: u8| {
            let mut indices = order.iter().zip(0u32..);
            let found = indices.find(|(known, _)| **known == Some(slot));
            found.map(|(_, index)| index)
        };
        let visited = |slot: u8| self.visited.get().or_else(|| index_of(slot));
        let (mut doors, mut visitors) = (Vec::new(), Vec::new());
        if let Some((from, slot)) = self.open.get() {
            doors.extend(visited(slot).map(|index| (from, index)));
        }
        if let Some((from, slot)) = self.visitor.get() {
            let one = Visitors { from, ports: 1 };
            visitors.extend(visited(slot).map(|index| (one, index)));
        }
        match self.probe.get() {
            Some((ProbeSource::Address(from), slot)) => {
                doors.extend(index_of(slot).map(|index| (from, index)));
            }
            Some((ProbeSource::Ports(from), slot)) => {
                visitors.extend(index_of(slot).map(|index| (from, index)));
            }
            None => {}
        }
        let route = steering::Route {
            doors: &doors,
            visitors: &visitors,
            others,
        };
        steering::send(fd, &route)
    }

    /// Whether one was open. The program is to be attached again.
    fn shut(&self) -> bool {
        let (open, visitor) = (self.open.take(), self.visitor.take());
        open.is_some() || visitor.is_some()
    }
}

/// The way to a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    /// The address to connect from.
    pub(crate) from: IpAddr,
    /// The address that clients use; the machine's own if it is any.
    pub(crate) to: SocketAddr,
}

impl Listener {
    /// The way to this slot alone, which is for one connection at a time, see [`Listener::knock`].
    ///
    /// # Errors
    /// Why there is none, in one clause.
    pub(crate) fn way(&self) -> Result<Way, String> {
        let BoundTo::Internet { address, both } = self.socket.local().bound_to else {
            return Err("it is no socket for TCP".to_owned());
        };
        let Some(slot) = self.slot() else {
            return Err("it is not steered".to_owned());
        };
        let device = device_of(self.as_fd());
        if !device.is_empty() && device != b"lo" {
            return Err("it is bound to a device".to_owned());
        }
        if !steering::is_of_our_network(self.as_fd()) {
            return Err("it is in another network namespace".to_owned());
        }
        let to = match address.ip().to_canonical() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() && both => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
        };
        let from = match to {
            IpAddr::V4(_) => door(address.port(), slot).into(),
            IpAddr::V6(_) => to,
        };
        let mut to = SocketAddr::new(to, address.port());
        if let (SocketAddr::V6(to), SocketAddr::V6(bound)) = (&mut to, address) {
            to.set_scope_id(bound.scope_id());
        }
        Ok(Way { from, to })
    }

    /// The same for a connection on which nothing is sent.
    ///
    /// # Errors
    /// As [`Listener::way`].
    pub(super) fn way_for_silence(&self) -> Result<Way, String> {
        match defers_accept(self.as_fd()) {
            true => Err("with defer-accept a connection without data does not reach the app".to_owned()),
            false => self.way(),
        }
    }

    /// Tell the kernel of the door of this slot for IPv4.
    fn let_in(&self, way: Way) -> Result<(), String> {
        if let (Some(slot), IpAddr::V4(from)) = (&self.slot, way.from) {
            let open = &slot.group.doors.open;
            open.set(Some((from, slot.number)));
            let attached = slot.group.attach_again(self.as_fd());
            return attached.inspect_err(|_| open.set(None));
        }
        Ok(())
    }

    /// Connect to this slot without waiting. Nothing is sent. [`Listener::shut_door`] is to follow once the connection has arrived, or
    /// is given up.
    ///
    /// # Errors
    /// Why it cannot be, in one clause; nothing is left of the attempt.
    pub(crate) fn knock(&self) -> Result<OwnedFd, String> {
        let way = self.way_for_silence()?;
        if let Some(slot) = &self.slot {
            slot.group.settle_order();
        }
        self.let_in(way)?;
        let before = |from: SocketAddr| match (from, &self.slot) {
            (SocketAddr::V6(from), Some(slot)) => {
                slot.group.doors.visitor.set(Some((from, slot.number)));
                slot.group.attach_again(self.as_fd()).map_err(|_| Errno::EINVAL)
            }
            (SocketAddr::V4(_) | SocketAddr::V6(_), Some(_) | None) => Ok(()),
        };
        steering::connect(way.from, way.to, before).map_err(|errno| {
            // What could be told a moment ago is told again; if not, the next switch does.
            let _ = self.shut_door();
            format!("connect to {} from {}: {}", way.to, way.from, errno_text(errno))
        })
    }

    /// Our connection is there, or is given up: where one comes from means nothing any more.
    ///
    /// # Errors
    /// Why the kernel has refused, in one clause.
    pub(crate) fn shut_door(&self) -> Result<(), String> {
        match &self.slot {
            Some(slot) if slot.group.doors.shut() => slot.group.attach_again(self.as_fd()),
            Some(_) | None => Ok(()),
        }
    }

    /// Accept our connection again, on which nothing more is sent, if it alone waits in this slot. Nobody else may accept here meanwhile. A
    /// client that has come late may stand before it: then it stays, for nobody can tell whose connection is accepted next.
    pub(crate) fn take_back(&self, visitor: &OwnedFd) {
        // If an app had accepted it, its other end would have been closed with the app.
        let is_alone = sock::tcp_queue(self.as_fd()) == Some(1);
        if is_alone && steering::is_open_elsewhere(visitor.as_fd()) {
            // If somebody was quicker nothing is left to do.
            let _ = steering::accept_first(self.as_fd());
        }
    }
}

/// The name of the interface to which a socket is bound; empty if it is bound to none, or that cannot be known.
fn device_of(fd: BorrowedFd<'_>) -> Vec<u8> {
    let option = SocketOption {
        level: libc::SOL_SOCKET,
        name: libc::SO_BINDTODEVICE,
    };
    let mut name = sock::option_bytes(fd, option).unwrap_or_default();
    name.retain(|byte| *byte != 0);
    name
}

fn defers_accept(fd: BorrowedFd<'_>) -> bool {
    let option = SocketOption {
        level: libc::IPPROTO_TCP,
        name: libc::TCP_DEFER_ACCEPT,
    };
    sock::option_int(fd, option).is_ok_and(|seconds| seconds > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listeners::tests::{open_all, wait_for_queues};

    #[test]
    fn a_door_is_open_for_our_own_connection_alone() {
        let slots = open_all(&["web=127.0.0.1:0,steer,slots=3"]);
        let way = slots[2].way().unwrap();
        let visit = || steering::connect(way.from, way.to, |_| Ok(())).unwrap();
        let _before = visit();
        wait_for_queues(&slots, &[1, 0, 0]);
        let _ours = slots[2].knock().unwrap();
        wait_for_queues(&slots, &[1, 0, 1]);
        slots[2].shut_door().unwrap();
        let _after = visit();
        wait_for_queues(&slots, &[2, 0, 1]);
        slots[1].send_clients_here().unwrap();
        let _switched = visit();
        wait_for_queues(&slots, &[2, 1, 1]);
        let _again = slots[2].knock().unwrap();
        wait_for_queues(&slots, &[2, 1, 2]);
        slots[2].shut_door().unwrap();
    }

    #[test]
    fn a_client_that_stands_before_our_connection_is_never_accepted() {
        let slots = open_all(&["web=127.0.0.1:0,steer,slots=2"]);
        let ours = || {
            let ours = slots[0].knock().unwrap();
            slots[0].shut_door().unwrap();
            ours
        };
        let visitor = ours();
        wait_for_queues(&slots, &[1, 0]);
        steering::send_no_more(visitor.as_fd());
        slots[0].take_back(&visitor);
        wait_for_queues(&slots, &[0, 0]);
        let to = slots[0].way().unwrap().to;
        let _late = std::net::TcpStream::connect(to).unwrap();
        let visitor = ours();
        wait_for_queues(&slots, &[2, 0]);
        steering::send_no_more(visitor.as_fd());
        slots[0].take_back(&visitor);
        assert_eq!(sock::tcp_queue(slots[0].as_fd()), Some(2));
    }

    #[test]
    fn a_knock_after_a_succession_leaves_clients_where_they_went() {
        let slots = open_all(&["web=127.0.0.1:0,steer,slots=3"]);
        // By a supervisor before us.
        steering::send_to_index(slots[0].as_fd(), 2).unwrap();
        slots[2].note_clients_come_here();
        let _ours = slots[1].knock().unwrap();
        wait_for_queues(&slots, &[0, 1, 0]);
        let to = slots[2].way().unwrap().to;
        let _while_it_is_open = std::net::TcpStream::connect(to).unwrap();
        wait_for_queues(&slots, &[0, 1, 1]);
        slots[1].shut_door().unwrap();
        let _after = std::net::TcpStream::connect(to).unwrap();
        wait_for_queues(&slots, &[0, 1, 2]);
    }
}
