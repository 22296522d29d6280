//! The cgroup in which a machine lives, so that two of them, or one and the host, do not share a name.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A cgroup of ours; dropping it removes it with everything below.
pub(super) struct Cgroup(PathBuf);

impl Cgroup {
    /// Makes one below our own.
    pub(super) fn make() -> Result<Self, String> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let mounts =
            fs::read_to_string("/proc/self/mounts").map_err(|error| format!("/proc/self/mounts: {error}"))?;
        let mount = mounts
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>())
            .find(|fields| fields.get(2) == Some(&"cgroup2"))
            .and_then(|fields| fields.get(1).map(PathBuf::from))
            .ok_or("no cgroup2 file system is mounted")?;
        let ours =
            fs::read_to_string("/proc/self/cgroup").map_err(|error| format!("/proc/self/cgroup: {error}"))?;
        let ours = ours
            .lines()
            .find_map(|line| line.strip_prefix("0::/"))
            .unwrap_or_default();
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let path = mount
            .join(ours)
            .join(format!("segue-machine-{}-{number}", std::process::id()));
        fs::create_dir(&path).map_err(|error| format!("make cgroup {}: {error}", path.display()))?;
        Ok(Self(path))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A cgroup can be removed some moments after its last process has ended.
        let end = Instant::now() + crate::patience();
        while let Err(error) = remove(&self.0) {
            if Instant::now() > end {
                eprintln!("left behind: cgroup {}: {error}", self.0.display());
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    fs::remove_dir(path)
}
