//! What the choice of a place depends on, and the directories in which instances may lie.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// What the choice of a place depends on, read once from the process.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    /// The path of `$RUNTIME_DIRECTORY` that is meant for us.
    pub(super) runtime_directory: Option<PathBuf>,
    /// `$XDG_RUNTIME_DIR`.
    pub(super) xdg_runtime_dir: Option<PathBuf>,
    /// The effective user.
    pub(super) uid: u32,
    /// What stands for `/`; tests move it.
    pub(super) root: PathBuf,
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
    pub(super) fn bases(&self) -> Vec<Base> {
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
    pub(super) fn walk_mode(&self) -> u32 {
        if self.uid == 0 { 0o711 } else { 0o700 }
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

/// A directory that holds instances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Base {
    pub(super) path: PathBuf,
    pub(super) owner: Owner,
}

/// Whose a base is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// `/run/segue`: root's, readable by everyone, as systemd makes it for `RuntimeDirectory=segue/app`.
    System,
    /// One user's.
    Private,
}
