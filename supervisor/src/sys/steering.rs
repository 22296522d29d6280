//! Which socket of an SO_REUSEPORT group a new connection goes to: a classic BPF program says so (SO_ATTACH_REUSEPORT_CBPF,
//! socket(7), Linux 4.6). A process that has a socket of the group may attach one, without any privilege.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd as _, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::connect as connect_to;
use nix::sys::socket::{
    AddressFamily, Shutdown, SockFlag, SockType, SockaddrStorage, accept4, bind, getsockname, shutdown,
    socket,
};

use super::sock::{self, SocketOption};

const REUSE_PORT: SocketOption = SocketOption {
    level: libc::SOL_SOCKET,
    name: libc::SO_REUSEPORT,
};

/// Let other sockets of the same user share the address of this one, also if it is bound already and listens.
///
/// # Errors
/// As setsockopt(2).
pub(crate) fn share_address(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    sock::set_option_int(fd, REUSE_PORT, 1)
}

/// Whether others may share the address of this socket.
pub(crate) fn shares_address(fd: BorrowedFd<'_>) -> bool {
    sock::option_int(fd, REUSE_PORT).is_ok_and(|shared| shared != 0)
}

/// Nobody may share the address of this one any more.
///
/// # Errors
/// As setsockopt(2).
pub(crate) fn keep_address(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    sock::set_option_int(fd, REUSE_PORT, 0)
}

/// Which member of a group a new connection goes to.
#[derive(Debug)]
pub(crate) struct Route<'a> {
    /// Connections from these IPv4 addresses go to these members.
    pub(crate) doors: &'a [(Ipv4Addr, u32)],
    /// Connections from these IPv6 addresses and ports go to these members.
    pub(crate) visitors: &'a [(Visitors, u32)],
    /// All others go to this one.
    pub(crate) others: u32,
}

/// What arrives for a socket is dropped ([`Arrivals::Dropped`]): whoever connects sends the same again after a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrivals {
    /// A filter that takes nothing (SO_ATTACH_FILTER, socket(7)).
    Dropped,
    /// No filter.
    Taken,
}

/// Say what becomes of packets that arrive for a TCP socket, and return what does become of them. A kernel that lets nobody but
/// CAP_NET_ADMIN drop them (6.18.44 does) takes them: a client that comes then waits in the queue of this socket.
///
/// # Errors
/// As setsockopt(2).
pub(crate) fn set_arrivals(fd: BorrowedFd<'_>, arrivals: Arrivals) -> Result<Arrivals, Errno> {
    match arrivals {
        Arrivals::Dropped => match attach(fd, libc::SO_ATTACH_FILTER, &mut [answer(0)]) {
            Err(Errno::EPERM) => Ok(Arrivals::Taken),
            attached => attached.map(|()| arrivals),
        },
        Arrivals::Taken => {
            let detach = SocketOption {
                level: libc::SOL_SOCKET,
                name: libc::SO_DETACH_FILTER,
            };
            match sock::set_option_int(fd, detach, 0) {
                // It has none.
                Err(Errno::ENOENT) => Ok(arrivals),
                detached => detached.map(|()| arrivals),
            }
        }
    }
}

/// Connections over IPv6 that are told from all others by the ports from which they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Visitors {
    /// The address, and the first of the ports: a multiple of their count.
    pub(crate) from: SocketAddrV6,
    /// How many ports: a power of two.
    pub(crate) ports: u16,
}

/// From now on every new connection to the group of this socket goes where the route says; those whose handshake has
/// begun stay where they are. Members stand in the order in which they began to listen; when one is closed, the last takes its
/// index. With an index that no member has, the kernel spreads connections over all of them.
///
/// # Errors
/// As setsockopt(2): `EINVAL` if the socket shares no address, or the kernel does not know the option.
pub(crate) fn send(fd: BorrowedFd<'_>, route: &Route<'_>) -> Result<(), Errno> {
    attach(fd, libc::SO_ATTACH_REUSEPORT_CBPF, &mut program(route))
}

fn attach(fd: BorrowedFd<'_>, option: libc::c_int, program: &mut [libc::sock_filter]) -> Result<(), Errno> {
    let description = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| Errno::EINVAL)?,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the kernel reads one `sock_fprog` at the pointer, and `len` instructions at the pointer in it; both live until the
    // call returns, and it keeps a copy and no pointer.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            (&raw const description).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    Errno::result(result).map(drop)
}

