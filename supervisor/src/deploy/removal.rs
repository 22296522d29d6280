//! Removing a tree, however deep it is: an app may write into its own release, and a path has a longest length (`PATH_MAX`), a stack
//! and the table of descriptors have an end. So each name is removed by the descriptor of its directory, one directory is open at
//! a time, and the way back is `..`. Nothing is entered through a symlink.

use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::libc::{dev_t, ino_t};
use nix::sys::stat::{Mode, fchmod, fstat};
use nix::unistd::{UnlinkatFlags, unlinkat};

/// A directory, and nothing that leads to one.
const DIRECTORY: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

/// A directory that is being emptied.
struct Level {
    /// Its name in the one above.
    name: CString,
    /// Which one that is: the tree may be moved meanwhile.
    above: Identity,
    /// The directories in it that are not empty.
    rest: Vec<CString>,
}

/// A directory by device and inode.
type Identity = (dev_t, ino_t);

/// Removes a directory and all that is in it.
///
/// # Errors
/// Of the first name that cannot be removed. What lies in the tree beside it may be gone by then.
pub(super) fn remove_tree(path: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    let parent = if parent.as_os_str().is_empty() {
        Path::new(".")
    } else {
        parent
    };
    let flags = DIRECTORY.difference(OFlag::O_NOFOLLOW);
    let mut here = open(parent, flags, Mode::empty())?;
    let name = CString::new(name.as_encoded_bytes())?;
    let mut levels = Vec::new();
    enter(&mut here, name, &mut levels)?;
    while let Some(level) = levels.last_mut() {
        match level.rest.pop() {
            Some(next) => match enter(&mut here, next, &mut levels) {
                // Somebody else has removed it since.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                entered => entered?,
            },
            None => leave(&mut here, &mut levels)?,
        }
    }
    Ok(())
}

fn enter(here: &mut OwnedFd, name: CString, levels: &mut Vec<Level>) -> io::Result<()> {
    let above = identity(here)?;
    let below = openat(&*here, name.as_c_str(), DIRECTORY, Mode::empty())?;
    let rest = clear(&below)?;
    levels.push(Level { name, above, rest });
    *here = below;
    Ok(())
}

/// Goes back to the directory above, and removes this one, which is empty.
fn leave(here: &mut OwnedFd, levels: &mut Vec<Level>) -> io::Result<()> {
    let Some(level) = levels.pop() else {
        return Ok(());
    };
    let above = openat(&*here, c"..", DIRECTORY, Mode::empty())?;
    if identity(&above)? != level.above {
        return Err(io::Error::other("it was moved while it was removed"));
    }
    match unlinkat(&above, level.name.as_c_str(), UnlinkatFlags::RemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    *here = above;
    Ok(())
}

/// Removes what is no directory, and the directories that are empty. Gives the other ones.
fn clear(directory: &OwnedFd) -> io::Result<Vec<CString>> {
    let mut rest = Vec::new();
    let mut listing = Dir::from_fd(openat(directory, c".", DIRECTORY, Mode::empty())?)?;
    for entry in listing.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let is_directory = match entry.file_type() {
            Some(kind) => kind == Type::Directory,
            // Some file systems do not tell it with the name.
            None => {
                let status = nix::sys::stat::fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
                status.st_mode & nix::libc::S_IFMT == nix::libc::S_IFDIR
            }
        };
        let how = if is_directory {
            UnlinkatFlags::RemoveDir
        } else {
            UnlinkatFlags::NoRemoveDir
        };
        let mut removed = unlinkat(directory, name, how);
        // Who makes a directory read-only means that nobody writes into it by mistake (caches of Go are such).
        if removed == Err(Errno::EACCES) && fchmod(directory, Mode::S_IRWXU).is_ok() {
            removed = unlinkat(directory, name, how);
        }
        match removed {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(Errno::ENOTEMPTY | Errno::EEXIST) if is_directory => rest.push(name.to_owned()),
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(rest)
}

fn identity(directory: &OwnedFd) -> Result<Identity, Errno> {
    let status = fstat(directory)?;
    Ok((status.st_dev, status.st_ino))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use nix::sys::stat::mkdirat;

    use super::*;

    /// Directories in each other, with a file in each.
    fn dig(top: &Path, depth: usize) {
        let mut directory = open(top, DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..depth {
            let flags = OFlag::O_CREAT | OFlag::O_WRONLY;
            openat(&directory, "file", flags, Mode::S_IRUSR).unwrap();
            mkdirat(&directory, "directory", Mode::S_IRWXU).unwrap();
            directory = openat(&directory, "directory", DIRECTORY, Mode::empty()).unwrap();
        }
    }

    #[test]
    fn a_directory_that_is_read_only_is_emptied() {
        let place = tempfile::tempdir().unwrap();
        let tree = place.path().join("tree");
        for path in ["a", "a/b"] {
            fs::create_dir_all(tree.join(path)).unwrap();
            fs::write(tree.join(path).join("file"), "").unwrap();
        }
        for path in ["a/b", "a", ""] {
            fs::set_permissions(tree.join(path), fs::Permissions::from_mode(0o555)).unwrap();
        }
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
    }

    /// Deeper than a table of descriptors and a path can be.
    #[test]
    fn a_tree_goes_however_deep_it_is() {
        let place = tempfile::tempdir().unwrap();
        let tree = place.path().join("tree");
        fs::create_dir(&tree).unwrap();
        dig(&tree, 5_000);
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
    }

    #[test]
    fn a_symlink_goes_and_what_it_leads_to_stays() {
        let place = tempfile::tempdir().unwrap();
        let (tree, other) = (place.path().join("tree"), place.path().join("other"));
        for path in ["tree/a/b", "tree/empty", "tree/c", "other"] {
            fs::create_dir_all(place.path().join(path)).unwrap();
        }
        fs::write(other.join("file"), "stays").unwrap();
        symlink(&other, tree.join("a/b/link")).unwrap();
        symlink("nowhere", tree.join("c/dangling")).unwrap();
        symlink(&other, place.path().join("link")).unwrap();
        remove_tree(&place.path().join("link")).unwrap_err();
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
        assert_eq!(fs::read_to_string(other.join("file")).unwrap(), "stays");
    }
}
