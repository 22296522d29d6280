//! What apps say: one notify socket per worker, the receiving side of sd_notify(3).
//!
//! Who may speak is decided by the sender's uid, which the kernel attests: the app's or root's, whatever the pid, for a wrapper
//! or a container engine may speak for the app. An app of root's may have become another user itself (setpriv(1), gosu): a sender of
//! another uid counts if it lives and descends from the worker, and so that it can, everybody may write to the sockets of a supervisor
//! that is root. Everything else (forged, too long, not text) is dropped and counted. No fd that comes along is ever kept.
//!
//! A word on which everything turns is not lost with the supervisor: the message with the first READY=1 (or WATCHDOG=trigger)
//! stays in the queue until the shell has put down what follows from it ([`NotifySocket::consume_recorded`]).

mod ack;
mod message;
mod saved;
#[cfg(test)]
mod tests;

pub(crate) use ack::AckSocket;
pub(crate) use message::Word;

use crate::state::Guard;
use crate::sys::{self, Beside, Datagram, errno_text};
use ack::Said;
use message::Malformed;
use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, UnixAddr, sockopt::PassCred};
use nix::sys::stat::{FchmodatFlags, Mode, fchmod, fchmodat};
use nix::unistd::Pid;
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Datagrams taken in one call, so that a chatty app cannot keep the loop from everybody else. The kernel queues
/// no more than net.unix.max_dgram_qlen (10 by default), so usually one call takes all there is.
const MESSAGES_A_TURN: usize = 64;

/// Root's uid; what root says counts as well as what the app says.
const ROOT: u32 = 0;

/// How many senders are looked for among the worker's descendants in one call. That costs some system calls for each, and
/// anybody may be one.
const JUDGED_A_TURN: usize = 16;

/// Whose words count.
pub(crate) struct Believed<'a> {
    uid: Option<u32>,
    is_descendant: &'a dyn Fn(Pid) -> bool,
    main: Option<Pid>,
}

impl fmt::Debug for Believed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Believed")
            .field("uid", &self.uid)
            .finish_non_exhaustive()
    }
}

impl<'a> Believed<'a> {
    /// The uid that the launch reported for the app, and by what a process is known as a descendant of it. While the uid is `None` only root is
    /// believed; an app cannot speak before exec, and the launch reports before exec.
    pub(crate) fn new(uid: Option<u32>, is_descendant: &'a dyn Fn(Pid) -> bool) -> Self {
        Self {
            uid,
            is_descendant,
            main: None,
        }
    }

    /// The main process of the app. Others are believed, but what fails in them need not fail in the app.
    pub(crate) fn with_main(self, main: Option<Pid>) -> Self {
        Self { main, ..self }
    }

    #[cfg(test)]
    fn only(uid: Option<u32>) -> Self {
        Self::new(uid, &|_| false)
    }

    /// Whether the uid alone decides.
    fn knows(&self, uid: Option<u32>) -> bool {
        uid.is_none() || uid == Some(ROOT) || uid == self.uid
    }

    fn judge(&self, datagram: &Datagram) -> Judgement {
        match (datagram.uid, self.uid) {
            (Some(ROOT), _) => Judgement::Counts,
            (Some(uid), Some(own)) if uid == own => Judgement::Counts,
            (Some(uid), Some(_)) => self.judge_by_descent(datagram, uid),
            (Some(_) | None, _) => Judgement::Forged,
        }
    }

    /// The same of whoever has connected, by SO_PEERCRED.
    fn judge_peer(&self, uid: u32, pid: Pid) -> Judgement {
        self.judge(&Datagram {
            length: 0,
            truncated: false,
            has_more: false,
            uid: Some(uid),
            pid: (pid.as_raw() > 0).then_some(pid),
            pidfd: None,
            fds: Vec::new(),
        })
    }

    /// Its pid must have meant the sender all the while: its pidfd says so, or on kernels that give none the uid that the process with this pid
    /// has.
    fn judge_by_descent(&self, datagram: &Datagram, uid: u32) -> Judgement {
        let Some(pid) = datagram.pid else {
            return Judgement::Forged;
        };
        let opened = match datagram.pidfd {
            Some(_) => None,
            None => sys::open_pidfd(pid)
                .ok()
                .filter(|_| sys::uid_of(pid) == Some(uid)),
        };
        let Some(pidfd) = datagram.pidfd.as_ref().or(opened.as_ref()) else {
            return Judgement::Ended;
        };
        let is_descendant = (self.is_descendant)(pid);
        if sys::is_dead_by_pidfd(pidfd.as_fd()) {
            Judgement::Ended
        } else if is_descendant {
            Judgement::Counts
        } else {
            Judgement::Forged
        }
    }
}

