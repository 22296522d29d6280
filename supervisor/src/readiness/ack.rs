//! The ack of an einhorn worker: a line on a stream socket, whose path it finds in `EINHORN_SOCK_PATH`. It counts as READY=1.
//!
//! Each worker has a socket of its own, so that nobody acks for another; who connects is judged as the sender of a notify message is.
//! Of einhorn's command socket this is all: any other command is dropped and counted.
//!
//! Source: contribsys/einhorn 1.0, `lib/einhorn/client.rb` (the line is YAML, in which `%` and line ends are escaped as `%25` and
//! `%0A`; its README and other libraries send JSON), and `worker:ack` in `lib/einhorn/command/interface.rb`.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, getsockopt, listen, socket,
};
use nix::sys::stat::{FchmodatFlags, Mode, fchmod, fchmodat};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::unistd::{Pid, Uid};
use serde::Deserialize;

use super::{FOR_EVERYBODY, Judgement};
use crate::state::Guard;

/// The longest line in bytes: an ack has about 60.
const LONGEST: usize = 1024;
/// How many clients may be in the middle of their lines. One more takes the place of the oldest, so that a client that says
/// nothing keeps nobody waiting, and needs no deadline.
const MOST_CLIENTS: usize = 4;
/// How many connections are taken in one call, so that a flood of them does not keep the loop from everybody else.
const ACCEPTED_A_TURN: usize = 16;
/// How long no connection is taken after the system had no fd or memory for one: it waits in the queue, and would wake the
/// loop again and again.
const OUT_OF_FDS_PAUSE: Duration = Duration::from_millis(100);
/// Connections that may wait.
const BACKLOG: i32 = 16;
/// What is put behind the path of the notify socket to name this one.
pub(crate) const SUFFIX: &str = "e";

/// Where a worker acks. Its path is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct AckSocket {
    listener: UnixListener,
    /// Readable when a client connects or says something, or a pause is over.
    set: Epoll,
    /// Set while connections are not taken. It is made in advance, for then there is no fd for it.
    pause: TimerFd,
    paused: bool,
    /// The oldest first.
    clients: VecDeque<AckClient>,
    path: PathBuf,
    guard: Guard,
}

#[derive(Debug)]
struct AckClient {
    stream: UnixStream,
    pid: Pid,
    line: Vec<u8>,
}

/// What has come of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// The ack, by this process.
    Ack(Pid),
    /// Its line is no ack, or is none at all.
    Else,
    /// Whoever it is does not speak for the worker.
    Disbelieved(Judgement),
}

/// How far the line of a client has come.
#[derive(Debug)]
enum Progress {
    Pending,
    Over(Said),
}

impl AckSocket {
    /// Binds it beside the notify socket, for the same processes: mode 0600, or 0666 if we are root.
    ///
    /// # Errors
    /// ENAMETOOLONG for a path of more than 107 bytes, and the others of socket(2), bind(2) and listen(2).
    pub(super) fn bind(notify: &Path, guard: Guard) -> Result<Self, Errno> {
        let path = path_of(notify);
        let address = UnixAddr::new(&path)?;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let listener = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        fchmod(&listener, Mode::S_IRUSR | Mode::S_IWUSR)?;
        // The directory is the supervisor's own: what lies there is of one that was killed.
        let _ = std::fs::remove_file(&path);
        bind(listener.as_raw_fd(), &address)?;
        if Uid::effective().is_root() {
            fchmodat(AT_FDCWD, &path, FOR_EVERYBODY, FchmodatFlags::FollowSymlink)?;
        }
        listen(&listener, Backlog::new(BACKLOG)?)?;
        Self::of(listener, path, guard)
    }

    /// The same, with the listener that a predecessor has left. Lines that were under way are lost.
    ///
    /// # Errors
    /// Those of epoll_create1(2) and timerfd_create(2).
    pub(super) fn restore(notify: &Path, listener: OwnedFd, guard: Guard) -> Result<Self, Errno> {
        Self::of(listener, path_of(notify), guard)
    }

    fn of(listener: OwnedFd, path: PathBuf, guard: Guard) -> Result<Self, Errno> {
        let set = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        set.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
        let pause = TimerFd::new(
            ClockId::CLOCK_MONOTONIC,
            TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK,
        )?;
        set.add(&pause, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
        Ok(Self {
            listener: listener.into(),
            set,
            pause,
            paused: false,
            clients: VecDeque::new(),
            path,
            guard,
        })
    }

    /// What the app gets as `EINHORN_SOCK_PATH`.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// To be watched for readability.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.set.0.as_fd()
    }

