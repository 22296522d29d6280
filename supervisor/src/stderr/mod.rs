//! The app's standard error: opened for it where `--stderr` names a file, looked at by the app's own process just before exec,
//! and read back when it has failed. No pipe of ours stands between an app and its log: it would die of SIGPIPE with us.
//!
//! Floor 2. It knows neither workers nor generations, and never waits: what may hang is not read.

mod journal;
mod tail;
mod telling;

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open, readlink};
use nix::sys::stat::{Mode, SFlag, fstat, major, minor};
use nix::sys::statfs::{self, FsType, fstatfs};

use crate::state::{Field, Flaw, Row, Rows};
use crate::sys::{self, InChild, errno_text};

pub(crate) use journal::{Look, from_journal};
pub(crate) use tail::{LastLines, last_lines};

/// The mode of a file that is made, less the app's umask: log lines are not for everybody.
const MODE: Mode = Mode::from_bits_truncate(0o640);

/// Filesystems whose files are read without waiting for another machine or process. XFS, F2FS and ZFS have no name in `nix`.
const LOCAL: [FsType; 9] = [
    statfs::EXT4_SUPER_MAGIC,
    statfs::BTRFS_SUPER_MAGIC,
    statfs::TMPFS_MAGIC,
    statfs::OVERLAYFS_SUPER_MAGIC,
    statfs::REISERFS_SUPER_MAGIC,
    FsType(0x5846_5342),
    FsType(0xf2f5_2010),
    FsType(0x2fc1_2fc1),
    FsType(0x8584_58f6),
];

/// Device and inode.
pub(crate) type FileId = (u64, u64);

/// What the standard error of an app is. Its text, as [`fmt::Display`] writes and [`FromStr`] reads it, is one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stderr {
    /// A regular file.
    File(StderrFile),
    /// A stream of this worker to the journal, under this identifier.
    Journal(String),
    /// A terminal.
    Terminal(PathBuf),
    /// `/dev/null`.
    Null,
    /// Another device.
    Device(PathBuf),
    /// A pipe or a FIFO.
    Pipe,
    /// A socket.
    Socket,
    /// Something else, or nothing.
    Other,
}

/// A regular file to which an app writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StderrFile {
    /// Which file it is, whatever its path leads to later.
    pub(crate) id: FileId,
    /// How long it was before the app wrote anything, in bytes.
    pub(crate) size: u64,
    /// Where it was then, as /proc showed it.
    pub(crate) path: PathBuf,
    /// Whether reading it can make nobody wait.
    pub(crate) reach: Reach,
}

/// How far away a filesystem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// On this machine.
    Local,
    /// Over a network, or in another process (FUSE): reading may hang.
    Remote,
}

/// In the child, as the app's user: opens the file that `--stderr` names, and makes it fd 2. It is appended to, and made if it is missing.
///
/// # Errors
/// One line: it cannot be opened, or is neither a regular file nor a device.
pub(crate) fn redirect(child: &InChild, path: &Path) -> Result<(), String> {
    let failed = |why: String| format!("stderr {}: {why}", path.display());
    let file = open_to_append(path).map_err(failed)?;
    sys::place_at(child, file.as_fd(), libc::STDERR_FILENO).map_err(|errno| failed(errno_text(errno)))
}

fn open_to_append(path: &Path) -> Result<OwnedFd, String> {
    const NO_FILE: &str = "neither a regular file nor a device";
    // Without O_NONBLOCK a FIFO would wait for its reader, here for ever.
    let flags = OFlag::O_WRONLY
        | OFlag::O_APPEND
        | OFlag::O_CREAT
        | OFlag::O_NONBLOCK
        | OFlag::O_NOCTTY
        | OFlag::O_CLOEXEC;
    let file = match open(path, flags, MODE) {
        Err(Errno::ENXIO) => return Err(NO_FILE.to_owned()),
        opened => opened.map_err(errno_text)?,
    };
    match kind(file.as_fd()) {
        Ok(SFlag::S_IFREG | SFlag::S_IFCHR) => {}
        Ok(_) => return Err(NO_FILE.to_owned()),
        Err(errno) => return Err(errno_text(errno)),
    }
    fcntl(&file, FcntlArg::F_SETFL(OFlag::O_APPEND)).map_err(errno_text)?;
    Ok(file)
}

fn kind(fd: BorrowedFd<'_>) -> Result<SFlag, Errno> {
    Ok(SFlag::from_bits_truncate(fstat(fd)?.st_mode) & SFlag::S_IFMT)
}

impl Stderr {
    /// What fd 2 of this process is. `journal` is the identifier of the stream, if it is one to the journal.
    pub(crate) fn of_this_process(journal: Option<&str>) -> Self {
        if let Some(identifier) = journal {
            return Self::Journal(identifier.to_owned());
        }
        let stderr = std::io::stderr();
        Self::of(stderr.as_fd(), libc::STDERR_FILENO)
    }

    fn of(fd: BorrowedFd<'_>, number: i32) -> Self {
        let Ok(stat) = fstat(fd) else { return Self::Other };
        let path = || {
            readlink(format!("/proc/self/fd/{number}").as_str())
                .map(PathBuf::from)
                .unwrap_or_default()
        };
        match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFREG => Self::File(StderrFile {
                id: (stat.st_dev, stat.st_ino),
                size: u64::try_from(stat.st_size).unwrap_or_default(),
                path: path(),
                reach: reach(fd),
            }),
            SFlag::S_IFIFO => Self::Pipe,
            SFlag::S_IFSOCK => Self::Socket,
            SFlag::S_IFCHR if (major(stat.st_rdev), minor(stat.st_rdev)) == (1, 3) => Self::Null,
            SFlag::S_IFCHR if nix::unistd::isatty(fd) == Ok(true) => Self::Terminal(path()),
            SFlag::S_IFCHR => Self::Device(path()),
            _ => Self::Other,
        }
    }
}