/// The same for a group without doors: all new connections go to the member with this index.
///
/// # Errors
/// As [`send`].
pub(crate) fn send_to_index(fd: BorrowedFd<'_>, index: u32) -> Result<(), Errno> {
    let route = Route {
        doors: &[],
        visitors: &[],
        others: index,
    };
    send(fd, &route)
}

/// The program of a route. It sees the packet that begins a connection, and finds the addresses where the header of IPv4 and the one
/// of IPv6 have them; what has another version goes on.
fn program(route: &Route<'_>) -> Vec<libc::sock_filter> {
    const SOURCE: u32 = 12;
    const SOURCE_OF_IPV6: u32 = 8;
    /// The port of the source, behind a header of IPv6 without extensions: a connection of this machine has none.
    const PORT_BEHIND_IPV6: u32 = 40;
    let mut program = Vec::new();
    if !route.doors.is_empty() {
        let mut doors = vec![load(WORD, SOURCE)];
        for (address, index) in route.doors {
            doors.extend([skip_unless(u32::from(*address), 1), answer(*index)]);
        }
        program.extend(only_for_version(4, doors));
    }
    if !route.visitors.is_empty() {
        let mut visitors = Vec::new();
        for (Visitors { from, ports }, index) in route.visitors {
            let words = from.ip().octets();
            let words = words
                .chunks_exact(4)
                .map(|word| word.iter().fold(0, |all, byte| all << 8 | u32::from(*byte)));
            visitors.extend([
                load(HALF, PORT_BEHIND_IPV6),
                keep_bits(u32::from(ports.wrapping_neg())),
                skip_unless(from.port().into(), 9),
            ]);
            for ((word, place), left) in words.zip((SOURCE_OF_IPV6..).step_by(4)).zip([7, 5, 3, 1]) {
                visitors.extend([load(WORD, place), skip_unless(word, left)]);
            }
            visitors.push(answer(*index));
        }
        program.extend(only_for_version(6, visitors));
    }
    program.push(answer(route.others));
    program
}

const WORD: u32 = libc::BPF_W;
const HALF: u32 = libc::BPF_H;
const BYTE: u32 = libc::BPF_B;

/// Instructions that are passed over for packets of another version of IP.
fn only_for_version(version: u32, instructions: Vec<libc::sock_filter>) -> Vec<libc::sock_filter> {
    let length = u32::try_from(instructions.len()).unwrap_or(u32::MAX);
    let mut guarded = vec![
        load(BYTE, 0),
        keep_bits(0xf0),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, 0, version << 4),
        instruction(libc::BPF_JMP | libc::BPF_JA, 0, 0, length),
    ];
    guarded.extend(instructions);
    guarded
}

/// Load what stands at this place behind the beginning of the network header, as a number.
fn load(size: u32, place: u32) -> libc::sock_filter {
    let place = (libc::SKF_NET_OFF as u32).wrapping_add(place);
    instruction(libc::BPF_LD | size | libc::BPF_ABS, 0, 0, place)
}

/// Of what was loaded these bits count.
fn keep_bits(mask: u32) -> libc::sock_filter {
    instruction(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, mask)
}

/// Pass over so many instructions unless what was loaded is this.
fn skip_unless(value: u32, count: u8) -> libc::sock_filter {
    instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, count, value)
}

/// The program ends, and this is its answer.
fn answer(index: u32) -> libc::sock_filter {
    instruction(libc::BPF_RET | libc::BPF_K, 0, 0, index)
}

fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    }
}

