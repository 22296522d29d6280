//! Receiving a datagram with the credentials of its sender, and closing whatever fds came with it; in two steps, for
//! those who must not lose it between the two.

use nix::errno::Errno;
use nix::unistd::Pid;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Room for credentials and for as many fds as the kernel lets one message carry (253, `SCM_MAX_FD`). With less
/// room the kernel would drop those that do not fit and mark a harmless message as truncated.
const CONTROL_BYTES: usize = 2048;

/// The kernel wants control data aligned like `struct cmsghdr`.
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

/// `SO_PASSPIDFD` of asm-generic/socket.h, Linux 6.5; unix(7) does not list it.
const PASS_PIDFD: libc::c_int = 76;

/// `SCM_PIDFD` of linux/socket.h: what comes with [`PASS_PIDFD`].
const PIDFD: libc::c_int = 4;

/// What is to be known of a datagram beside its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beside {
    /// Who sent it. The kernel makes no fd for us then, and says if it would have.
    Sender,
    /// All that comes with it.
    Everything,
}

/// Room for credentials alone.
const CREDENTIALS_BYTES: usize = size_of::<libc::cmsghdr>() + size_of::<libc::ucred>().next_multiple_of(8);

/// Asks for a pidfd of the sender with each datagram. Where the kernel does not know that (before Linux 6.5), none comes.
pub(crate) fn ask_for_pidfds(socket: BorrowedFd<'_>) {
    let on: libc::c_int = 1;
    // SAFETY: `on` is alive and of the length that is given. Refused, nothing has changed.
    let _ = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            PASS_PIDFD,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
}

/// One received datagram; its bytes are in the caller's buffer.
#[derive(Debug)]
pub(crate) struct Datagram {
    /// How many bytes of the buffer are filled.
    pub(crate) length: usize,
    /// The datagram was longer than the buffer.
    pub(crate) truncated: bool,
    /// Its control data was longer than there was room for.
    pub(crate) has_more: bool,
    /// The sender's uid by `SCM_CREDENTIALS`, which the kernel checks; `None` if the socket lacks `SO_PASSCRED`.
    pub(crate) uid: Option<u32>,
    /// The sender's pid, as we see it, by `SCM_CREDENTIALS`; by now it may be another process's.
    pub(crate) pid: Option<Pid>,
    /// A pidfd of the sender, close-on-exec, if that was asked for, the kernel can, and the sender has not been reaped.
    pub(crate) pidfd: Option<OwnedFd>,
    /// The fds that came with it, close-on-exec; closed when this is dropped.
    pub(crate) fds: Vec<OwnedFd>,
}

/// Reads the next datagram of `socket` without waiting and leaves it in the queue. The fds are duplicates: a peer that waits for
/// the last copy of one to be closed waits until the datagram has been dropped as well.
///
/// `nix::sys::socket::recvmsg` is not used because it refuses to list the fds of a message with truncated
/// control data, although the kernel has installed them: they would leak.
///
/// # Errors
/// `EAGAIN` when there is none, and the others of recvmsg(2).
pub(crate) fn peek_datagram(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    beside: Beside,
) -> Result<Datagram, Errno> {
    let mut control = Control([0; CONTROL_BYTES]);
    let mut part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: msghdr is plain data, for which all zero is a valid value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = match beside {
        Beside::Sender => CREDENTIALS_BYTES,
        Beside::Everything => CONTROL_BYTES,
    } as _;
    let flags = libc::MSG_PEEK | libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT;
    // SAFETY: the header points to `part` and `control`, both alive and writable for their stated lengths, and
    // `part` to the caller's buffer.
    let received = Errno::result(unsafe { libc::recvmsg(socket.as_raw_fd(), &mut header, flags) })?;
    let mut datagram = Datagram {
        length: usize::try_from(received)
            .map_err(|_| Errno::EIO)?
            .min(buffer.len()),
        truncated: header.msg_flags & libc::MSG_TRUNC != 0,
        has_more: header.msg_flags & libc::MSG_CTRUNC != 0,
        uid: None,
        pid: None,
        pidfd: None,
        fds: Vec::new(),
    };
    read_control(&header, &mut datagram);
    Ok(datagram)
}

/// Takes the next datagram out of the queue of `socket`, and closes the fds in it.
pub(crate) fn drop_datagram(socket: BorrowedFd<'_>) {
    // What finds no room, bytes and fds, is gone with it. It can only fail where there is none.
    let _ = nix::sys::socket::recv(
        socket.as_raw_fd(),
        &mut [],
        nix::sys::socket::MsgFlags::MSG_DONTWAIT,
    );
}

/// Reads the credentials and takes ownership of the fds.
fn read_control(header: &libc::msghdr, datagram: &mut Datagram) {
    // SAFETY: recvmsg has filled `header`; its control buffer is alive in the caller.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !next.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR give only headers that lie within the control buffer.
        let message = unsafe { &*next };
        // SAFETY: as above; the data of a control message follows its header.
        let data = unsafe { libc::CMSG_DATA(next) };
        // SAFETY: CMSG_LEN is arithmetic.
        let head = unsafe { libc::CMSG_LEN(0) } as usize;
        let length = (message.cmsg_len as usize).saturating_sub(head);
        match (message.cmsg_level, message.cmsg_type) {
            (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) if length >= size_of::<libc::ucred>() => {
                // SAFETY: the kernel has written a ucred there, maybe not aligned.
                let sender: libc::ucred = unsafe { data.cast::<libc::ucred>().read_unaligned() };
                datagram.uid = Some(sender.uid);
                // 0 is one whom this pid namespace has no number for.
                datagram.pid = (sender.pid > 0).then(|| Pid::from_raw(sender.pid));
            }
            (libc::SOL_SOCKET, PIDFD) if length >= size_of::<RawFd>() => {
                // SAFETY: the kernel has written an fd there, maybe not aligned; or, where there is none, a number below 0.
                let number = unsafe { data.cast::<RawFd>().read_unaligned() };
                // SAFETY: the kernel has just made this fd; nobody else knows its number.
                datagram.pidfd = (number >= 0).then(|| unsafe { OwnedFd::from_raw_fd(number) });
            }
            (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                for index in 0..length / size_of::<RawFd>() {
                    // SAFETY: the kernel has written `length` bytes of fds there, maybe not aligned, each new
                    // and known to nobody else.
                    let fd = unsafe {
                        let number = data.cast::<RawFd>().add(index).read_unaligned();
                        OwnedFd::from_raw_fd(number)
                    };
                    datagram.fds.push(fd);
                }
            }
            (_, _) => {}
        }
        // SAFETY: as for CMSG_FIRSTHDR.
        next = unsafe { libc::CMSG_NXTHDR(header, next) };
    }
}
