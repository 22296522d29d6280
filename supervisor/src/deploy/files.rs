//! Files and directories: read, copied, synced. Each failure is one line, the attempt and its cause.

use std::fmt::Display;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use super::ending::Step;
use super::removal::remove_tree;
use super::walk::{Visit, open_plain, walk};
use crate::sys::errno_text;

/// How much is copied between two looks at the signals, in bytes: less than a second on a slow disk.
const PIECE: u64 = 16 * 1024 * 1024;

/// The mark in a release that has never been seen to serve, or was taken back.
pub(super) const MARK: &str = ".unproven";

/// Called now and then while something takes long; it ends the deploy if that was interrupted.
pub(super) type Pulse<'a> = &'a mut dyn FnMut() -> Step<()>;

/// `copy app to /srv/app: no space left on device`
pub(super) fn attempt<T>(what: impl Display, done: io::Result<T>) -> Result<T, String> {
    done.map_err(|error| format!("{what}: {}", errno_text(error)))
}

/// Copies a file, which was opened as `source`, to a new one, which everybody may read and, if `runs`, execute.
pub(super) fn copy_file(
    from: &Path,
    source: io::Result<File>,
    to: &Path,
    runs: Runs,
    pulse: Pulse<'_>,
) -> Step<()> {
    let what = format!("copy {} to {}", from.display(), to.display());
    let source = attempt(&what, source)?;
    let target = attempt(&what, create(to, runs))?;
    loop {
        pulse()?;
        let mut piece = (&source).take(PIECE);
        if attempt(&what, io::copy(&mut piece, &mut &target))? == 0 {
            return Ok(());
        }
    }
}

/// Whether a file can be executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Runs {
    No,
    Yes,
}

impl Runs {
    pub(super) fn of(status: &Metadata) -> Self {
        if status.permissions().mode() & 0o111 == 0 {
            Self::No
        } else {
            Self::Yes
        }
    }

    fn mode(self) -> u32 {
        match self {
            Self::No => 0o644,
            Self::Yes => 0o755,
        }
    }
}

fn create(path: &Path, runs: Runs) -> io::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(runs.mode())
        .open(path)?;
    file.set_permissions(fs::Permissions::from_mode(runs.mode()))?;
    Ok(file)
}

/// Makes a directory that everybody may enter and look into.
pub(super) fn make_directory(path: &Path) -> Result<(), String> {
    let what = format!("make {}", path.display());
    attempt(&what, fs::create_dir(path))?;
    attempt(
        &what,
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)),
    )
}

/// Copies what is in a directory to one that is there and empty. Symlinks are copied as they are; the mark of a release is left out.
pub(super) fn copy_tree(from: &Path, to: &Path, pulse: Pulse<'_>) -> Step<()> {
    let owner = attempt(format_args!("read {}", from.display()), from.metadata())?.uid();
    walk(from, &mut |found| {
        pulse()?;
        let (path, status) = (found.path, found.status);
        let Some(below) = below(path, from) else {
            return Ok(Visit::Past);
        };
        let target = to.join(below);
        if status.is_dir() {
            make_directory(&target)?;
        } else if status.is_symlink() {
            let copied = found.link().and_then(|link| symlink(link, &target));
            attempt(
                format_args!("copy {} to {}", path.display(), target.display()),
                copied,
            )?;
        } else {
            let source = found.open().and_then(|(file, status)| {
                // The check of the source may have seen another file here.
                check_hard_link(&status, owner)?;
                Ok(file)
            });
            copy_file(path, source, &target, Runs::of(status), pulse)?;
        }
        Ok(Visit::Into)
    })
}

/// A copy of another user's file would be readable for everybody, whatever the mode of that file is.
pub(super) fn check_hard_link(status: &Metadata, owner: u32) -> io::Result<()> {
    if status.is_file() && status.nlink() > 1 && status.uid() != owner {
        return Err(io::Error::other("it is a hard link to a file of another user"));
    }
    Ok(())
}

/// The path within the directory; `None` for the mark of a release.
pub(super) fn below<'a>(path: &'a Path, directory: &Path) -> Option<&'a Path> {
    let below = path.strip_prefix(directory).unwrap_or(path);
    (below != Path::new(MARK)).then_some(below)
}

/// Has the kernel write a directory and all that is in it to the disk, what is in it before the directory itself.
pub(super) fn sync_tree(directory: &Path, pulse: Pulse<'_>) -> Step<()> {
    let mut directories = vec![directory.to_owned()];
    walk(directory, &mut |found| {
        pulse()?;
        if found.status.is_dir() {
            directories.push(found.path.to_owned());
        } else if found.status.is_file() {
            let synced = found.open().and_then(|(file, _)| file.sync_all());
            attempt(format_args!("sync {}", found.path.display()), synced)?;
        }
        Ok(Visit::Into)
    })?;
    for directory in directories.iter().rev() {
        sync(directory)?;
    }
    Ok(())
}

/// Has the kernel write a file, or the names in a directory, to the disk.
pub(super) fn sync(path: &Path) -> Result<(), String> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    attempt(format_args!("sync {}", path.display()), synced)
}

/// Writes a new file and has it on the disk.
pub(super) fn put(bytes: &[u8], path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .custom_flags(nix::libc::O_NOFOLLOW)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// The first bytes of a file that the app may have replaced by anything, of any length.
pub(super) fn head(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    open_plain(path)?.take(most).read_to_end(&mut text)?;
    Ok(text)
}

/// Removes a directory and all that is in it, a file, or a symlink, if it is there.
pub(super) fn remove_all(path: &Path) -> io::Result<()> {
    let removed = match path.symlink_metadata() {
        Ok(status) if status.is_dir() => remove_tree(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Whether it is a file, and no symlink to one: the app may write into its own release.
pub(super) fn is_plain(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|status| status.is_file())
}
