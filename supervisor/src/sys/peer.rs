//! Who is at the other end of a Unix socket, beyond what `SO_PEERCRED` tells.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The most supplementary groups that a process can have (`NGROUPS_MAX`, Linux 2.6.4 and later).
const GROUPS_MAX: usize = 65_536;

/// The supplementary groups that the peer had when it connected (`SO_PEERGROUPS`, Linux 4.13; unix(7) does
/// not list it, the source is net/core/sock.c). Its effective group is in `SO_PEERCRED`.
///
/// # Errors
/// Those of getsockopt(2), among them `ENODATA` for a socket whose peer is unknown.
pub(crate) fn peer_groups(socket: BorrowedFd<'_>) -> io::Result<Vec<libc::gid_t>> {
    let mut groups: Vec<libc::gid_t> = vec![0; 64];
    loop {
        let mut size = u32::try_from(size_of_val(groups.as_slice())).unwrap_or(u32::MAX);
        // SAFETY: `groups` is a live buffer of `size` bytes that the kernel may write, any bytes are valid
        // group ids, and `size` is a live in-out parameter of the type that getsockopt expects.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut size,
            )
        };
        let count = (size as usize / size_of::<libc::gid_t>()).min(GROUPS_MAX);
        if result == 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        // ERANGE comes with the size that is needed.
        if error.raw_os_error() != Some(libc::ERANGE) || count <= groups.len() {
            return Err(error);
        }
        groups.resize(count, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn our_own_groups_are_those_that_the_kernel_tells() {
        let (socket, _other) = UnixStream::pair().unwrap();
        let mut told = peer_groups(socket.as_fd()).unwrap();
        let mut ours: Vec<libc::gid_t> = nix::unistd::getgroups()
            .unwrap()
            .into_iter()
            .map(|gid| gid.as_raw())
            .collect();
        told.sort_unstable();
        ours.sort_unstable();
        assert_eq!(told, ours);
    }

    #[test]
    fn what_is_no_socket_has_no_peer() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(peer_groups(file.as_fd()).is_err());
    }
}
