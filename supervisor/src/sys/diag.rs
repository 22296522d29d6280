//! The kernel's own search for TCP sockets, sock_diag(7): by state and by local port.
//!
//! /proc/net/tcp lists everything, also the tens of thousands of connections of a busy machine that are over
//! (TIME_WAIT), at some 2 µs each, and the reader waits for that. Here the kernel passes over them. A sandbox may
//! forbid the socket (`RestrictAddressFamilies=`): then there is no answer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::ControlFlow;
use std::os::fd::AsRawFd as _;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

/// A set of TCP states, by the numbers of include/net/tcp_states.h.
#[derive(Clone, Copy, Debug)]
pub(crate) struct States(u32);

impl States {
    pub(crate) const LISTEN: Self = Self(1 << 10);
    /// Not over for the process that accepted it: ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT.
    pub(crate) const OPEN: Self = Self(1 << 1 | 1 << 4 | 1 << 5 | 1 << 8);
    /// All but SYN_RECV and TIME_WAIT, which no process has open.
    pub(crate) const HELD: Self = Self(0xffe & !(1 << 3 | 1 << 6));
}

/// A socket that was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) local: SocketAddr,
    /// The interface to which it is bound; 0 if it is bound to none.
    pub(crate) interface: u32,
    /// Of a listener: how many clients wait.
    pub(crate) queued: u32,
    /// 0 where no process has it open.
    pub(crate) inode: u64,
}

/// How far a search came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Through everything.
    All,
    /// Until the caller had seen enough.
    Enough,
    /// Until it had looked at so many that it gave up.
    Cut,
}

// include/uapi/linux/netlink.h, sock_diag.h and inet_diag.h.
const HEADER: usize = 16;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const REQUEST_DUMP: u16 = 0x301;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// `struct inet_diag_req_v2` behind the header; its port lies behind family, protocol, extensions, padding and states.
const REQUEST: usize = HEADER + 56;
/// Offsets in `struct inet_diag_msg`, whose first byte is the family.
const PORT: usize = 4;
const ADDRESS: usize = 8;
const INTERFACE: usize = 40;
const RECEIVE_QUEUE: usize = 56;
const INODE: usize = 68;
/// What the kernel fills at most in one message, net/netlink/af_netlink.c.
const PART: usize = 32 * 1024;

/// Show each TCP socket of this network namespace in one of the states, with this local port (0: any), until `visit` has
/// seen enough, or `limit` sockets.
///
/// # Errors
/// Those of socket(2), and what the kernel answers: it may not know how, or be forbidden to.
pub(crate) fn search(
    states: States,
    port: u16,
    limit: usize,
    mut visit: impl FnMut(Found) -> ControlFlow<()>,
) -> Result<Reach, Errno> {
    let mut left = limit;
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        match search_family(family, states, port, &mut left, &mut visit)? {
            Reach::All => {}
            Reach::Enough => return Ok(Reach::Enough),
            Reach::Cut => return Ok(Reach::Cut),
        }
    }
    Ok(Reach::All)
}

fn search_family(
    family: AddressFamily,
    states: States,
    port: u16,
    left: &mut usize,
    visit: &mut impl FnMut(Found) -> ControlFlow<()>,
) -> Result<Reach, Errno> {
    let kernel = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkSockDiag,
    )?;
    send(
        kernel.as_raw_fd(),
        &request(family, states, port),
        MsgFlags::MSG_DONTWAIT,
    )?;
    let mut part = vec![0; PART];
    loop {
        let length = recv(kernel.as_raw_fd(), &mut part, MsgFlags::MSG_DONTWAIT)?;
        let mut rest = part.get(..length).ok_or(Errno::EMSGSIZE)?;
        while let Some((kind, payload, behind)) = message(rest) {
            rest = behind;
            match kind {
                DONE => return refusal(payload).map_or(Ok(Reach::All), Err),
                ERROR => return Err(refusal(payload).unwrap_or(Errno::EPROTO)),
                _ => {}
            }
            let Some(found) = found(payload) else { continue };
            if visit(found).is_break() {
                return Ok(Reach::Enough);
            }
            match left.checked_sub(1) {
                Some(less) => *left = less,
                None => return Ok(Reach::Cut),
            }
        }
    }
}

