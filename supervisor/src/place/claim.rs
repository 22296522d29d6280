//! The lock that makes a name unique, and what is done under it.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek as _, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::Gid;

use super::lock_holder::{self, LockHolder};
use super::{Place, PlaceError, Series, directory, runtime};
use crate::state::{Custody, Fds, Flaw, Guard, Passed, Row};
use crate::sys::{Locked, errno_text};

/// How often the lock file is opened anew because its last owner removed it meanwhile. Each round needs
/// another supervisor that ends in that instant; a place that is contended like this is better refused than
/// waited for.
const LOCK_ROUNDS: u32 = 16;

/// The names under which the fds of the two locks are passed on.
const LOCK: &str = "lock";
const KEPT: &str = "kept";

/// The longest lock file that is read for the owner's pid, in bytes.
const LOCK_TEXT_MAX: u64 = 32;

/// A place that is ours alone for as long as this lives. Dropping it empties and removes what it made: the
/// notify directory, the lock file, the instance's directory (not the control socket, which its owner removes
/// before).
#[derive(Debug)]
pub(crate) struct Claim {
    place: Place,
    lock: Option<Locked>,
    /// A shared lock on the instance's directory keeps systemd-tmpfiles from cleaning it while we live
    /// (tmpfiles.d(5): directories that are locked are left alone); it would otherwise remove our lock file
    /// from /tmp after ten days.
    kept: Option<Locked>,
    guard: Guard,
}

/// What a predecessor has left in the notify directory.
#[derive(Clone, Copy, Debug)]
pub(crate) enum StalePolicy<'a> {
    /// Sockets of processes that are gone, or that nobody hears any more: [`Claim::begin_anew`] removes them.
    Removed,
    /// Its state may be adopted, and its workers go on talking to these sockets: they stay, and nothing is removed until the
    /// custody is over.
    Adopted(&'a Custody),
}

/// Who lives of an app that is not adopted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Remains {
    /// Nobody.
    #[default]
    Nobody,
    /// Somebody of this series, who keeps the directory of its generation.
    Somebody(Series),
}

impl StalePolicy<'_> {
    /// The guard of what is made under this policy.
    pub(crate) fn guard(self) -> Guard {
        match self {
            StalePolicy::Removed => Guard::armed(),
            StalePolicy::Adopted(custody) => custody.guard(),
        }
    }
}

impl Place {
    /// Takes the place: locks it, writes our pid into the lock file, and makes the notify directory (0711).
    ///
    /// # Errors
    /// `instance app is already running (pid N)` if another supervisor holds the lock; that a process which a dead one has started
    /// still holds it after [`lock_holder::TIME`]; or what the system said.
    pub(crate) fn claim(&self, stale: StalePolicy<'_>) -> Result<Claim, PlaceError> {
        let lock = lock_in_time(self)?;
        write_pid(&lock)
            .map_err(|error| PlaceError::io(format!("lock file {}", self.lock.display()), &error))?;
        let kept = self.own.as_deref().and_then(keep);
        let claim = Claim {
            place: self.clone(),
            lock: Some(lock),
            kept,
            guard: stale.guard(),
        };
        self.keep_notify_directory()?;
        Ok(claim)
    }

    /// Removes the directories of generations that are not this app's: nobody lives who uses them. To be called by the process that has
    /// claimed the place. Returns what could not be removed, in one line each.
    pub(crate) fn remove_stale_directories(&self) -> Vec<PlaceError> {
        empty(&self.notify, Sockets::Stay, |series| series != self.series)
    }
}

