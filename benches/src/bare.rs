//! The floor: the barest possible handoff, without a supervisor, a shell, or any policy.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use segue_tests::binaries::Binary;

/// A listener and the sample app on it.
pub(crate) struct Bare {
    directory: tempfile::TempDir,
    listener: TcpListener,
    app: Option<Child>,
    retired: Vec<Child>,
    generation: u64,
}

impl Bare {
    pub(crate) fn start() -> Self {
        let mut bare = Self {
            directory: segue_tests::segue::directory(),
            listener: TcpListener::bind("127.0.0.1:0").unwrap(),
            app: None,
            retired: Vec::new(),
            generation: 0,
        };
        bare.handoff();
        bare
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Spawn, exec, READY; then the old one gets SIGTERM. Returns how long it took until READY.
    pub(crate) fn handoff(&mut self) -> Duration {
        self.generation += 1;
        let path = self.directory.path().join(format!("n{}", self.generation));
        let notify = UnixDatagram::bind(&path).unwrap();
        notify.set_read_timeout(Some(segue_tests::patience())).unwrap();
        let start = Instant::now();
        let child = self.spawn(&path);
        let mut buffer = [0; 4096];
        loop {
            let length = notify.recv(&mut buffer).expect("READY=1");
            if buffer[..length]
                .split(|byte| *byte == b'\n')
                .any(|line| line == b"READY=1")
            {
                break;
            }
        }
        let took = start.elapsed();
        if let Some(old) = self.app.replace(child) {
            stop(&old);
            self.retired.push(old);
        }
        self.retired
            .retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        took
    }

    fn spawn(&self, notify: &std::path::Path) -> Child {
        let fd = self.listener.as_raw_fd();
        let mut command = Command::new(Binary::App.path());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .env("LISTEN_FDS", "1")
            .env("LISTEN_FDNAMES", "listen1")
            .env("NOTIFY_SOCKET", notify)
            .env("SEGUE_GENERATION", self.generation.to_string());
        // SAFETY: between fork and exec only dup2(2) and fcntl(2) are called, which are async-signal-safe.
        unsafe {
            command.pre_exec(move || {
                Errno::result(libc::dup2(fd, 3))?;
                // Where the listener is at 3 already, dup2 does nothing and close-on-exec stays.
                Errno::result(libc::fcntl(3, libc::F_SETFD, 0))?;
                Ok(())
            });
        }
        command.spawn().unwrap()
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        for mut child in self.app.take().into_iter().chain(self.retired.drain(..)) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn stop(child: &Child) {
    let _ = kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM);
}