/// Connect from one address to another, without waiting for the answer. The port of an IPv4 source is chosen as for any client; one
/// of IPv6 is chosen here, and `before` is told of it while nothing has been sent.
///
/// # Errors
/// As socket(2), bind(2) and connect(2): `EADDRNOTAVAIL` if no port is left, or the address is not of this machine.
pub(crate) fn connect(
    from: IpAddr,
    to: SocketAddr,
    before: impl FnOnce(SocketAddr) -> Result<(), Errno>,
) -> Result<OwnedFd, Errno> {
    let family = match to {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let client = socket(family, SockType::Stream, flags, None)?;
    if from.is_ipv4() {
        // So many connections can be made from an address as to it; without this, only as many as there are ports.
        let late = SocketOption {
            level: libc::IPPROTO_IP,
            name: libc::IP_BIND_ADDRESS_NO_PORT,
        };
        sock::set_option_int(client.as_fd(), late, 1)?;
    }
    bind(
        client.as_raw_fd(),
        &SockaddrStorage::from(SocketAddr::new(from, 0)),
    )?;
    let bound: SockaddrStorage = getsockname(client.as_raw_fd())?;
    if let Some(bound) = bound.as_sockaddr_in6() {
        before(SocketAddr::V6((*bound).into()))?;
    }
    match connect_to(client.as_raw_fd(), &SockaddrStorage::from(to)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(client),
        Err(errno) => Err(errno),
    }
}

/// Whether connections from one address can reach another: the kernel is asked for the route, and nothing is sent.
///
/// # Errors
/// As socket(2), bind(2) and connect(2): `EADDRNOTAVAIL` if the source is not of this machine, `EINVAL` if it is of 127.0.0.0/8 and the
/// other is not of this machine.
pub(crate) fn has_route(from: IpAddr, to: SocketAddr) -> Result<(), Errno> {
    let family = match to {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let trial = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let mut from = SocketAddr::new(from, 0);
    if let (SocketAddr::V6(from), SocketAddr::V6(to)) = (&mut from, to) {
        from.set_scope_id(to.scope_id());
    }
    bind(trial.as_raw_fd(), &SockaddrStorage::from(from))?;
    connect_to(trial.as_raw_fd(), &SockaddrStorage::from(to))
}

/// Accept the first connection in the queue of a listening socket, if one waits; its O_NONBLOCK is as it was afterwards. The
/// connection is the caller's.
///
/// # Errors
/// As fcntl(2) and accept(2): `EAGAIN` if nobody waits.
pub(crate) fn accept_first(listener: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags = OFlag::from_bits_retain(fcntl(listener, FcntlArg::F_GETFL)?);
    fcntl(listener, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    let accepted = accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC);
    fcntl(listener, FcntlArg::F_SETFL(flags))?;
    // SAFETY: accept4 has just made this descriptor, and nobody else knows of it.
    accepted.map(|number| unsafe { OwnedFd::from_raw_fd(number) })
}

/// Nothing more is sent on this connection: whoever reads from its other end finds its end.
pub(crate) fn send_no_more(fd: BorrowedFd<'_>) {
    // It can only fail if the other end has closed it meanwhile.
    let _ = shutdown(fd.as_raw_fd(), Shutdown::Write);
}

/// Whether nobody has closed the other end of a connection of this machine on which [`send_no_more`] was called.
pub(crate) fn is_open_elsewhere(fd: BorrowedFd<'_>) -> bool {
    /// TCP_FIN_WAIT1 and TCP_FIN_WAIT2 of the kernel's enumeration of states; the state is the first byte of `struct tcp_info`.
    const WAITS_FOR_THE_OTHER: [u8; 2] = [4, 5];
    let option = SocketOption {
        level: libc::IPPROTO_TCP,
        name: libc::TCP_INFO,
    };
    let state = sock::option_bytes(fd, option).ok();
    let state = state.and_then(|info| info.first().copied());
    state.is_some_and(|state| WAITS_FOR_THE_OTHER.contains(&state))
}

/// Whether a connection that was begun has come to its other end: the member of a group was chosen.
pub(crate) fn has_arrived(fd: BorrowedFd<'_>) -> bool {
    /// TCP_SYN_SENT of the kernel's enumeration of states; the state is the first byte of `struct tcp_info`.
    const UNDER_WAY: u8 = 2;
    let option = SocketOption {
        level: libc::IPPROTO_TCP,
        name: libc::TCP_INFO,
    };
    let info = sock::option_bytes(fd, option).ok();
    let state = info.and_then(|info| info.first().copied());
    state.is_some_and(|state| state != UNDER_WAY)
}

/// Whether a socket is of our network namespace (SO_NETNS_COOKIE of socket(7), Linux 5.14). An older kernel does not tell.
pub(crate) fn is_of_our_network(fd: BorrowedFd<'_>) -> bool {
    let option = SocketOption {
        level: libc::SOL_SOCKET,
        name: libc::SO_NETNS_COOKIE,
    };
    let ours = || {
        let own = socket(
            AddressFamily::Unix,
            SockType::Stream,
            SockFlag::SOCK_CLOEXEC,
            None,
        )
        .ok()?;
        sock::option_bytes(own.as_fd(), option).ok()
    };
    match (sock::option_bytes(fd, option).ok(), ours()) {
        (Some(its), Some(ours)) => its == ours,
        (Some(_) | None, Some(_) | None) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    /// A socket that shares the address, as the kernel picks it for port 0.
    fn member(address: SocketAddr) -> TcpListener {
        let family = if address.is_ipv6() {
            AddressFamily::Inet6
        } else {
            AddressFamily::Inet
        };
        let fd: OwnedFd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        share_address(fd.as_fd()).unwrap();
        bind(fd.as_raw_fd(), &SockaddrStorage::from(address)).unwrap();
        sock::listen(fd.as_fd(), 64).unwrap();
        // SAFETY: the fd is ours, and given away here.
        unsafe { TcpListener::from_raw_fd(std::os::fd::IntoRawFd::into_raw_fd(fd)) }
    }

    fn waiting(group: &[&TcpListener]) -> Vec<u32> {
        group
            .iter()
            .map(|member| sock::tcp_queue(member.as_fd()).unwrap())
            .collect()
    }

    /// A listener that has served alone is joined by others, and each is reached when it is meant, by clients of both families.
    fn each_is_reached_when_it_is_meant(first: TcpListener, doors: &[&str]) {
        let address = first.local_addr().unwrap();
        share_address(first.as_fd()).unwrap();
        let (second, third) = (member(address), member(address));
        let group = [&first, &second, &third];
        let mut clients = Vec::new();
        let mut expected = vec![0; 3];
        for index in [2, 0, 1, 2u32] {
            send_to_index(second.as_fd(), index).unwrap();
            for door in doors {
                for _ in 0..10 {
                    clients.push(TcpStream::connect((*door, address.port())).unwrap());
                }
                expected[index as usize] += 10;
            }
            assert_eq!(waiting(&group), expected, "index {index}");
        }
    }

    #[test]
    fn ipv4() {
        each_is_reached_when_it_is_meant(TcpListener::bind("127.0.0.1:0").unwrap(), &["127.0.0.1"]);
    }

    #[test]
    fn ipv6_alone_and_with_clients_of_both_families() {
        // A machine without IPv6 has nothing to steer there.
        let Ok(dual) = TcpListener::bind("[::]:0") else {
            return;
        };
        each_is_reached_when_it_is_meant(dual, &["::1", "127.0.0.1"]);
        if let Ok(six) = TcpListener::bind("[::1]:0") {
            each_is_reached_when_it_is_meant(six, &["::1"]);
        }
    }

    #[test]
    fn a_door_leads_to_its_member_and_everybody_else_goes_on() {
        let first = TcpListener::bind("0.0.0.0:0").unwrap();
        share_address(first.as_fd()).unwrap();
        let address = first.local_addr().unwrap();
        let group = [&first, &member(address), &member(address)];
        let door = |last: u8| Ipv4Addr::new(127, 83, 71, last);
        let route = Route {
            doors: &[(door(1), 0), (door(2), 1), (door(3), 2)],
            visitors: &[],
            others: 1,
        };
        send(first.as_fd(), &route).unwrap();
        let to = SocketAddr::from(([127, 0, 0, 1], address.port()));
        let mut clients = Vec::new();
        for (last, expected) in [(1, [1, 0, 0]), (3, [1, 0, 1]), (2, [1, 1, 1]), (4, [1, 2, 1])] {
            let client = connect(door(last).into(), to, |_| Ok(())).unwrap();
            let mut left = 10_000;
            while waiting(&group) != expected && left > 0 {
                left -= 1;
                std::thread::yield_now();
            }
            assert_eq!(waiting(&group), expected, "from 127.83.71.{last}");
            send_no_more(client.as_fd());
            assert!(is_open_elsewhere(client.as_fd()) && is_of_our_network(client.as_fd()));
            clients.push(client);
        }
        let _stranger = TcpStream::connect(to).unwrap();
        assert_eq!(waiting(&group), [1, 3, 1]);
        // What was ended still waits, and is closed when it is accepted and dropped.
        drop(accept_first(first.as_fd()).unwrap());
        assert_eq!(waiting(&group), [0, 3, 1]);
        assert_eq!(accept_first(first.as_fd()).map(drop), Err(Errno::EAGAIN));
        let open = clients.iter().filter(|client| is_open_elsewhere(client.as_fd()));
        assert_eq!(open.count(), 3);
    }

    #[test]
    fn one_connection_over_ipv6_is_told_from_all_others_by_its_port() {
        let Ok(first) = TcpListener::bind("[::1]:0") else {
            return;
        };
        share_address(first.as_fd()).unwrap();
        let address = first.local_addr().unwrap();
        let group = [&first, &member(address)];
        let lead = |from: SocketAddr| {
            let SocketAddr::V6(from) = from else {
                return Err(Errno::EAFNOSUPPORT);
            };
            let route = Route {
                doors: &[],
                visitors: &[(Visitors { from, ports: 1 }, 1)],
                others: 0,
            };
            send(first.as_fd(), &route)
        };
        let _visitor = connect(address.ip(), address, lead).unwrap();
        let mut left = 10_000;
        while waiting(&group) != [0, 1] && left > 0 {
            left -= 1;
            std::thread::yield_now();
        }
        let _strangers: Vec<_> = (0..5).map(|_| TcpStream::connect(address).unwrap()).collect();
        assert_eq!(waiting(&group), [5, 1]);
    }

    #[test]
    fn several_visitors_over_ipv6_are_told_from_all_others_by_their_ports() {
        let Ok(first) = TcpListener::bind("[::1]:0") else {
            return;
        };
        share_address(first.as_fd()).unwrap();
        let address = first.local_addr().unwrap();
        let group = [&first, &member(address), &member(address)];
        let from = |port: u16| SocketAddrV6::new(std::net::Ipv6Addr::LOCALHOST, port, 0, 0);
        let visitors = |first: u16, ports: u16| Visitors {
            from: from(first),
            ports,
        };
        let route = Route {
            doors: &[],
            visitors: &[(visitors(9_999, 1), 2), (visitors(23_040, 16), 1)],
            others: 0,
        };
        send(first.as_fd(), &route).unwrap();
        let mut clients = Vec::new();
        let mut expected = [0, 0, 0];
        for (port, index) in [
            (23_039, 0),
            (23_040, 1),
            (23_055, 1),
            (23_056, 0),
            (9_999, 2),
            (10_000, 0),
        ] {
            let client: OwnedFd = socket(
                AddressFamily::Inet6,
                SockType::Stream,
                SockFlag::SOCK_CLOEXEC,
                None,
            )
            .unwrap();
            // One that is busy says nothing of the kernel's program.
            if bind(
                client.as_raw_fd(),
                &SockaddrStorage::from(SocketAddr::V6(from(port))),
            )
            .is_err()
            {
                continue;
            }
            connect_to(client.as_raw_fd(), &SockaddrStorage::from(address)).unwrap();
            clients.push(client);
            expected[index] += 1;
            assert_eq!(waiting(&group), expected, "from port {port}");
        }
    }

    #[test]
    fn a_route_leads_to_addresses_of_this_machine_alone() {
        let door = IpAddr::from([127, 200, 1, 2]);
        assert_eq!(has_route(door, SocketAddr::from(([127, 0, 0, 1], 80))), Ok(()));
        // TEST-NET-1 is nobody's (RFC 5737).
        let elsewhere = SocketAddr::from(([192, 0, 2, 1], 80));
        assert!(has_route(door, elsewhere).is_err());
        assert!(has_route(elsewhere.ip(), elsewhere).is_err());
    }

    #[test]
    fn whether_arrivals_are_dropped_is_said() {
        let [asked, tried] = ["127.0.0.1:0"; 2].map(|address| TcpListener::bind(address).unwrap());
        let may = match attach(tried.as_fd(), libc::SO_ATTACH_FILTER, &mut [answer(0)]) {
            Ok(()) => Arrivals::Dropped,
            Err(errno) => {
                assert_eq!(errno, Errno::EPERM);
                Arrivals::Taken
            }
        };
        assert_eq!(set_arrivals(asked.as_fd(), Arrivals::Dropped), Ok(may));
        let taken = set_arrivals(asked.as_fd(), Arrivals::Taken);
        assert_eq!(taken, Ok(Arrivals::Taken));
        TcpStream::connect(asked.local_addr().unwrap()).unwrap();
    }

    #[test]
    fn a_socket_that_shares_nothing_cannot_be_steered() {
        let alone = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(send_to_index(alone.as_fd(), 0), Err(Errno::EINVAL));
    }
}
