//! What is to be deployed: checked before anything is made.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::ending::{Ending, Step};
use super::files::{attempt, check_hard_link};
use super::hash::Shape;
use super::program;
use super::walk::{Visit, walk};

/// A program, or a directory with one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    /// As it was given.
    pub(super) path: PathBuf,
    /// The path of the executable in the directory, if it is one.
    pub(super) entry: Option<String>,
}

impl Source {
    pub(super) fn shape(&self) -> Shape {
        match self.entry {
            Some(_) => Shape::Tree,
            None => Shape::File,
        }
    }

    /// The executable.
    pub(super) fn program(&self) -> PathBuf {
        match &self.entry {
            Some(entry) => self.path.join(entry),
            None => self.path.clone(),
        }
    }

    /// Whether it could run, and nothing in it leads out of it.
    pub(super) fn check(&self) -> Step<()> {
        let path = &self.path;
        let wrong = |cause: &str| Ending::refused(format_args!("check {}: {cause}", path.display()));
        if !path.exists() {
            return Err(if path.is_symlink() {
                wrong("it is a symlink that leads nowhere")
            } else {
                wrong("no such file")
            });
        }
        match &self.entry {
            Some(entry) => {
                if !path.is_dir() {
                    return Err(wrong("not a directory, as --entry says"));
                }
                self.check_kinds()?;
                if !path.join(entry).exists() {
                    return Err(wrong(&format!("there is no {entry} in it")));
                }
                check_inside(path, entry.as_ref())?;
                check_hard_links(path)?;
                let status = attempt(
                    format_args!("check {}", path.display()),
                    path.join(entry).metadata(),
                )?;
                if status.is_file() && status.permissions().mode() & 0o100 == 0 {
                    return Err(wrong(&format!("{entry} is not executable")));
                }
            }
            None if path.is_dir() => {
                return Err(wrong(
                    "it is a directory; say which executable in it with --entry PATH",
                ));
            }
            None => {}
        }
        let program = self.program();
        program::check(&program)
            .map_err(|cause| Ending::refused(format_args!("check {}: {cause}", program.display())))
    }

    /// A directory that contains the root would be copied into itself.
    pub(super) fn check_apart_from(&self, root: &Path) -> Step<()> {
        let is_around =
            self.entry.is_some() && self.path.canonicalize().is_ok_and(|path| root.starts_with(path));
        if is_around {
            return Err(Ending::refused(format_args!(
                "check {}: {} lies in it, and would be copied into itself",
                self.path.display(),
                root.display()
            )));
        }
        Ok(())
    }

    fn check_kinds(&self) -> Step<()> {
        walk(&self.path, &mut |found| {
            let kind = found.status.file_type();
            if kind.is_file() || kind.is_dir() || kind.is_symlink() {
                return Ok(Visit::Into);
            }
            Err(Ending::refused(format_args!(
                "check {}: {} is neither a file, a directory nor a symlink",
                self.path.display(),
                found.path.display()
            )))
        })
    }
}

/// No link on this path leads out of the directory. The author of the tree may be trusted less than us.
pub(super) fn check_inside(directory: &Path, path: &Path) -> Result<(), String> {
    let what = format!("check {}", directory.display());
    let inside = attempt(&what, directory.canonicalize())?;
    let leads_to = directory
        .join(path)
        .canonicalize()
        .map_err(|_| format!("{what}: {} is a symlink that leads nowhere", path.display()))?;
    if leads_to.starts_with(&inside) && leads_to != inside {
        return Ok(());
    }
    Err(format!(
        "{what}: {} leads out of it, to {}",
        path.display(),
        leads_to.display()
    ))
}

/// A copy of another user's file would be readable for everybody, whatever the mode of that file is.
pub(super) fn check_hard_links(directory: &Path) -> Step<()> {
    let what = format!("check {}", directory.display());
    let owner = attempt(&what, directory.metadata())?.uid();
    walk(
        directory,
        &mut |found| match check_hard_link(found.status, owner) {
            Ok(()) => Ok(Visit::Into),
            Err(_) => Err(Ending::refused(format_args!(
                "{what}: {} is a hard link to a file of another user",
                found.path.display()
            ))),
        },
    )
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_directory_around_the_root_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().canonicalize().unwrap().join("srv");
        let check = |path: &Path| {
            let (path, entry) = (path.to_owned(), Some("run".to_owned()));
            Source { path, entry }.check_apart_from(&root)
        };
        fs::create_dir_all(root.join("site")).unwrap();
        assert!(check(&root.join("site")).is_ok());
        for path in [place.path(), &root] {
            assert!(check(path).unwrap_err().text.contains("copied into itself"));
        }
    }

    #[test]
    fn a_path_stays_inside_or_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let tree = place.path().join("tree");
        fs::create_dir_all(tree.join("bin")).unwrap();
        fs::write(tree.join("bin/real"), "").unwrap();
        fs::write(place.path().join("victim"), "").unwrap();
        symlink("real", tree.join("bin/inside")).unwrap();
        symlink("../../victim", tree.join("bin/outside")).unwrap();
        symlink("..", tree.join("up")).unwrap();
        symlink("nowhere", tree.join("dangling")).unwrap();
        symlink(".", tree.join("itself")).unwrap();
        let check = |path: &str| check_inside(&tree, path.as_ref());
        assert_eq!(check("bin/real"), Ok(()));
        assert_eq!(check("bin/inside"), Ok(()));
        for path in ["bin/outside", "up/victim", "itself"] {
            assert!(
                check(path).unwrap_err().contains("leads out of it, to "),
                "{path}"
            );
        }
        assert!(check("dangling").unwrap_err().contains("leads nowhere"));
    }
}