/// What a sender's word is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judgement {
    Counts,
    /// It has another uid, and nobody can see any more whose descendant it was.
    Ended,
    Forged,
}

/// A worker's notify socket; its path is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct NotifySocket {
    fd: OwnedFd,
    path: PathBuf,
    ignored: Ignored,
    /// Which of the words that must not be lost have been recorded; said again they change nothing.
    recorded: Weighty,
    /// Those of a message that has been read and is still in the queue.
    held: Option<Weighty>,
    /// Who said the first READY=1.
    ready_from: Option<Pid>,
    /// Whether it was bound in the place of one that ended with a supervisor: what was said in between is lost.
    made_anew: bool,
    /// Where a worker of einhorn's protocol says that it is ready.
    acks: Option<AckSocket>,
    guard: Guard,
}

/// Words that must not be lost: whether each is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Weighty {
    ready: bool,
    trigger: bool,
}

impl Weighty {
    fn among(words: &[Word]) -> Weighty {
        Weighty {
            ready: words.contains(&Word::Ready),
            trigger: words.contains(&Word::WatchdogTrigger),
        }
    }

    fn adds_to(self, recorded: Weighty) -> bool {
        (self.ready && !recorded.ready) || (self.trigger && !recorded.trigger)
    }

    fn and(self, other: Weighty) -> Weighty {
        Weighty {
            ready: self.ready || other.ready,
            trigger: self.trigger || other.trigger,
        }
    }
}

/// What to do with a message that must not be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holding {
    /// It stays in the queue, and so does what comes after it.
    UntilRecorded,
    /// It is taken like any other.
    Nothing,
}

/// How many messages were dropped, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ignored {
    /// From another uid and no descendant of the app, or from a sender whom the kernel did not name.
    pub(crate) forged: u64,
    /// READY=1 from another uid, whose process had ended before anybody could see whether it descended from the app.
    pub(crate) ended: u64,
    /// Of 4096 bytes and more, or with control data that did not fit.
    pub(crate) oversized: u64,
    /// Empty, with a NUL byte inside, or a STATUS that is not UTF-8.
    pub(crate) malformed: u64,
    /// BARRIER=1 with other words beside it, or not with exactly one fd.
    pub(crate) bad_barrier: u64,
    /// What was said where an einhorn worker acks, and is no ack.
    pub(crate) bad_ack: u64,
}

impl fmt::Display for Ignored {
    /// `3 notify messages (2 forged, 1 oversized)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [
            (self.forged, "forged"),
            (self.ended, "from a process of another user that had ended"),
            (self.oversized, "oversized"),
            (self.malformed, "malformed"),
            (self.bad_barrier, "with a bad BARRIER=1"),
            (self.bad_ack, "on the ack socket and no ack"),
        ];
        let told: Vec<String> = kinds
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, kind)| format!("{count} {kind}"))
            .collect();
        let messages = if self.total() == 1 { "message" } else { "messages" };
        write!(f, "{} notify {messages} ({})", self.total(), told.join(", "))
    }
}

impl Ignored {
    /// All of them.
    pub(crate) fn total(self) -> u64 {
        self.forged + self.ended + self.oversized + self.malformed + self.bad_barrier + self.bad_ack
    }
}

/// Why a notify socket could not be made, in one line: `notify socket PATH: cause`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotifyError(String);

impl fmt::Display for NotifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotifyError {}

impl NotifySocket {
    /// Binds a socket at `path`, which must not exist: with mode 0600, or 0666 if we are root, so that an app may become another user
    /// itself. (The launch gives it to the app's user.) Non-blocking and close-on-exec.
    ///
    /// # Errors
    /// One line; a path of more than 107 bytes does not fit into an address, unix(7).
    pub(crate) fn bind(path: &Path, guard: Guard) -> Result<NotifySocket, NotifyError> {
        let fd = open_bound(path).map_err(|errno| {
            let cause = if errno == Errno::ENAMETOOLONG {
                "the path is longer than 107 bytes".to_owned()
            } else {
                errno_text(errno)
            };
            NotifyError(format!("notify socket {}: {cause}", path.display()))
        })?;
        Ok(NotifySocket {
            fd,
            path: path.to_owned(),
            ignored: Ignored::default(),
            recorded: Weighty::default(),
            held: None,
            ready_from: None,
            made_anew: false,
            acks: None,
            guard,
        })
    }

