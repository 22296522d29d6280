//! Hosts and ports, as text: nothing is looked up here.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::{AddressError, quoted};

/// Longest host name in characters (RFC 1035, 253 without the final dot).
const HOST_NAME_MAX: usize = 253;
/// Longest label of a host name in characters (RFC 1035).
const LABEL_MAX: usize = 63;
/// Longest name of a network interface in bytes (IFNAMSIZ less the final NUL).
pub(crate) const INTERFACE_MAX: usize = 15;

/// A host and a port, for TCP or UDP.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct HostPort {
    /// Which addresses of this machine.
    pub host: Host,
    /// The port; 0 lets the kernel pick a free one.
    pub port: u16,
}

/// Which addresses of this machine to listen on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Host {
    /// `*`: every address, IPv4 and IPv6.
    Every,
    /// One address, or all of one family (`0.0.0.0`, `[::]`).
    Ip(IpAddr),
    /// A link-local IPv6 address with its zone, the name or number of an interface: `[fe80::1%eth0]`.
    Zoned(Ipv6Addr, String),
    /// A name, in lower case, that is looked up when the socket is opened.
    Name(String),
}

impl FromStr for HostPort {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.is_empty() {
            return Err(AddressError::new("it is empty (write PORT or HOST:PORT)"));
        }
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(Self {
                host: Host::Ip(Ipv4Addr::LOCALHOST.into()),
                port: parse_port(text)?,
            });
        }
        if let Some(rest) = text.strip_prefix('[') {
            let Some((inside, port)) = rest.split_once(']') else {
                return Err(AddressError::new("']' is missing after the ipv6 address"));
            };
            let Some(port) = port.strip_prefix(':') else {
                return Err(AddressError::new("the port is missing (write [ADDRESS]:PORT)"));
            };
            return Ok(Self {
                host: parse_ipv6(inside)?,
                port: parse_port(port)?,
            });
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            return Err(AddressError::new("the port is missing (write HOST:PORT)"));
        };
        if host.contains(':') {
            return Err(AddressError::new(
                "an ipv6 address needs brackets (write [::1]:8080)",
            ));
        }
        Ok(Self {
            host: parse_host(host)?,
            port: parse_port(port)?,
        })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Every => write!(f, "*:{}", self.port),
            Host::Ip(IpAddr::V4(ip)) => write!(f, "{ip}:{}", self.port),
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            Host::Zoned(ip, zone) => write!(f, "[{ip}%{zone}]:{}", self.port),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

/// Digits only: `u16::from_str` alone would take `+80`.
fn parse_port(text: &str) -> Result<u16, AddressError> {
    if text.is_empty() {
        return Err(AddressError::new("the port is missing"));
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(AddressError::new(format!(
            "{} is not a port number",
            quoted(text)
        )));
    }
    text.parse()
        .map_err(|_| AddressError::new(format!("port {} is above 65535", quoted(text))))
}

fn parse_ipv6(text: &str) -> Result<Host, AddressError> {
    let (address, zone) = match text.split_once('%') {
        Some((address, zone)) => (address, Some(zone)),
        None => (text, None),
    };
    let Ok(ip) = address.parse::<Ipv6Addr>() else {
        return Err(AddressError::new(format!(
            "{} is not an ipv6 address",
            quoted(address)
        )));
    };
    match zone {
        None => Ok(Host::Ip(ip.into())),
        Some(zone) if is_interface(zone) => Ok(Host::Zoned(ip, zone.to_owned())),
        Some(zone) => Err(AddressError::new(format!(
            "{} is not a network interface",
            quoted(zone)
        ))),
    }
}

/// Whether the kernel could have an interface of that name (dev_valid_name), less what the grammar here needs.
pub(crate) fn is_interface(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= INTERFACE_MAX
        && name != "."
        && name != ".."
        && name.bytes().all(|byte| byte.is_ascii_graphic())
        && !name.contains(['/', ':', ',', '=', ']', '[', '%'])
}

fn parse_host(text: &str) -> Result<Host, AddressError> {
    if text.is_empty() || text == "*" {
        return Ok(Host::Every);
    }
    if let Ok(ip) = text.parse::<Ipv4Addr>() {
        return Ok(Host::Ip(ip.into()));
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    if looks_like_a_number(name) {
        return Err(AddressError::new(format!(
            "{} is not an ipv4 address",
            quoted(text)
        )));
    }
    if name.len() > HOST_NAME_MAX || !name.split('.').all(is_label) {
        return Err(AddressError::new(format!("{} is not a host name", quoted(text))));
    }
    Ok(Host::Name(name.to_ascii_lowercase()))
}

/// getaddrinfo(3) reads `1.2.3`, `0x7f.1` and `300` as IPv4 addresses of old; a name whose last label is a number
/// is therefore a mistyped address, never a name.
fn looks_like_a_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    let hexadecimal = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    match hexadecimal {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

/// Letters, digits, hyphens, and the underscore that container names have.
fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= LABEL_MAX
        && !label.starts_with('-')
        && label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}
