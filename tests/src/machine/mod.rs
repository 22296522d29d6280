//! A machine: a real `systemd --system` in namespaces of its own, with an init, a journal, a loopback interface and a root
//! file system that forgets everything.
//!
//! [`Machine::boot`] takes half a second. Programs run inside with [`Machine::run`], all with a deadline; files are written
//! with [`Machine::write`]; loads run in its network with [`Machine::in_its_network`]. When it is dropped, its init
//! is killed, and with it goes everything inside.

mod boot;
mod cgroup;

use std::fmt;
use std::fs::{File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};

use crate::executable;
use crate::process::{Finished, Process};

/// Between two looks into a machine. Each look starts a program there, so that a tighter loop would keep a core busy for nothing.
pub const PAUSE: Duration = Duration::from_millis(20);

/// What lies below a machine's root file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Below {
    /// The root file system of this very machine, its systemd included (252 on Debian 12).
    Host,
    /// A minimal Debian 13 with systemd 257, which `tests/setup.sh` makes.
    Trixie,
}

impl fmt::Display for Below {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "the host's systemd",
            Self::Trixie => "Debian 13",
        })
    }
}

/// A running machine.
pub struct Machine {
    running: boot::Running,
    root: File,
    network: File,
    version: u32,
}

impl Machine {
    /// Boots one.
    ///
    /// # Errors
    /// Why that cannot be done here.
    pub fn boot(below: Below) -> Result<Self, String> {
        let running = boot::boot(below)?;
        let of_init = |what: &str| {
            let path = format!("/proc/{}/{what}", running.init());
            File::open(&path).map_err(|error| format!("{path}: {error}"))
        };
        // Held open: a path through the init's pid would lead elsewhere if the init died and its number were used again.
        let (root, network) = (of_init("root")?, of_init("ns/net")?);
        let mut machine = Self {
            running,
            root,
            network,
            version: 0,
        };
        machine.version = machine.ask_version();
        Ok(machine)
    }

    /// The version of its systemd.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Starts a program inside, as root, without waiting for it.
    #[must_use]
    #[track_caller]
    pub fn begin(&self, words: &[&str]) -> Process {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--target={}", self.running.init()))
            .args([
                "--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup", "--root", "--wd",
            ])
            .args([
                "env",
                "-i",
                "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "LC_ALL=C.UTF-8",
                "TZ=UTC",
            ])
            .args(["SYSTEMD_PAGER=", "SYSTEMD_COLORS=0", "COLUMNS=150"])
            .args(words)
            .stdin(std::process::Stdio::null());
        Process::start(&mut command)
    }

    /// Runs a program inside to its end.
    ///
    /// # Panics
    /// When it does not end in time.
    #[track_caller]
    pub fn run(&self, words: &[&str]) -> Finished {
        self.begin(words).finish()
    }

    /// Runs a program that must succeed; its standard output.
    ///
    /// # Panics
    /// When it fails or does not end in time.
    #[track_caller]
    pub fn ok(&self, words: &[&str]) -> String {
        let done = self.run(words);
        assert_eq!(done.code, Some(0), "{words:?}: {}{}", done.stdout, done.stderr);
        done.stdout
    }

    /// The number outside of a process inside.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    #[track_caller]
    pub fn pid_outside(&self, inside: &str) -> i32 {
        let namespace = |pid: i32| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let ours = namespace(self.running.init());
        let found = crate::proc::all().into_iter().find(|seen| {
            // The last number is that in the innermost namespace (proc_pid_status(5)).
            let status = std::fs::read_to_string(format!("/proc/{}/status", seen.pid)).unwrap_or_default();
            let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
            let innermost = numbers.and_then(|numbers| numbers.split_whitespace().last());
            innermost == Some(inside) && namespace(seen.pid) == ours
        });
        found.unwrap_or_else(|| panic!("no process {inside} inside")).pid
    }

    /// A property of a unit, as `systemctl show` prints it.
    ///
    /// # Panics
    /// When systemd does not answer.
    #[must_use]
    #[track_caller]
    pub fn property(&self, unit: &str, name: &str) -> String {
        let text = self.ok(&["systemctl", "show", "--value", "--property", name, unit]);
        text.trim_end().to_owned()
    }