    /// With a socket on which the worker acks as under einhorn, beside this one.
    ///
    /// # Errors
    /// As for [`NotifySocket::bind`].
    pub(crate) fn with_acks(mut self) -> Result<NotifySocket, NotifyError> {
        let acks = AckSocket::bind(&self.path, self.guard.clone()).map_err(|errno| {
            NotifyError(format!(
                "ack socket for {}: {}",
                self.path.display(),
                errno_text(errno)
            ))
        })?;
        self.acks = Some(acks);
        Ok(self)
    }

    /// Where the worker acks, if it does.
    pub(crate) fn acks(&self) -> Option<&AckSocket> {
        self.acks.as_ref()
    }

    /// Whether words may have been lost before this socket was there.
    pub(crate) fn is_made_anew(&self) -> bool {
        self.made_anew
    }

    /// To be watched for readability.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// What the app gets as `NOTIFY_SOCKET`.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Which process has said the first READY=1, if one has and this process has heard it; 0 means one that cannot be seen
    /// from here.
    pub(crate) fn ready_from(&self) -> Option<Pid> {
        self.ready_from
    }

    /// What has been dropped so far.
    pub(crate) fn ignored(&self) -> Ignored {
        self.ignored
    }

    /// Reads what has come, in order, without waiting: at most 64 messages, so ask again while the socket is readable. It
    /// stops at a message that must not be lost, whose words it returns, until [`NotifySocket::consume_recorded`].
    pub(crate) fn receive(&mut self, believed: &Believed<'_>) -> Vec<Word> {
        self.read(believed, Holding::UntilRecorded)
    }

    /// As [`NotifySocket::receive`], for a process that has ended: nothing is held back, for whatever it said, its end is
    /// what counts.
    pub(crate) fn receive_last(&mut self, believed: &Believed<'_>) -> Vec<Word> {
        self.consume_recorded();
        let mut words = self.receive_acks(believed);
        words.extend(self.read(believed, Holding::Nothing));
        words
    }

    /// Takes the acks that have come, without waiting. To be called when [`NotifySocket::acks`] is readable.
    pub(crate) fn receive_acks(&mut self, believed: &Believed<'_>) -> Vec<Word> {
        let Some(acks) = &mut self.acks else {
            return Vec::new();
        };
        let mut words = Vec::new();
        for said in acks.receive(&mut |uid, pid| believed.judge_peer(uid, pid)) {
            match said {
                Said::Ack(pid) => {
                    self.ready_from.get_or_insert(pid);
                    words.push(Word::Ready);
                }
                Said::Else => self.ignored.bad_ack += 1,
                Said::Disbelieved(Judgement::Ended) => self.ignored.ended += 1,
                Said::Disbelieved(Judgement::Forged | Judgement::Counts) => self.ignored.forged += 1,
            }
        }
        words
    }

    /// Whether a message whose words were returned is still in the queue.
    pub(crate) fn holds_words(&self) -> bool {
        self.held.is_some()
    }

    /// What follows from the words that were returned has been put down: the message may go.
    pub(crate) fn consume_recorded(&mut self) {
        if let Some(held) = self.held.take() {
            self.recorded = self.recorded.and(held);
            sys::drop_datagram(self.fd.as_fd());
        }
    }

    fn read(&mut self, believed: &Believed<'_>, holding: Holding) -> Vec<Word> {
        let mut words = Vec::new();
        // One byte more than the longest message, to tell that one from a longer one.
        let mut buffer = [0; message::LONGEST + 1];
        let mut judged = 0;
        for _ in 0..MESSAGES_A_TURN {
            if self.held.is_some() || judged == JUDGED_A_TURN {
                break;
            }
            match self.peek(&mut buffer, believed) {
                Ok(datagram) => {
                    let said = self.take(&datagram, &buffer, believed);
                    judged += usize::from(!believed.knows(datagram.uid));
                    let weighty = Weighty::among(&said);
                    if weighty.ready && self.ready_from.is_none() {
                        self.ready_from = Some(datagram.pid.unwrap_or(Pid::from_raw(0)));
                    }
                    words.extend(said);
                    self.held = Some(weighty);
                    if holding == Holding::Nothing || !weighty.adds_to(self.recorded) {
                        self.consume_recorded();
                    }
                }
                Err(Errno::EINTR) => {}
                Err(_) => break,
            }
            // A barrier's fd is closed by now, with its message: all that was sent before has been read.
        }
        words
    }

