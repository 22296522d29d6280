//! Where the next binary is looked for.

use std::ffi::{CString, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::fcntl::AT_FDCWD;

use crate::launch::Binary;
use crate::state::{Flaw, Row, Rows};

/// What stands behind the path of a file that has been removed (proc_pid_exe(5)).
const DELETED: &[u8] = b" (deleted)";

/// How this process was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The absolute path by which it was found, symlinks not followed: one that is switched to a new release leads to that.
    path: Option<PathBuf>,
    /// Its arguments, its own name first.
    arguments: Vec<OsString>,
}

impl Origin {
    /// That of this process. To be asked before anything changes the working directory.
    pub(crate) fn of_this_process() -> Self {
        let arguments: Vec<OsString> = std::env::args_os().collect();
        let path = started_by(&arguments).or_else(executable);
        Self { path, arguments }
    }

    /// The path.
    ///
    /// # Errors
    /// It is not known: there was no /proc at the start.
    pub(super) fn path(&self) -> Result<&Path, String> {
        let path = self.path.as_deref();
        path.ok_or_else(|| "it is not known which binary this process was started from (no /proc)".to_owned())
    }

    /// The arguments as exec takes them.
    pub(super) fn argv(&self) -> Vec<CString> {
        argv(&self.arguments)
    }

    /// Write the rows `origin` and `own-argument`: a path that leads elsewhere by then still is the one to look at.
    pub(super) fn save(&self, rows: &mut Rows) {
        rows.begin("origin");
        if let Some(path) = &self.path {
            rows.os("path", path.as_os_str());
        }
        for argument in &self.arguments {
            rows.begin("own-argument").os("is", argument);
        }
    }

    pub(super) fn restore(rows: &[Row<'_>]) -> Result<Self, Flaw> {
        let path = Row::of_kind(rows, "origin")?.bytes_if_any("path")?;
        let arguments = rows.iter().filter(|row| row.kind() == "own-argument");
        Ok(Self {
            path: path.map(|path| PathBuf::from(OsString::from_vec(path))),
            arguments: arguments.map(|row| row.os("is")).collect::<Result<_, _>>()?,
        })
    }

    /// The command line.
    pub(crate) fn arguments(&self) -> &[OsString] {
        &self.arguments
    }
}

/// The arguments of this process as exec takes them.
pub(super) fn own_argv() -> Vec<CString> {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    argv(&arguments)
}

fn argv(arguments: &[OsString]) -> Vec<CString> {
    // They came through an exec, so that there is no NUL in them.
    let words = arguments.iter();
    words
        .filter_map(|word| CString::new(word.as_bytes()).ok())
        .collect()
}

/// The path that the first argument means, if it leads to what runs here: the caller of exec can name a program anything.
fn started_by(arguments: &[OsString]) -> Option<PathBuf> {
    let search_path = std::env::var_os("PATH");
    let found = Binary::find(arguments.first()?, AT_FDCWD, search_path.as_deref()).ok()?;
    let path = std::path::absolute(found.path()).ok()?;
    let (runs, there) = (fs::metadata("/proc/self/exe").ok()?, fs::metadata(&path).ok()?);
    ((runs.dev(), runs.ino()) == (there.dev(), there.ino())).then_some(path)
}

/// Where the kernel says that the executed file lies, or lay.
fn executable() -> Option<PathBuf> {
    let path = fs::read_link("/proc/self/exe").ok()?.into_os_string().into_vec();
    let path = path.strip_suffix(DELETED).map(<[u8]>::to_vec).unwrap_or(path);
    Some(PathBuf::from(OsString::from_vec(path)))
}
