//! A container engine of the test's own: a real dockerd in namespaces of its own (see `engine.sh`), which ends with the
//! test whatever ends the test, and leaves nothing.

mod container;
mod images;
mod source;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use tempfile::TempDir;

pub use container::{Container, Way};
pub use images::{DEBIAN, STATIC, runtime_dockerfile};
pub use source::{DEBIAN_FROM_SOURCE, STATIC_FROM_SOURCE};

use crate::needs;
use crate::process::{Finished, Process};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/engine/engine.sh");

/// How often a condition is looked at that nothing tells of.
const LOOK: Duration = Duration::from_millis(50);

/// An engine that runs.
pub struct Engine {
    directory: TempDir,
    script: Child,
    // The script lives as long as this is open.
    stdin: Option<ChildStdin>,
    cgroup: String,
    network: File,
}

impl Engine {
    /// Starts an engine without any image.
    ///
    /// # Errors
    /// What is missing for that on this machine.
    ///
    /// # Panics
    /// When nothing is missing and it does not start.
    pub fn start() -> Result<Self, String> {
        needs::root()?;
        for name in ["dockerd", "docker", "iptables", "unshare", "setpriv"] {
            needs::program(name)?;
        }
        let directory = crate::segue::directory();
        let mut script = Command::new(SCRIPT)
            .arg(directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("start {SCRIPT}: {error}"));
        let stdin = script.stdin.take();
        let mut line = String::new();
        if let Some(out) = script.stdout.take() {
            let _ = BufReader::new(out).read_line(&mut line);
        }
        let Some((cgroup, pid)) = line.trim().split_once(' ') else {
            panic!("{SCRIPT} said {line:?}");
        };
        let socket = directory.path().join("docker.sock");
        let log = || std::fs::read_to_string(directory.path().join("log")).unwrap_or_default();
        wait("the engine answers", log, || {
            std::os::unix::net::UnixStream::connect(&socket).ok()
        });
        // Opened while the process certainly is the one that was named: it has brought the engine up.
        let network = File::open(format!("/proc/{pid}/ns/net"))
            .unwrap_or_else(|error| panic!("the engine's network: {error}; its log:\n{}", log()));
        let engine = Self {
            cgroup: cgroup.to_owned(),
            network,
            directory,
            script,
            stdin,
        };
        engine.docker_ok(&["version"]);
        Ok(engine)
    }

    /// A path in this engine's directory, for what is mounted into containers. It is removed with the engine.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// `docker`, with nothing of the machine's own configuration.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new("docker");
        for key in [
            "DOCKER_CONTEXT",
            "DOCKER_TLS_VERIFY",
            "DOCKER_CERT_PATH",
            "DOCKER_API_VERSION",
        ] {
            command.env_remove(key);
        }
        command
            .env(
                "DOCKER_HOST",
                format!("unix://{}", self.path("docker.sock").display()),
            )
            .env("DOCKER_CONFIG", self.path("client"))
            // The builder that every version of the engine has; the other one is a package of its own in some.
            .env("DOCKER_BUILDKIT", "0")
            .stdin(Stdio::null());
        command
    }

    /// Runs `docker ARGS` to its end.
    ///
    /// # Panics
    /// When it does not end in time.
    #[track_caller]
    pub fn docker(&self, args: &[&str]) -> Finished {
        Process::start(self.command().args(args)).finish()
    }

    /// The same, with success demanded; returns what it printed.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn docker_ok(&self, args: &[&str]) -> String {
        let done = self.docker(args);
        assert_eq!(done.code, Some(0), "docker {args:?}: {}", done.stderr);
        done.stdout.trim().to_owned()
    }

    /// Takes this thread, and the threads that it will start, into the engine's network: a client there reaches published
    /// ports as a client on an engine's own machine does.
    ///
    /// # Panics
    /// When that is not allowed.
    pub fn enter_network(&self) {
        setns(&self.network, CloneFlags::CLONE_NEWNET)
            .unwrap_or_else(|error| panic!("enter the engine's network: {error}"));
    }

    /// Ends the engine and everything in it.
    ///
    /// # Panics
    /// When something is left: a directory, a cgroup.
    pub fn end(mut self) {
        self.close();
        assert!(
            !self.directory.path().exists(),
            "left: {}",
            self.directory.path().display()
        );
        let cgroups = find_named(Path::new("/sys/fs/cgroup"), &self.cgroup);
        assert!(cgroups.is_empty(), "cgroups left: {cgroups:?}");
    }

    fn close(&mut self) {
        drop(self.stdin.take());
        let _ = self.script.wait();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.close();
    }
}

/// Looks until there is something to see.
#[track_caller]
fn wait<T>(what: &str, explain: impl Fn() -> String, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + crate::patience();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < end, "not in time: {what}\n{}", explain());
        std::thread::sleep(LOOK);
    }
}

fn find_named(directory: &Path, name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if entry.file_name() == name {
                found.push(entry.path());
            } else {
                found.extend(find_named(&entry.path(), name));
            }
        }
    }
    found
}
