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

mod claim;
mod directory;
mod discover;
mod lock_holder;
mod runtime;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

pub(crate) use claim::{Claim, Remains, StalePolicy};
pub(crate) use discover::{Candidate, Stranger, candidates, of_others, others_with, searched};
pub(crate) use lock_holder::{LockHolder, is_gone};
pub(crate) use runtime::Series;

use crate::state::{self, Field, Fields as _, Flaw, Row, Rows, Whole as _, whole};
use crate::sys::errno_text;

/// The longest path that a Unix socket address holds, in bytes without the closing NUL (unix(7): `sun_path`
/// has 108).
const SUN_PATH_MAX: usize = 107;

/// The mode of a notify directory: everybody may walk to a socket whose name is known, nobody may look around.
const NOTIFY_MODE: u32 = 0o711;

/// Room kept for the file name of a notify socket below its directory, in bytes: `/GENERATION.SLOT.START` or
/// `/GENERATION.SLOT.START.SERIES` at any number that can occur in a lifetime (eight digits of reloads, three years of one a second;
/// five of workers, six of restarts, one of series), and a letter for the ack socket beside it.
const NOTIFY_NAME_MAX: usize = 25;

/// The longest instance name, in bytes: with it `/run/segue/NAME.notify/...` still fits in a socket address.
const NAME_MAX: usize = 64;

/// The ending of the directories that hold notify sockets, beside those that are named as their instances are.
const NOTIFY_ENDING: &str = ".notify";

/// The lock's file in a directory of the instance's own.
const LOCK: &str = "lock";

/// The kind of the row that tells a place.
const ROW: &str = "place";

/// What the choice of a place depends on, read once from the process.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    /// The path of `$RUNTIME_DIRECTORY` that is meant for us.
    runtime_directory: Option<PathBuf>,
    /// `$XDG_RUNTIME_DIR`.
    xdg_runtime_dir: Option<PathBuf>,
    /// The effective user.
    uid: u32,
    /// What stands for `/`; tests move it.
    root: PathBuf,
}

impl Surroundings {
    /// The environment and user of this process.
    pub(crate) fn of_this_process() -> Self {
        Self::from_environment(|name| std::env::var_os(name), nix::unistd::geteuid().as_raw())
    }

    /// The same from any environment. Variables that are empty or hold a relative path count as unset, as the
    /// XDG base directory specification demands.
    pub(crate) fn from_environment(get: impl Fn(&str) -> Option<OsString>, uid: u32) -> Self {
        let absolute = |path: PathBuf| path.is_absolute().then_some(path);
        let runtime = get("RUNTIME_DIRECTORY");
        Self {
            runtime_directory: runtime.and_then(|list| ours_of(&list)).and_then(absolute),
            xdg_runtime_dir: get("XDG_RUNTIME_DIR").map(PathBuf::from).and_then(absolute),
            uid,
            root: PathBuf::from("/"),
        }
    }

    /// Surroundings of our user in a file system of a test's own, so that no test meets an instance that runs
    /// on this machine.
    #[cfg(test)]
    pub(crate) fn below(root: &Path) -> Self {
        for directory in ["run", "tmp", "dev/shm"] {
            std::fs::create_dir_all(root.join(directory)).expect("directory");
        }
        let uid = nix::unistd::geteuid().as_raw();
        Self {
            runtime_directory: None,
            xdg_runtime_dir: None,
            uid,
            root: root.to_owned(),
        }
    }

    /// The directories in which instances may lie, in the order in which a new one tries them.
    fn bases(&self) -> Vec<Base> {
        let (uid, root) = (self.uid, &self.root);
        let shared = Base {
            path: root.join("run/segue"),
            owner: Owner::System,
        };
        let xdg = self.xdg_runtime_dir.as_ref().map(|dir| Base {
            path: dir.join("segue"),
            owner: Owner::Private,
        });
        let temporary = ["tmp", "dev/shm"].map(|dir| Base {
            path: root.join(dir).join(format!("segue-{uid}")),
            owner: Owner::Private,
        });
        (uid == 0)
            .then_some(shared)
            .into_iter()
            .chain(xdg)
            .chain(temporary)
            .collect()
    }

