//! Where segue was started, and whether the path that led there leads elsewhere now.
//!
//! After `cd current && segue run` and a flip of `current`, everybody who looks at `current` sees the new release, and each reload starts
//! the app in the old one: a process stays in a directory, whatever its path was.

use std::path::{Path, PathBuf};

use nix::sys::stat::stat;

use super::binary::FileId;

/// The directory that segue was started in.
#[derive(Clone, Debug)]
pub(super) struct StartedIn {
    /// How the shell got there, symlinks and all.
    by: PathBuf,
    id: FileId,
}

impl StartedIn {
    /// That of this process. `None` if `PWD` does not lead to it: then nobody has got here by that.
    pub(super) fn of_this_process() -> Option<Self> {
        let by = PathBuf::from(std::env::var_os("PWD")?);
        Self::by(by, Path::new("."))
    }

    fn by(by: PathBuf, directory: &Path) -> Option<Self> {
        let id = id_of(&by)?;
        (by.is_absolute() && id_of(directory) == Some(id)).then_some(Self { by, id })
    }

    /// The directory that `PWD` leads to, if that is another one by now.
    pub(super) fn has_moved_to(&self) -> Option<PathBuf> {
        let id = id_of(&self.by)?;
        (id != self.id).then(|| std::fs::canonicalize(&self.by).unwrap_or_else(|_| self.by.clone()))
    }

    /// The path of the shell.
    pub(super) fn path(&self) -> &Path {
        &self.by
    }
}

fn id_of(path: &Path) -> Option<FileId> {
    stat(path).ok().map(|status| (status.st_dev, status.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_leads_elsewhere_now_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(directory.path()).unwrap();
        let [one, two, current] = ["one", "two", "current"].map(|name| root.join(name));
        std::fs::create_dir(&one).unwrap();
        std::fs::create_dir(&two).unwrap();
        std::os::unix::fs::symlink("one", &current).unwrap();
        let started = StartedIn::by(current.clone(), &one).unwrap();
        assert_eq!(started.has_moved_to(), None);
        std::fs::remove_file(&current).unwrap();
        assert_eq!(started.has_moved_to(), None, "in the middle of a flip");
        std::os::unix::fs::symlink("two", &current).unwrap();
        assert_eq!(started.has_moved_to(), Some(two));
        assert!(StartedIn::by(current, &one).is_none(), "nobody got there by that");
    }
}
