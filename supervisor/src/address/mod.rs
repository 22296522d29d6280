//! Listen addresses as text: what `--listen` and `[[listen]]` say, before any socket exists.
//!
//! This room knows no sockets and looks nothing up. It parses, refuses what cannot mean anything, and prints
//! every value in a form that parses to the same value again. The grammar is
//! `[NAME=]ADDR[,OPTION[=VALUE]]...`:
//!
//! | text | meaning |
//! |---|---|
//! | `8080` | `127.0.0.1:8080` |
//! | `*:8080`, `:8080` | every address, IPv4 and IPv6 |
//! | `HOST:PORT`, `[::1]:8080` | one address; port 0 lets the kernel pick one |
//! | `udp:ADDR` | a bound datagram socket |
//! | `unix:PATH`, `unix:@NAME` | a stream socket in the file system, or in the abstract name space |
//! | `unix-dgram:PATH`, `unix-seqpacket:PATH` | the other kinds of Unix sockets |

mod host;
mod options;
mod unix_path;

#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

pub(crate) use host::{Host, HostPort};
pub(crate) use options::{BindIpv6Only, Key, SocketOptions, Timestamping};
pub(crate) use unix_path::UnixPath;

/// Longest name of a listener in bytes, as in sd_pass_fds_with_names and FDNAME= of sd_notify(3).
const NAME_MAX: usize = 255;

/// The name of the private listener that `--probe` gives to every generation; nobody else may use it.
pub(crate) const PROBE_NAME: &str = "probe";

/// Why a text is no listen address: one clear line without control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AddressError(String);

impl AddressError {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for AddressError {}

/// Shows what somebody wrote inside an error line: quoted, control characters escaped, cut where it gets long.
pub(crate) fn quoted(text: &str) -> String {
    /// Characters shown; a longer text is somebody's accident, and the line should stay readable.
    const SHOWN: usize = 120;
    let mut shown: String = text
        .chars()
        .take(SHOWN)
        .collect::<String>()
        .escape_debug()
        .collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push_str("...");
    }
    format!("\"{shown}\"")
}

/// One `--listen`: a listener that somebody asked for.
///
/// Identity is the address: a reload keeps the socket of a spec with the same address, whatever its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListenSpec {
    /// The name given explicitly; the app finds it in `LISTEN_FDNAMES`. Unnamed ones become `listen1`, `listen2`...
    pub name: Option<String>,
    /// Where to listen.
    pub address: Address,
    /// How, in the words of systemd.socket(5).
    pub options: SocketOptions,
}

impl ListenSpec {
    /// Joins the parts and checks that they fit: the name is one that `LISTEN_FDNAMES` can carry, and every option
    /// means something for this kind of address.
    ///
    /// # Errors
    /// One line that names the option or the name that does not fit.
    pub(crate) fn new(
        name: Option<String>,
        address: Address,
        options: SocketOptions,
    ) -> Result<Self, AddressError> {
        if let Some(name) = &name {
            check_name(name)?;
        }
        options.check(&address)?;
        Ok(Self {
            name,
            address,
            options,
        })
    }
}

/// A name for each spec: its own, or `listen` and its number among the unnamed ones, the next free number if that name is
/// `taken` or another spec has it.
pub(crate) fn names(specs: &[ListenSpec], taken: impl Fn(&str) -> bool) -> Vec<String> {
    let mut numbered = (1..).map(|number| format!("listen{number}"));
    let mut free =
        |name: &String| !taken(name) && specs.iter().all(|other| other.name.as_ref() != Some(name));
    let named = specs
        .iter()
        .map(|spec| spec.name.clone().or_else(|| numbered.find(&mut free)));
    named.flatten().collect()
}

impl FromStr for ListenSpec {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (place, tail) = match text.split_once(',') {
            Some((place, tail)) => (place, Some(tail)),
            None => (text, None),
        };
        let (name, address) = split_name(place);
        let address = address.parse()?;
        let mut options = SocketOptions::default();
        for option in tail.into_iter().flat_map(|tail| tail.split(',')) {
            match option.split_once('=') {
                Some((key, value)) => options.set(key, value)?,
                None => options.set(option, "yes")?,
            }
        }
        Self::new(name.map(str::to_owned), address, options)
    }
}

impl fmt::Display for ListenSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            write!(f, "{name}=")?;
        }
        write!(f, "{}{}", self.address, self.options)
    }
}

/// A name has no colon and an address before its first `=` always has one (`unix:/a=b`), so the first `=` ends a
/// name exactly if no colon comes before it.
fn split_name(place: &str) -> (Option<&str>, &str) {
    match place.split_once('=') {
        Some((name, address)) if !name.contains(':') => (Some(name), address),
        Some(_) | None => (None, place),
    }
}