fn reach(fd: BorrowedFd<'_>) -> Reach {
    match fstatfs(fd) {
        Ok(filesystem) if LOCAL.contains(&filesystem.filesystem_type()) => Reach::Local,
        Ok(_) | Err(_) => Reach::Remote,
    }
}

impl fmt::Display for Stderr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => {
                let reach = match file.reach {
                    Reach::Local => "local",
                    Reach::Remote => "remote",
                };
                let (device, inode) = file.id;
                write!(
                    f,
                    "file {reach} {device} {inode} {} {}",
                    file.size,
                    file.path.display()
                )
            }
            Self::Journal(identifier) => write!(f, "journal {identifier}"),
            Self::Terminal(path) => write!(f, "terminal {}", path.display()),
            Self::Device(path) => write!(f, "device {}", path.display()),
            Self::Null => f.write_str("null"),
            Self::Pipe => f.write_str("pipe"),
            Self::Socket => f.write_str("socket"),
            Self::Other => f.write_str("other"),
        }
    }
}

/// A kind that is not known, since a later version wrote it, is as good as none.
impl Field for Stderr {
    fn write(&self, key: &str, rows: &mut Rows) {
        rows.text(key, &self.to_string());
    }

    fn read_if_any(key: &str, row: Row<'_>) -> Result<Option<Self>, Flaw> {
        Ok(row.text_if_any(key)?.and_then(|text| text.parse().ok()))
    }
}

impl FromStr for Stderr {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (kind, rest) = text.split_once(' ').unwrap_or((text, ""));
        Ok(match kind {
            "file" => Self::File(read_file(rest).ok_or(())?),
            "journal" => Self::Journal(rest.to_owned()),
            "terminal" => Self::Terminal(rest.into()),
            "device" => Self::Device(rest.into()),
            "null" => Self::Null,
            "pipe" => Self::Pipe,
            "socket" => Self::Socket,
            "other" => Self::Other,
            _ => return Err(()),
        })
    }
}

fn read_file(text: &str) -> Option<StderrFile> {
    let mut words = text.splitn(5, ' ');
    let reach = match words.next()? {
        "local" => Reach::Local,
        "remote" => Reach::Remote,
        _ => return None,
    };
    let mut number = || words.next()?.parse::<u64>().ok();
    let (id, size) = ((number()?, number()?), number()?);
    Some(StderrFile {
        id,
        size,
        path: words.next()?.into(),
        reach,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::os::fd::AsRawFd as _;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    fn of(fd: &impl AsFd) -> Stderr {
        let fd = fd.as_fd();
        let stderr = Stderr::of(fd, fd.as_raw_fd());
        assert_eq!(stderr.to_string().parse(), Ok(stderr.clone()));
        stderr
    }

    #[test]
    fn what_it_is_is_seen_and_survives_as_text() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app log");
        std::fs::write(&path, "older\n").unwrap();
        let file = std::fs::File::open(&path).unwrap();
        let is = file.metadata().unwrap();
        let Stderr::File(seen) = of(&file) else {
            panic!("{file:?}")
        };
        assert_eq!(
            (seen.id, seen.size, seen.path),
            ((is.dev(), is.ino()), 6, path.clone())
        );
        let (pipe, _writes) = nix::unistd::pipe().unwrap();
        assert_eq!(of(&pipe), Stderr::Pipe);
        let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert_eq!(of(&socket), Stderr::Socket);
        assert_eq!(of(&std::fs::File::open("/dev/null").unwrap()), Stderr::Null);
        assert_eq!(
            of(&std::fs::File::open("/dev/zero").unwrap()),
            Stderr::Device("/dev/zero".into())
        );
        // The master's side of a terminal is one, too.
        let terminal = std::fs::File::open("/dev/ptmx").unwrap();
        assert!(matches!(of(&terminal), Stderr::Terminal(path) if path.starts_with("/dev")));
        let proc = std::fs::File::open("/proc/self/status").unwrap();
        assert!(matches!(
            of(&proc),
            Stderr::File(StderrFile {
                reach: Reach::Remote,
                ..
            })
        ));
        for text in [
            "",
            "file",
            "file local 1 2",
            "file far 1 2 3 /x",
            "file local 1 2 x /y",
            "films",
        ] {
            assert_eq!(text.parse::<Stderr>(), Err(()), "{text}");
        }
    }

    #[test]
    fn a_file_is_appended_to_and_made_for_its_owner_and_group() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        for line in ["one\n", "two\n"] {
            let fd = open_to_append(&path).unwrap();
            std::fs::File::from(fd).write_all(line.as_bytes()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o137, 0);
        assert!(open_to_append(Path::new("/dev/null")).is_ok());
    }

    #[test]
    fn what_cannot_be_appended_to_is_refused_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let refused = |path: &Path| open_to_append(path).unwrap_err();
        let fifo = directory.path().join("fifo");
        nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        let nothing = "neither a regular file nor a device";
        assert_eq!(refused(&fifo), nothing);
        let _reads = open(&fifo, OFlag::O_RDONLY | OFlag::O_NONBLOCK, Mode::empty()).unwrap();
        assert_eq!(refused(&fifo), nothing);
        assert_eq!(refused(directory.path()), "is a directory");
        assert_eq!(refused(Path::new("/nowhere/at/all")), "no such file or directory");
    }
}
