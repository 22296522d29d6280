//! What a socket says about itself: its kind and the address that it is really bound to.

use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockaddrStorage, UnixAddr, getsockname};

use super::settings::{IPV6_ONLY, SOCKET_DOMAIN, SOCKET_TYPE};
use crate::sys::{errno_text, sock};

/// The kinds of sockets that can be listeners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SocketKind {
    /// TCP (and what else is a stream over IP, as MPTCP, if it was inherited).
    Tcp,
    /// UDP.
    Udp,
    /// Unix, stream.
    Unix,
    /// Unix, datagram.
    UnixDatagram,
    /// Unix, seqpacket.
    UnixSeqpacket,
}

impl SocketKind {
    /// Whether clients connect to it: the others are bound and have no backlog.
    pub(crate) fn accepts_connections(self) -> bool {
        match self {
            Self::Tcp | Self::Unix | Self::UnixSeqpacket => true,
            Self::Udp | Self::UnixDatagram => false,
        }
    }

    /// What stands before the address in a `--listen`.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::Tcp => "",
            Self::Udp => "udp:",
            Self::Unix => "unix:",
            Self::UnixDatagram => "unix-dgram:",
            Self::UnixSeqpacket => "unix-seqpacket:",
        }
    }

    fn of(domain: i32, socket_type: i32) -> Option<Self> {
        let internet = domain == libc::AF_INET || domain == libc::AF_INET6;
        match socket_type {
            libc::SOCK_STREAM if internet => Some(Self::Tcp),
            libc::SOCK_DGRAM if internet => Some(Self::Udp),
            libc::SOCK_STREAM if domain == libc::AF_UNIX => Some(Self::Unix),
            libc::SOCK_DGRAM if domain == libc::AF_UNIX => Some(Self::UnixDatagram),
            libc::SOCK_SEQPACKET if domain == libc::AF_UNIX => Some(Self::UnixSeqpacket),
            _ => None,
        }
    }
}

/// Where clients reach a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BoundTo {
    /// An Internet address; `both` if an IPv6 socket takes IPv4 clients, too.
    Internet { address: SocketAddr, both: bool },
    /// A path, absolute for all sockets that were made here. The socket may be bound elsewhere (`linked`).
    Path(PathBuf),
    /// An abstract name, without the leading NUL.
    Abstract(Vec<u8>),
    /// A Unix socket without a name, which can only have been inherited.
    Unnamed,
}

impl BoundTo {
    fn plain(&self) -> OsString {
        match self {
            Self::Internet { address, .. } => address.to_string().into(),
            Self::Path(path) => path.as_os_str().to_owned(),
            Self::Abstract(name) => OsString::from_vec([b"@", name.as_slice()].concat()),
            Self::Unnamed => OsString::new(),
        }
    }
}

/// The kind of a socket and its address, for clients and for apps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Local {
    pub(super) kind: SocketKind,
    pub(super) bound_to: BoundTo,
    /// The address alone, as most programs write it, and for a path as getsockname(2) tells it to an app.
    plain: OsString,
}

impl Local {
    /// Asks the socket.
    ///
    /// # Errors
    /// One clause, fit to stand after `it`: it is no socket, or one that cannot be a listener.
    pub(super) fn of(fd: BorrowedFd<'_>) -> Result<Self, String> {
        let ask = |option| {
            sock::option_int(fd, option).map_err(|errno| {
                if errno == Errno::ENOTSOCK {
                    return "it is no socket".to_owned();
                }
                format!("it does not answer: {}", errno_text(errno))
            })
        };
        let socket_type = ask(SOCKET_TYPE)?;
        let domain = ask(SOCKET_DOMAIN)?;
        let Some(kind) = SocketKind::of(domain, socket_type) else {
            return Err(
                "it is neither tcp, udp nor a unix socket, and segue hands on nothing else".to_owned(),
            );
        };
        let bound_to = bound_to(fd).map_err(|errno| format!("it has no address: {}", errno_text(errno)))?;
        let plain = bound_to.plain();
        Ok(Self {
            kind,
            bound_to,
            plain,
        })
    }