impl Claim {
    /// The fds that hold the locks. The locks lie on what they refer to and not on this process, so that they outlive an exec.
    pub(crate) fn pass_on<'a>(&'a self, fds: &mut Passed<'a>) {
        for (name, flock) in [(LOCK, &self.lock), (KEPT, &self.kept)] {
            fds.extend(flock.as_ref().map(|flock| (name.to_owned(), flock.as_fd())));
        }
    }

    /// The claim to a place that this process had before it executed another binary.
    ///
    /// # Errors
    /// The lock is not among the fds, or not ours.
    pub(crate) fn restore(place: Place, fds: &mut Fds, custody: &Custody) -> Result<Self, Flaw> {
        let lock = fds
            .take(LOCK)
            .ok_or_else(|| Flaw::new("the fd of the lock is missing"))?;
        // Locked anew, which changes nothing where it is locked, and fails where another has it.
        let lock = Locked::exclusive(File::from(lock))
            .map_err(|(_, errno)| Flaw::new(format_args!("lock: {}", errno_text(errno))))?;
        let kept = fds.take(KEPT).map(File::from);
        let kept = kept.and_then(|kept| Locked::shared(kept).ok());
        Ok(Claim {
            place,
            lock: Some(lock),
            kept,
            guard: custody.guard(),
        })
    }

    /// Start an app and adopt none: what a predecessor has left in the notify directory is removed, and this app's generations have
    /// directories of a series of their own. Returns what could not be removed, in one line each.
    pub(crate) fn begin_anew(&mut self, remains: Remains) -> Vec<PlaceError> {
        let notify = &self.place.notify;
        let living = match remains {
            Remains::Nobody => None,
            Remains::Somebody(series) => Some(series),
        };
        let complaints = empty(notify, Sockets::Go, |_| living.is_none());
        self.place.series = Series::unused(notify, living);
        complaints
    }

    /// Go on with the directories and notify sockets of the app that is adopted.
    ///
    /// # Errors
    /// The row of the place is not whole.
    pub(crate) fn go_on_in_series_of(&mut self, rows: &[Row<'_>]) -> Result<(), Flaw> {
        self.place.go_on_in_series_of(rows)
    }

    /// The place that was claimed.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// Lets the members of a group walk to the control socket: the instance's own directory becomes theirs
    /// (0710) and the base can be walked through. Directories that Segue did not make are left alone.
    ///
    /// # Errors
    /// If we may not give files to that group (chown(2): root, or a member of it).
    pub(crate) fn open_to(&self, group: Gid) -> Result<(), PlaceError> {
        let Some(own) = &self.place.own else { return Ok(()) };
        let failed = |error: io::Error| PlaceError::io(format!("directory {}", own.display()), &error);
        let directory = directory::own(own, directory::Mode::AtLeast(0o700))?;
        nix::unistd::fchown(directory.as_fd(), None, Some(group)).map_err(|errno| failed(errno.into()))?;
        directory
            .set_permissions(Permissions::from_mode(0o710))
            .map_err(failed)?;
        if let Some(base) = &self.place.base {
            let base = directory::own(base, directory::Mode::AtLeast(0o711))?;
            let mode = base.metadata().map_err(failed)?.mode() & 0o7777;
            base.set_permissions(Permissions::from_mode(mode | 0o011))
                .map_err(failed)?;
        }
        Ok(())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.guard.is_armed() {
            // Nor may the locks be given up, which are those of the one in charge.
            std::mem::forget((self.lock.take(), self.kept.take()));
            return;
        }
        // Those of another series are somebody's whom this supervisor leaves alone, or could not be removed: the next new start
        // tries again, and tells.
        let _ = empty(&self.place.notify, Sockets::Go, |series| {
            series == self.place.series
        });
        let _ = fs::remove_dir(&self.place.notify);
        // Removed while it is locked: a process that opened it meanwhile sees that the path leads elsewhere and
        // opens it anew.
        let _ = fs::remove_file(&self.place.lock);
        drop(self.lock.take());
        if let Some(own) = &self.place.own {
            let _ = fs::remove_dir(own);
        }
    }
}

/// Locks the place; waits for what a supervisor that was killed had just forked.
fn lock_in_time(place: &Place) -> Result<Locked, PlaceError> {
    let holder = LockHolder::new();
    loop {
        match lock(place) {
            Err(PlaceError::Running { name, pid: Some(pid) }) if lock_holder::is_gone(pid) => {
                if !holder.wait() {
                    let what = place.lock.clone();
                    return Err(PlaceError::Held { name, pid, what });
                }
            }
            outcome => return outcome,
        }
    }
}

