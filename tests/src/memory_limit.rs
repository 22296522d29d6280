//! A cgroup with little memory, of whichever version has the memory controller here.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long the last process of a cgroup may take to leave it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A cgroup of ours; dropping it kills what is in it and removes it.
pub struct MemoryLimit {
    path: PathBuf,
}

impl MemoryLimit {
    /// Makes one whose processes have `mib` MiB together, and no swap.
    ///
    /// # Errors
    /// What is missing for that on this machine.
    pub fn make(name: &str, mib: u64) -> Result<Self, String> {
        crate::needs::root()?;
        let mounts = read(Path::new("/proc/self/mounts"))?;
        let mounts: Vec<Vec<&str>> = mounts.lines().map(|line| line.split(' ').collect()).collect();
        let mounted = |kind: &str, option: &str| {
            let fits = |fields: &&Vec<&str>| {
                fields.get(2) == Some(&kind)
                    && fields
                        .get(3)
                        .is_some_and(|options| options.split(',').any(|has| has == option))
            };
            mounts
                .iter()
                .find(fits)
                .and_then(|fields| fields.get(1).map(PathBuf::from))
        };
        let bytes = mib << 20;
        let named = format!("segue-memory-{name}-{}", std::process::id());
        if let Some(mount) = mounted("cgroup", "memory") {
            let limit = Self::at(mount.join(named))?;
            limit.set("memory.limit_in_bytes", bytes)?;
            // Absent where swap is not accounted for.
            let _ = limit.set("memory.memsw.limit_in_bytes", bytes);
            return Ok(limit);
        }
        let mount = mounted("cgroup2", "rw").ok_or("no cgroup file system can be written to")?;
        write(&mount.join("cgroup.subtree_control"), "+memory")?;
        let limit = Self::at(mount.join(named))?;
        limit.set("memory.max", bytes)?;
        let _ = limit.set("memory.swap.max", 0);
        Ok(limit)
    }

    fn at(path: PathBuf) -> Result<Self, String> {
        fs::create_dir(&path).map_err(|error| format!("make cgroup {}: {error}", path.display()))?;
        Ok(Self { path })
    }

    fn set(&self, file: &str, value: u64) -> Result<(), String> {
        write(&self.path.join(file), &value.to_string())
    }

    /// The words that execute, inside it, the program whose words follow.
    #[must_use]
    pub fn opener(&self) -> Vec<String> {
        let script = format!("echo $$ > '{}/cgroup.procs' && exec \"$@\"", self.path.display());
        ["sh", "-c", &script, "sh"].map(str::to_owned).into()
    }

    /// Its name, with which its path below the mount ends.
    #[must_use]
    pub fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    fn members(&self) -> Vec<i32> {
        let text = fs::read_to_string(self.path.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        let end = Instant::now() + PATIENCE;
        while let Err(error) = fs::remove_dir(&self.path) {
            if Instant::now() > end {
                eprintln!("left behind: cgroup {}: {error}", self.path.display());
                return;
            }
            for pid in self.members() {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("write {text} to {}: {error}", path.display()))
}
