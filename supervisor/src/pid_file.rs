//! The pid file, for those who ask for one. It is written and never read: Segue signals nobody by it.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::state::{Custody, Fds, Flaw, Guard, Passed, Row, Rows};
use crate::sys::errno_text;

/// The kind of its row, and the name of its fd.
const ROW: &str = "pid-file";

/// A pid file that we have written. Dropping it removes the file.
#[derive(Debug)]
pub(crate) struct PidFile {
    path: PathBuf,
    /// Kept open, so that the number of its inode cannot come to mean another file.
    file: File,
    guard: Guard,
}

/// Why there is no pid file.
#[derive(Debug)]
pub(crate) struct PidFileError {
    path: PathBuf,
    cause: io::Error,
}

impl fmt::Display for PidFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid file {}: {}", self.path.display(), errno_text(&self.cause))
    }
}

impl PidFile {
    /// Write our pid beside the path and rename it into place, so that nobody ever reads half a number.
    ///
    /// # Errors
    /// Those of writing and renaming.
    pub(crate) fn write(path: &Path, guard: Guard) -> Result<Self, PidFileError> {
        let refused = |cause| PidFileError {
            path: path.to_owned(),
            cause,
        };
        let beside = beside(path);
        let written = File::create(&beside).and_then(|mut file| {
            writeln!(file, "{}", std::process::id())?;
            fs::rename(&beside, path)?;
            Ok(file)
        });
        match written {
            Ok(file) => Ok(Self {
                path: path.to_owned(),
                file,
                guard,
            }),
            Err(cause) => {
                let _ = fs::remove_file(&beside);
                Err(refused(cause))
            }
        }
    }

    /// Write the row `pid-file`.
    pub(crate) fn save(&self, rows: &mut Rows) {
        rows.begin(ROW).os("path", self.path.as_os_str());
    }

    /// The fd of the file.
    pub(crate) fn pass_on<'a>(&'a self, fds: &mut Passed<'a>) {
        fds.push((ROW.to_owned(), self.file.as_fd()));
    }

    /// The pid file that this process has written before it executed another binary, if it has.
    ///
    /// # Errors
    /// The row is not whole, or its fd is missing.
    pub(crate) fn restore(rows: &[Row<'_>], fds: &mut Fds, custody: &Custody) -> Result<Option<Self>, Flaw> {
        let Ok(row) = Row::of_kind(rows, ROW) else {
            return Ok(None);
        };
        let path = PathBuf::from(row.os("path")?);
        let file = fds
            .take(ROW)
            .ok_or_else(|| Flaw::new("the fd of the pid file is missing"))?;
        Ok(Some(Self {
            path,
            file: File::from(file),
            guard: custody.guard(),
        }))
    }

    /// Whether the path still leads to the file that we wrote, and our pid stands in it. The pid alone does not tell: in a
    /// container every supervisor is PID 1.
    fn is_still_ours(&self) -> bool {
        let ours = format!("{}\n", std::process::id());
        let same_file = match (fs::symlink_metadata(&self.path), self.file.metadata()) {
            (Ok(named), Ok(open)) => (named.dev(), named.ino()) == (open.dev(), open.ino()),
            (Ok(_) | Err(_), Ok(_) | Err(_)) => false,
        };
        same_file && fs::read_to_string(&self.path).is_ok_and(|text| text == ours)
    }
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    PathBuf::from(name)
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // It may have been removed already, or replaced by a successor's: that one is not ours to remove.
        if self.guard.is_armed() && self.is_still_ours() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Restored;

    #[test]
    fn it_holds_our_pid_and_goes_with_us() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.pid");
        let file = PidFile::write(&path, Guard::armed()).unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            format!("{}\n", std::process::id())
        );
        assert_eq!(
            fs::read_dir(directory.path()).unwrap().count(),
            1,
            "nothing is left beside it"
        );
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn one_that_another_has_written_meanwhile_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.pid");
        let file = PidFile::write(&path, Guard::armed()).unwrap();
        fs::write(&path, "1\n").unwrap();
        drop(file);
        assert!(path.exists());
    }

    /// Both are PID 1, each in a container of its own.
    #[test]
    fn one_that_another_of_the_same_pid_has_written_meanwhile_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.pid");
        let file = PidFile::write(&path, Guard::armed()).unwrap();
        let other = PidFile::write(&path, Guard::armed()).unwrap();
        drop(file);
        assert!(path.exists());
        drop(other);
        assert!(!path.exists());
    }

    #[test]
    fn it_is_passed_on_and_goes_with_the_last() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.pid");
        let file = PidFile::write(&path, Custody::new().guard()).unwrap();
        let (mut rows, mut fds) = (Rows::default(), Fds::default());
        file.save(&mut rows);
        let mut passed = Passed::new();
        file.pass_on(&mut passed);
        for (name, fd) in passed {
            fds.put(name, fd.try_clone_to_owned().unwrap());
        }
        let text = rows.finish();
        let rows = Row::all(&text).unwrap();

        drop(file);
        let custody = Custody::new();
        let restored = PidFile::restore(&rows, &mut fds, &custody).unwrap().unwrap();
        let restored = Restored::new(restored, custody).take_charge();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            format!("{}\n", std::process::id())
        );
        drop(restored);
        assert!(!path.exists());
        let custody = Custody::new();
        assert!(PidFile::restore(&[], &mut fds, &custody).unwrap().is_none());
        let flaw = PidFile::restore(&rows, &mut fds, &custody).unwrap_err();
        assert_eq!(flaw.to_string(), "state: the fd of the pid file is missing");
    }

    #[test]
    fn a_directory_that_is_not_there_is_one_clear_line() {
        let error = PidFile::write(Path::new("/nonexistent/app.pid"), Guard::armed()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "pid file /nonexistent/app.pid: no such file or directory"
        );
    }
}
