//! Files and directories: read, copied, synced. Each failure is one line, the attempt and its cause.

use std::fmt::Display;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use super::ending::Step;
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

/// Whether to look into a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Visit {
    Into,
    Past,
}

/// Shows everything below a directory, itself not included, each directory before what is in it. No symlink is followed.
pub(super) fn walk(directory: &Path, show: &mut dyn FnMut(&Path, &Metadata) -> Step<Visit>) -> Step<()> {
    let mut waiting = vec![directory.to_owned()];
    while let Some(next) = waiting.pop() {
        let read = |error| format!("read {}: {}", next.display(), errno_text(error));
        for entry in fs::read_dir(&next).map_err(read)? {
            let path = entry.map_err(read)?.path();
            let status = attempt(format_args!("read {}", path.display()), path.symlink_metadata())?;
            if show(&path, &status)? == Visit::Into && status.is_dir() {
                waiting.push(path);
            }
        }
    }
    Ok(())
}

/// Copies a file to a new one, which everybody may read and, if `runs`, execute.
pub(super) fn copy_file(from: &Path, to: &Path, runs: Runs, pulse: Pulse<'_>) -> Step<()> {
    let what = format!("copy {} to {}", from.display(), to.display());
    let source = attempt(&what, File::open(from))?;
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
    walk(from, &mut |path, status| {
        pulse()?;
        let Some(below) = below(path, from) else {
            return Ok(Visit::Past);
        };
        let target = to.join(below);
        if status.is_dir() {
            make_directory(&target)?;
        } else if status.is_symlink() {
            let copied = fs::read_link(path).and_then(|link| symlink(link, &target));
            attempt(
                format_args!("copy {} to {}", path.display(), target.display()),
                copied,
            )?;
        } else {
            copy_file(path, &target, Runs::of(status), pulse)?;
        }
        Ok(Visit::Into)
    })
}

/// The path within the directory; `None` for the mark of a release.
pub(super) fn below<'a>(path: &'a Path, directory: &Path) -> Option<&'a Path> {
    let below = path.strip_prefix(directory).unwrap_or(path);
    (below != Path::new(MARK)).then_some(below)
}

/// Has the kernel write a directory and all that is in it to the disk, what is in it before the directory itself.
pub(super) fn sync_tree(directory: &Path, pulse: Pulse<'_>) -> Step<()> {
    let mut directories = vec![directory.to_owned()];
    walk(directory, &mut |path, status| {
        pulse()?;
        if status.is_dir() {
            directories.push(path.to_owned());
        } else if status.is_file() {
            sync(path)?;
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

/// Removes a directory and all that is in it, a file, or a symlink, if it is there.
pub(super) fn remove_all(path: &Path) -> io::Result<()> {
    let removed = match path.symlink_metadata() {
        Ok(status) if status.is_dir() => fs::remove_dir_all(path),
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