    /// What a successor goes on with.
    pub(crate) fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// Takes what has come, without waiting; more may be there, so ask again while it is readable.
    pub(super) fn receive(&mut self, judge: &mut dyn FnMut(u32, Pid) -> Judgement) -> Vec<Said> {
        let mut said = Vec::new();
        self.end_pause();
        for _ in 0..ACCEPTED_A_TURN {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // That one client has gone, or a signal came.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::ConnectionAborted | ErrorKind::Interrupted
                    ) =>
                {
                    continue;
                }
                Err(_) => {
                    self.begin_pause();
                    break;
                }
            };
            let Ok(peer) = getsockopt(&stream, PeerCredentials) else {
                continue;
            };
            let pid = Pid::from_raw(peer.pid());
            match judge(peer.uid(), pid) {
                Judgement::Counts => self.keep(stream, pid, &mut said),
                judgement @ (Judgement::Ended | Judgement::Forged) => said.push(Said::Disbelieved(judgement)),
            }
        }
        for client in std::mem::take(&mut self.clients) {
            self.hear(client, &mut said);
        }
        said
    }

    fn begin_pause(&mut self) {
        let once = Expiration::OneShot(TimeSpec::from_duration(OUT_OF_FDS_PAUSE));
        // Without a timer the loop goes on asking: better than an ack that is never heard.
        if self.pause.set(once, TimerSetTimeFlags::empty()).is_ok() {
            self.paused = self.watch_listener(EpollFlags::empty()).is_ok();
        }
    }

    fn end_pause(&mut self) {
        // EAGAIN while it lasts.
        if self.paused && self.pause.wait().is_ok() {
            self.paused = self.watch_listener(EpollFlags::EPOLLIN).is_err();
        }
    }

    fn watch_listener(&self, flags: EpollFlags) -> Result<(), Errno> {
        self.set.modify(&self.listener, &mut EpollEvent::new(flags, 0))
    }

    fn keep(&mut self, stream: UnixStream, pid: Pid, said: &mut Vec<Said>) {
        if self.clients.len() == MOST_CLIENTS
            && let Some(mut oldest) = self.clients.pop_front()
        {
            // It may have spoken meanwhile.
            match oldest.advance() {
                Progress::Over(what) => said.push(what),
                Progress::Pending => {}
            }
            self.close(oldest);
        }
        let watched = || self.set.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, 0));
        if stream.set_nonblocking(true).is_ok() && watched().is_ok() {
            let line = Vec::new();
            self.clients.push_back(AckClient { stream, pid, line });
        }
    }

    fn hear(&mut self, mut client: AckClient, said: &mut Vec<Said>) {
        match client.advance() {
            Progress::Pending => self.clients.push_back(client),
            Progress::Over(what) => {
                said.push(what);
                self.close(client);
            }
        }
    }

    fn close(&self, client: AckClient) {
        // A process that is being started may have a copy of it: as long as it has, closing alone would leave it in the set.
        let _ = self.set.delete(&client.stream);
    }
}

