//! Finding the binary that a command means, and holding on to it.
//!
//! It is opened once, when a reload creates the birth record, so that a crash restart or a rollback starts the
//! same file although its path leads to another by then.

use super::LaunchError;
use crate::sys::errno_text;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use nix::unistd::Pid;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Where programs are looked for if the app's environment has no PATH: `_CS_PATH` of confstr(3).
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// As much of a script as the kernel looks at for its `#!` line, `BINPRM_BUF_SIZE` of execve(2).
const HEAD_BYTES: usize = 256;

/// Device and inode of a file: what makes it that file, wherever its path leads.
pub(super) type FileId = (u64, u64);

/// Which file an fd is.
pub(super) fn id_of(fd: BorrowedFd<'_>) -> Option<FileId> {
    fstat(fd).ok().map(|status| (status.st_dev, status.st_ino))
}

/// The same of its status.
pub(super) fn id_of_status(status: &FileStat) -> FileId {
    (status.st_dev, status.st_ino)
}

/// Size and time of change of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) size: u64,
    /// Nanoseconds since the epoch.
    pub(super) changed: i64,
}

impl Content {
    /// By the status of a file.
    pub(super) fn of(status: &FileStat) -> Self {
        Self {
            size: u64::try_from(status.st_size).unwrap_or_default(),
            changed: status
                .st_mtime
                .saturating_mul(1_000_000_000)
                .saturating_add(status.st_mtime_nsec),
        }
    }

    /// Of an open file; none if that cannot be told.
    pub(super) fn of_open(fd: BorrowedFd<'_>) -> Option<Self> {
        fstat(fd).ok().as_ref().map(Self::of)
    }
}

/// An opened binary (or script) and where it was found.
#[derive(Debug)]
pub(crate) struct Binary {
    fd: OwnedFd,
    path: PathBuf,
    real_path: PathBuf,
    id: FileId,
    /// What was in it when it was found; none where an earlier supervisor has found it.
    content: Option<Content>,
    format: Format,
}

/// What is known of a binary without having it open.
#[derive(Debug)]
pub(super) struct Known {
    /// By which it is executed.
    pub(super) path: PathBuf,
    /// Where the file itself was.
    pub(super) real_path: PathBuf,
    /// Which file it is.
    pub(super) id: FileId,
}

/// What the first bytes say; it decides how to exec by fd and what to say when exec fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Nothing is in it (yet).
    Empty,
    /// It starts with `#!`, and this is the interpreter.
    Script(PathBuf),
    /// Anything else, or it cannot be read.
    Image,
}

impl Binary {
    /// Finds `command` as a shell in `cwd` would: by path if there is a slash in it, else along `search_path`
    /// (the app's own PATH).
    ///
    /// # Errors
    /// One line `exec COMMAND: cause`: not there, a directory, without any execute permission.
    pub(crate) fn find(
        command: &OsStr,
        cwd: BorrowedFd<'_>,
        search_path: Option<&OsStr>,
    ) -> Result<Binary, LaunchError> {
        let found = if command.as_bytes().contains(&b'/') {
            Binary::open(Path::new(command), cwd)
        } else {
            Binary::search(command, cwd, search_path.unwrap_or(OsStr::new(DEFAULT_PATH)))
        };
        found.map_err(|cause| LaunchError::exec(command, &cause))
    }

    fn search(command: &OsStr, cwd: BorrowedFd<'_>, search_path: &OsStr) -> Result<Binary, String> {
        if command.is_empty() {
            return Err("the command is empty".to_owned());
        }
        let mut refusal = None;
        for directory in search_path.as_bytes().split(|byte| *byte == b':') {
            // An empty element means the working directory, as in execvp(3).
            let path = Path::new(OsStr::from_bytes(directory)).join(command);
            match Binary::open(&path, cwd) {
                Ok(binary) => return Ok(binary),
                Err(cause) if is_absence(&path, cwd) => drop(cause),
                Err(cause) => refusal = refusal.or(Some(format!("{cause} ({})", path.display()))),
            }
        }
        Err(refusal.unwrap_or_else(|| {
            let here = Path::new(".").join(command);
            match Binary::open(&here, cwd) {
                Ok(_) => format!("not found in PATH (did you mean {}?)", here.display()),
                Err(_) => "not found in PATH".to_owned(),
            }
        }))
    }

