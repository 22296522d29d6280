//! A walk below a directory, by descriptors: a process that may write into a tree may exchange a directory in it for a symlink while it is
//! walked, and a path would lead elsewhere then. So nothing is opened through a symlink, and a file is opened as what was shown.

use std::ffi::{CStr, CString, OsString};
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat, readlinkat};
use nix::libc::PATH_MAX;
use nix::sys::stat::Mode;

use super::ending::Step;
use super::files::attempt;

/// Whether to look into a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Visit {
    Into,
    Past,
}

/// What a walk has come to.
pub(super) struct Found<'a> {
    /// For people: it may lead elsewhere by now.
    pub(super) path: &'a Path,
    /// Of what was found, and not of what its symlink leads to.
    pub(super) status: &'a Metadata,
    directory: &'a OwnedFd,
    name: &'a CStr,
}

impl Found<'_> {
    /// Opens the file that was found. What it is now comes with it.
    ///
    /// # Errors
    /// It is no file, or another one by now.
    pub(super) fn open(&self) -> io::Result<(File, Metadata)> {
        let (file, status) = plain(openat(self.directory, self.name, READ, Mode::empty())?)?;
        if (status.dev(), status.ino()) == (self.status.dev(), self.status.ino()) {
            Ok((file, status))
        } else {
            Err(io::Error::other("another file has taken its place"))
        }
    }

    /// The text of the symlink that was found.
    pub(super) fn link(&self) -> io::Result<OsString> {
        Ok(readlinkat(self.directory, self.name)?)
    }
}

/// A file is read: no symlink is followed, and a FIFO is not waited for.
const READ: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_NONBLOCK)
    .union(OFlag::O_NOCTTY)
    .union(OFlag::O_CLOEXEC);

fn plain(fd: OwnedFd) -> io::Result<(File, Metadata)> {
    let file = File::from(fd);
    let status = file.metadata()?;
    if status.is_file() {
        Ok((file, status))
    } else {
        Err(io::Error::other("it is no file"))
    }
}

/// Opens a file to read it, and nothing else: neither a symlink to one nor a FIFO.
pub(super) fn open_plain(path: &Path) -> io::Result<File> {
    Ok(plain(open(path, READ, Mode::empty())?)?.0)
}

/// The same for a path that somebody has named, which may be a symlink to a file.
pub(super) fn open_named(path: &Path) -> io::Result<File> {
    let (file, _) = plain(open(path, READ.difference(OFlag::O_NOFOLLOW), Mode::empty())?)?;
    Ok(file)
}

/// Opens a directory below another one, name by name.
fn open_directory(top: &OwnedFd, below: &Path) -> Result<OwnedFd, Errno> {
    // As the kernel has it for a path: a tree without end is refused, not walked without end.
    if below.as_os_str().len() >= usize::try_from(PATH_MAX).unwrap_or(usize::MAX) {
        return Err(Errno::ENAMETOOLONG);
    }
    let flags = READ | OFlag::O_DIRECTORY;
    let mut directory = openat(top, c".", flags, Mode::empty())?;
    for name in below.components() {
        directory = openat(&directory, name.as_os_str(), flags, Mode::empty())?;
    }
    Ok(directory)
}

