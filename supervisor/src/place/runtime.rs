//! Directories of generations, which belong to the app's user and go with the generation.
//!
//! One that a dead supervisor has left may still be in use, or may not be removable, and generations are numbered from 1 again. So an
//! app that is started anew beside such remains has a *series* of its own: no generation is given a directory with something in it,
//! nor a notify socket by which processes of an earlier app are known.

use std::ffi::{CString, OsStr};
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::PlaceError;
use crate::state::written_as;

/// Before the number of the generation.
const PREFIX: &str = "runtime.";

/// So many entries are removed at most, for the loop waits meanwhile: some tens of milliseconds. It is meant for sockets and pid files.
const MOST_ENTRIES: usize = 10_000;

/// So many directories deep is looked: each holds an fd meanwhile.
const DEEPEST: usize = 100;

/// Whose directories and notify sockets: those of one app that was started anew, through all upgrades and adoptions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Series(u32);

written_as!(Series as u32: |series| series.0, Series;);

impl Series {
    /// The name of a generation's directory: `runtime.7`, or `runtime.7.2` in the second series after the first.
    pub(super) fn directory(self, generation: u64) -> String {
        self.after(format!("{PREFIX}{generation}"))
    }

    /// A name in this series.
    pub(super) fn after(self, name: String) -> String {
        match self.0 {
            0 => name,
            series => format!("{name}.{series}"),
        }
    }

    /// That of an entry of a notify directory, if it has such a name.
    pub(super) fn of(name: &OsStr) -> Option<Self> {
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let numbers = name.to_str()?.strip_prefix(PREFIX)?;
        let (generation, series) = numbers.split_once('.').unwrap_or((numbers, "0"));
        (is_number(generation) && is_number(series)).then_some(Self(series.parse().ok()?))
    }

    /// One of which no directory lies here, behind that of an app of which somebody lives.
    pub(super) fn unused(notify: &Path, living: Option<Self>) -> Self {
        let entries = fs::read_dir(notify).into_iter().flatten().flatten();
        let found = entries.filter_map(|entry| Self::of(&entry.file_name()));
        let last = found.chain(living).max();
        last.map_or_else(Self::default, |Self(last)| Self(last.saturating_add(1)))
    }
}

/// Remove the directory with all that is in it. A symbolic link is removed and not followed; where a file system is mounted in it,
/// all of it stays.
///
/// # Errors
/// One line: it cannot be removed, or more lies in it than is looked through.
pub(super) fn remove(path: &Path) -> Result<(), PlaceError> {
    let failed = |error: io::Error| PlaceError::io(format!("remove {}", path.display()), &error);
    match fs::remove_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
            remove_all(path).map_err(failed)?;
            fs::remove_dir(path).or_else(ignore_missing).map_err(failed)
        }
        removed => removed.or_else(ignore_missing).map_err(failed),
    }
}

fn ignore_missing(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound {
        Ok(())
    } else {
        Err(error)
    }
}

/// All that is in it, or nothing.
fn remove_all(path: &Path) -> io::Result<()> {
    // The way to it may lead through links: systemd makes the directory of a dynamic user one.
    let opened = || open_directory(AT_FDCWD, path.as_os_str(), ResolveFlag::empty());
    Count { left: MOST_ENTRIES }.count(&mut opened()?, DEEPEST)?;
    clear(&mut opened()?)
}

/// A directory, by a name that is itself no symbolic link. `ENOTDIR` or `ELOOP` if it is none, `EXDEV` if a flag forbids to leave
/// a file system and it is another one's: openat2(2), Linux 5.6.
fn open_directory(at: impl AsFd, name: &OsStr, how: ResolveFlag) -> Result<Dir, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let how = OpenHow::new().flags(flags).resolve(how);
    Dir::from_fd(openat2(at, name, how)?)
}

/// What lies in a directory, by name and kind.
fn entries(directory: &mut Dir) -> impl Iterator<Item = Result<(CString, Option<Type>), Errno>> {
    let entries = directory.iter().map(|entry| {
        let entry = entry?;
        Ok((entry.file_name().to_owned(), entry.file_type()))
    });
    entries.filter(|entry| !matches!(entry, Ok((name, _)) if matches!(name.as_bytes(), b"." | b"..")))
}

/// A directory in this one, on the same mount; `None` if the name is no directory's.
fn below(directory: &Dir, name: &CString, kind: Option<Type>) -> io::Result<Option<Dir>> {
    let is_mounted = || it_stays(format_args!("a file system is mounted in it"));
    let how = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_XDEV | ResolveFlag::RESOLVE_NO_SYMLINKS;
    if kind.is_some_and(|kind| kind != Type::Directory) {
        // A file can be mounted, too. Whatever else is wrong with it is seen when it is removed.
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = openat2(
            directory,
            name.as_c_str(),
            OpenHow::new().flags(flags).resolve(how),
        );
        return match file {
            Err(Errno::EXDEV) => Err(is_mounted()),
            Ok(_) | Err(_) => Ok(None),
        };
    }
    match open_directory(directory, OsStr::from_bytes(name.as_bytes()), how) {
        Ok(below) => Ok(Some(below)),
        Err(Errno::ENOTDIR | Errno::ELOOP | Errno::ENOENT) => Ok(None),
        Err(Errno::EXDEV) => Err(is_mounted()),
        Err(errno) => Err(errno.into()),
    }
}

fn it_stays(why: std::fmt::Arguments<'_>) -> io::Error {
    io::Error::other(format!("{why}; it is left"))
}

/// A look at all that would be removed.
struct Count {
    /// How many entries more there may be.
    left: usize,
}

