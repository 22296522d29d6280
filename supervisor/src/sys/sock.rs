//! Socket options by number, listen(2) with any backlog, and a first look at fds that came with the process.
//!
//! `nix` has a type for each option that it knows; the listeners take their options from a table, so numbers serve
//! them better, and some of the numbers (IPV6_FREEBIND, SO_RCVBUFFORCE) `nix` does not have.

use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

/// Longest value that an option read here has: a `struct tcp_info` of today is 280 bytes.
const VALUE_MAX: usize = 512;

/// One socket option: its level and its number, as setsockopt(2) takes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SocketOption {
    /// `SOL_SOCKET`, `IPPROTO_TCP`...
    pub level: libc::c_int,
    /// `SO_KEEPALIVE`, `TCP_NODELAY`...
    pub name: libc::c_int,
}

/// The value of an option as bytes, as long as the kernel makes it (at most 512).
///
/// # Errors
/// As getsockopt(2): `ENOTSOCK`, `ENOPROTOOPT`...
pub(crate) fn option_bytes(fd: BorrowedFd<'_>, option: SocketOption) -> Result<Vec<u8>, Errno> {
    let mut value = [0u8; VALUE_MAX];
    let mut length = VALUE_MAX as libc::socklen_t;
    // SAFETY: `value` outlives the call and `length` says how long it is; the kernel writes no further.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            option.level,
            option.name,
            value.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    Errno::result(result)?;
    Ok(value[..(length as usize).min(VALUE_MAX)].to_vec())
}

/// Sets an option to these bytes.
///
/// # Errors
/// As setsockopt(2): `EPERM`, `EINVAL`, `ENOPROTOOPT`...
pub(crate) fn set_option_bytes(fd: BorrowedFd<'_>, option: SocketOption, value: &[u8]) -> Result<(), Errno> {
    let length = libc::socklen_t::try_from(value.len()).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the kernel reads `length` bytes at `value`, which is a slice of that length, and keeps no pointer.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            option.level,
            option.name,
            value.as_ptr().cast(),
            length,
        )
    };
    Errno::result(result).map(drop)
}

/// The value of an option that is a C `int`.
///
/// # Errors
/// As [`option_bytes`]; `EINVAL` if the value is shorter than an `int`.
pub(crate) fn option_int(fd: BorrowedFd<'_>, option: SocketOption) -> Result<i32, Errno> {
    let value = option_bytes(fd, option)?;
    let first = value.first_chunk::<4>().ok_or(Errno::EINVAL)?;
    Ok(i32::from_ne_bytes(*first))
}

/// Sets an option that is a C `int`.
///
/// # Errors
/// As [`set_option_bytes`].
pub(crate) fn set_option_int(fd: BorrowedFd<'_>, option: SocketOption, value: i32) -> Result<(), Errno> {
    set_option_bytes(fd, option, &value.to_ne_bytes())
}

/// listen(2) with any backlog: on a socket that listens already it only changes the length of the queue.
///
/// # Errors
/// As listen(2): `EADDRINUSE`, `EINVAL`, `EOPNOTSUPP`...
pub(crate) fn listen(fd: BorrowedFd<'_>, backlog: u32) -> Result<(), Errno> {
    let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
    // SAFETY: listen touches no memory of ours.
    Errno::result(unsafe { libc::listen(fd.as_raw_fd(), backlog) }).map(drop)
}

/// The backlog of a listening TCP socket as the kernel keeps it, after the cap by net.core.somaxconn.
///
/// In the state LISTEN `tcpi_sacked` is the length that the queue may reach (tcp_get_info of the kernel, since 2.6);
/// this works where /proc/sys is hidden. `None` for every other kind or state of socket.
pub(crate) fn tcp_backlog(fd: BorrowedFd<'_>) -> Option<u32> {
    /// `tcpi_sacked` of `struct tcp_info`, which is ABI: the sixth word after eight bytes.
    const SACKED: usize = 28;
    word_of_listening(fd, SACKED)
}

/// How many connections wait in the queue of a listening TCP socket until they are accepted.
///
/// In the state LISTEN that is `tcpi_unacked` (tcp_get_info of the kernel). `None` for every other kind or state of socket.
pub(crate) fn tcp_queue(fd: BorrowedFd<'_>) -> Option<u32> {
    /// `tcpi_unacked` of `struct tcp_info`: the fifth word after eight bytes.
    const UNACKED: usize = 24;
    word_of_listening(fd, UNACKED)
}

/// The word at this offset of the `struct tcp_info` of a socket that listens.
fn word_of_listening(fd: BorrowedFd<'_>, offset: usize) -> Option<u32> {
    /// `tcpi_state` is the first byte.
    const STATE: usize = 0;
    /// TCP_LISTEN of the kernel's enumeration of states.
    const LISTEN: u8 = 10;
    let info = option_bytes(
        fd,
        SocketOption {
            level: libc::IPPROTO_TCP,
            name: libc::TCP_INFO,
        },
    )
    .ok()?;
    if info.get(STATE) != Some(&LISTEN) {
        return None;
    }
    let word = info.get(offset..)?.first_chunk::<4>()?;
    Some(u32::from_ne_bytes(*word))
}

/// What the kernel calls a socket: a number that it gives to no other while it runs (SO_COOKIE of socket(7), Linux 4.12).
pub(crate) fn cookie(fd: BorrowedFd<'_>) -> Option<u64> {
    let option = SocketOption {
        level: libc::SOL_SOCKET,
        name: libc::SO_COOKIE,
    };
    let value = option_bytes(fd, option).ok()?;
    Some(u64::from_ne_bytes(*value.first_chunk()?))
}

/// Borrows an fd that the process was born with, if there is one of that number.
///
/// The lifetime is that of the process, so this is for fds that nobody has taken yet: what `LISTEN_FDS` promises.
pub(crate) fn born_with(number: RawFd) -> Option<BorrowedFd<'static>> {
    // SAFETY: F_GETFD touches no memory and says EBADF for a number that is no fd.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if number < 0 || flags < 0 {
        return None;
    }
    // SAFETY: the fd is open and not -1. It is only looked at before anybody owns it: the caller hands it to its
    // owner (listenfd) and does not use the borrow again.
    Some(unsafe { BorrowedFd::borrow_raw(number) })
}
