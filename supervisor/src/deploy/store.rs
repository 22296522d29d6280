//! The releases of an app and the symlink `current`, on the disk.
//!
//! What holds at every instant, whatever kills this process or the machine:
//! * `current` leads to a complete release whose bytes are on the disk, or to where it led before;
//! * a name in `releases/` is that of a complete release: what is half made is called `.new`, what is half removed `.gone`, `.gone.1`...;
//! * whatever is half made lies in `.deploy.work` and under those names, which the next run removes under the lock.

mod gone;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::ending::Step;
use super::files::{
    MARK, Pulse, Runs, attempt, copy_file, copy_tree, head, is_plain, make_directory, put, remove_all, sync,
    sync_tree,
};
use super::hash::{Print, Shape, measure};
use super::journal::Flip;
use super::plan::{self, NEVER_SERVED, NOT_SEEN};
use super::source::{Source, check_inside};
use super::walk::{Visit, open_named, walk};

/// The longest mark that is read, in bytes: a line of ours is shorter.
const MARK_MAX: u64 = 16 * 1024;

/// The root of an app.
#[derive(Debug, Clone)]
pub(super) struct Store {
    root: PathBuf,
}

/// Where `current` leads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Current {
    /// The text of the symlink; `None` if there is none.
    pub(super) link: Option<OsString>,
    /// The release, if that is one.
    pub(super) release: Option<String>,
}

impl Current {
    /// The link, for people.
    pub(super) fn shown(&self) -> String {
        self.link
            .as_deref()
            .map_or_else(|| "nothing".to_owned(), |link| link.display().to_string())
    }
}

/// The text of the symlink to a release.
pub(super) fn link_to(release: &str) -> String {
    format!("releases/{release}")
}

/// Which way `current` is flipped, by links that were made beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Forward,
    Back,
}

impl Store {
    /// `root` is the absolute path without symlinks.
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn releases_directory(&self) -> PathBuf {
        self.root.join("releases")
    }

    pub(super) fn release(&self, name: &str) -> PathBuf {
        self.root.join("releases").join(name)
    }

    pub(super) fn current_path(&self) -> PathBuf {
        self.root.join("current")
    }

    fn journal_path(&self) -> PathBuf {
        self.root.join(".deploy")
    }

    fn work_directory(&self) -> PathBuf {
        self.root.join(".deploy.work")
    }

    fn work(&self, name: &str) -> PathBuf {
        self.work_directory().join(name)
    }

    /// Where a release is made.
    pub(super) fn draft(&self) -> PathBuf {
        self.root.join("releases/.new")
    }

    /// Makes the root, if it is not there yet.
    pub(super) fn make_root(&self) -> Result<(), String> {
        let what = format!("make {}", self.root.display());
        let is_new = !self.root.exists();
        attempt(&what, fs::create_dir_all(self.releases_directory()))?;
        if is_new && let Some(parent) = self.root.parent() {
            sync(parent)?;
        }
        Ok(())
    }