    fn open(path: &Path, cwd: BorrowedFd<'_>) -> Result<Binary, String> {
        let fd = open_for_exec(path, cwd).map_err(errno_text)?;
        let status = fstat(&fd).map_err(errno_text)?;
        check_executable(&status)?;
        let real_path = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))
            .unwrap_or_else(|_| path.to_owned());
        let (fd, format) = read_format(fd);
        Ok(Binary {
            fd,
            path: path.to_owned(),
            real_path,
            id: id_of_status(&status),
            content: Some(Content::of(&status)),
            format,
        })
    }

    /// Finds the file again that was opened by an earlier supervisor: by its fd if that is here, by its path, and among what
    /// these processes execute. `None` if none of them is that file.
    pub(super) fn find_again(
        known: Known,
        fd: Option<OwnedFd>,
        cwd: BorrowedFd<'_>,
        processes: &[Pid],
    ) -> Option<Binary> {
        let by_path = [known.path.as_path(), known.real_path.as_path()];
        let by_path = by_path.iter().map(|path| open_for_exec(path, cwd));
        let running = processes.iter().map(|pid| {
            let exe = PathBuf::from(format!("/proc/{pid}/exe"));
            open_for_exec(&exe, cwd)
        });
        let found = by_path.chain(running).flatten();
        let fd = (fd.into_iter().chain(found)).find(|fd| id_of(fd.as_fd()) == Some(known.id))?;
        let (fd, format) = read_format(fd);
        Some(Binary {
            fd,
            path: known.path,
            real_path: known.real_path,
            id: known.id,
            content: None,
            format,
        })
    }

    /// The path by which it is executed: as given or as found, relative to the birth record's cwd.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The absolute path of the file itself when it was opened, every symlink followed.
    pub(crate) fn real_path(&self) -> &Path {
        &self.real_path
    }

    /// The inode number.
    pub(crate) fn inode(&self) -> u64 {
        self.id.1
    }

    /// Which file it is.
    pub(super) fn id(&self) -> FileId {
        self.id
    }

    /// What was in it when it was found, if this supervisor has found it.
    pub(super) fn content(&self) -> Option<Content> {
        self.content
    }

    /// The open file; read-only, or `O_PATH` where reading is not permitted.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(crate) fn format(&self) -> &Format {
        &self.format
    }

    /// Whether `path` still leads to the file that was opened. Asked in the child, in the app's cwd.
    pub(crate) fn is_at_its_path(&self) -> bool {
        match nix::sys::stat::stat(&self.path) {
            Ok(status) => (status.st_dev, status.st_ino) == self.id,
            // The app's user may not go there. Exec by path says so, where exec by fd would quietly get round it.
            Err(errno) => errno == Errno::EACCES,
        }
    }

    /// Why exec failed, with what the errno alone does not say.
    pub(crate) fn explain(&self, errno: Errno) -> String {
        let text = errno_text(errno);
        match (errno, &self.format) {
            (Errno::ENOEXEC, Format::Empty) => format!("{text} (the file is empty)"),
            (Errno::ENOEXEC, Format::Script(_) | Format::Image) => {
                format!("{text} (wrong architecture, or a script without #!)")
            }
            (Errno::ENOENT, Format::Script(interpreter)) => {
                format!("{text} (its interpreter {} is missing)", interpreter.display())
            }
            (Errno::ENOENT, Format::Empty | Format::Image) => {
                format!("{text} (its dynamic loader is missing)")
            }
            (Errno::ETXTBSY, _) => format!("{text} (it is still being written)"),
            (_, _) => text,
        }
    }
}

/// Opens without waiting (a FIFO would) and, if the file may be executed but not read, as a mere place.
fn open_for_exec(path: &Path, cwd: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let readable = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    match openat(cwd, path, readable, Mode::empty()) {
        Err(Errno::EACCES) => openat(cwd, path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()),
        outcome => outcome,
    }
}

/// Not there, or in a directory that we may not enter, which in PATH is passed over like one that is not there.
fn is_absence(path: &Path, cwd: BorrowedFd<'_>) -> bool {
    matches!(
        open_for_exec(path, cwd),
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES)
    )
}

fn check_executable(status: &FileStat) -> Result<(), String> {
    let kind = SFlag::from_bits_truncate(status.st_mode & SFlag::S_IFMT.bits());
    let executable = Mode::S_IXUSR | Mode::S_IXGRP | Mode::S_IXOTH;
    if kind == SFlag::S_IFDIR {
        Err(errno_text(Errno::EISDIR))
    } else if kind != SFlag::S_IFREG {
        Err("not a regular file".to_owned())
    } else if !Mode::from_bits_truncate(status.st_mode).intersects(executable) {
        Err(errno_text(Errno::EACCES))
    } else {
        Ok(())
    }
}

fn read_format(fd: OwnedFd) -> (OwnedFd, Format) {
    let mut head = [0; HEAD_BYTES];
    let file = File::from(fd);
    let format = match file.read_at(&mut head, 0) {
        Ok(0) => Format::Empty,
        Ok(length) => interpreter(&head[..length]).map_or(Format::Image, Format::Script),
        Err(_) => Format::Image,
    };
    (file.into(), format)
}

/// The interpreter named in a `#!` line, as the kernel reads it: up to the first blank or line end.
fn interpreter(head: &[u8]) -> Option<PathBuf> {
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let name = line
        .split(|byte| matches!(byte, b' ' | b'\t'))
        .find(|word| !word.is_empty());
    Some(PathBuf::from(OsString::from_vec(
        name.unwrap_or_default().to_vec(),
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interpreter_is_read_as_the_kernel_reads_it() {
        assert_eq!(interpreter(b"#! /bin/sh -e\nexit"), Some("/bin/sh".into()));
        assert_eq!(
            interpreter(b"#!/usr/bin/env python3"),
            Some("/usr/bin/env".into())
        );
        assert_eq!(interpreter(b"#!\n"), Some("".into()));
        assert_eq!(interpreter(b"\x7fELF"), None);
    }
}
