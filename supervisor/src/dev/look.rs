//! A look at what is watched: every file that counts, with a stamp, and every directory in which something may change that.
//!
//! It begins at the paths each time, and so finds what lies there now: nothing of the look before is needed, whatever was turned,
//! replaced, moved away or made anew meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, DirEntry, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use nix::sys::stat::fstat;

use super::git;
use crate::config::glob::{Glob, Globs, Verdict};

/// As the kernel has it for a path (path_resolution(7)).
const MOST_LINKS: u8 = 40;

/// The file by which a directory says that what is in it can be made again (<https://bford.info/cachedir/>): cargo's target has one.
const CACHE_TAG: &str = "CACHEDIR.TAG";

/// What is no source: version control, what package managers and Python put beside the code, swap and backup files of editors.
const NEVER: &[&str] = &[
    ".git",
    ".hg",
    ".svn",
    ".jj",
    "node_modules",
    "__pycache__",
    "*.py[co]",
    "*~",
    ".*.sw[a-px]",
    "*.swp",
    "4913",
    ".#*",
    "\\#*#",
    "*.bak",
    "*.orig",
    "*.rej",
    ".*.kate-swp",
    ".goutputstream-*",
    "*___jb_tmp___",
    "*___jb_old___",
    ".DS_Store",
];

/// What is looked at.
pub(super) struct Subject {
    /// Absolute, as they are written.
    roots: Vec<PathBuf>,
    filter: Filter,
}

/// What does not count besides what .gitignore says.
struct Filter {
    globs: Globs,
    /// Files of our own and of the build, by their real paths.
    ours: Vec<PathBuf>,
    /// What our own lines go to, by device and inode.
    outputs: Vec<(u64, u64)>,
}

/// What a file was like. Two writes that leave it as it was are further apart than the times of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    file: (u64, u64),
    size: u64,
    mode: u32,
    modified: (i64, i64),
    /// Where a symbolic link leads, as it says.
    target: Option<PathBuf>,
}

/// In which names of a directory a change counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Names {
    All,
    /// It lies on the way to a path.
    These(BTreeSet<OsString>),
}

/// Directories, by their real paths.
pub(super) type Directories = BTreeMap<PathBuf, Names>;

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// By the paths as they are written.
    files: BTreeMap<PathBuf, Stamp>,
    pub(super) directories: Directories,
}

/// Which files are not what they were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Changed {
    pub(super) files: BTreeSet<PathBuf>,
    /// Where: the file, or the directory of one that is new or gone, for each time it may have another name.
    pub(super) places: BTreeSet<PathBuf>,
}

impl Changed {
    fn add(&mut self, file: &Path, place: &Path) {
        self.files.insert(file.to_owned());
        self.places.insert(place.to_owned());
    }

    pub(super) fn extend(&mut self, more: Self) {
        self.files.extend(more.files);
        self.places.extend(more.places);
    }
}

/// Whether what .gitignore leaves out is left out.
#[derive(Clone, Copy)]
enum GitRules {
    Hold,
    Off,
}

impl Subject {
    /// # Errors
    /// A glob that is none; one line.
    pub(super) fn new(roots: Vec<PathBuf>, ignore: &[String], ours: &[PathBuf]) -> Result<Self, String> {
        let given = ignore.iter().map(String::as_str);
        let globs = NEVER.iter().copied().chain(given).map(Glob::of_flag);
        let globs = globs.collect::<Result<Globs, _>>();
        let globs = globs.map_err(|error| format!("watch-ignore: {error}"))?;
        let ours = ours.iter().map(|path| real(path)).collect();
        Ok(Self {
            roots,
            filter: Filter {
                globs,
                ours,
                outputs: outputs(),
            },
        })
    }

    /// Look at everything. What cannot be read is not seen.
    pub(super) fn look(&self) -> Seen {
        let mut seen = Seen::default();
        for root in &self.roots {
            follow(root, &mut MOST_LINKS.clone(), &mut seen.directories);
            match fs::metadata(root) {
                Ok(found) if found.is_dir() => self.look_below(root, &mut seen),
                Ok(found) if found.is_file() => {
                    let stamp = Stamp::of(&found, fs::read_link(root).ok());
                    if !self.filter.ours.contains(&real(root)) {
                        seen.files.insert(root.clone(), stamp);
                    }
                }
                Ok(_) | Err(_) => {}
            }
        }
        seen
    }

    fn look_below(&self, root: &Path, seen: &mut Seen) {
        let before = seen.files.len();
        self.walk(root, GitRules::Hold, seen);
        if seen.files.len() == before {
            // It was asked for by name, and a .gitignore above leaves out all that is in it (`/dist/*`).
            self.walk(root, GitRules::Off, seen);
        }
    }

    fn walk(&self, root: &Path, rules: GitRules, seen: &mut Seen) {
        let Ok(real) = fs::canonicalize(root) else {
            return;
        };
        let rules = match rules {
            GitRules::Hold => Some(git::Rules::above(&real)),
            GitRules::Off => None,
        };
        let mut walk = Walk {
            filter: &self.filter,
            root,
            real: &real,
            rules,
            seen,
        };
        walk.enter(&real);
    }
}

/// A look through one directory that was asked for, and all below it. Hidden files are sources as well: .env.
struct Walk<'a> {
    filter: &'a Filter,
    /// The directory as it is written, and its real path.
    root: &'a Path,
    real: &'a Path,
    rules: Option<git::Rules>,
    seen: &'a mut Seen,
}

