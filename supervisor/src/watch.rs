//! Watching a path for changes, for development: `--watch`.
//!
//! A file is watched through its directory, for compilers and editors replace files by renaming; a directory is
//! watched with everything below it. Only inotify(7) tells, so a file system that others write to over a network stays silent.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};

use crate::sys::errno_text;

/// How long nothing may change until the path counts as at rest. Linkers and editors write in bursts with shorter pauses.
pub(crate) const REST: Duration = Duration::from_millis(250);

/// The most directories that are watched below a path; with more, a watch is likely to have been put on the wrong place.
const MOST_DIRECTORIES: usize = 1024;

/// What counts as a change.
const CHANGES: AddWatchFlags = AddWatchFlags::IN_CLOSE_WRITE
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_MOVED_FROM)
    .union(AddWatchFlags::IN_CREATE)
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_ATTRIB);

/// A path that is watched. Dropping it ends the watch.
#[derive(Debug)]
pub(crate) struct Watch {
    inotify: Inotify,
    /// As it was given, and as an absolute path.
    path: PathBuf,
    whole: PathBuf,
    /// Device and inode of the directory that the path lies in.
    parent: Option<Identity>,
    /// Files that do not count.
    ours: Vec<PathBuf>,
    /// What is watched: the parent of the path, of which only one name counts, or a directory below it.
    places: BTreeMap<WatchDescriptor, Watched>,
}

/// Device and inode of a directory: two paths may lead to one.
type Identity = (u64, u64);

#[derive(Debug)]
enum Watched {
    Parent(OsString),
    /// A directory, and the names in it that do not count.
    Below(PathBuf, Vec<OsString>),
}

/// Why a path cannot be watched: one line.
#[derive(Debug)]
pub(crate) struct WatchError(String);

impl fmt::Display for WatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Watch {
    /// Watch a path, which must exist. `ours` are the files that this supervisor writes itself: where one of them lies below the
    /// path, it and what is below it does not count, or each reload would be followed by another one.
    ///
    /// # Errors
    /// `watch PATH: no such file or directory` and its like.
    pub(crate) fn open(path: &Path, ours: Vec<PathBuf>) -> Result<Self, WatchError> {
        let refused = |cause: String| WatchError(format!("watch {}: {cause}", path.display()));
        let failed = |errno: Errno| refused(errno_text(errno));
        let whole = std::path::absolute(path).map_err(|error| refused(errno_text(&error)))?;
        let metadata = fs::metadata(&whole).map_err(|error| refused(errno_text(&error)))?;
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).map_err(failed)?;
        let mut watch = Self {
            inotify,
            path: path.to_owned(),
            parent: identity_of_parent(&whole),
            whole: whole.clone(),
            ours,
            places: BTreeMap::new(),
        };
        if let (Some(parent), Some(name)) = (whole.parent(), whole.file_name()) {
            let descriptor = watch.inotify.add_watch(parent, CHANGES).map_err(failed)?;
            watch.places.insert(descriptor, Watched::Parent(name.to_owned()));
        }
        if metadata.is_dir() {
            watch.add_below(whole).map_err(failed)?;
        }
        Ok(watch)
    }

    /// The path as it was given.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The files that do not count, as they were given.
    pub(crate) fn ours(&self) -> &[PathBuf] {
        &self.ours
    }

    /// Whether the path lies in another directory by now than the one that is watched, or in none: that one was removed or
    /// made anew, or a symbolic link on the way leads elsewhere. The kernel tells that a watch has ended only when nothing
    /// holds the old directory any more; and only then can the new one have its inode number.
    pub(crate) fn is_lost(&self) -> bool {
        let ended = !self.places.values().any(|place| match place {
            Watched::Parent(_) => true,
            Watched::Below(..) => false,
        });
        ended || identity_of_parent(&self.whole) != self.parent
    }

    /// Readable when something may have changed.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }

    /// Read what has happened, without waiting. Returns whether the path, or something below it, has changed.
    pub(crate) fn changed(&mut self) -> bool {
        let mut changed = false;
        while let Ok(events) = self.inotify.read_events() {
            for event in events {
                changed |= self.take(&event);
            }
        }
        changed
    }

    fn take(&mut self, event: &InotifyEvent) -> bool {
        if event.mask.contains(AddWatchFlags::IN_IGNORED) {
            // The directory has gone, and its watch with it.
            return matches!(self.places.remove(&event.wd), Some(Watched::Below(..)));
        }
        // An overflow of the queue names no place: anything may have changed.
        let overflow = event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW);
        let is_directory = event.mask.contains(AddWatchFlags::IN_ISDIR);
        let new_directory = match (self.places.get(&event.wd), &event.name) {
            (Some(Watched::Parent(name)), changed) if changed.as_ref() != Some(name) => return overflow,
            // A build may make the watched directory anew: what is written there next counts as well.
            (Some(Watched::Parent(_)), _) if is_directory => self.whole.clone(),
            (Some(Watched::Parent(_)), _) => return true,
            (Some(Watched::Below(_, ours)), Some(name)) if ours.contains(name) => return overflow,
            (Some(Watched::Below(directory, _)), Some(name)) if is_directory => directory.join(name),
            (Some(Watched::Below(..)), _) => return true,
            (None, _) => return overflow,
        };
        // One that has vanished again, or is one too many, is not watched; that something changed is known.
        let _ = self.add_below(new_directory);
        true
    }

    /// Watch a directory and those below it. Symbolic links are not followed: they may lead in circles.
    fn add_below(&mut self, top: PathBuf) -> Result<(), Errno> {
        let mut waiting = vec![top];
        while let Some(directory) = waiting.pop() {
            if self.places.len() > MOST_DIRECTORIES {
                return Err(Errno::ENOSPC);
            }
            let descriptor = self.inotify.add_watch(&directory, CHANGES)?;
            let ours = self.ours_in(&directory);
            let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
            waiting.extend(
                entries
                    .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                    .filter(|entry| !ours.contains(&entry.file_name()))
                    .map(|entry| entry.path()),
            );
            self.places.insert(descriptor, Watched::Below(directory, ours));
        }
        Ok(())
    }

    /// The names in this directory that do not count.
    fn ours_in(&self, directory: &Path) -> Vec<OsString> {
        let Some(here) = identity(directory) else {
            return Vec::new();
        };
        let ours = self
            .ours
            .iter()
            .filter(|file| identity_of_parent(file) == Some(here));
        ours.filter_map(|file| file.file_name().map(OsStr::to_owned))
            .collect()
    }
}

