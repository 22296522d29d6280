//! Sees at once that an app has taken away the path of a socket of ours, inotify(7).
//!
//! The inode of the socket is watched and not the directory, so that nothing else that happens there wakes the loop: the loss of a
//! name is a change of its attributes (of the number of its links), and a rename is told as well.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

use super::{ListenError, Listener};
use crate::sys::errno_text;

const CHANGES: AddWatchFlags = AddWatchFlags::IN_ATTRIB
    .union(AddWatchFlags::IN_MOVE_SELF)
    .union(AddWatchFlags::IN_DONT_FOLLOW);

/// The sockets whose paths are watched, by the inode of the socket. Dropping it ends the watch.
#[derive(Debug)]
pub(crate) struct PathWatch {
    inotify: Inotify,
    watched: BTreeMap<u64, WatchDescriptor>,
}

impl PathWatch {
    /// Nothing is watched yet.
    ///
    /// # Errors
    /// One line: the kernel gives no inotify instance (fs.inotify.max_user_instances).
    pub(crate) fn open() -> Result<Self, String> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK);
        Ok(Self {
            inotify: inotify.map_err(|errno| format!("inotify: {}", errno_text(errno)))?,
            watched: BTreeMap::new(),
        })
    }

    /// Watch these listeners, and no others. Returns those whose watch has begun now: what happened to them before is not told.
    ///
    /// # Errors
    /// One line for each that cannot be watched: too many are (fs.inotify.max_user_watches), or its mode forbids us to read it.
    pub(crate) fn watch<'a>(
        &mut self,
        listeners: &'a [Rc<Listener>],
    ) -> (Vec<&'a Rc<Listener>>, Vec<ListenError>) {
        let is_gone = |inode: &u64| listeners.iter().all(|listener| listener.inode() != *inode);
        for (_, descriptor) in self.watched.extract_if(.., |inode, _| is_gone(inode)) {
            // The kernel ends a watch by itself when the inode is gone.
            let _ = self.inotify.rm_watch(descriptor);
        }
        let (mut begun, mut failed) = (Vec::new(), Vec::new());
        for listener in listeners {
            if self.watched.contains_key(&listener.inode()) {
                continue;
            }
            match self.begin(listener) {
                Some(Ok(descriptor)) => {
                    self.watched.insert(listener.inode(), descriptor);
                    begun.push(listener);
                }
                Some(Err(errno)) => {
                    failed.push(listener.alarm(&format!("its path cannot be watched: {}", errno_text(errno))))
                }
                None => {}
            }
        }
        (begun, failed)
    }

    /// `None` if it has no path that we put back. Either link leads to the inode.
    fn begin(&self, listener: &Listener) -> Option<Result<WatchDescriptor, Errno>> {
        let file = listener.socket.file().filter(|file| file.is_kept())?;
        let first = if file.is_in_place() {
            file.path().to_owned()
        } else {
            file.second_path()
        };
        Some(self.inotify.add_watch(&first, CHANGES))
    }

    /// Takes what has been told. Returns the inodes of the sockets whose links may have changed.
    pub(crate) fn take(&mut self) -> Vec<u64> {
        let mut changed = Vec::new();
        while let Ok(events) = self.inotify.read_events() {
            for event in events {
                // An overflow of the queue names none.
                let is_meant = |descriptor: &WatchDescriptor| {
                    *descriptor == event.wd || event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW)
                };
                let meant = self.watched.iter().filter(|(_, descriptor)| is_meant(descriptor));
                changed.extend(meant.map(|(inode, _)| *inode));
            }
        }
        changed.sort_unstable();
        changed.dedup();
        changed
    }
}

impl AsFd for PathWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}
