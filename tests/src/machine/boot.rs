//! Starting the init of a machine and ending it.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::Below;
use super::cgroup::Cgroup;
use crate::needs;
use crate::process::Process;

/// What becomes init.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/machine/boot.sh");

/// The namespaces and the processes of a machine.
pub(super) struct Running {
    init: i32,
    unshare: Process,
    /// Dropping it ends the thread that started `unshare`.
    _starter: Sender<()>,
    _cgroup: Cgroup,
    _work: TempDir,
}

impl Running {
    /// The init, in the host's numbers.
    pub(super) fn init(&self) -> i32 {
        self.init
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // While `unshare` runs its child has not been reaped, so the number is still the init's.
        if self.unshare.is_running() {
            let _ = kill(Pid::from_raw(self.init), Signal::SIGKILL);
        }
        // The kernel reaps the init of a pid namespace only when everything inside has ended.
        let _ = self.unshare.wait_for_exit();
    }
}

/// Boots a machine and waits until systemd says that it is up.
pub(super) fn boot(below: Below) -> Result<Running, String> {
    needs::root()?;
    for program in ["unshare", "nsenter", "setpriv", "pivot_root", "ip"] {
        needs::program(program)?;
    }
    let lower = lower(below)?;
    let work = tempfile::tempdir().map_err(|error| format!("temporary directory: {error}"))?;
    let notify = listen(&work.path().join("notify"))?;
    let cgroup = Cgroup::make()?;
    let (unshare, starter) = start(&lower, work.path(), cgroup.path());
    wait_until_up(&notify, &unshare)?;
    // systemd tells of each of its own reloads there, and would wait for somebody who never reads.
    drop(notify);
    let init = crate::proc::children(unshare.pid())
        .first()
        .map(|seen| seen.pid)
        .ok_or("the init has gone")?;
    Ok(Running {
        init,
        unshare,
        _starter: starter,
        _cgroup: cgroup,
        _work: work,
    })
}

fn lower(below: Below) -> Result<PathBuf, String> {
    match below {
        Below::Host => {
            if Path::new("/lib/systemd/systemd").exists() {
                Ok(PathBuf::from("/"))
            } else {
                Err("this machine has no systemd installed".to_owned())
            }
        }
        Below::Trixie => needs::debian_tree(&[]),
    }
}

fn listen(path: &Path) -> Result<UnixDatagram, String> {
    let socket = UnixDatagram::bind(path).map_err(|error| format!("{}: {error}", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))
        .map_err(|error| error.to_string())?;
    Ok(socket)
}

/// Starts `unshare`. The kernel kills it, and through it everything inside, when the thread that started it ends: so no
/// machine outlives a test that was killed. That thread lives until the sender is dropped.
fn start(lower: &Path, work: &Path, cgroup: &Path) -> (Process, Sender<()>) {
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL"])
        .args([
            "unshare",
            "--pid",
            "--fork",
            "--mount",
            "--uts",
            "--ipc",
            "--net",
            "--kill-child",
        ])
        .arg(SCRIPT)
        .args([lower, work, cgroup])
        .stdin(std::process::Stdio::null());
    let (starter, ended) = channel::<()>();
    let (give, take) = channel();
    std::thread::spawn(move || {
        let _ = give.send(Process::start(&mut command));
        let _ = ended.recv();
    });
    let process = take.recv();
    (
        process.unwrap_or_else(|_| panic!("unshare was not started")),
        starter,
    )
}

fn wait_until_up(notify: &UnixDatagram, unshare: &Process) -> Result<(), String> {
    let end = Instant::now() + crate::patience();
    let mut message = [0; 4096];
    let tenth = Duration::from_millis(100);
    notify
        .set_read_timeout(Some(tenth))
        .map_err(|error| format!("notify socket: {error}"))?;
    loop {
        // Errors are the timeout, after which the process is looked at.
        let length = notify.recv(&mut message).unwrap_or(0);
        let text = String::from_utf8_lossy(&message[..length]);
        if text.lines().any(|line| line == "READY=1") {
            return Ok(());
        }
        if !unshare.is_running() || Instant::now() > end {
            return Err(format!("systemd did not come up: {}", unshare.stderr().trim()));
        }
    }
}