    /// The mode of directories that lie above a notify directory. Only root's app can be of another user, so
    /// that only root lets others walk through.
    fn walk_mode(&self) -> u32 {
        if self.uid == 0 { 0o711 } else { 0o700 }
    }
}

/// A directory that holds instances.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Base {
    path: PathBuf,
    owner: Owner,
}

/// Whose a base is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// `/run/segue`: root's, readable by everyone, as systemd makes it for `RuntimeDirectory=segue/app`.
    System,
    /// One user's.
    Private,
}

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

/// The path of `$RUNTIME_DIRECTORY` that is meant for us (systemd.exec(5): several are separated by colons).
fn ours_of(list: &OsStr) -> Option<PathBuf> {
    let is_ours = |path: &PathBuf| path.parent().and_then(Path::file_name) == Some(OsStr::new("segue"));
    let mut paths = std::env::split_paths(list);
    let first = paths.next()?;
    if is_ours(&first) {
        return Some(first);
    }
    Some(paths.find(is_ours).unwrap_or(first))
}

/// Whether a supervisor that was killed has left its state beside this control socket: one that ends removes it.
pub(crate) fn has_left_state(control: &Path) -> bool {
    let mut beside = control.as_os_str().to_owned();
    beside.push(format!(".{}", state::FILES[0]));
    control.with_file_name(state::FILES[0]).exists() || Path::new(&beside).exists()
}

/// Chooses the place of the instance `name` and makes its directories (0700; the notify directory comes with
/// [`Place::claim`]).
///
/// # Errors
/// If the name is no file name, a path does not fit in a socket address, or no directory can be had that is
/// safe: ours, and not writable by others.
pub(crate) fn choose(name: &str, control: Option<&Path>, around: &Surroundings) -> Result<Place, PlaceError> {
    check_name(name)?;
    if let Some(control) = control {
        return explicit(name, control, around);
    }
    if let Some(dir) = &around.runtime_directory {
        directory::given(dir, around.walk_mode())?;
        return Place::given(name, dir.join("control"), |file| dir.join(file)).check_lengths();
    }
    let mut tried = Vec::new();
    for base in discover::homes(name, around).into_iter().chain(around.bases()) {
        match in_base(name, &base, around) {
            Ok(place) => return Ok(place),
            Err(error) => {
                let error = error.to_string();
                // A home may be one of the bases, too.
                if !tried.contains(&error) {
                    tried.push(error);
                }
            }
        }
    }
    Err(PlaceError::Nowhere { tried })
}

/// Why no instance may have this name, if none may. It becomes a component of paths, so it has 1 to [`NAME_MAX`] bytes of letters,
/// digits, `.`, `_`, `@`, `+` and `-`, starts with a letter or digit, and does not end like a notify directory.
pub(crate) fn flaw_of_name(name: &str) -> Option<String> {
    let starts = name
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    let goes_on = |byte: u8| byte.is_ascii_alphanumeric() || b"._@+-".contains(&byte);
    if !starts || !name.bytes().all(goes_on) {
        Some(
            "a name starts with a letter or digit and goes on with letters, digits, `.`, `_`, `@`, `+` or `-`"
                .to_owned(),
        )
    } else if name.len() > NAME_MAX {
        Some(format!("a name has at most {NAME_MAX} bytes"))
    } else if name.ends_with(NOTIFY_ENDING) {
        Some(format!(
            "a name does not end in `{NOTIFY_ENDING}`, which marks the directories of notify sockets"
        ))
    } else {
        None
    }
}

fn check_name(name: &str) -> Result<(), PlaceError> {
    match flaw_of_name(name) {
        Some(why) => Err(PlaceError::BadName {
            name: name.escape_default().to_string(),
            why,
        }),
        None => Ok(()),
    }
}

