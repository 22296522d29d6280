//! From where the connections of a probe come, so that the kernel tells them from all others.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::str::FromStr;

use crate::state::by_text;
use crate::sys::errno_text;
use crate::sys::steering::Visitors;

/// How many ports one run of a probe has over IPv6: a port that was used cannot be bound again for a minute, and the command may
/// connect more than once.
pub(super) const PORTS: u16 = 16;

/// The first port that is drawn: those below are meant for services.
const FIRST_PORT: u16 = 10_240;

/// Ports from which the kernel chooses one for a connection that does not ask for any (ip(7)); it counts for IPv6 as well.
const CHOSEN_PORTS: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// From where the connections of one run of a probe come. Its text is `SEGUE_PROBE_SOURCE`: `127.200.1.2`, `[::1]:61184-61199`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProbeSource {
    /// Any port of this address.
    Address(Ipv4Addr),
    /// These ports.
    Ports(Visitors),
}

impl fmt::Display for ProbeSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Ports(Visitors { from, ports }) => {
                let last = from.port().saturating_add(ports.saturating_sub(1));
                write!(f, "[{}]:{}-{last}", from.ip(), from.port())
            }
        }
    }
}

impl FromStr for ProbeSource {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let Some((from, last)) = text.rsplit_once('-') else {
            return text.parse().map(Self::Address).map_err(|_| ());
        };
        let (from, last): (SocketAddrV6, u16) =
            (from.parse().map_err(|_| ())?, last.parse().map_err(|_| ())?);
        let ports = last
            .checked_sub(from.port())
            .and_then(|more| more.checked_add(1))
            .ok_or(())?;
        let is_block = ports.is_power_of_two() && from.port() % ports == 0;
        is_block
            .then_some(Self::Ports(Visitors { from, ports }))
            .ok_or(())
    }
}

by_text!(ProbeSource);

impl ProbeSource {
    /// A source for one run, which nobody can foresee.
    pub(super) fn draw(to: SocketAddr) -> Result<Self, String> {
        match to.ip() {
            IpAddr::V4(_) => Ok(Self::Address(draw_address())),
            IpAddr::V6(ip) => Ok(Self::Ports(Visitors {
                from: SocketAddrV6::new(ip, draw_port()?, 0, 0),
                ports: PORTS,
            })),
        }
    }

    /// Whether a connection to that address can come from here.
    pub(super) fn suits(self, to: SocketAddr) -> bool {
        match (self, to.ip()) {
            (Self::Address(_), IpAddr::V4(_)) => true,
            (Self::Ports(visitors), IpAddr::V6(ip)) => *visitors.from.ip() == ip,
            (Self::Address(_) | Self::Ports(_), IpAddr::V4(_) | IpAddr::V6(_)) => false,
        }
    }
}

/// A number that nobody can foresee: the keys of each such state are of the kernel's random numbers.
fn draw() -> u64 {
    RandomState::new().hash_one(0u8)
}

fn draw_address() -> Ipv4Addr {
    let [_, high, middle, low, ..] = draw().to_be_bytes();
    // Neither the first nor the last of a network, which some programs do not take for an address.
    Ipv4Addr::new(127, 128 | high, middle, 1 + low % 254)
}

fn draw_port() -> Result<u16, String> {
    let text = std::fs::read_to_string(CHOSEN_PORTS)
        .map_err(|error| format!("read {CHOSEN_PORTS}: {}", errno_text(error)))?;
    let mut bounds = text.split_whitespace().map(str::parse::<u16>);
    let (Some(Ok(lowest)), Some(Ok(highest))) = (bounds.next(), bounds.next()) else {
        return Err(format!(
            "{CHOSEN_PORTS} does not say which ports the kernel chooses"
        ));
    };
    let blocks: Vec<u16> = blocks_outside(lowest, highest).collect();
    let count = u64::try_from(blocks.len()).unwrap_or(u64::MAX);
    let place = draw()
        .checked_rem(count)
        .and_then(|place| usize::try_from(place).ok());
    let block = place.and_then(|place| blocks.get(place).copied());
    block.ok_or_else(|| format!("{CHOSEN_PORTS} leaves no ports for it"))
}

/// The first port of each block of which the kernel chooses no port.
fn blocks_outside(lowest: u16, highest: u16) -> impl Iterator<Item = u16> {
    let last = |first: u16| first | (PORTS - 1);
    let blocks = (FIRST_PORT..=u16::MAX).step_by(usize::from(PORTS));
    blocks.filter(move |first| last(*first) < lowest || *first > highest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_read_as_it_is_written() {
        for text in ["127.200.1.2", "[::1]:61184-61199", "[fd00::5]:10240-10255"] {
            assert_eq!(
                text.parse::<ProbeSource>().map(|source| source.to_string()),
                Ok(text.to_owned())
            );
        }
        for text in [
            "",
            "127.0.0",
            "[::1]:61184",
            "[::1]:61184-61190",
            "[::1]:61185-61200",
            "[::1]:5-4",
            "[::1]:0-65535",
        ] {
            assert_eq!(text.parse::<ProbeSource>(), Err(()), "{text}");
        }
    }

    #[test]
    fn blocks_of_ports_lie_outside_of_those_that_the_kernel_chooses() {
        let blocks = |lowest, highest| blocks_outside(lowest, highest).collect::<Vec<u16>>();
        let usual = blocks(32_768, 60_999);
        assert_eq!((usual.first(), usual.last()), (Some(&10_240), Some(&65_520)));
        assert!(
            usual.contains(&32_752)
                && !usual.contains(&32_768)
                && !usual.contains(&60_992)
                && usual.contains(&61_008)
        );
        assert_eq!(blocks(1_024, 65_535), [0u16; 0]);
        assert_eq!(blocks(10_250, 65_510), [65_520]);
    }

    #[test]
    fn sources_differ() {
        let drawn: Vec<Ipv4Addr> = (0..8).map(|_| draw_address()).collect();
        assert!(drawn.iter().any(|one| *one != drawn[0]), "{drawn:?}");
        for one in drawn {
            let [first, second, .., last] = one.octets();
            assert!(first == 127 && second >= 128 && last != 0 && last != 255, "{one}");
        }
    }
}