    /// The names of the releases, newest first.
    pub(super) fn releases(&self) -> Vec<String> {
        let entries = fs::read_dir(self.releases_directory())
            .into_iter()
            .flatten()
            .flatten();
        let mut names: Vec<String> = entries
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| plan::is_release(name))
            .collect();
        names.sort_unstable_by(|one, other| other.cmp(one));
        names
    }

    /// Whether there is a release of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.release(name)
            .symlink_metadata()
            .is_ok_and(|status| status.is_dir())
    }

    /// Where `current` leads.
    ///
    /// # Errors
    /// It is no symlink.
    pub(super) fn current(&self) -> Result<Current, String> {
        let path = self.current_path();
        let link = match path.read_link() {
            Ok(link) => link.into_os_string(),
            Err(_) if path.symlink_metadata().is_ok() => {
                return Err(format!("read {}: it is no symlink; move it away", path.display()));
            }
            Err(_) => return Ok(Current::default()),
        };
        let release = self.release_of_link(&link).filter(|name| self.has(name));
        Ok(Current {
            link: Some(link),
            release,
        })
    }

    fn release_of_link(&self, link: &OsStr) -> Option<String> {
        let path = Path::new(link);
        let below = path.strip_prefix("releases");
        let below = below
            .or_else(|_| path.strip_prefix(self.releases_directory()))
            .ok()?;
        let name = below.to_str()?;
        (!name.is_empty() && !name.contains('/')).then(|| name.to_owned())
    }

    /// The newest release before this one that is not known to be bad.
    pub(super) fn previous(&self, current: Option<&str>) -> Option<String> {
        let releases = self.releases();
        plan::previous(&releases, current, |name| !self.is_bad(name)).map(str::to_owned)
    }

    /// Whether a release has its mark for another reason than that nobody has looked.
    pub(super) fn is_bad(&self, release: &str) -> bool {
        self.is_unproven(release) && self.mark(release) != NOT_SEEN
    }

    fn mark_path(&self, release: &str) -> PathBuf {
        self.release(release).join(MARK)
    }

    /// Whether a release has never been seen to serve, or was taken back. The app may write into its own release: a mark there is
    /// neither read nor written through a link that it has made.
    pub(super) fn is_unproven(&self, release: &str) -> bool {
        self.mark_path(release).symlink_metadata().is_ok()
    }

    /// What its mark says; empty if that cannot be read.
    pub(super) fn mark(&self, release: &str) -> String {
        let text = head(&self.mark_path(release), MARK_MAX).unwrap_or_default();
        let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
        String::from_utf8_lossy(line).into_owned()
    }

    /// Marks a release. By rename, which replaces a link.
    pub(super) fn write_mark(&self, release: &str, text: &str) -> io::Result<()> {
        let draft = self.work("mark");
        put(format!("{}\n", text.replace('\n', " ")).as_bytes(), &draft)?;
        fs::rename(draft, self.mark_path(release))?;
        fs::File::open(self.release(release))?.sync_all()
    }

    /// It has been seen to serve. Should the machine lose power just now, the next run sees it again.
    pub(super) fn prove(&self, release: &str) -> Result<(), String> {
        if !self.is_unproven(release) {
            return Ok(());
        }
        attempt(
            format_args!("trust release {release}"),
            fs::remove_file(self.mark_path(release)),
        )
    }

    /// Makes the directory for temporary files.
    pub(super) fn make_work(&self) -> Result<(), String> {
        make_directory(&self.work_directory())
    }

    /// The same, if it is not there yet.
    pub(super) fn make_work_if_missing(&self) -> Result<(), String> {
        if self.work_directory().is_dir() {
            Ok(())
        } else {
            self.make_work()
        }
    }

    /// Removes it again.
    pub(super) fn remove_work(&self) -> Result<(), String> {
        let path = self.work_directory();
        attempt(format_args!("remove {}", path.display()), remove_all(&path))
    }

    /// Copies what is deployed to [`Self::draft`]. It must still be what was measured.
    pub(super) fn build(&self, source: &Source, name: &str, measured: &Print, pulse: Pulse<'_>) -> Step<()> {
        let draft = self.draft();
        make_directory(&draft)?;
        let shown = source.path.display();
        let copy = match &source.entry {
            Some(entry) => {
                copy_tree(&source.path, &draft, pulse)?;
                // As it was copied: the source may have changed since it was looked at.
                check_inside(&draft, entry.as_ref())?;
                make_executable(&draft.join(entry))?;
                draft.clone()
            }
            None => {
                let copy = draft.join(name);
                copy_file(&source.path, open_named(&source.path), &copy, Runs::Yes, pulse)?;
                copy
            }
        };
        let copied = measure(&copy, source.shape(), pulse)?;
        if copied.size != measured.size {
            return Err(format!(
                "copy {shown}: {} bytes arrived instead of {}; did it change meanwhile?",
                copied.size, measured.size
            )
            .into());
        }
        // The entry has become executable, if it was not.
        if copied.sha256 != measured.sha256 {
            return Err(format!("copy {shown}: another SHA-256 arrived; did it change meanwhile?").into());
        }
        Ok(())
    }

    /// Marks the draft as one that has never served, and has all of it on the disk. What a preflight has put in the place of the mark
    /// counts for nothing.
    pub(super) fn seal(&self, pulse: Pulse<'_>) -> Step<()> {
        let draft = self.draft();
        let mark = draft.join(MARK);
        attempt(
            format_args!("write {}", mark.display()),
            remove_all(&mark).and_then(|()| put(format!("{NEVER_SERVED}\n").as_bytes(), &mark)),
        )?;
        sync_tree(&draft, pulse)
    }

    /// Gives the release that was made its name.
    pub(super) fn publish(&self, release: &str) -> Result<(), String> {
        attempt(
            format_args!("name the release {release}"),
            fs::rename(self.draft(), self.release(release)),
        )?;
        sync(&self.releases_directory())
    }

    /// Makes the symlinks for both ways beforehand: a rename needs no space on the disk, so that the way back is safe.
    pub(super) fn make_links(&self, forward: &OsStr, back: Option<&OsStr>) -> Result<(), String> {
        let work = self.work_directory();
        let made = (|| {
            fs::create_dir_all(&work)?;
            self.make_link(forward, Way::Forward)?;
            match back {
                Some(back) => self.make_link(back, Way::Back),
                None => remove_all(&self.link_path(Way::Back)),
            }
        })();
        attempt(format_args!("make links in {}", work.display()), made)
    }

    /// By rename, so that a disk without space takes none away that was made before.
    fn make_link(&self, target: &OsStr, way: Way) -> io::Result<()> {
        let draft = self.work("link");
        remove_all(&draft)?;
        symlink(target, &draft)?;
        fs::rename(draft, self.link_path(way))
    }

    fn link_path(&self, way: Way) -> PathBuf {
        self.work(match way {
            Way::Forward => "new",
            Way::Back => "back",
        })
    }

    /// Flips `current` to where the first link of [`Self::make_links`] leads.
    pub(super) fn flip_forward(&self) -> Result<(), String> {
        self.flip(Way::Forward)
    }

    /// Flips `current` back to where it led, by the second link; it goes if it led nowhere.
    pub(super) fn flip_back(&self, link: Option<&OsStr>) -> Result<(), String> {
        let current = self.current_path();
        if self.current()?.link.as_deref() == link {
            return sync(&self.root);
        }
        if link.is_some() {
            return self.flip(Way::Back);
        }
        attempt(format_args!("remove {}", current.display()), remove_all(&current))?;
        sync(&self.root)
    }

    fn flip(&self, way: Way) -> Result<(), String> {
        let current = self.current_path();
        attempt(
            format_args!("flip {}", current.display()),
            fs::rename(self.link_path(way), &current),
        )?;
        sync(&self.root)
    }

    /// Points `current` there, if it leads elsewhere.
    pub(super) fn point_current_to(&self, link: &OsStr) -> Result<(), String> {
        if self.current()?.link.as_deref() == Some(link) {
            return Ok(());
        }
        self.make_links(link, None)?;
        self.flip(Way::Forward)
    }

    /// The flip that has no outcome yet, if there is one.
    pub(super) fn journal(&self) -> Option<Flip> {
        let path = self.journal_path();
        path.symlink_metadata().ok()?;
        Some(Flip::of(&fs::read(path).unwrap_or_default()))
    }

    /// Writes down a flip, and has that on the disk before anything else happens.
    pub(super) fn write_journal(&self, flip: &Flip) -> Result<(), String> {
        let draft = self.work("journal");
        let written = put(&flip.text(), &draft).and_then(|()| fs::rename(draft, self.journal_path()));
        attempt(format_args!("write {}", self.journal_path().display()), written)?;
        sync(&self.root)
    }

    /// The flip has an outcome.
    pub(super) fn remove_journal(&self) -> Result<(), String> {
        let path = self.journal_path();
        if path.symlink_metadata().is_err() {
            return Ok(());
        }
        attempt(format_args!("remove {}", path.display()), remove_all(&path))?;
        sync(&self.root)
    }

    /// The size of a release in bytes: of its program or, if that is no file in it, of all of it.
    pub(super) fn size(&self, release: &str, name: &str) -> u64 {
        let directory = self.release(release);
        let program = directory.join(name);
        if is_plain(&program) {
            return program.metadata().map_or(0, |status| status.len());
        }
        let mut size = 0;
        // What cannot be looked at does not count.
        let _ = walk(&directory, &mut |found| {
            if found.status.is_file() && super::files::below(found.path, &directory).is_some() {
                size += found.status.len();
            }
            Ok(Visit::Into)
        });
        size
    }

    /// What a release was made of, as [`Source::shape`] has it.
    pub(super) fn deployed_as(&self, release: &str, name: &str, shape: Shape) -> PathBuf {
        match shape {
            Shape::Tree => self.release(release),
            Shape::File => self.release(release).join(name),
        }
    }
}

fn make_executable(path: &Path) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt as _;
    attempt(
        format_args!("set the mode of {}", path.display()),
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)),
    )
}

#[cfg(test)]
mod tests;
