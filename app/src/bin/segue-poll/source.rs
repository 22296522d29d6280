//! From where to connect: an address of this machine, or some of its ports.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::str::FromStr;

use tokio::net::TcpSocket;

use crate::client::Way;

/// `127.200.1.2`, `::1`, or an address and ports: `[::1]:61184-61199`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Source {
    address: IpAddr,
    /// The first port, and the last.
    ports: Option<(u16, u16)>,
}

impl Source {
    /// Whether a connection to that address can come from here.
    pub(crate) fn suits(&self, to: SocketAddr) -> bool {
        self.address.is_ipv4() == to.is_ipv4()
    }

    /// Let a socket connect from here, from the first port that is free.
    pub(crate) fn bind(&self, socket: &TcpSocket) -> io::Result<()> {
        let (first, last) = self.ports.unwrap_or((0, 0));
        let mut bound = socket.bind(SocketAddr::new(self.address, first));
        for port in first.saturating_add(1)..=last {
            match &bound {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Ok(()) | Err(_) => break,
            }
            bound = socket.bind(SocketAddr::new(self.address, port));
        }
        bound
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Source, String> {
        let wrong = || format!("'{}' is no address to connect from", text.escape_debug());
        if let Ok(address) = text.parse() {
            let ports = None;
            return Ok(Source { address, ports });
        }
        let (from, last) = text.rsplit_once('-').ok_or_else(wrong)?;
        let from: SocketAddrV6 = from.parse().map_err(|_| wrong())?;
        let last: u16 = last.parse().map_err(|_| wrong())?;
        if from.port() == 0 || last < from.port() {
            return Err(wrong());
        }
        Ok(Source {
            address: (*from.ip()).into(),
            ports: Some((from.port(), last)),
        })
    }
}

/// Where the variables lead that Segue sets for its probe: to the candidate alone.
pub(crate) fn front_door() -> Result<Way, String> {
    let variable = |name: &str| {
        std::env::var(name).map_err(|_| {
            format!("--source without an ADDRESS needs {name}, which Segue sets for a probe where a listener is steered")
        })
    };
    let (address, source) = (variable("SEGUE_PROBE_ADDRESS")?, variable("SEGUE_PROBE_SOURCE")?);
    let address: SocketAddr = address.parse().map_err(|_| {
        format!(
            "read SEGUE_PROBE_ADDRESS: '{}' is no address and port",
            address.escape_debug()
        )
    })?;
    let source: Source = source
        .parse()
        .map_err(|error| format!("read SEGUE_PROBE_SOURCE: {error}"))?;
    Ok(Way::Address(address, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_an_address_or_some_ports_of_it() {
        let read = |text: &str| {
            text.parse::<Source>()
                .map(|source| (source.address.to_string(), source.ports))
        };
        assert_eq!(read("127.200.1.2"), Ok(("127.200.1.2".to_owned(), None)));
        assert_eq!(read("::1"), Ok(("::1".to_owned(), None)));
        assert_eq!(
            read("[::1]:61184-61199"),
            Ok(("::1".to_owned(), Some((61_184, 61_199))))
        );
        for text in [
            "",
            "localhost",
            "[::1]:61184",
            "[::1]:9-8",
            "[::1]:0-8",
            "[::1]:1-70000",
            "127.0.0.1:1-2",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
