//! Making new sockets, from an address that has been looked up to a socket that listens.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, UnixAddr, bind, socket};

use super::local::{BoundTo, SocketKind, family_of};
use super::resolve::Owner;
use super::settings::{self, IPV6_ONLY, Originals, REUSE_ADDRESS};
use super::socket::{self as shared, Birth, IoMode, Socket, Source, set_io_mode};
use super::unix_file::{self, PathLock, SocketFile};
use super::{ListenError, PROBE_BACKLOG, PROBE_MODE, slots};
use crate::address::{Address, BindIpv6Only, Host, Key, ListenSpec, SocketOptions, UnixPath};
use crate::state::Guard;
use crate::sys::steering::{self, Arrivals};
use crate::sys::{errno_text, sock};

/// Longest path of a Unix socket in bytes (unix(7)); checked again when a relative path has become absolute.
const SUN_PATH_MAX: usize = 107;

/// A spec with everything that had to be looked up.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    pub(super) spec: &'a ListenSpec,
    /// The addresses behind the host, the preferred one first; none for `*` and for Unix sockets.
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) owner: Owner,
    /// Whether its path is removed with it.
    pub(super) guard: Guard,
}

/// A new socket and what its caller should hear about it.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) socket: Socket,
    pub(super) warnings: Vec<String>,
}

/// Says who has a port that is busy, if that can be told: `nginx, pid 4711`.
pub(super) type Holder<'a> = &'a dyn Fn(SocketKind, SocketAddr) -> Option<String>;

/// The kind of socket that an address asks for.
pub(super) fn kind_of(address: &Address) -> SocketKind {
    match address {
        Address::Tcp(_) => SocketKind::Tcp,
        Address::Udp(_) => SocketKind::Udp,
        Address::Unix(_) => SocketKind::Unix,
        Address::UnixDatagram(_) => SocketKind::UnixDatagram,
        Address::UnixSeqpacket(_) => SocketKind::UnixSeqpacket,
    }
}

/// The path as it is bound: a Unix socket keeps its path as it was given, and the app's working directory is another.
pub(super) fn absolute(path: &Path) -> Result<PathBuf, String> {
    let path = std::path::absolute(path).map_err(|error| errno_text(&error))?;
    let length = path.as_os_str().len();
    if length > SUN_PATH_MAX {
        return Err(format!(
            "path too long ({length} bytes, a unix socket takes {SUN_PATH_MAX})"
        ));
    }
    Ok(path)
}

/// Makes the socket that was asked for.
///
/// # Errors
/// One line, `listen ADDRESS: CAUSE`. Nothing is left behind: no fd, no path, no lock file.
pub(super) fn open(wanted: &Wanted<'_>, holder: Holder<'_>) -> Result<Bound, ListenError> {
    let address = &wanted.spec.address;
    let made = match (address.host_port(), address.unix_path()) {
        (Some(place), _) => match place.host {
            Host::Every => every_address(wanted, place.port, holder),
            Host::Ip(_) | Host::Zoned(..) | Host::Name(_) => one_address(wanted, holder),
        },
        (None, _) => unix(wanted, None),
    };
    made.map_err(|cause| ListenError::at(address, cause))
}

/// Makes one more socket at the address of another, which shares it (SO_REUSEPORT).
///
/// # Errors
/// One line. Nothing is left behind.
pub(super) fn beside(wanted: &Wanted<'_>, first: &Socket) -> Result<Bound, ListenError> {
    beside_with(wanted, first, Arrivals::Taken)
}

/// The same, but what arrives for it is dropped until the caller says otherwise, if the kernel lets us ([`steering::set_arrivals`]).
///
/// # Errors
/// As [`beside`].
pub(super) fn beside_in_silence(wanted: &Wanted<'_>, first: &Socket) -> Result<Bound, ListenError> {
    beside_with(wanted, first, Arrivals::Dropped)
}

fn beside_with(wanted: &Wanted<'_>, first: &Socket, arrivals: Arrivals) -> Result<Bound, ListenError> {
    let BoundTo::Internet { address, .. } = first.local().bound_to else {
        return Err(ListenError::at(&wanted.spec.address, "it has no port to share"));
    };
    let made = new_socket(kind_of(&wanted.spec.address), family_of(address)).and_then(|fd| {
        if steering::shares_address(first.as_fd()) {
            steering::share_address(fd.as_fd())?;
        }
        match arrivals {
            Arrivals::Dropped => drop(steering::set_arrivals(fd.as_fd(), arrivals)?),
            Arrivals::Taken => {}
        }
        Ok(fd)
    });
    made.map_err(errno_text)
        .and_then(|fd| match first.is_inherited() {
            // No spec has the options of that one.
            true => settings::copy(first.as_fd(), fd.as_fd(), family_of(address)).map(|()| fd),
            false => Ok(fd),
        })
        .and_then(|fd| internet(fd, wanted, address, &|_, _| None))
        .map_err(|cause| ListenError::at(&wanted.spec.address, cause))
}

