//! The front door of a probe: how its command reaches the slot of a candidate through the address that clients use.
//!
//! For as long as a run of the command lasts, connections from a source that was drawn for this run alone go to that slot. For IPv4 the
//! source is one of the eight million addresses of 127.128.0.0/9. IPv6 has one address for the machine's own connections, so that there
//! it is a block of ports outside of those that the kernel chooses from. So nobody else comes through the door by accident.

use std::net::SocketAddr;
use std::os::fd::AsFd as _;

use super::Listener;
use super::probe_source::ProbeSource;
use crate::sys::{errno_text, steering};

/// What the command of a probe is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrontDoor {
    pub(crate) source: ProbeSource,
    /// The address to connect to, `SEGUE_PROBE_ADDRESS`.
    pub(crate) address: SocketAddr,
}

impl Listener {
    /// Whether a probe can come to this slot alone through the address that clients use.
    ///
    /// # Errors
    /// Why it cannot, in one clause.
    pub(crate) fn leads_probes_in(&self) -> Result<(), String> {
        let way = self.way()?;
        let route = steering::has_route(way.from, way.to);
        route.map_err(|errno| {
            format!(
                "{} cannot be reached from here: {}",
                way.to.ip(),
                errno_text(errno)
            )
        })?;
        ProbeSource::draw(way.to).map(drop)
    }

    /// Let connections from a source of their own come to this slot: from that one if it suits, else none comes. Without a source one is
    /// drawn. [`Listener::shut_front_door`] is to follow.
    ///
    /// # Errors
    /// Why it cannot be, in one clause. Then nothing has changed.
    pub(crate) fn open_front_door(&self, source: Option<ProbeSource>) -> Result<FrontDoor, String> {
        self.leads_probes_in()?;
        let way = self.way()?;
        let source = source.map_or_else(|| ProbeSource::draw(way.to), Ok)?;
        if !source.suits(way.to) {
            return Err("its address is of another family".to_owned());
        }
        if let Some(slot) = &self.slot {
            slot.group.settle_order();
            self.note_front_door(Some(source));
            let attached = slot.group.attach_again(self.as_fd());
            attached.inspect_err(|_| self.note_front_door(None))?;
        }
        Ok(FrontDoor {
            source,
            address: way.to,
        })
    }

    /// The kernel was told by the program before us that connections from this source come to this slot: it is not told otherwise by the
    /// way.
    pub(crate) fn note_open_front_door(&self, source: ProbeSource) {
        if self.way().is_ok_and(|way| source.suits(way.to)) {
            self.note_front_door(Some(source));
        }
    }

    fn note_front_door(&self, source: Option<ProbeSource>) {
        if let Some(slot) = &self.slot {
            slot.group
                .doors
                .probe
                .set(source.map(|source| (source, slot.number)));
        }
    }

    /// The run is over: connections from its source go where all others go.
    pub(crate) fn shut_front_door(&self) {
        let Some(slot) = &self.slot else { return };
        let open = slot.group.doors.probe.get();
        if open.is_some_and(|(_, number)| number == slot.number) {
            self.note_front_door(None);
            // The next switch tells the kernel again if it refuses now.
            let _ = slot.group.attach_again(self.as_fd());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listeners::probe_source::PORTS;
    use crate::listeners::tests::{open_all, wait_for_queues};

    /// Whoever connects from the source comes to the third slot while the door is open, wherever clients go.
    fn leads_to_one_slot(listener: &str) {
        let slots = open_all(&[listener]);
        let door = slots[2].open_front_door(None).unwrap();
        let visit = || {
            let from = match door.source {
                ProbeSource::Address(from) => SocketAddr::from((from, 0)),
                // The next one that is free.
                ProbeSource::Ports(visitors) => SocketAddr::V6(visitors.from),
            };
            connect_from(from, door.address)
        };
        let stranger = || std::net::TcpStream::connect(door.address).unwrap();
        let _probe = visit();
        wait_for_queues(&slots, &[0, 0, 1]);
        let _client = stranger();
        wait_for_queues(&slots, &[1, 0, 1]);
        slots[1].send_clients_here().unwrap();
        let (_client, _probe) = (stranger(), visit());
        wait_for_queues(&slots, &[1, 1, 2]);
        // A token beside it changes nothing for the probe.
        let _token = slots[0].knock().unwrap();
        wait_for_queues(&slots, &[2, 1, 2]);
        slots[0].shut_door().unwrap();
        let _probe = visit();
        wait_for_queues(&slots, &[2, 1, 3]);
        // Another slot's door is another's to shut.
        slots[1].shut_front_door();
        let _probe = visit();
        wait_for_queues(&slots, &[2, 1, 4]);
        slots[2].shut_front_door();
        let _probe = visit();
        wait_for_queues(&slots, &[2, 2, 4]);
    }

    fn connect_from(from: SocketAddr, to: SocketAddr) -> std::os::fd::OwnedFd {
        use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, socket};
        use std::os::fd::AsRawFd as _;
        let family = if to.is_ipv6() {
            AddressFamily::Inet6
        } else {
            AddressFamily::Inet
        };
        let client = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        let ports = if from.port() == 0 { 1 } else { PORTS };
        let bound = (0..ports).any(|more| {
            let from = SocketAddr::new(from.ip(), from.port() + more);
            bind(client.as_raw_fd(), &SockaddrStorage::from(from)).is_ok()
        });
        assert!(bound, "no port of {from} is free");
        connect(client.as_raw_fd(), &SockaddrStorage::from(to)).unwrap();
        client
    }

    #[test]
    fn over_ipv4() {
        leads_to_one_slot("127.0.0.1:0,steer,slots=3");
        leads_to_one_slot("0.0.0.0:0,steer,slots=3");
    }

    #[test]
    fn over_ipv6_alone_and_beside_ipv4() {
        if std::net::TcpListener::bind("[::1]:0").is_err() {
            return;
        }
        leads_to_one_slot("[::1]:0,steer,slots=3");
        leads_to_one_slot("*:0,steer,slots=3");
        leads_to_one_slot("[::]:0,steer,slots=3,bind-ipv6-only=ipv6-only");
    }

    #[test]
    fn where_there_is_none_it_is_said() {
        let why = |listener: &str| open_all(&[listener])[0].leads_probes_in().unwrap_err();
        assert_eq!(why("127.0.0.1:0"), "it is not steered");
        // TEST-NET-1 is nobody's (RFC 5737).
        let elsewhere = why("192.0.2.1:0,steer,free-bind");
        assert!(
            elsewhere.starts_with("192.0.2.1 cannot be reached from here: "),
            "{elsewhere}"
        );
    }
}
