//! The cgroup that accounts for our memory, and those above it, cgroups(7).

use super::Roots;
use crate::sys;
use std::fs::File;
use std::path::{Path, PathBuf};

/// What the files of a hierarchy are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V2,
}

/// A directory of the memory controller that we are in, or one above.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Level {
    pub(super) version: Version,
    pub(super) directory: PathBuf,
    /// What people call it: its path below the mount.
    pub(super) name: String,
}

impl Level {
    /// A file of it, to be read again and again. Close-on-exec.
    pub(super) fn open(&self, file: &str) -> Option<File> {
        File::open(self.directory.join(file)).ok()
    }

    /// A file of it, if it is there: the root of a hierarchy has no limits.
    pub(super) fn read(&self, file: &str) -> Option<String> {
        sys::kernel_text(self.directory.join(file)).ok()
    }
}

/// Every level, our own first. Of both hierarchies where both are mounted, for either may have the memory controller; levels that
/// a namespace hides are not among them.
pub(super) fn levels(roots: &Roots) -> Vec<Level> {
    let memberships = roots.proc("self/cgroup").unwrap_or_default();
    let mounts = std::fs::read_to_string(roots.proc.join("self/mountinfo")).unwrap_or_default();
    let mut levels = Vec::new();
    for line in memberships.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let version = match controllers {
            "" => Version::V2,
            _ if controllers.split(',').any(|name| name == "memory") => Version::V1,
            _ => continue,
        };
        if let Some(mount) = mounts.lines().find_map(|line| Mount::read(line, version)) {
            levels.extend(mount.levels(roots, version, path));
        }
    }
    levels
}

/// A line of /proc/self/mountinfo: `36 35 0:31 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw`.
struct Mount<'a> {
    root: &'a str,
    point: &'a str,
}

impl<'a> Mount<'a> {
    fn read(line: &'a str, version: Version) -> Option<Self> {
        let (ours, kinds) = line.split_once(" - ")?;
        let mut kinds = kinds.split(' ');
        let (kind, options) = (kinds.next()?, kinds.nth(1)?);
        let fits = match version {
            Version::V2 => kind == "cgroup2",
            Version::V1 => kind == "cgroup" && options.split(',').any(|option| option == "memory"),
        };
        let mut fields = ours.split(' ').skip(3);
        fits.then_some(Self {
            root: fields.next()?,
            point: fields.next()?,
        })
    }

    fn levels(&self, roots: &Roots, version: Version, path: &str) -> Vec<Level> {
        // A container may see its own cgroup as the root of the mount, and yet read its path from outside.
        let below = path.strip_prefix(self.root.trim_end_matches('/'));
        let below = Path::new(below.unwrap_or_default().trim_start_matches('/'));
        let top = roots.mounts.join(self.point.trim_start_matches('/'));
        below
            .ancestors()
            .map(|below| Level {
                version,
                directory: top.join(below),
                name: format!("/{}", below.display()),
            })
            .collect()
    }
}