fn explicit(name: &str, control: &Path, around: &Surroundings) -> Result<Place, PlaceError> {
    let control = std::path::absolute(control)
        .map_err(|error| PlaceError::io(format!("control socket {}", control.display()), &error))?;
    let beside = |ending: &str| {
        let mut path = control.clone().into_os_string();
        path.push(".");
        path.push(ending);
        PathBuf::from(path)
    };
    let place = Place::given(name, control.clone(), beside).check_lengths()?;
    directory::given(control.parent().unwrap_or(&around.root), around.walk_mode())?;
    Ok(place)
}

fn in_base(name: &str, base: &Base, around: &Surroundings) -> Result<Place, PlaceError> {
    let place = Place::in_base(name, &base.path).check_lengths()?;
    let base_mode = match base.owner {
        Owner::System => 0o755,
        Owner::Private => around.walk_mode(),
    };
    directory::own(&base.path, directory::Mode::AtLeast(base_mode))?;
    // As it is if it is there: it may be that of an instance which runs and is open to its control group.
    directory::own(&base.path.join(name), directory::Mode::AtLeast(0o700))?;
    Ok(place)
}

/// Why an instance has no place. `Display` is one line: attempt, then cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PlaceError {
    /// The name cannot be a directory.
    BadName {
        /// The name, escaped.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// A socket address cannot hold the path.
    TooLong {
        /// The path.
        path: PathBuf,
        /// How long it may be, in bytes.
        max: usize,
    },
    /// No directory could be had.
    Nowhere {
        /// What went wrong in each, one line each.
        tried: Vec<String>,
    },
    /// Another supervisor has the place.
    Running {
        /// The instance.
        name: String,
        /// The other supervisor, if its lock file tells.
        pid: Option<i32>,
    },
    /// The supervisor that had the place has ended, but a process that it has started keeps what makes it unique.
    Held {
        /// The instance.
        name: String,
        /// The supervisor that has ended.
        pid: i32,
        /// The lock file or the control socket.
        what: PathBuf,
    },
    /// A directory is not safe.
    Unsafe {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The system said no.
    Io {
        /// What was tried, with its path.
        attempt: String,
        /// What it said, in lower case.
        cause: String,
    },
}

impl PlaceError {
    fn io(attempt: String, error: &io::Error) -> Self {
        Self::Io {
            attempt,
            cause: errno_text(error),
        }
    }
}

/// What to do where an instance of that name runs already.
const ALREADY: &str = ": reload it with segue reload, or start another beside it with --name";

impl fmt::Display for PlaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadName { name, why } => {
                write!(f, "instance name \"{name}\": {why} (choose another with --name)")
            }
            Self::TooLong { path, max } => {
                let length = path.as_os_str().len();
                write!(
                    f,
                    "control socket: {} has {length} bytes, at most {max} fit (choose a shorter one with --control)",
                    path.display()
                )
            }
            Self::Nowhere { tried } => {
                write!(
                    f,
                    "control socket: no directory for it ({}); name one with --control",
                    tried.join("; ")
                )
            }
            Self::Running { name, pid: Some(pid) } => {
                write!(f, "instance {name} is already running (pid {pid}){ALREADY}")
            }
            Self::Running { name, pid: None } => write!(f, "instance {name} is already running{ALREADY}"),
            Self::Held { name, pid, what } => write!(
                f,
                "instance {name}: its supervisor (pid {pid}) has ended, but a process that it has started still has {} (`fuser -v {}` tells \
                 which)",
                what.display(),
                what.display()
            ),
            Self::Unsafe { path, why } => write!(f, "directory {}: {why}", path.display()),
            Self::Io { attempt, cause } => write!(f, "{attempt}: {cause}"),
        }
    }
}

impl std::error::Error for PlaceError {}

#[cfg(test)]
mod tests;