/// Checks the name of a listener: 1 to 255 printable ASCII characters without `:` (the separator of
/// `LISTEN_FDNAMES`), `,` and `=` (the separators here), and not `probe`.
///
/// # Errors
/// One line that says what is wrong with it.
pub(crate) fn check_name(name: &str) -> Result<(), AddressError> {
    let refuse = |why: &str| {
        Err(AddressError::new(format!(
            "bad listener name {}: {why}",
            quoted(name)
        )))
    };
    if name.is_empty() {
        return refuse("it is empty");
    }
    if name.len() > NAME_MAX {
        return refuse("longer than 255 bytes");
    }
    if name.contains([':', ',', '=']) {
        return refuse("it may not contain ':', ',' or '='");
    }
    if !name.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return refuse("only printable ascii characters are allowed");
    }
    if name == PROBE_NAME {
        return refuse("it is reserved for the private listener of --probe");
    }
    Ok(())
}

/// Where to listen, and with which kind of socket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Address {
    /// TCP.
    Tcp(HostPort),
    /// UDP: bound, not listening.
    Udp(HostPort),
    /// A Unix stream socket.
    Unix(UnixPath),
    /// A Unix datagram socket: bound, not listening.
    UnixDatagram(UnixPath),
    /// A Unix seqpacket socket.
    UnixSeqpacket(UnixPath),
}

impl Address {
    /// Whether somebody connects to it: datagram sockets are bound only, and have no backlog.
    pub(crate) fn accepts_connections(&self) -> bool {
        match self {
            Self::Tcp(_) | Self::Unix(_) | Self::UnixSeqpacket(_) => true,
            Self::Udp(_) | Self::UnixDatagram(_) => false,
        }
    }

    /// Host and port of an Internet socket.
    pub(crate) fn host_port(&self) -> Option<&HostPort> {
        match self {
            Self::Tcp(place) | Self::Udp(place) => Some(place),
            Self::Unix(_) | Self::UnixDatagram(_) | Self::UnixSeqpacket(_) => None,
        }
    }

    /// Path or abstract name of a Unix socket.
    pub(crate) fn unix_path(&self) -> Option<&UnixPath> {
        match self {
            Self::Unix(path) | Self::UnixDatagram(path) | Self::UnixSeqpacket(path) => Some(path),
            Self::Tcp(_) | Self::Udp(_) => None,
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let complain =
            |error: AddressError| AddressError::new(format!("bad address {}: {error}", quoted(text)));
        let parsed = if let Some(error) = foreign(text) {
            Err(error)
        } else if let Some(rest) = text.strip_prefix("unix:") {
            rest.parse().map(Self::Unix)
        } else if let Some(rest) = text.strip_prefix("unix-dgram:") {
            rest.parse().map(Self::UnixDatagram)
        } else if let Some(rest) = text.strip_prefix("unix-seqpacket:") {
            rest.parse().map(Self::UnixSeqpacket)
        } else if let Some(rest) = text.strip_prefix("udp:") {
            rest.parse().map(Self::Udp)
        } else if text.starts_with(['/', '@', '.']) {
            Err(AddressError::new(
                "a unix socket is written unix:PATH or unix:@NAME",
            ))
        } else {
            text.parse().map(Self::Tcp)
        };
        parsed.map_err(complain)
    }
}

/// An address in words that other programs have, and how it is written here.
fn foreign(text: &str) -> Option<AddressError> {
    let (scheme, rest) = text.split_once(':')?;
    // A path may begin with as many slashes as it likes.
    if let Some(place) = rest.strip_prefix("//").filter(|_| !scheme.starts_with("unix")) {
        let place = place.split(['/', '?']).next().unwrap_or_default();
        let instead = match scheme {
            "udp" => format!("udp:{place}"),
            _ => place.to_owned(),
        };
        let instead = match instead.parse::<Address>() {
            Ok(address) => address.to_string(),
            Err(_) => "HOST:PORT".to_owned(),
        };
        return Some(AddressError::new(format!(
            "a url is no listen address (write {instead})"
        )));
    }
    match scheme {
        "tcp" | "tcp4" | "tcp6" => {
            let instead = match rest.parse::<HostPort>() {
                Ok(_) => rest,
                Err(_) => "PORT or HOST:PORT",
            };
            Some(AddressError::new(format!(
                "tcp needs no prefix (write {instead})"
            )))
        }
        "vsock" => Some(AddressError::new("vsock sockets can only be inherited")),
        _ => None,
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(place) => write!(f, "{place}"),
            Self::Udp(place) => write!(f, "udp:{place}"),
            Self::Unix(path) => write!(f, "unix:{path}"),
            Self::UnixDatagram(path) => write!(f, "unix-dgram:{path}"),
            Self::UnixSeqpacket(path) => write!(f, "unix-seqpacket:{path}"),
        }
    }
}