fn lock(place: &Place) -> Result<Locked, PlaceError> {
    let failed = |error: io::Error| PlaceError::io(format!("lock file {}", place.lock.display()), &error);
    for _ in 0..LOCK_ROUNDS {
        // The last owner may have removed the directory since the place was chosen.
        if let Some(own) = &place.own {
            directory::own(own, directory::Mode::AtLeast(0o700))?;
        }
        let file = match open(&place.lock) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && place.own.is_some() => continue,
            opened => opened.map_err(failed)?,
        };
        let found = file.metadata().map_err(failed)?;
        if found.uid() != nix::unistd::geteuid().as_raw() || !found.is_file() {
            return Err(PlaceError::Unsafe {
                path: place.lock.clone(),
                why: format!("the lock file belongs to uid {} or is no file", found.uid()),
            });
        }
        let lock = match Locked::exclusive(file) {
            Ok(lock) => lock,
            Err((file, Errno::EWOULDBLOCK)) => {
                return Err(PlaceError::Running {
                    name: place.name.clone(),
                    pid: read_pid(file),
                });
            }
            Err((_, errno)) => return Err(failed(errno.into())),
        };
        match fs::symlink_metadata(&place.lock) {
            Ok(now) if (now.dev(), now.ino()) == (found.dev(), found.ino()) => {
                // With --control PATH it lies at PATH.lock, where anything may lie.
                return if holds_a_pid(&lock).map_err(failed)? {
                    Ok(lock)
                } else {
                    Err(failed(io::Error::other(
                        "it is no lock file of segue: it holds no pid",
                    )))
                };
            }
            Ok(_) | Err(_) => drop(lock),
        }
    }
    Err(PlaceError::Running {
        name: place.name.clone(),
        pid: None,
    })
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(nix::libc::O_NOFOLLOW)
        .open(path)
}

/// Whether what is in the file can be from us: nothing, or a number.
fn holds_a_pid(lock: &File) -> io::Result<bool> {
    let mut bytes = Vec::new();
    lock.take(LOCK_TEXT_MAX).read_to_end(&mut bytes)?;
    Ok(bytes.trim_ascii().iter().all(u8::is_ascii_digit))
}

fn write_pid(mut lock: &File) -> io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    lock.write_all(format!("{}\n", std::process::id()).as_bytes())
}

/// The pid of the lock's owner; `None` in the instant between its lock and its word.
pub(super) fn read_pid(file: File) -> Option<i32> {
    let mut text = String::new();
    file.take(LOCK_TEXT_MAX).read_to_string(&mut text).ok()?;
    text.trim().parse().ok().filter(|pid| *pid > 0)
}

fn keep(directory: &Path) -> Option<Locked> {
    Locked::shared(File::open(directory).ok()?).ok()
}

/// What becomes of the sockets in a notify directory.
#[derive(Clone, Copy, Debug)]
enum Sockets {
    Go,
    Stay,
}

/// Removes sockets, and the directories of generations of some series. What else lies there is not ours. Returns what could not be
/// removed.
fn empty(directory: &Path, sockets: Sockets, is_over: impl Fn(Series) -> bool) -> Vec<PlaceError> {
    let mut complaints = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        let path = entry.path();
        let removed = match sockets {
            Sockets::Go if kind.is_socket() => fs::remove_file(&path)
                .map_err(|error| PlaceError::io(format!("remove {}", path.display()), &error)),
            Sockets::Go | Sockets::Stay
                if kind.is_dir() && Series::of(&entry.file_name()).is_some_and(&is_over) =>
            {
                runtime::remove(&path)
            }
            Sockets::Go | Sockets::Stay => Ok(()),
        };
        complaints.extend(removed.err());
    }
    complaints
}
