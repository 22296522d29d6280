//! Which socket of an SO_REUSEPORT group a new connection goes to: a classic BPF program says so (SO_ATTACH_REUSEPORT_CBPF,
//! socket(7), Linux 4.6). A process that has a socket of the group may attach one, without any privilege.

use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::sock::{self, SocketOption};

/// `BPF_RET | BPF_K`: the program ends and its answer is the constant.
const RETURN_CONSTANT: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

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

/// From now on every new connection to the group of this socket goes to the member with this index; those whose handshake has
/// begun stay where they are. Members stand in the order in which they began to listen; when one is closed, the last takes its
/// index. With an index that no member has, the kernel spreads connections over all of them.
///
/// # Errors
/// As setsockopt(2): `EINVAL` if the socket shares no address, or the kernel does not know the option.
pub(crate) fn send_to_index(fd: BorrowedFd<'_>, index: u32) -> Result<(), Errno> {
    let mut program = [libc::sock_filter {
        code: RETURN_CONSTANT,
        jt: 0,
        jf: 0,
        k: index,
    }];
    let description = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the kernel reads one `sock_fprog` at the pointer, and `len` instructions at the pointer in it; both live until the
    // call returns, and it keeps a copy and no pointer.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const description).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    Errno::result(result).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::os::fd::{AsFd, FromRawFd, OwnedFd};

    /// A socket that shares the address, as the kernel picks it for port 0.
    fn member(address: SocketAddr) -> TcpListener {
        use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, socket};
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
    fn a_socket_that_shares_nothing_cannot_be_steered() {
        let alone = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(send_to_index(alone.as_fd(), 0), Err(Errno::EINVAL));
    }
}
