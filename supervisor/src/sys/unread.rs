//! What the other end of a socket has not read yet.

use std::os::fd::{AsRawFd, BorrowedFd};

/// Whether all that was written to a Unix stream socket has been read at its other end (`SIOCOUTQ`, unix(7)); `None` if
/// the kernel does not tell.
pub(crate) fn is_read(socket: BorrowedFd<'_>) -> Option<bool> {
    let mut unread: libc::c_int = 0;
    // SAFETY: SIOCOUTQ (by its other name, TIOCOUTQ) writes one int through the pointer, which leads to a live one, and
    // keeps nothing.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut unread) };
    (result == 0).then_some(unread == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn what_was_written_is_read_only_when_the_other_end_has_read_it() {
        let (mut near, mut far) = UnixStream::pair().unwrap();
        assert_eq!(is_read(near.as_fd()), Some(true));
        near.write_all(b"words").unwrap();
        assert_eq!(is_read(near.as_fd()), Some(false));
        far.read_exact(&mut [0; 5]).unwrap();
        assert_eq!(is_read(near.as_fd()), Some(true));
    }
}