impl Count {
    fn count(&mut self, directory: &mut Dir, deepest: usize) -> io::Result<()> {
        for (name, kind) in self.some(directory)? {
            if let Some(mut below) = below(directory, &name, kind)? {
                let deepest = deepest.checked_sub(1);
                let deepest =
                    deepest.ok_or_else(|| it_stays(format_args!("more than {DEEPEST} directories deep")))?;
                self.count(&mut below, deepest)?;
            }
        }
        Ok(())
    }

    /// What lies in one directory, unless that is too much.
    fn some(&mut self, directory: &mut Dir) -> io::Result<Vec<(CString, Option<Type>)>> {
        let mut some = Vec::new();
        for entry in entries(directory) {
            let still = self.left.checked_sub(1);
            self.left = still.ok_or_else(|| it_stays(format_args!("more than {MOST_ENTRIES} entries")))?;
            some.push(entry?);
        }
        Ok(some)
    }
}

/// Remove all that was counted. Nobody puts more there: the processes that could are gone.
fn clear(directory: &mut Dir) -> io::Result<()> {
    let all: Vec<_> = entries(directory).collect::<Result<_, _>>()?;
    for (name, kind) in all {
        let flag = match below(directory, &name, kind)? {
            Some(mut below) => {
                clear(&mut below)?;
                UnlinkatFlags::RemoveDir
            }
            None => UnlinkatFlags::NoRemoveDir,
        };
        match unlinkat(&*directory, name.as_c_str(), flag) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::sys::alone::alone;

    /// A directory of a generation with this in it.
    fn directory() -> (tempfile::TempDir, std::path::PathBuf) {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("runtime.7");
        fs::create_dir_all(path.join("below/deeper")).unwrap();
        fs::write(path.join("below/deeper/pid"), "1").unwrap();
        (parent, path)
    }

    #[test]
    fn it_goes_with_all_that_is_in_it_and_what_a_link_leads_to_stays() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("kept"), "").unwrap();
        let (parent, path) = directory();
        std::os::unix::fs::symlink(outside.path(), path.join("link")).unwrap();
        // As `RuntimeDirectory=` of a dynamic user is one.
        std::os::unix::fs::symlink(parent.path(), outside.path().join("way")).unwrap();
        remove(&outside.path().join("way/runtime.7")).unwrap();
        assert!(!path.exists() && outside.path().join("kept").exists());
        remove(&path).unwrap();
        // Nor is one of its own name.
        std::os::unix::fs::symlink(outside.path(), &path).unwrap();
        assert!(remove(&path).is_err());
        assert!(outside.path().join("kept").exists());
    }

    #[test]
    fn one_with_too_much_in_it_stays_whole() {
        let (_parent, path) = directory();
        let mut deep = path.clone();
        for _ in 0..=DEEPEST {
            deep.push("d");
            fs::create_dir(&deep).unwrap();
        }
        let error = remove(&path).unwrap_err().to_string();
        assert!(
            error.ends_with("more than 100 directories deep; it is left"),
            "{error}"
        );
        fs::remove_dir(deep).unwrap();
        for number in 0..MOST_ENTRIES {
            fs::write(path.join(number.to_string()), "").unwrap();
        }
        let error = remove(&path).unwrap_err().to_string();
        assert!(error.ends_with("more than 10000 entries; it is left"), "{error}");
        assert!(path.join("below/deeper/pid").exists() && path.join("0").exists());
    }

    /// Also one of the same device, as a container engine binds a directory into another.
    #[test]
    fn what_is_mounted_in_it_stays() {
        alone("place::runtime::tests::what_is_mounted_in_it_stays", || {
            if let Err(errno) = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS) {
                eprintln!("not tested: no mount namespace of its own: {errno}");
                return;
            }
            let mount = |words: &[&str]| {
                let status = Command::new("mount").args(words).status();
                assert!(status.expect("mount").success(), "{words:?}");
            };
            mount(&["--make-rprivate", "/"]);
            let outside = tempfile::tempdir().unwrap();
            fs::write(outside.path().join("kept"), "").unwrap();
            for (from, to) in [("", "below"), ("kept", "below/deeper/pid")] {
                let (_parent, path) = directory();
                let (from, to) = (outside.path().join(from), path.join(to));
                mount(&["--bind", from.to_str().unwrap(), to.to_str().unwrap()]);
                fs::write(path.join("beside"), "").unwrap();
                let error = remove(&path).unwrap_err().to_string();
                assert!(
                    error.ends_with("a file system is mounted in it; it is left"),
                    "{error}"
                );
                assert!(outside.path().join("kept").exists() && path.join("beside").exists());
                assert!(Command::new("umount").arg(&to).status().unwrap().success());
                remove(&path).unwrap();
                assert!(!path.exists());
            }
        });
    }

    #[test]
    fn a_series_is_told_by_the_name_and_a_new_one_has_nothing() {
        let of = |name: &str| Series::of(OsStr::new(name));
        for (series, name) in [(Series(0), "runtime.7"), (Series(12), "runtime.7.12")] {
            assert_eq!((series.directory(7), of(name)), (name.to_owned(), Some(series)));
        }
        for name in ["runtime.", "runtime.x", "runtime.7.", "runtime.7.x", "7.0.1"] {
            assert_eq!(of(name), None, "{name}");
        }
        let notify = tempfile::tempdir().unwrap();
        assert_eq!(Series::unused(notify.path(), None), Series(0));
        assert_eq!(Series::unused(notify.path(), Some(Series(0))), Series(1));
        fs::create_dir(notify.path().join("runtime.7")).unwrap();
        assert_eq!(Series::unused(notify.path(), None), Series(1));
        fs::write(notify.path().join("runtime.2.4"), "").unwrap();
        assert_eq!(Series::unused(notify.path(), None), Series(5));
    }
}