fn request(family: AddressFamily, states: States, port: u16) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(REQUEST);
    bytes.extend((REQUEST as u32).to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(REQUEST_DUMP.to_ne_bytes());
    // Number and sender.
    bytes.extend([0; 8]);
    bytes.extend([family as u8, libc::IPPROTO_TCP as u8, 0, 0]);
    bytes.extend(states.0.to_ne_bytes());
    bytes.extend(port.to_be_bytes());
    bytes.resize(REQUEST, 0);
    bytes
}

/// The kind of the first message, what is in it, and what is behind it.
fn message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
    let kind = u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
    let payload = bytes.get(HEADER..length)?;
    let behind = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((kind, payload, behind))
}

/// What the kernel refuses, or ends with too early: both begin with a negative errno (`netlink_ack`, `netlink_dump`;
/// ENOENT at the end where it knows no TCP).
fn refusal(payload: &[u8]) -> Option<Errno> {
    let code = i32::from_ne_bytes(*payload.first_chunk()?);
    (code < 0).then(|| Errno::from_raw(-code))
}

fn found(payload: &[u8]) -> Option<Found> {
    let number = |at: usize| Some(u32::from_ne_bytes(*payload.get(at..)?.first_chunk()?));
    let port = u16::from_be_bytes(*payload.get(PORT..)?.first_chunk()?);
    let address = payload.get(ADDRESS..)?;
    let ip: IpAddr = if i32::from(*payload.first()?) == libc::AF_INET {
        Ipv4Addr::from(*address.first_chunk::<4>()?).into()
    } else {
        Ipv6Addr::from(*address.first_chunk::<16>()?).into()
    };
    Some(Found {
        local: SocketAddr::new(ip, port),
        interface: number(INTERFACE)?,
        queued: number(RECEIVE_QUEUE)?,
        inode: number(INODE)?.into(),
    })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::time::{Duration, Instant};

    use super::*;

    fn inode(fd: impl AsFd) -> u64 {
        nix::sys::stat::fstat(fd).unwrap().st_ino
    }

    #[test]
    fn an_end_with_an_errno_is_a_refusal_and_no_end() {
        let of = |code: i32| refusal(&code.to_ne_bytes());
        assert_eq!(of(-libc::ENOENT), Some(Errno::ENOENT));
        assert_eq!(of(0), None);
        assert_eq!(refusal(&[]), None);
    }

    /// Look until it is so.
    #[track_caller]
    fn comes_to(is_so: impl Fn() -> bool) {
        let until = Instant::now() + Duration::from_secs(20);
        while !is_so() {
            assert!(Instant::now() < until, "it never came to that");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn all(states: States, port: u16) -> Vec<Found> {
        let mut all = Vec::new();
        let reach = search(states, port, usize::MAX, |found| {
            all.push(found);
            ControlFlow::Continue(())
        });
        assert_eq!(reach, Ok(Reach::All));
        all
    }

    #[test]
    fn a_listener_its_queue_and_its_connections_are_found_by_state_and_port() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                continue;
            };
            let local = listener.local_addr().unwrap();
            let clients = [(); 2].map(|()| TcpStream::connect(local).unwrap());
            let (accepted, _) = listener.accept().unwrap();
            // A handshake may have its last packet still before it.
            comes_to(|| {
                let listening = all(States::LISTEN, local.port());
                let ours = listening.iter().find(|found| found.inode == inode(&listener));
                ours.map(|found| (found.local, found.queued)) == Some((local, 1))
            });
            let open = all(States::OPEN, local.port());
            assert!(open.iter().all(|found| found.local.port() == local.port()));
            assert!(open.iter().any(|found| found.inode == inode(&accepted)));
            assert!(!open.iter().any(|found| found.inode == inode(&clients[0])));
            // The client has gone first: what is over is passed over.
            drop(clients);
            drop(accepted);
            // A child that another test forks at this moment has them until its exec.
            comes_to(|| {
                let open = all(States::OPEN, local.port());
                !open.iter().any(|found| found.inode != 0)
            });
        }
    }

    #[test]
    fn a_search_ends_when_it_has_seen_enough_or_too_many() {
        let _listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let enough = search(States::LISTEN, 0, usize::MAX, |_| ControlFlow::Break(()));
        assert_eq!(enough, Ok(Reach::Enough));
        let cut = search(States::LISTEN, 0, 1, |_| ControlFlow::Continue(()));
        assert_eq!(cut, Ok(Reach::Cut));
    }
}