    /// The next message. The fds that come with it, a pidfd of its sender among them, are made only where they matter: nearly always
    /// a message is from the app itself, and brings none.
    fn peek(&self, buffer: &mut [u8], believed: &Believed<'_>) -> Result<Datagram, Errno> {
        let mut datagram = sys::peek_datagram(self.fd.as_fd(), buffer, Beside::Sender)?;
        if !datagram.has_more {
            return Ok(datagram);
        }
        let bytes = &buffer[..datagram.length];
        if believed.knows(datagram.uid) && !message::may_bring_fds(bytes) {
            datagram.has_more = false;
            return Ok(datagram);
        }
        sys::peek_datagram(self.fd.as_fd(), buffer, Beside::Everything)
    }

    /// Whether a message comes from the main process, or from the one that has said READY=1 for it. A tool that an app runs
    /// may know `NOTIFY_SOCKET` and tell of its own failure: systemctl(1) sends `ERRNO=` when it fails.
    fn speaks_for_the_app(&self, datagram: &Datagram, believed: &Believed<'_>) -> bool {
        let known = [believed.main, self.ready_from];
        match datagram.pid {
            // It cannot be seen from here who it is.
            None => true,
            Some(pid) if pid.as_raw() == 0 => true,
            Some(pid) => believed.main.is_none() || known.contains(&Some(pid)),
        }
    }

    fn take(&mut self, datagram: &Datagram, buffer: &[u8], believed: &Believed<'_>) -> Vec<Word> {
        let bytes = &buffer[..datagram.length];
        let judgement = believed.judge(datagram);
        if judgement == Judgement::Forged {
            self.ignored.forged += 1;
        } else if judgement == Judgement::Ended {
            // What else one says that ends makes no difference, and an app says STOPPING=1 in its last breath.
            let is_missed = message::read(bytes, 0).is_ok_and(|said| said.words.contains(&Word::Ready));
            self.ignored.ended += u64::from(is_missed);
        } else if datagram.truncated || datagram.has_more || bytes.len() > message::LONGEST {
            self.ignored.oversized += 1;
        } else {
            match message::read(bytes, datagram.fds.len()) {
                Ok(mut message) => {
                    self.ignored.malformed += u64::from(message.status_was_not_text);
                    if !self.speaks_for_the_app(datagram, believed) {
                        message.words.retain(|word| !matches!(word, Word::Errno(_)));
                    }
                    return message.words;
                }
                Err(Malformed::NotText) => self.ignored.malformed += 1,
                Err(Malformed::BadBarrier) => self.ignored.bad_barrier += 1,
            }
        }
        Vec::new()
    }
}

impl Drop for NotifySocket {
    fn drop(&mut self) {
        if self.guard.is_armed() {
            // The directory is the supervisor's own; nobody else makes anything there.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// The sender of a message is judged by who it is.
const FOR_EVERYBODY: Mode = Mode::from_bits_truncate(0o666);

fn open_bound(path: &Path) -> Result<OwnedFd, Errno> {
    let address = UnixAddr::new(path)?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket::socket(AddressFamily::Unix, SockType::Datagram, flags, None)?;
    // Before bind, so that no message can come without credentials.
    socket::setsockopt(&fd, PassCred, &true)?;
    sys::ask_for_pidfds(fd.as_fd());
    if sys::own_uid().is_root() {
        socket::bind(fd.as_raw_fd(), &address)?;
        // Nobody else makes anything in that directory.
        fchmodat(AT_FDCWD, path, FOR_EVERYBODY, FchmodatFlags::FollowSymlink)?;
    } else {
        // The path gets the mode of the socket's own inode less the umask: no instant with a wider mode, and the
        // umask of the process need not be touched.
        fchmod(&fd, Mode::S_IRUSR | Mode::S_IWUSR)?;
        socket::bind(fd.as_raw_fd(), &address)?;
    }
    Ok(fd)
}
