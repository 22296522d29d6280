//! The one place of this crate with `unsafe`: becoming the owner of the fds that the supervisor left open at exec,
//! and taking the variables that named them out of the environment. Both are facts about the process that the
//! compiler cannot know.

use std::env;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use socket2::{SockRef, Type};

use crate::error::{Error, Result};

/// The first fd that is handed over: SD_LISTEN_FDS_START.
const FIRST_FD: RawFd = 3;

/// One socket that the supervisor handed over. It is close-on-exec from here on. Dropping it closes this process's
/// copy alone; nothing here ever calls `shutdown` on it, which would end the listener of everybody.
///
/// # Example
///
/// ```no_run
/// # fn main() -> segue_app::Result<()> {
/// let environment = segue_app::Environment::take()?;
/// for socket in environment.sockets() {
///     println!("{}: listener {}", socket.name(), socket.is_listener());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Inherited {
    name: String,
    fd: OwnedFd,
}

impl Inherited {
    /// Its name in `LISTEN_FDNAMES`; `unknown` if none was given.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # fn main() -> segue_app::Result<()> {
    /// let environment = segue_app::Environment::take()?;
    /// let names: Vec<&str> = environment.sockets().iter().map(|socket| socket.name()).collect();
    /// # Ok(())
    /// # }
    /// ```
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is a stream socket on which connections can be accepted.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # fn main() -> segue_app::Result<()> {
    /// let environment = segue_app::Environment::take()?;
    /// let listeners = environment.sockets().iter().filter(|socket| socket.is_listener()).count();
    /// # Ok(())
    /// # }
    /// ```
    pub fn is_listener(&self) -> bool {
        let socket = SockRef::from(&self.fd);
        accepts(&socket) && socket.r#type().is_ok_and(|kind| kind == Type::STREAM)
    }

    /// Gives up the socket to the caller, who owns and closes it from now on.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # fn main() -> segue_app::Result<()> {
    /// let mut environment = segue_app::Environment::take()?;
    /// let admin = environment.take_named("admin");
    /// let admin = admin.map(|socket| std::os::unix::net::UnixListener::from(socket.into_fd()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }
}

impl AsFd for Inherited {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// SO_ACCEPTCONN cannot be asked on every system, but there nothing is handed over either.
fn accepts(socket: &SockRef<'_>) -> bool {
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    return socket.is_listener().unwrap_or(false);
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
    return socket.local_addr().is_ok();
}

/// Becomes the owner of one fd for each name, from fd 3 on. All are looked at before any is owned, so that an error
/// leaves every fd as it was.
pub(super) fn sockets(names: Vec<String>) -> Result<Vec<Inherited>> {
    for (fd, name) in (FIRST_FD..).zip(&names) {
        check(fd, name)?;
    }
    Ok((FIRST_FD..)
        .zip(names)
        .map(|(fd, name)| Inherited { name, fd: own(fd) })
        .collect())
}

fn check(fd: RawFd, name: &str) -> Result<()> {
    let attempt = || format!("take fd {fd} ({name}) of LISTEN_FDS");
    // SAFETY: the borrow ends with this function, and an fd that is not open makes the calls below fail with EBADF;
    // nothing is read from or written to it. Nobody else in this process closes it meanwhile: `Environment::take`
    // runs once, and the protocol gives these fds to it.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    let socket = SockRef::from(&borrowed);
    socket.r#type().map_err(|cause| Error::io(attempt(), cause))?;
    if socket.peer_addr().is_ok() {
        return Err(Error::new(format!(
            "{}: it is a connected socket (Accept=yes?), not a listener",
            attempt()
        )));
    }
    socket
        .set_cloexec(true)
        .map_err(|cause| Error::io(attempt(), cause))
}

fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: `check` has found the fd open, the supervisor gave it to this process by LISTEN_FDS, and
    // `Environment::take` runs at most once in a process, so there is no other owner.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Removes the variables, if this process has only one thread; otherwise they stay, which is untidy but harmless:
/// the fds are close-on-exec and a strict reader compares LISTEN_PID.
pub(super) fn scrub(names: &[&str]) {
    if !single_threaded() {
        return;
    }
    for name in names {
        // SAFETY: there is no other thread that could read the environment at the same time, and none can begin
        // while this one is here.
        unsafe { env::remove_var(name) };
    }
}

fn single_threaded() -> bool {
    // Counting stops at the second entry. Where /proc is not there, nothing is known and nothing removed.
    std::fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.take(2).count() == 1)
}
