//! inotify(7): that something may have changed in one of the directories. What has, a look tells.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};

use super::look::{Directories, Names};

/// What may change a file or the way to it. Reading does not.
const CHANGES: AddWatchFlags = AddWatchFlags::IN_MODIFY
    .union(AddWatchFlags::IN_CLOSE_WRITE)
    .union(AddWatchFlags::IN_ATTRIB)
    .union(AddWatchFlags::IN_CREATE)
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_MOVED_FROM)
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MOVE_SELF)
    .union(AddWatchFlags::IN_ONLYDIR);

/// The watches on directories.
pub(super) struct Watches {
    inotify: Inotify,
    by_path: BTreeMap<PathBuf, Watched>,
    by_descriptor: BTreeMap<WatchDescriptor, PathBuf>,
    room: Room,
}

struct Watched {
    descriptor: WatchDescriptor,
    /// Device and inode: another directory may lie there by now.
    directory: (u64, u64),
    names: Names,
}

/// Whether the kernel watches all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    Enough,
    /// Not all: those that it does not watch change in silence.
    Lacking,
}

/// What became of the watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Followed {
    /// They are what they were.
    AsBefore,
    /// There are new ones: what changed before they were set, nobody has told.
    New,
}

impl Watches {
    pub(super) fn open() -> Result<Self, Errno> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        Ok(Self {
            inotify,
            by_path: BTreeMap::new(),
            by_descriptor: BTreeMap::new(),
            room: Room::Enough,
        })
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }

    pub(super) fn room(&self) -> Room {
        self.room
    }

    /// Reads what was told, without waiting. Whether something that counts may have changed.
    pub(super) fn read(&mut self) -> bool {
        let mut changed = false;
        while let Ok(events) = self.inotify.read_events() {
            for event in events {
                changed |= self.take(&event);
            }
        }
        changed
    }

    fn take(&mut self, event: &InotifyEvent) -> bool {
        if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            // Which watches have ended is among what is lost: all are set anew.
            self.by_path.clear();
            self.by_descriptor.clear();
            return true;
        }
        if event.mask.contains(AddWatchFlags::IN_IGNORED) {
            // The directory has gone, and the watch with it.
            if let Some(path) = self.by_descriptor.remove(&event.wd) {
                self.by_path.remove(&path);
            }
            return true;
        }
        let path = self.by_descriptor.get(&event.wd);
        let Some(watched) = path.and_then(|path| self.by_path.get(path)) else {
            return false;
        };
        match (&watched.names, &event.name) {
            (Names::All, _) | (Names::These(_), None) => true,
            (Names::These(names), Some(name)) => names.contains(name),
        }
    }

    /// Watch these directories, and no others.
    pub(super) fn follow(&mut self, directories: &Directories) -> Followed {
        let others: Vec<PathBuf> = self.by_path.keys().cloned().collect();
        for path in others.iter().filter(|path| !directories.contains_key(*path)) {
            self.forget(path);
        }
        self.room = Room::Enough;
        let mut followed = Followed::AsBefore;
        for (path, names) in directories {
            let Ok(found) = fs::metadata(path) else { continue };
            let directory = (found.dev(), found.ino());
            match self.by_path.get_mut(path) {
                Some(watched) if watched.directory == directory => {
                    watched.names.clone_from(names);
                    continue;
                }
                Some(_) => self.forget(path),
                None => {}
            }
            match self.inotify.add_watch(path, CHANGES) {
                Ok(descriptor) => {
                    followed = Followed::New;
                    self.by_descriptor.insert(descriptor, path.clone());
                    let names = names.clone();
                    self.by_path.insert(
                        path.clone(),
                        Watched {
                            descriptor,
                            directory,
                            names,
                        },
                    );
                }
                Err(Errno::ENOSPC) => self.room = Room::Lacking,
                // It has gone again, or may be passed and not read: what is in it is not seen either.
                Err(_) => {}
            }
        }
        followed
    }

    fn forget(&mut self, path: &Path) {
        if let Some(watched) = self.by_path.remove(path) {
            self.by_descriptor.remove(&watched.descriptor);
            // Its directory may have gone, and the watch with it.
            let _ = self.inotify.rm_watch(watched.descriptor);
        }
    }
}
