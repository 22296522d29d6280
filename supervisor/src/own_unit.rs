//! The processes of the systemd unit that this process belongs to, as its cgroup has them.

use std::fs;
use std::path::{Path, PathBuf};

use nix::unistd::Pid;

use crate::sys::errno_text;

/// All of them but this process.
///
/// # Errors
/// This process is in no unit, or its cgroup cannot be read.
pub(crate) fn processes() -> Result<Vec<Pid>, String> {
    let cgroup = own_cgroup().ok_or("the cgroup of the unit cannot be found")?;
    below(&cgroup)
}

/// The directory of our cgroup: the unified one, or systemd's own on machines with the older hierarchies (cgroups(7)). Never the
/// root, and never a session: only units have processes that are all ours to end.
fn own_cgroup() -> Option<PathBuf> {
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    let found = |prefix: &str, root: &str| {
        let path = text.lines().find_map(|line| line.strip_prefix(prefix))?;
        // Where the commands of a unit with Delegate= run, beside its processes.
        let unit = path.trim_start_matches('/');
        let unit = unit.strip_suffix("/.control").unwrap_or(unit);
        let is_service = unit.split('/').any(|part| {
            Path::new(part)
                .extension()
                .is_some_and(|extension| extension == "service")
        });
        let directory = Path::new(root).join(unit);
        (is_service && directory.join("cgroup.procs").exists()).then_some(directory)
    };
    found("0::/", "/sys/fs/cgroup")
        .or_else(|| found("0::/", "/sys/fs/cgroup/unified"))
        .or_else(|| found("1:name=systemd:/", "/sys/fs/cgroup/systemd"))
        .or_else(|| {
            let line = text.lines().find(|line| line.contains(":name=systemd:"))?;
            let prefix = format!("{}:name=systemd:/", line.split(':').next()?);
            found(&prefix, "/sys/fs/cgroup/systemd")
        })
}

/// Who is in it or below it, without this process.
fn below(cgroup: &Path) -> Result<Vec<Pid>, String> {
    let procs = cgroup.join("cgroup.procs");
    let text = match fs::read_to_string(&procs) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("{}: {}", procs.display(), errno_text(&error))),
    };
    let own = Pid::this();
    let mut pids: Vec<Pid> = text
        .lines()
        .filter_map(|line| line.parse().ok().map(Pid::from_raw))
        .filter(|pid| *pid != own && pid.as_raw() > 0)
        .collect();
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            pids.extend(below(&entry.path())?);
        }
    }
    Ok(pids)
}
