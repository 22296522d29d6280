//! Where an instance lies in the file system: its control socket, its lock, and the directory of its notify
//! sockets.
//!
//! | given or found | control socket | lock | notify directory |
//! |---|---|---|---|
//! | `--control PATH` | `PATH` | `PATH.lock` | `PATH.notify` |
//! | `$RUNTIME_DIRECTORY` (a path `D` of it) | `D/control` | `D/lock` | `D/notify` |
//! | a base, see below | `BASE/NAME/control` | `BASE/NAME/lock` | `BASE/NAME.notify` |
//!
//! The bases: that in which an instance of this name lies already, running or killed, so that a name runs once, whatever
//! `$XDG_RUNTIME_DIR` was when it was started; else the first that can be used of `/run/segue` (root only),
//! `$XDG_RUNTIME_DIR/segue`, `/tmp/segue-UID`, `/dev/shm/segue-UID`.
//!
//! Of several paths in `$RUNTIME_DIRECTORY` it is the first whose parent is called `segue`, since commands look in `/run/segue/NAME`;
//! else the first. The order of the unit says nothing: systemd sorts them by name since version 250.
//!
//! The notify directory lies *beside* the instance's own directory because that one is 0700, and an app that
//! runs as another user must be able to walk to its notify socket (0711: walk, but not look).

mod choice;
mod claim;
mod directory;
mod discover;
mod error;
mod lock_holder;
mod runtime;
mod surroundings;

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

pub(crate) use choice::{choose, flaw_of_name};
pub(crate) use claim::{Claim, Remains, StalePolicy};
pub(crate) use discover::{Candidate, Stranger, candidates, of_others, others_with, searched};
pub(crate) use error::PlaceError;
pub(crate) use lock_holder::{LockHolder, is_gone};
pub(crate) use runtime::Series;
pub(crate) use surroundings::Surroundings;

use crate::state::{self, Field, Fields as _, Flaw, Row, Rows, Whole as _, whole};

/// The longest path that a Unix socket address holds, in bytes without the closing NUL (unix(7): `sun_path`
/// has 108).
const SUN_PATH_MAX: usize = 107;

/// The mode of a notify directory: everybody may walk to a socket whose name is known, nobody may look around.
const NOTIFY_MODE: u32 = 0o711;

/// Room kept for the file name of a notify socket below its directory, in bytes: `/GENERATION.SLOT.START` or
/// `/GENERATION.SLOT.START.SERIES` at any number that can occur in a lifetime (eight digits of reloads, three years of one a second;
/// five of workers, six of restarts, one of series), and a letter for the ack socket beside it.
const NOTIFY_NAME_MAX: usize = 25;

/// The ending of the directories that hold notify sockets, beside those that are named as their instances are.
const NOTIFY_ENDING: &str = ".notify";

/// The lock's file in a directory of the instance's own.
const LOCK: &str = "lock";

/// The kind of the row that tells a place.
const ROW: &str = "place";

/// The paths of one instance. All are absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    name: String,
    control: PathBuf,
    lock: PathBuf,
    notify: PathBuf,
    /// Where the state is kept, by turns.
    state: [PathBuf; 2],
    /// The directory that is this instance's alone, if Segue made it.
    own: Option<PathBuf>,
    /// The directory above `own`.
    base: Option<PathBuf>,
    /// Which directories of generations and notify sockets are those of this app.
    series: Series,
}

whole!(Place {
    "name" name;
    "control" control;
    "lock" lock;
    "notify" notify;
    "state" state;
    "own" own;
    "base" base;
    "series" series or Series::default();
});

/// Two fields, each under the name of its file.
impl Field for [PathBuf; 2] {
    fn write(&self, _: &str, rows: &mut Rows) {
        for (key, path) in state::FILES.iter().zip(self) {
            rows.os(key, path.as_os_str());
        }
    }

    fn read_if_any(_: &str, row: Row<'_>) -> Result<Option<Self>, Flaw> {
        let [first, second] = state::FILES.map(|key| PathBuf::read(key, row));
        Ok(Some([first?, second?]))
    }
}

impl Place {
    /// The instance.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The control socket.
    pub(crate) fn control(&self) -> &Path {
        &self.control
    }

    /// The file whose lock is the claim to the place.
    pub(crate) fn lock_file(&self) -> &Path {
        &self.lock
    }

    /// The directory of the notify sockets.
    pub(crate) fn notify_directory(&self) -> &Path {
        &self.notify
    }

    /// A file that is there once a stop was asked for, for `segue cleanup`.
    pub(crate) fn stop_mark(&self) -> PathBuf {
        let lock = self.lock.as_os_str().as_bytes();
        let beside = lock.strip_suffix(b"lock").unwrap_or(lock);
        PathBuf::from(OsString::from_vec([beside, b"stopping"].concat()))
    }

    /// The two files in which the state is kept for a successor.
    pub(crate) fn state_files(&self) -> &[PathBuf; 2] {
        &self.state
    }