/// Shows everything below a directory, itself not included, each directory before what is in it. No symlink is followed, but for
/// `directory` itself. What goes away meanwhile is left out.
///
/// # Errors
/// Of `show`; or something cannot be read, as a directory that has become a symlink.
pub(super) fn walk(directory: &Path, show: &mut dyn FnMut(&Found<'_>) -> Step<Visit>) -> Step<()> {
    let failed =
        |path: &Path, errno: Errno| attempt::<()>(format_args!("read {}", path.display()), Err(errno.into()));
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let top = match open(directory, flags, Mode::empty()) {
        Ok(top) => top,
        Err(errno) => return Ok(failed(directory, errno)?),
    };
    let mut waiting = vec![PathBuf::new()];
    while let Some(next) = waiting.pop() {
        let shown = if next.as_os_str().is_empty() {
            directory.to_owned()
        } else {
            directory.join(&next)
        };
        let fd = match open_directory(&top, &next) {
            Ok(fd) => fd,
            Err(Errno::ENOENT) => continue,
            Err(errno) => return Ok(failed(&shown, errno)?),
        };
        let names = match names(&fd) {
            Ok(names) => names,
            Err(errno) => return Ok(failed(&shown, errno)?),
        };
        for name in names {
            let part = std::ffi::OsStr::from_bytes(name.to_bytes());
            let path = shown.join(part);
            let seen = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let status = match openat(&fd, name.as_c_str(), seen, Mode::empty()) {
                Ok(seen) => attempt(
                    format_args!("read {}", path.display()),
                    File::from(seen).metadata(),
                )?,
                Err(Errno::ENOENT) => continue,
                Err(errno) => return Ok(failed(&path, errno)?),
            };
            let found = Found {
                path: &path,
                status: &status,
                directory: &fd,
                name: &name,
            };
            if show(&found)? == Visit::Into && status.is_dir() {
                waiting.push(next.join(part));
            }
        }
    }
    Ok(())
}

/// The names in a directory.
fn names(directory: &OwnedFd) -> Result<Vec<CString>, Errno> {
    let copy = openat(directory.as_fd(), c".", READ | OFlag::O_DIRECTORY, Mode::empty())?;
    let mut names = Vec::new();
    for entry in Dir::from_fd(copy)?.iter() {
        let name = entry?.file_name().to_owned();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read as _;
    use std::os::unix::fs::symlink;

    use nix::unistd::mkfifo;

    use super::*;

    /// A process that writes into the tree exchanges a directory, and a file, for a symlink in the instant after it was shown.
    #[test]
    fn what_becomes_a_symlink_while_it_is_walked_leads_nowhere() {
        let place = tempfile::tempdir().unwrap();
        let (tree, secret) = (place.path().join("tree"), place.path().join("secret"));
        fs::create_dir_all(tree.join("d")).unwrap();
        fs::create_dir(&secret).unwrap();
        fs::write(secret.join("key"), "for root alone").unwrap();
        fs::write(tree.join("f"), "public").unwrap();
        let mut shown = Vec::new();
        let walked = walk(&tree, &mut |found| {
            shown.push(found.path.file_name().unwrap().to_owned());
            if found.status.is_dir() {
                fs::remove_dir(found.path).unwrap();
                symlink(&secret, found.path).unwrap();
            } else {
                fs::remove_file(found.path).unwrap();
                symlink(secret.join("key"), found.path).unwrap();
                found.open().unwrap_err();
            }
            Ok(Visit::Into)
        });
        assert!(walked.is_err());
        shown.sort_unstable();
        assert_eq!(shown, ["d", "f"]);
    }

    #[test]
    fn a_file_that_was_replaced_is_not_opened_for_the_one_that_was_shown() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("f"), "one").unwrap();
        fs::write(place.path().join("other"), "two").unwrap();
        let mut first = true;
        walk(place.path(), &mut |found| {
            if std::mem::take(&mut first) {
                let mut text = String::new();
                found.open().unwrap().0.read_to_string(&mut text).unwrap();
                assert!(text == "one" || text == "two");
                let new = place.path().join("new");
                fs::write(&new, "three").unwrap();
                fs::rename(new, found.path).unwrap();
                let error = found.open().unwrap_err();
                assert_eq!(error.to_string(), "another file has taken its place");
            }
            Ok(Visit::Into)
        })
        .unwrap();
    }

    #[test]
    fn nobody_waits_for_a_fifo() {
        let place = tempfile::tempdir().unwrap();
        let (fifo, link) = (place.path().join("fifo"), place.path().join("link"));
        mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        fs::write(place.path().join("f"), "").unwrap();
        symlink("f", &link).unwrap();
        open_plain(&fifo).unwrap_err();
        open_named(&fifo).unwrap_err();
        open_plain(&link).unwrap_err();
        open_named(&link).unwrap();
        walk(place.path(), &mut |found| {
            assert_eq!(found.open().is_ok(), found.path.ends_with("f"));
            Ok(Visit::Into)
        })
        .unwrap();
    }

    #[test]
    fn a_tree_without_end_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let mut directory = open(place.path(), OFlag::O_RDONLY, Mode::empty()).unwrap();
        let name = "d".repeat(200);
        for _ in 0..30 {
            nix::sys::stat::mkdirat(&directory, name.as_str(), Mode::S_IRWXU).unwrap();
            directory = openat(&directory, name.as_str(), OFlag::O_RDONLY, Mode::empty()).unwrap();
        }
        let error = walk(place.path(), &mut |_| Ok(Visit::Into)).unwrap_err();
        assert!(error.text.ends_with("file name too long"), "{error:?}");
    }
}