/// Makes a Unix socket in the place of `dead`, whose path, if it has one, is cleared for it.
///
/// # Errors
/// One clause. Nothing new is left behind.
pub(super) fn unix(wanted: &Wanted<'_>, dead: Option<&Socket>) -> Result<Bound, String> {
    match wanted.spec.address.unix_path() {
        Some(UnixPath::Path(path)) => at_path(wanted, path, dead.and_then(Socket::file)),
        Some(UnixPath::Abstract(name)) => at_name(wanted, name),
        None => Err("it has no place".to_owned()),
    }
}

/// `*`: one IPv6 socket that takes IPv4 clients, too; on a machine without IPv6, an IPv4 socket.
fn every_address(wanted: &Wanted<'_>, port: u16, holder: Holder<'_>) -> Result<Bound, String> {
    let six = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port);
    let four = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
    let kind = kind_of(&wanted.spec.address);
    match new_socket(kind, AddressFamily::Inet6) {
        Ok(fd) => internet(fd, wanted, six, holder),
        Err(Errno::EAFNOSUPPORT) if wanted.spec.options.bind_ipv6_only() != BindIpv6Only::Ipv6Only => {
            let fd = new_socket(kind, AddressFamily::Inet).map_err(errno_text)?;
            let mut bound = internet(fd, wanted, four, holder)?;
            bound
                .warnings
                .push("this machine has no IPv6, so it is IPv4 only".to_owned());
            Ok(bound)
        }
        Err(errno) => Err(errno_text(errno)),
    }
}

fn one_address(wanted: &Wanted<'_>, holder: Holder<'_>) -> Result<Bound, String> {
    let Some(address) = wanted.addresses.first() else {
        return Err("the host has no address".to_owned());
    };
    let fd = new_socket(kind_of(&wanted.spec.address), family_of(*address)).map_err(|errno| {
        if errno == Errno::EAFNOSUPPORT && address.is_ipv6() {
            return "this machine has no IPv6".to_owned();
        }
        errno_text(errno)
    })?;
    internet(fd, wanted, *address, holder)
}

fn new_socket(kind: SocketKind, family: AddressFamily) -> Result<OwnedFd, Errno> {
    socket(family, socket_type(kind), SockFlag::SOCK_CLOEXEC, None)
}

fn socket_type(kind: SocketKind) -> SockType {
    match kind {
        SocketKind::Tcp | SocketKind::Unix => SockType::Stream,
        SocketKind::Udp | SocketKind::UnixDatagram => SockType::Datagram,
        SocketKind::UnixSeqpacket => SockType::SeqPacket,
    }
}

/// Binds and listens. If it is to be the first of several slots, nobody may have the address yet: it shares it from then on.
fn internet(
    fd: OwnedFd,
    wanted: &Wanted<'_>,
    address: SocketAddr,
    holder: Holder<'_>,
) -> Result<Bound, String> {
    let options = &wanted.spec.options;
    let kind = kind_of(&wanted.spec.address);
    if address.is_ipv6()
        && let Some(only) = settings::ipv6_only(options)
    {
        sock::set_option_int(fd.as_fd(), IPV6_ONLY, only).map_err(errno_text)?;
    }
    if kind == SocketKind::Tcp {
        // A port with old connections in TIME_WAIT can be bound again at once. Not for UDP: there it would share the port.
        sock::set_option_int(fd.as_fd(), REUSE_ADDRESS, 1).map_err(errno_text)?;
    }
    let originals = put_all(fd.as_fd(), options, family_of(address))?;
    let explain = |errno| explain_internet(errno, kind, address, holder);
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address)).map_err(explain)?;
    if slots::is_asked(options) {
        slots::found(fd.as_fd());
    }
    if kind.accepts_connections() {
        sock::listen(fd.as_fd(), shared::backlog(options)).map_err(explain)?;
    }
    finish(wanted, None, fd, originals)
}

pub(super) fn explain_internet(
    errno: Errno,
    kind: SocketKind,
    address: SocketAddr,
    holder: Holder<'_>,
) -> String {
    let text = errno_text(errno);
    if errno == Errno::EACCES {
        format!("{text} (try a systemd .socket unit)")
    } else if errno == Errno::EADDRNOTAVAIL {
        format!("{} is not an address of this machine", address.ip())
    } else if errno == Errno::EADDRINUSE
        && let Some(holder) = holder(kind, address)
    {
        format!("{text} (by {holder})")
    } else {
        text
    }
}