fn identity(directory: &Path) -> Option<Identity> {
    let metadata = fs::metadata(directory).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

fn identity_of_parent(path: &Path) -> Option<Identity> {
    identity(path.parent()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_replaced_by_rename_has_changed_and_its_neighbours_do_not_matter() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("app");
        fs::write(&file, "1").unwrap();
        let mut watch = Watch::open(&file, Vec::new()).unwrap();
        fs::write(directory.path().join("other"), "x").unwrap();
        assert!(!watch.changed());
        fs::rename(directory.path().join("other"), &file).unwrap();
        assert!(watch.changed());
        assert!(!watch.changed(), "once");
    }

    #[test]
    fn everything_below_a_directory_counts_new_directories_included() {
        let directory = tempfile::tempdir().unwrap();
        let mut watch = Watch::open(directory.path(), Vec::new()).unwrap();
        let new = directory.path().join("src");
        fs::create_dir(&new).unwrap();
        assert!(watch.changed());
        fs::write(new.join("main.rs"), "fn main() {}").unwrap();
        assert!(watch.changed());
    }

    #[test]
    fn files_of_our_own_do_not_count_whatever_path_leads_to_them() {
        let above = tempfile::tempdir().unwrap();
        let real = above.path().join("real");
        fs::create_dir_all(real.join("control.notify")).unwrap();
        std::os::unix::fs::symlink("real", above.path().join("link")).unwrap();
        let ours = ["control", "control.notify"].map(|name| above.path().join("link").join(name));
        let mut watch = Watch::open(&real, ours.to_vec()).unwrap();
        fs::write(real.join("control"), "").unwrap();
        fs::write(real.join("control.notify/1.0.0"), "").unwrap();
        fs::remove_dir_all(real.join("control.notify")).unwrap();
        fs::create_dir(real.join("control.notify")).unwrap();
        fs::write(real.join("control.notify/2.0.0"), "").unwrap();
        assert!(!watch.changed());
        fs::write(real.join("control.rs"), "").unwrap();
        assert!(watch.changed(), "a neighbour counts");
        fs::create_dir(real.join("src")).unwrap();
        assert!(watch.changed());
        fs::write(real.join("src/control"), "").unwrap();
        assert!(watch.changed(), "the same name elsewhere counts");
        fs::remove_dir_all(&real).unwrap();
        fs::create_dir(&real).unwrap();
        assert!(watch.changed());
        fs::write(real.join("control"), "").unwrap();
        assert!(!watch.changed(), "nor do they in a directory that was made anew");
    }

    #[test]
    fn a_directory_that_is_made_anew_is_watched_again() {
        let above = tempfile::tempdir().unwrap();
        let dist = above.path().join("dist");
        fs::create_dir(&dist).unwrap();
        let mut watch = Watch::open(&dist, Vec::new()).unwrap();
        let places = watch.places.len();
        for _ in 0..3 {
            fs::remove_dir_all(&dist).unwrap();
            fs::create_dir(&dist).unwrap();
            assert!(watch.changed());
            assert!(!watch.changed());
            fs::write(dist.join("app"), "x").unwrap();
            assert!(watch.changed(), "what is written there next counts as well");
        }
        assert_eq!(watch.places.len(), places, "those that have gone are forgotten");
    }

    #[test]
    fn a_file_whose_directory_has_gone_is_lost() {
        let above = tempfile::tempdir().unwrap();
        let target = above.path().join("target");
        fs::create_dir(&target).unwrap();
        fs::write(target.join("app"), "x").unwrap();
        let mut watch = Watch::open(&target.join("app"), Vec::new()).unwrap();
        assert!(!watch.is_lost());
        fs::remove_dir_all(&target).unwrap();
        assert!(watch.changed());
        assert!(watch.is_lost());
        fs::create_dir(&target).unwrap();
        let _ = watch.changed();
        assert!(watch.is_lost(), "the new one is another");
    }

    #[test]
    fn a_path_that_is_not_there_is_one_clear_line() {
        let error = Watch::open(Path::new("/nonexistent/app"), Vec::new()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "watch /nonexistent/app: no such file or directory"
        );
    }
}