    /// Waits until a property of a unit satisfies a condition.
    ///
    /// # Panics
    /// When that does not happen in time.
    #[track_caller]
    pub fn wait_for_property(&self, unit: &str, name: &str, condition: impl Fn(&str) -> bool) -> String {
        self.wait_for(
            &["show", unit, "--property", name],
            || self.property(unit, name),
            condition,
        )
    }

    /// Waits until a command's stdout meets a condition, and returns it. A command that fails is run again, too: `find` does where
    /// what it looks through vanishes meanwhile.
    ///
    /// # Panics
    ///
    /// If that takes longer than [`patience`](crate::patience).
    #[track_caller]
    pub fn wait_for_output(&self, words: &[&str], condition: impl Fn(&str) -> bool) -> String {
        self.wait_for(words, || self.run(words).stdout, condition)
    }

    #[track_caller]
    fn wait_for(&self, what: &[&str], ask: impl Fn() -> String, condition: impl Fn(&str) -> bool) -> String {
        let end = std::time::Instant::now() + crate::patience();
        loop {
            let value = ask();
            if condition(&value) {
                return value;
            }
            assert!(
                std::time::Instant::now() < end,
                "not in time: {what:?} gives {value:?}\n{}",
                self.journal(&["-n", "200"])
            );
            std::thread::sleep(PAUSE);
        }
    }

    /// What `journalctl` prints, everything written before this call included.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    #[track_caller]
    pub fn journal(&self, args: &[&str]) -> String {
        self.ok(&["journalctl", "--sync"]);
        let words = [&["journalctl", "--no-pager", "--quiet"], args].concat();
        self.ok(&words)
    }

    /// Writes a file, and the directories above it: beside its place and then by renaming, since somebody may be reading it. To
    /// systemd a unit that is empty for a moment is masked.
    ///
    /// # Panics
    /// When it cannot.
    #[track_caller]
    pub fn write(&self, path: &str, text: &str) {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let there = self.path(path);
        let name = there.file_name().unwrap_or_default().display().to_string();
        let beside = there.with_file_name(format!(".{name}.{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        let written = make_parents(&there)
            .and_then(|()| executable::rewrite(&beside, text.as_bytes()))
            .and_then(|()| std::fs::rename(&beside, &there));
        written.unwrap_or_else(|error| panic!("write {path}: {error}"));
    }

    /// Empties a file that others have open, as logrotate does with `copytruncate`.
    ///
    /// # Panics
    /// When it cannot.
    #[track_caller]
    pub fn truncate(&self, path: &str) {
        let file = std::fs::File::options()
            .write(true)
            .truncate(true)
            .open(self.path(path));
        file.unwrap_or_else(|error| panic!("truncate {path}: {error}"));
    }

    /// Copies a program of the host into the machine, beside its final place and then by renaming, since it may be running.
    ///
    /// # Panics
    /// When it cannot.
    #[track_caller]
    pub fn install(&self, from: &Path, path: &str) {
        let there = self.path(path);
        let beside = there.with_extension("new");
        let installed = make_parents(&there)
            .and_then(|()| executable::copy(from, &beside))
            .and_then(|()| std::fs::set_permissions(&beside, Permissions::from_mode(0o755)))
            .and_then(|()| std::fs::rename(&beside, &there));
        installed.unwrap_or_else(|error| panic!("install {path}: {error}"));
    }

    /// Where the host finds a file of the machine. Absolute symlinks on the way would lead out of it.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        // Not by way of /proc/self: programs that we start look there, too.
        let root = format!("/proc/{}/fd/{}", std::process::id(), self.root.as_raw_fd());
        Path::new(&root).join(path.trim_start_matches('/'))
    }

    /// Runs code of a test in the network of the machine: what connects to 127.0.0.1 there reaches the machine, and
    /// threads that it starts stay there.
    ///
    /// # Panics
    /// When the code does.
    pub fn in_its_network<T: Send>(&self, code: impl FnOnce() -> T + Send) -> T {
        let entered = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(&self.network, CloneFlags::CLONE_NEWNET)
                    .unwrap_or_else(|errno| panic!("enter the network of the machine: {errno}"));
                code()
            });
            thread.join()
        });
        entered.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    fn ask_version(&self) -> u32 {
        let text = self.ok(&["systemctl", "--version"]);
        let number = text.split_whitespace().nth(1).and_then(|word| word.parse().ok());
        number.unwrap_or_else(|| panic!("systemctl --version: {text}"))
    }
}

fn make_parents(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), std::fs::create_dir_all)
}