fn at_path(wanted: &Wanted<'_>, path: &Path, dead: Option<&SocketFile>) -> Result<Bound, String> {
    let options = &wanted.spec.options;
    let kind = kind_of(&wanted.spec.address);
    let path = absolute(path)?;
    if let Some(mode) = options.number(Key::DirectoryMode) {
        unix_file::make_parents(&path, mode)?;
    }
    let held = match dead {
        Some(file) => file.make_room()?,
        None => None,
    };
    let lock = match held {
        Some(lock) => lock,
        None => Rc::new(PathLock::take(&path, wanted.guard.clone())?),
    };
    unix_file::clear(&path, socket_type(kind))?;
    let fd = new_socket(kind, AddressFamily::Unix).map_err(errno_text)?;
    let originals = put_all(fd.as_fd(), options, AddressFamily::Unix)?;
    let is_linked = options.flag(Key::Linked) == Some(true);
    let bind_at = if is_linked {
        unix_file::clear_second(&path, socket_type(kind))?;
        SocketFile::bind_beside
    } else {
        SocketFile::bind
    };
    let file = bind_at(fd.as_fd(), &path, Some(lock), wanted.guard.clone())?;
    file.give_access(wanted.owner, shared::mode(options))?;
    if kind.accepts_connections() {
        sock::listen(fd.as_fd(), shared::backlog(options)).map_err(errno_text)?;
    }
    finish(wanted, Some(file), fd, originals)
}

fn at_name(wanted: &Wanted<'_>, name: &str) -> Result<Bound, String> {
    let options = &wanted.spec.options;
    let kind = kind_of(&wanted.spec.address);
    let fd = new_socket(kind, AddressFamily::Unix).map_err(errno_text)?;
    let originals = put_all(fd.as_fd(), options, AddressFamily::Unix)?;
    let address = UnixAddr::new_abstract(name.as_bytes()).map_err(errno_text)?;
    bind(fd.as_raw_fd(), &address).map_err(errno_text)?;
    if kind.accepts_connections() {
        sock::listen(fd.as_fd(), shared::backlog(options)).map_err(errno_text)?;
    }
    finish(wanted, None, fd, originals)
}

/// Sets every option that was given, before bind(2): some can only be set then, and buffers decide the window that
/// a connection is offered.
fn put_all(fd: BorrowedFd<'_>, options: &SocketOptions, family: AddressFamily) -> Result<Originals, String> {
    let mut originals = Originals::new();
    for key in options.given() {
        settings::put(fd, key, options, family, &mut originals)?;
    }
    Ok(originals)
}

fn finish(
    wanted: &Wanted<'_>,
    file: Option<SocketFile>,
    fd: OwnedFd,
    originals: Originals,
) -> Result<Bound, String> {
    let options = &wanted.spec.options;
    set_io_mode(fd.as_fd(), IoMode::wanted_by(options)).map_err(errno_text)?;
    let accepts = wanted.spec.address.accepts_connections();
    let socket = Socket::new(Birth {
        file,
        fd,
        source: Source::Spec(wanted.spec.address.clone()),
        options: options.clone(),
        owner: wanted.owner,
        originals,
        backlog: accepts.then(|| shared::backlog(options)),
    })?;
    let warnings = socket.caps();
    Ok(Bound { socket, warnings })
}

/// The private listener of one generation. Its directory is ours alone: a socket that lies there already is one of a supervisor that
/// was killed, and makes room even if somebody listens there.
pub(super) fn probe(path: &Path, guard: Guard) -> Result<Socket, ListenError> {
    let make = |guard| -> Result<Socket, String> {
        let path = absolute(path)?;
        unix_file::make_way(&path)?;
        let fd = new_socket(SocketKind::Unix, AddressFamily::Unix).map_err(errno_text)?;
        let file = SocketFile::bind(fd.as_fd(), &path, None, guard)?;
        file.give_access(Owner::default(), PROBE_MODE)?;
        sock::listen(fd.as_fd(), PROBE_BACKLOG).map_err(errno_text)?;
        probe_socket(fd, file)
    };
    make(guard).map_err(|cause| ListenError::at(format_args!("unix:{}", path.display()), cause))
}

/// The same, of which another process has given us a copy.
pub(super) fn probe_had_back(fd: OwnedFd, path: &Path) -> Result<Socket, ListenError> {
    let socket = SocketFile::find(path, Guard::armed()).and_then(|file| probe_socket(fd, file));
    socket.map_err(|cause| ListenError::at(format_args!("unix:{}", path.display()), cause))
}

fn probe_socket(fd: OwnedFd, file: SocketFile) -> Result<Socket, String> {
    Socket::new(Birth {
        file: Some(file),
        fd,
        source: Source::Probe,
        options: SocketOptions::default(),
        owner: Owner::default(),
        originals: Originals::new(),
        backlog: Some(PROBE_BACKLOG),
    })
}