impl Walk<'_> {
    fn enter(&mut self, directory: &Path) {
        self.seen.directories.insert(directory.to_owned(), Names::All);
        let Ok(entries) = fs::read_dir(directory) else {
            return;
        };
        if let Some(rules) = &mut self.rules {
            rules.enter(directory);
        }
        entries.flatten().for_each(|entry| self.note(&entry));
        if let Some(rules) = &mut self.rules {
            rules.leave();
        }
    }

    fn note(&mut self, entry: &DirEntry) {
        let path = entry.path();
        let (Ok(kind), Ok(below)) = (entry.file_type(), path.strip_prefix(self.real)) else {
            return;
        };
        let rules = self.rules.as_ref();
        let is_ignored = rules.is_some_and(|rules| rules.is_ignored(&path, kind.is_dir()));
        if is_ignored || !self.filter.counts(&path, below, kind.is_dir()) {
            return;
        }
        let stamp = if kind.is_dir() {
            return self.enter(&path);
        } else if kind.is_symlink() {
            stamp_of_link(&path, &mut self.seen.directories)
        } else if kind.is_file() {
            entry.metadata().ok().map(|found| Stamp::of(&found, None))
        } else {
            None
        };
        if let Some(stamp) = stamp.filter(|stamp| !self.filter.outputs.contains(&stamp.file)) {
            self.seen.files.insert(self.root.join(below), stamp);
        }
    }
}

impl Filter {
    fn counts(&self, path: &Path, below: &Path, is_directory: bool) -> bool {
        let is_ours = self.ours.iter().any(|own| is_of(own, path));
        let is_cache = is_directory && path.join(CACHE_TAG).exists();
        let is_ignored = self.globs.verdict(below, is_directory) == Some(Verdict::Ignored);
        !(is_ours || is_cache || is_ignored)
    }
}

/// Whether this is a file of our own, or is going to be: it is written as `NAME.PID` and then renamed.
fn is_of(own: &Path, path: &Path) -> bool {
    let rest = path.as_os_str().as_encoded_bytes();
    let rest = rest.strip_prefix(own.as_os_str().as_encoded_bytes());
    rest.is_some_and(|rest| match rest.strip_prefix(b".") {
        Some(pid) => !pid.is_empty() && pid.iter().all(u8::is_ascii_digit),
        None => rest.is_empty(),
    })
}

impl Stamp {
    fn of(found: &Metadata, target: Option<PathBuf>) -> Self {
        Self {
            file: (found.dev(), found.ino()),
            size: found.size(),
            mode: found.mode(),
            modified: (found.mtime(), found.mtime_nsec()),
            target,
        }
    }
}

impl Seen {
    /// The files that are not what they were: changed, new or gone.
    pub(super) fn changes_since(&self, before: &Self) -> Changed {
        let mut changed = Changed::default();
        for (path, stamp) in &self.files {
            match before.files.get(path) {
                Some(old) if old == stamp => {}
                Some(_) => changed.add(path, path),
                None => changed.add(path, path.parent().unwrap_or(path)),
            }
        }
        let gone = before.files.keys().filter(|path| !self.files.contains_key(*path));
        gone.for_each(|path| changed.add(path, path.parent().unwrap_or(path)));
        changed
    }
}

/// A link counts by where it leads and by the file there. Directories behind it are not looked through, for links may lead in
/// circles, or to all there is.
fn stamp_of_link(link: &Path, directories: &mut Directories) -> Option<Stamp> {
    let target = fs::read_link(link).ok()?;
    let found = fs::metadata(link).or_else(|_| fs::symlink_metadata(link)).ok()?;
    if found.is_file() {
        follow(link, &mut MOST_LINKS.clone(), directories);
    }
    let mut stamp = Stamp::of(&found, Some(target));
    if found.is_dir() {
        // That something else was put beside what it leads to is no change of it.
        (stamp.size, stamp.modified) = (0, (0, 0));
    }
    Some(stamp)
}

/// Notes each directory through which an absolute path leads, links included, as far as there is one.
fn follow(path: &Path, links_left: &mut u8, directories: &mut Directories) {
    let mut here = PathBuf::from("/");
    let mut rest = path.components();
    while let Some(component) = rest.next() {
        let name = match component {
            Component::Normal(name) => name,
            Component::ParentDir => {
                here.pop();
                continue;
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => continue,
        };
        let names = directories.entry(here.clone());
        if let Names::These(names) = names.or_insert_with(|| Names::These(BTreeSet::new())) {
            names.insert(name.to_owned());
        }
        let next = here.join(name);
        match fs::symlink_metadata(&next) {
            Err(_) => return,
            Ok(found) if found.is_symlink() => {
                let Ok(target) = fs::read_link(&next) else { return };
                if *links_left == 0 {
                    return;
                }
                *links_left -= 1;
                // An absolute target takes the place of what is before it.
                let whole = here.join(target).join(rest.as_path());
                return follow(&whole, links_left, directories);
            }
            Ok(_) => here = next,
        }
    }
}

/// Device and inode of standard output and error: `segue dev ... 2>log` writes there as it speaks of a change.
fn outputs() -> Vec<(u64, u64)> {
    let both = [fstat(std::io::stdout()).ok(), fstat(std::io::stderr()).ok()];
    let both = both.into_iter().flatten();
    both.map(|found| (found.st_dev, found.st_ino)).collect()
}

/// The path with the links on the way to it resolved; its last name need not be there.
fn real(path: &Path) -> PathBuf {
    let parent = path.parent().and_then(|parent| fs::canonicalize(parent).ok());
    match (parent, path.file_name()) {
        (Some(parent), Some(name)) => parent.join(name),
        (_, _) => path.to_owned(),
    }
}

#[cfg(test)]
#[path = "look_tests.rs"]
mod tests;
