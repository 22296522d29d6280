//! The sockets that Segue itself was given: by a systemd socket unit, by systemfd, by another Segue.

use std::ffi::OsString;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::rc::Rc;

use listenfd::ListenFd;
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::{Pid, getpid};

use super::claim::{self, Claim, FIRST_FD, UNKNOWN};
use super::local::{Local, SocketKind};
use super::resolve::Owner;
use super::settings::{ACCEPTS_CONNECTIONS, Originals};
use super::socket::{Birth, Socket, Source, is_connected};
use super::{ListenError, Listener};
use crate::address::{SocketOptions, quoted};
use crate::state::{Fds, PREFIX};
use crate::sys::{self, sock};

/// The inherited sockets that [`super::open`] has not taken yet.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    pub(super) listeners: Vec<Rc<Listener>>,
}

impl Inherited {
    /// No inherited sockets: what a reload has, since the start took them all.
    pub(crate) fn none() -> Self {
        Self::default()
    }

    /// Takes over what `LISTEN_FDS` gives. What an earlier supervisor had put into systemd's file descriptor store comes the same way,
    /// in any order: where a manager listens, fds whose names begin with [`PREFIX`] are those, whatever they are, and are
    /// given back without it. The others become listeners, with close-on-exec set, O_NONBLOCK and backlog left as they are.
    ///
    /// To be called once, at the start and while there is one thread: `env` is a copy of this process's environment,
    /// from which `listenfd` removes `LISTEN_PID` and `LISTEN_FDS`. All fds are looked at before the first is taken.
    ///
    /// # Errors
    /// One line that names the variable or the socket: a claim for another process, fds that are not open, things that
    /// are no sockets, connected sockets, and stream sockets that do not listen.
    pub(crate) fn from_environment(env: &[(OsString, OsString)]) -> Result<(Self, Fds), ListenError> {
        if stale(env).is_some() {
            return Ok((Self::none(), Fds::default()));
        }
        let Some(claim) = claim::read(env, getpid().as_raw())? else {
            return Ok((Self::none(), Fds::default()));
        };
        let trusted = env.iter().any(|(key, _)| key == "NOTIFY_SOCKET");
        let is_stored = |index: i32| trusted && name_of(&claim, index).starts_with(PREFIX);
        for index in (0..claim.count).filter(|index| !is_stored(*index)) {
            examine(&claim, index)?;
        }
        let mut fds = ListenFd::from_env();
        if i32::try_from(fds.len()) != Ok(claim.count) {
            return Err(ListenError(
                "LISTEN_FDS: the environment changed while it was read".to_owned(),
            ));
        }
        let mut stored = Fds::default();
        let mut listeners = Vec::new();
        for index in 0..claim.count {
            if !is_stored(index) {
                listeners.push(take(&mut fds, &claim, index)?);
            } else if let Ok(fd) = sys::take_fd(FIRST_FD + index) {
                stored.put(name_of(&claim, index)[PREFIX.len()..].to_owned(), fd);
            }
        }
        Ok((Self { listeners }, stored))
    }

    /// Takes the socket with this inode out, if it was inherited: it is one that a predecessor had inherited as well.
    pub(crate) fn take(&mut self, inode: u64) -> Option<OwnedFd> {
        let place = self.listeners.iter().position(|one| one.inode() == inode)?;
        let listener = self.listeners.swap_remove(place);
        listener.as_fd().try_clone_to_owned().ok()
    }
}

/// A line about variables that were meant for a process which has ended, if that is what they are: a shell that was started with
/// them has passed them on. As sd_listen_fds(3) has it they are for nobody else. If a socket is there, though, a wrapper has forked,
/// and the claim is refused as any for another process is.
pub(crate) fn stale(env: &[(OsString, OsString)]) -> Option<String> {
    let meant = claim::other_process(env, getpid().as_raw())?;
    let has_ended = kill(Pid::from_raw(meant), None) == Err(Errno::ESRCH);
    let first = sock::born_with(FIRST_FD).is_some_and(|fd| Local::of(fd).is_ok());
    (has_ended && !first).then(|| {
        format!(
            "LISTEN_PID={meant} is of a process that has ended, and no socket is at fd {FIRST_FD}: LISTEN_FDS is ignored"
        )
    })
}

fn name_of(claim: &Claim, index: i32) -> &str {
    let index = usize::try_from(index).unwrap_or(usize::MAX);
    claim
        .names
        .as_ref()
        .and_then(|names| names.get(index))
        .map_or(UNKNOWN, String::as_str)
}

fn refuse(claim: &Claim, index: i32, why: &str) -> ListenError {
    let fd = FIRST_FD + index;
    ListenError(format!(
        "inherited socket {} (fd {fd}): {why}",
        quoted(name_of(claim, index))
    ))
}

/// Looks at one fd, without taking it.
fn examine(claim: &Claim, index: i32) -> Result<(), ListenError> {
    let refuse = |why: &str| Err(refuse(claim, index, why));
    let Some(fd) = sock::born_with(FIRST_FD + index) else {
        return refuse("that fd is not open");
    };
    let local = match Local::of(fd) {
        Ok(local) => local,
        Err(why) => return refuse(&why),
    };
    if is_connected(fd) {
        return refuse("it is connected; segue needs the listener (Accept=no in a socket unit)");
    }
    if local.kind.accepts_connections() && !listens(fd) {
        return refuse("it does not listen");
    }
    Ok(())
}

fn listens(fd: BorrowedFd<'_>) -> bool {
    sock::option_int(fd, ACCEPTS_CONNECTIONS) == Ok(1)
}

fn take(fds: &mut ListenFd, claim: &Claim, index: i32) -> Result<Rc<Listener>, ListenError> {
    let refuse = |why: &str| refuse(claim, index, why);
    let Some(fd) = sock::born_with(FIRST_FD + index) else {
        return Err(refuse("that fd is not open"));
    };
    let kind = Local::of(fd).map_err(|why| refuse(&why))?.kind;
    let (family, socket_type) = match kind {
        SocketKind::Tcp => (libc::AF_INET, libc::SOCK_STREAM),
        SocketKind::Udp => (libc::AF_INET, libc::SOCK_DGRAM),
        SocketKind::Unix => (libc::AF_UNIX, libc::SOCK_STREAM),
        SocketKind::UnixDatagram => (libc::AF_UNIX, libc::SOCK_DGRAM),
        SocketKind::UnixSeqpacket => (libc::AF_UNIX, libc::SOCK_SEQPACKET),
    };
    let slot = usize::try_from(index).unwrap_or(usize::MAX);
    let fd: OwnedFd = match fds.take_custom(slot, family, socket_type, "listener") {
        Ok(Some(fd)) => fd,
        Ok(None) => return Err(refuse("it is gone")),
        Err(error) => return Err(refuse(&crate::sys::errno_text(&error))),
    };
    let named = claim.names.is_some() && name_of(claim, index) != UNKNOWN;
    let socket = Socket::new(Birth {
        file: None,
        fd,
        source: Source::Inherited { named },
        options: SocketOptions::default(),
        owner: Owner::default(),
        originals: Originals::new(),
        backlog: None,
    });
    Ok(Rc::new(Listener {
        name: name_of(claim, index).to_owned(),
        options: SocketOptions::default(),
        owner: Owner::default(),
        socket: Rc::new(socket.map_err(|why| refuse(&why))?),
        slot: None,
    }))
}
