//! Writing without ever waiting, to a descriptor that others share.

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::write;
use std::io::IsTerminal as _;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// A terminal opened once more, so that O_NONBLOCK can be set without any other holder seeing it: one that polls writable
/// takes a part of a line and then waits for its reader (a frozen ssh session, say), and RWF_NOWAIT is unknown to
/// terminals. `None` for anything else, and where it may not be opened (after su(1), say).
pub(crate) fn open_terminal_anew(fd: BorrowedFd<'_>) -> Option<OwnedFd> {
    if !fd.is_terminal() {
        return None;
    }
    let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    open(
        format!("/proc/self/fd/{}", fd.as_raw_fd()).as_str(),
        flags,
        Mode::empty(),
    )
    .ok()
}

/// What a descriptor that is written to is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sink {
    Socket,
    Pipe,
    /// A regular file: nobody need read for it to have room.
    File,
    /// Anything else, or it is not told: a line that may wait is better than none.
    Other,
}

impl Sink {
    /// What this is.
    pub(crate) fn of(fd: BorrowedFd<'_>) -> Self {
        let mode = fstat(fd).map_or(0, |found| found.st_mode);
        let kind = SFlag::from_bits_truncate(mode) & SFlag::S_IFMT;
        if kind == SFlag::S_IFSOCK {
            Self::Socket
        } else if kind == SFlag::S_IFIFO {
            Self::Pipe
        } else if kind == SFlag::S_IFREG {
            Self::File
        } else {
            Self::Other
        }
    }
}

/// Writes if that takes no waiting, without setting O_NONBLOCK, which every holder of the description would see. To be called
/// when the descriptor polls writable: for a pipe or a socket another holder may fill it between the poll and the write, so
/// these are written with RWF_NOWAIT (pwritev2(2); pipes know it since Linux 6.4) and MSG_DONTWAIT (send(2)).
///
/// # Errors
/// `EAGAIN` if it would wait; otherwise as write(2).
pub(crate) fn write_without_waiting(fd: BorrowedFd<'_>, sink: Sink, bytes: &[u8]) -> Result<usize, Errno> {
    match sink {
        Sink::Socket => send(
            fd.as_raw_fd(),
            bytes,
            MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL,
        ),
        Sink::Pipe => match write_now(fd, bytes) {
            // An older kernel; the poll is all that there is.
            Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => write(fd, bytes),
            outcome => outcome,
        },
        Sink::File | Sink::Other => write(fd, bytes),
    }
}

fn write_now(fd: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize, Errno> {
    const AT_THE_POSITION: libc::off_t = -1;
    let part = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: the one part lies in `bytes`, which outlives the call and is only read.
    let written = unsafe {
        libc::pwritev2(
            fd.as_raw_fd(),
            &raw const part,
            1,
            AT_THE_POSITION,
            libc::RWF_NOWAIT,
        )
    };
    Errno::result(written).map(|count| usize::try_from(count).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    fn fill(fd: BorrowedFd<'_>) {
        for _ in 0..100_000 {
            if write_without_waiting(fd, Sink::of(fd), &[b'x'; 4096]) == Err(Errno::EAGAIN) {
                return;
            }
        }
        panic!("it never filled");
    }

    #[test]
    fn a_full_pipe_and_a_full_socket_are_not_waited_for() {
        let (reader, writer) = UnixStream::pair().unwrap();
        fill(writer.as_fd());
        drop(reader);
        assert_eq!(
            write_without_waiting(writer.as_fd(), Sink::Socket, b"x"),
            Err(Errno::EPIPE)
        );
        let (_reader, writer) = nix::unistd::pipe().unwrap();
        // Not on kernels whose pipes do not know RWF_NOWAIT: there the write would wait for ever.
        if write_now(writer.as_fd(), b"x") == Ok(1) {
            fill(writer.as_fd());
        }
    }

    /// Both ends of a new pseudo-terminal; the second is the terminal.
    fn terminal() -> Option<(OwnedFd, OwnedFd)> {
        let master = std::fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/ptmx")
            .ok()?;
        let unlocked: libc::c_int = 0;
        // SAFETY: TIOCSPTLCK (ioctl_tty(2)) reads one int through the pointer.
        let unlock = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlocked) };
        let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
        // SAFETY: TIOCGPTPEER takes open flags and gives a new fd.
        let peer = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) };
        if unlock != 0 || peer < 0 {
            return None;
        }
        // SAFETY: the kernel has just made this fd for us alone.
        let peer = unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(peer) };
        Some((master.into(), peer))
    }

    #[test]
    fn a_terminal_that_nobody_reads_is_not_waited_for() {
        let Some((_master, terminal)) = terminal() else {
            return eprintln!(
                "a_terminal_that_nobody_reads_is_not_waited_for: skipped: no pseudo-terminals here"
            );
        };
        let Some(anew) = open_terminal_anew(terminal.as_fd()) else {
            return eprintln!("a_terminal_that_nobody_reads_is_not_waited_for: skipped: no /dev/pts here");
        };
        let (said, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            fill(anew.as_fd());
            said.send(()).unwrap();
        });
        told.recv_timeout(std::time::Duration::from_secs(60))
            .expect("the write waits for a reader");
        let flags = nix::fcntl::fcntl(&terminal, nix::fcntl::FcntlArg::F_GETFL).unwrap();
        assert!(
            !OFlag::from_bits_retain(flags).contains(OFlag::O_NONBLOCK),
            "other holders of the terminal do not see it"
        );
    }

    #[test]
    fn files_are_written() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(
            write_without_waiting(file.as_fd(), Sink::of(file.as_fd()), b"line\n"),
            Ok(5)
        );
    }
}