    /// The same, for clients that come by this path.
    pub(super) fn reached_by(self, path: &Path) -> Self {
        Self {
            bound_to: BoundTo::Path(path.to_owned()),
            ..self
        }
    }

    /// The address without a kind, as an app finds it: `127.0.0.1:8080`, `[::]:8080`, a path, or `@` and an abstract name.
    pub(super) fn plain(&self) -> &OsStr {
        &self.plain
    }

    pub(super) fn port(&self) -> Option<u16> {
        match &self.bound_to {
            BoundTo::Internet { address, .. } => Some(address.port()),
            BoundTo::Path(_) | BoundTo::Abstract(_) | BoundTo::Unnamed => None,
        }
    }

    /// In the words of `--listen`, without control characters, whatever an inherited socket is called.
    pub(super) fn text(&self) -> String {
        let prefix = self.kind.prefix();
        match &self.bound_to {
            BoundTo::Internet { address, both: true } if address.ip().is_unspecified() => {
                format!("{prefix}*:{}", address.port())
            }
            BoundTo::Internet { address, .. } => format!("{prefix}{address}"),
            BoundTo::Path(path) => format!("{prefix}{}", path.to_string_lossy().escape_debug()),
            BoundTo::Abstract(name) => format!("{prefix}@{}", String::from_utf8_lossy(name).escape_debug()),
            BoundTo::Unnamed => format!("{prefix}(no name)"),
        }
    }

    pub(super) fn scope_note(&self) -> Option<&'static str> {
        let BoundTo::Internet { address, both } = &self.bound_to else {
            return None;
        };
        match address.ip() {
            ip if ip.to_canonical().is_loopback() => Some("this machine only"),
            IpAddr::V4(ip) if ip.is_unspecified() => Some("every address, IPv4 only"),
            IpAddr::V6(ip) if ip.is_unspecified() && *both => Some("every address, IPv4 and IPv6"),
            IpAddr::V6(ip) if ip.is_unspecified() => Some("every address, IPv6 only"),
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        }
    }

    pub(super) fn is_loopback(&self) -> bool {
        match &self.bound_to {
            BoundTo::Internet { address, .. } => address.ip().to_canonical().is_loopback(),
            BoundTo::Path(_) | BoundTo::Abstract(_) | BoundTo::Unnamed => false,
        }
    }

    pub(super) fn family(&self) -> AddressFamily {
        match &self.bound_to {
            BoundTo::Internet { address, .. } => family_of(*address),
            BoundTo::Path(_) | BoundTo::Abstract(_) | BoundTo::Unnamed => AddressFamily::Unix,
        }
    }
}

pub(super) fn family_of(address: SocketAddr) -> AddressFamily {
    match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    }
}

fn bound_to(fd: BorrowedFd<'_>) -> Result<BoundTo, Errno> {
    let name: SockaddrStorage = getsockname(fd.as_raw_fd())?;
    if let Some(ip) = name.as_sockaddr_in() {
        return Ok(BoundTo::Internet {
            address: SocketAddr::V4((*ip).into()),
            both: false,
        });
    }
    if let Some(ip) = name.as_sockaddr_in6() {
        let both = sock::option_int(fd, IPV6_ONLY)? == 0;
        return Ok(BoundTo::Internet {
            address: SocketAddr::V6((*ip).into()),
            both,
        });
    }
    // The storage type does not tell the length of a Unix address, its own type does.
    let name: UnixAddr = getsockname(fd.as_raw_fd())?;
    if let Some(path) = name.path() {
        return Ok(BoundTo::Path(path.to_owned()));
    }
    match name.as_abstract() {
        Some(name) => Ok(BoundTo::Abstract(name.to_vec())),
        None => Ok(BoundTo::Unnamed),
    }
}