impl Drop for AckSocket {
    fn drop(&mut self) {
        if self.guard.is_armed() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn path_of(notify: &Path) -> PathBuf {
    let mut path = notify.as_os_str().to_owned();
    path.push(SUFFIX);
    path.into()
}

impl AckClient {
    /// Reads on, without waiting.
    fn advance(&mut self) -> Progress {
        let mut buffer = [0; LONGEST];
        loop {
            let room = LONGEST - self.line.len();
            match self.stream.read(&mut buffer[..room]) {
                Ok(0) => return Progress::Over(Said::Else),
                Ok(count) => self.line.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Progress::Pending,
                Err(_) => return Progress::Over(Said::Else),
            }
            if let Some(end) = self.line.iter().position(|byte| *byte == b'\n') {
                let is_ack = is_ack(&self.line[..end]);
                return Progress::Over(if is_ack { Said::Ack(self.pid) } else { Said::Else });
            }
            if self.line.len() == LONGEST {
                return Progress::Over(Said::Else);
            }
        }
    }
}

/// A command of einhorn's, as far as it counts here. Whose pid it names makes no difference: the socket is one worker's.
#[derive(Debug, Default, Deserialize)]
struct Command {
    command: String,
    pid: u32,
}

/// Whether a line is an ack: JSON, or the plain mapping that Ruby's YAML writes.
fn is_ack(line: &[u8]) -> bool {
    let Some(text) = unescaped(line) else {
        return false;
    };
    // An array of the values would do for serde.
    let command = if text.trim_start().starts_with('{') {
        serde_json::from_str(&text).ok()
    } else {
        mapping(&text)
    };
    command.is_some_and(|Command { command, pid }| command == "worker:ack" && pid > 0)
}

/// With `%25` and `%0A`, and whatever else a library escapes so, put back.
fn unescaped(line: &[u8]) -> Option<String> {
    let mut bytes = Vec::with_capacity(line.len());
    let mut rest = line;
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = str::from_utf8(rest.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).ok()
}

/// `KEY: VALUE` in each line, below `---`.
fn mapping(text: &str) -> Option<Command> {
    let mut found = Command::default();
    for line in text
        .lines()
        .filter(|line| !line.starts_with("---") && !line.is_empty())
    {
        let (key, value) = line.split_once(": ")?;
        let value = value.trim().trim_matches(['"', '\'']);
        match key.trim() {
            "command" => value.clone_into(&mut found.command),
            "pid" => found.pid = value.parse().ok()?,
            _ => {}
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    use nix::poll::{PollFd, PollFlags, PollTimeout};
    use nix::sys::resource::{Resource, getrlimit, setrlimit};

    use super::*;
    use crate::sys::alone::alone;

    const JSON: &str = "{\"command\": \"worker:ack\", \"pid\": 812}\n";

    fn socket() -> (tempfile::TempDir, AckSocket) {
        let directory = tempfile::tempdir().unwrap();
        let socket = AckSocket::bind(&directory.path().join("7.0.0"), Guard::armed()).unwrap();
        (directory, socket)
    }

    fn ours() -> Said {
        Said::Ack(nix::unistd::getpid())
    }

    fn receive(socket: &mut AckSocket) -> Vec<Said> {
        socket.receive(&mut |_, _| Judgement::Counts)
    }

    #[test]
    fn the_line_of_every_library_is_understood() {
        for line in [
            r#"{"command":"worker:ack","pid":812}"#,
            r#"{"command": "worker:ack", "pid": 812}"#,
            "---%0Acommand: worker:ack%0Apid: 812%0A",
            "--- %0Acommand: \"worker:ack\"%0Apid: 812%0A",
            "---%0Acommand:%20worker:ack%0Apid:%20812",
        ] {
            assert!(is_ack(line.as_bytes()), "{line}");
        }
    }

    #[test]
    fn nothing_else_is_an_ack() {
        for line in [
            "",
            "READY=1",
            "worker:ack",
            "%",
            "%0",
            "%zz",
            "%+1",
            "{}",
            r#"{"command":"worker:ack"}"#,
            r#"{"command":"worker:ack","pid":0}"#,
            r#"{"command":"worker:ack","pid":-1}"#,
            r#"{"command":"worker:ack","pid":"me"}"#,
            r#"{"command":"die","pid":812}"#,
            r#"["worker:ack",812]"#,
            "---%0Acommand: worker:ack%0A",
            "---%0Acommand: state%0Apid: 812%0A",
            "---%0A- command: worker:ack%0Apid: eight%0A",
        ] {
            assert!(!is_ack(line.as_bytes()), "{line}");
        }
        assert!(!is_ack(&[0xff, b'\n']));
    }

    #[test]
    fn random_lines_are_dropped() {
        let mut random = fastrand::Rng::new();
        for _ in 0..crate::trials::cases(1_000_000) {
            let length = random.usize(..80);
            let line: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(length).collect();
            assert!(!is_ack(&line), "{line:?}");
        }
    }

    #[test]
    fn an_ack_may_come_in_pieces_and_its_client_is_let_go() {
        let (_directory, mut socket) = socket();
        let mut client = UnixStream::connect(socket.path()).unwrap();
        assert_eq!(receive(&mut socket), []);
        for byte in &JSON.as_bytes()[..JSON.len() - 1] {
            client.write_all(&[*byte]).unwrap();
            assert_eq!(receive(&mut socket), []);
        }
        client.write_all(b"\n").unwrap();
        assert_eq!(receive(&mut socket), [ours()]);
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn an_ack_counts_though_its_client_has_closed_already() {
        let (_directory, mut socket) = socket();
        let mut client = UnixStream::connect(socket.path()).unwrap();
        client.write_all(JSON.as_bytes()).unwrap();
        drop(client);
        assert_eq!(receive(&mut socket), [ours()]);
        assert_eq!(receive(&mut socket), []);
    }

    #[test]
    fn clients_that_say_nothing_keep_nobody_waiting() {
        let (_directory, mut socket) = socket();
        let silent: Vec<_> = (0..MOST_CLIENTS)
            .map(|_| UnixStream::connect(socket.path()).unwrap())
            .collect();
        assert_eq!(receive(&mut socket), []);
        let mut client = UnixStream::connect(socket.path()).unwrap();
        client.write_all(JSON.as_bytes()).unwrap();
        let more: Vec<_> = (0..MOST_CLIENTS)
            .map(|_| UnixStream::connect(socket.path()).unwrap())
            .collect();
        assert_eq!(
            receive(&mut socket),
            [ours()],
            "of one that had to make room itself"
        );
        drop(more);
        assert_eq!((&silent[0]).read(&mut [0]).unwrap(), 0, "the oldest made room");
    }

    #[test]
    fn a_line_without_an_end_is_dropped() {
        let (_directory, mut socket) = socket();
        let mut client = UnixStream::connect(socket.path()).unwrap();
        client.write_all(&[b' '; LONGEST + 1]).unwrap();
        assert_eq!(receive(&mut socket), [Said::Else]);
        let mut client = UnixStream::connect(socket.path()).unwrap();
        client.write_all(&JSON.as_bytes()[..JSON.len() - 1]).unwrap();
        drop(client);
        assert_eq!(receive(&mut socket), [Said::Else]);
    }

    #[test]
    fn a_stranger_is_not_listened_to() {
        let (_directory, mut socket) = socket();
        let mut client = UnixStream::connect(socket.path()).unwrap();
        client.write_all(JSON.as_bytes()).unwrap();
        let mut peer = None;
        let said = socket.receive(&mut |uid, pid| {
            peer = Some((uid, pid));
            Judgement::Forged
        });
        assert_eq!(said, [Said::Disbelieved(Judgement::Forged)]);
        assert_eq!(peer, Some((Uid::current().as_raw(), nix::unistd::getpid())));
        assert!(client.read(&mut [0]).is_ok_and(|count| count == 0) || client.take_error().is_ok());
    }

    /// A client that cannot be accepted leaves the listener readable.
    #[test]
    fn without_an_fd_for_a_client_the_loop_rests_and_hears_it_later() {
        alone(
            "readiness::ack::tests::without_an_fd_for_a_client_the_loop_rests_and_hears_it_later",
            || {
                let (_directory, mut socket) = socket();
                let mut client = UnixStream::connect(socket.path()).unwrap();
                client.write_all(JSON.as_bytes()).unwrap();
                let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
                let next = socket.pause.as_fd().try_clone_to_owned().unwrap();
                let full = u64::try_from(next.as_raw_fd()).unwrap();
                drop(next);
                setrlimit(Resource::RLIMIT_NOFILE, full, hard).unwrap();
                let mut wakes = 0;
                let until = crate::clock::now() + Duration::from_secs(1);
                while let Some(left) = until.checked_duration_since(crate::clock::now()) {
                    wakes += usize::from(is_readable(&socket, left));
                    assert_eq!(receive(&mut socket), []);
                }
                // About ten; fewer where the machine is slow.
                assert!((1..20).contains(&wakes), "it woke up {wakes} times in a second");
                setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
                assert!(is_readable(&socket, Duration::from_secs(30)));
                assert_eq!(receive(&mut socket), [ours()]);
                assert!(
                    !is_readable(&socket, Duration::ZERO),
                    "nothing is left of the pause"
                );
            },
        );
    }

    fn is_readable(socket: &AckSocket, within: Duration) -> bool {
        let mut poll_set = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(within).unwrap();
        nix::poll::poll(&mut poll_set, timeout).unwrap() > 0
    }

    #[test]
    fn its_path_goes_with_it() {
        let (directory, socket) = socket();
        drop(socket);
        assert!(std::fs::read_dir(directory.path()).unwrap().next().is_none());
    }
}