    /// All that is written for this instance; what lies in the notify directory is below that.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let named = [&self.control, &self.lock, &self.notify]
            .into_iter()
            .chain(&self.state);
        named.cloned().chain([self.stop_mark()]).collect()
    }

    /// Make the notify directory again if somebody has removed it (a cleaner of /tmp, say): without it nothing could be
    /// started any more, after a crash as little as at a reload.
    ///
    /// # Errors
    /// One line, if it cannot be made or what is there now is not ours.
    pub(crate) fn keep_notify_directory(&self) -> Result<(), PlaceError> {
        if directory::is_own(&self.notify, NOTIFY_MODE) {
            return Ok(());
        }
        directory::own(&self.notify, directory::Mode::Exactly(NOTIFY_MODE)).map(drop)
    }

    /// Close the instance's own directory to everybody else: the supervisor before this one may have opened it to a group. To
    /// be called by the process that has claimed the place.
    ///
    /// # Errors
    /// One line, if what is there now is not ours.
    pub(crate) fn keep_private(&self) -> Result<(), PlaceError> {
        match &self.own {
            Some(own) => directory::own(own, directory::Mode::Exactly(0o700)).map(drop),
            None => Ok(()),
        }
    }

    /// The notify socket of one start of one worker: never the same path twice, so that a late word of a dead
    /// worker reaches nobody.
    pub(crate) fn notify_socket(&self, generation: u64, slot: u16, start: u32) -> PathBuf {
        let name = format!("{generation}.{slot}.{start}");
        self.notify.join(self.series.after(name))
    }

    /// The private listener of a generation, which its probe asks.
    pub(crate) fn probe_socket(&self, generation: u64) -> PathBuf {
        self.notify.join(format!("probe.{generation}"))
    }

    /// The directory of a generation, which `{runtime}` names.
    pub(crate) fn runtime_directory(&self, generation: u64) -> PathBuf {
        self.notify.join(self.series.directory(generation))
    }

    /// Go on with the directories and notify sockets of the app that these rows tell of.
    ///
    /// # Errors
    /// The row is not whole.
    pub(crate) fn go_on_in_series_of(&mut self, rows: &[Row<'_>]) -> Result<(), Flaw> {
        self.series = Self::restore(rows)?.series;
        Ok(())
    }

    /// The series.
    pub(crate) fn series(&self) -> Series {
        self.series
    }

    /// Make the directory of a generation, if it is not there: 0700, ours until it is given to the app's user.
    ///
    /// # Errors
    /// One line.
    pub(crate) fn make_runtime_directory(&self, generation: u64) -> Result<PathBuf, PlaceError> {
        self.keep_notify_directory()?;
        let path = self.runtime_directory(generation);
        let made = match std::fs::DirBuilder::new().mode(0o700).create(&path) {
            // Another worker of the generation has had it made.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match path.symlink_metadata() {
                Ok(found) if found.is_dir() => Ok(()),
                Ok(_) | Err(_) => Err(error),
            },
            made => made,
        };
        made.map_err(|error| PlaceError::io(format!("make {}", path.display()), &error))?;
        Ok(path)
    }

    /// Remove the directory of a generation with what its app has left there, if it is there.
    ///
    /// # Errors
    /// One line: it cannot be removed, or more lies in it than is looked through.
    pub(crate) fn remove_runtime_directory(&self, generation: u64) -> Result<(), PlaceError> {
        runtime::remove(&self.runtime_directory(generation))
    }

    /// Write the row `place`: chosen once, it stays, whatever the directories and the environment are later.
    pub(crate) fn save(&self, rows: &mut Rows) {
        self.save_fields(rows.begin(ROW));
    }

    /// The place of a row.
    ///
    /// # Errors
    /// The row is not whole.
    pub(crate) fn restore(rows: &[Row<'_>]) -> Result<Self, Flaw> {
        Self::of_row(Row::of_kind(rows, ROW)?)
    }

    fn given(name: &str, control: PathBuf, beside: impl Fn(&str) -> PathBuf) -> Self {
        Self {
            name: name.to_owned(),
            control,
            lock: beside("lock"),
            notify: beside("notify"),
            state: state::FILES.map(beside),
            own: None,
            base: None,
            series: Series::default(),
        }
    }

    fn in_base(name: &str, base: &Path) -> Self {
        let own = base.join(name);
        Self {
            name: name.to_owned(),
            control: own.join("control"),
            lock: own.join(LOCK),
            notify: base.join(format!("{name}.notify")),
            state: state::FILES.map(|file| own.join(file)),
            own: Some(own),
            base: Some(base.to_owned()),
            series: Series::default(),
        }
    }

    fn check_lengths(self) -> Result<Self, PlaceError> {
        let lengths = [(&self.control, 0), (&self.notify, NOTIFY_NAME_MAX)];
        for (path, more) in lengths {
            if path.as_os_str().len() + more > SUN_PATH_MAX {
                return Err(PlaceError::TooLong {
                    path: path.clone(),
                    max: SUN_PATH_MAX - more,
                });
            }
        }
        Ok(self)
    }
}

/// Whether a supervisor that was killed has left its state beside this control socket: one that ends removes it.
pub(crate) fn has_left_state(control: &Path) -> bool {
    let mut beside = control.as_os_str().to_owned();
    beside.push(format!(".{}", state::FILES[0]));
    control.with_file_name(state::FILES[0]).exists() || Path::new(&beside).exists()
}

#[cfg(test)]
mod tests;
