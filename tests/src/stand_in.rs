//! The barest loop that hands a listener over correctly, and a deliberately lossy restart.
//!
//! It stands in for Segue where Segue is not the subject: the fixtures and the detectors are checked with it, and the
//! negative controls of the loss tests restart with [`StandIn::restart_lossy`]. It has no deadlines for the app, no
//! rollback, no policies: it is a measuring rod, not a supervisor.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::sys::signal::Signal;

use crate::http::Target;
use crate::proc::MARK;
use crate::process::Process;
use crate::program::Program;

/// What kind of listener the stand-in makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// TCP on loopback, any port.
    Tcp,
    /// A Unix socket in the stand-in's own directory.
    Unix,
}

/// The loop. Dropping it kills its app.
pub struct StandIn {
    directory: tempfile::TempDir,
    listener: Option<OwnedFd>,
    target: Target,
    generation: u64,
    program: Program,
    incumbent: Option<Process>,
}

impl StandIn {
    /// Binds, starts the program and waits for its READY=1.
    ///
    /// # Panics
    /// When any of this fails.
    #[must_use]
    #[track_caller]
    pub fn start(program: Program, family: Family) -> Self {
        let directory = crate::segue::directory();
        let (listener, target) = match family {
            Family::Tcp => {
                let listener =
                    TcpListener::bind("127.0.0.1:0").unwrap_or_else(|error| panic!("bind: {error}"));
                let address = listener
                    .local_addr()
                    .unwrap_or_else(|error| panic!("address: {error}"));
                (OwnedFd::from(listener), Target::Tcp(address))
            }
            Family::Unix => {
                let path = directory.path().join("listener");
                let listener = UnixListener::bind(&path).unwrap_or_else(|error| panic!("bind: {error}"));
                (OwnedFd::from(listener), Target::Unix(path))
            }
        };
        let mut this = Self {
            directory,
            listener: Some(listener),
            target,
            generation: 0,
            program,
            incumbent: None,
        };
        this.incumbent = Some(this.spawn_ready());
        this
    }

    /// Where it serves.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The app that serves.
    ///
    /// # Panics
    /// Never: there always is one.
    #[must_use]
    #[track_caller]
    pub fn incumbent(&self) -> &Process {
        self.incumbent.as_ref().unwrap_or_else(|| panic!("nobody serves"))
    }

    /// The next generation runs this instead.
    pub fn deploy(&mut self, program: Program) {
        self.program = program;
    }

    /// A correct handoff: the new one says READY=1, then the old one gets the stop signal. Returns the old one and the
    /// instant of the signal.
    ///
    /// # Panics
    /// When the new one does not get ready.
    #[track_caller]
    pub fn handoff(&mut self) -> (Process, Instant) {
        let candidate = self.spawn_ready();
        let old = self
            .incumbent
            .replace(candidate)
            .unwrap_or_else(|| panic!("nobody serves"));
        let instant = Instant::now();
        old.signal(Signal::SIGTERM);
        (old, instant)
    }

    /// What Segue exists to replace: stop the old one, close the socket, bind again, start the new one. Loses whatever
    /// arrives meanwhile. `meanwhile` runs while nobody listens: it gives a detector the time to fire, however fast the
    /// restart would have been. Returns the instant of the stop signal.
    ///
    /// # Panics
    /// When the new one does not get ready.
    #[track_caller]
    pub fn restart_lossy(&mut self, meanwhile: impl FnOnce()) -> Instant {
        self.listener = None;
        let instant = Instant::now();
        if let Some(old) = self.incumbent.take() {
            old.signal(Signal::SIGTERM);
            let _ = old.wait_for_exit();
        }
        meanwhile();
        let bound = match &self.target {
            Target::Tcp(address) => bind_again(address).map(OwnedFd::from),
            Target::Unix(path) => {
                let _ = std::fs::remove_file(path);
                UnixListener::bind(path).map(OwnedFd::from)
            }
            Target::Abstract(name) => panic!("{name}: not a listener of the stand-in"),
        };
        self.listener = Some(bound.unwrap_or_else(|error| panic!("bind again: {error}")));
        self.incumbent = Some(self.spawn_ready());
        instant
    }

    #[track_caller]
    fn spawn_ready(&mut self) -> Process {
        self.generation += 1;
        let path: PathBuf = self.directory.path().join(format!("notify{}", self.generation));
        let notify = UnixDatagram::bind(&path).unwrap_or_else(|error| panic!("notify socket: {error}"));
        let _ = notify.set_read_timeout(Some(crate::patience()));
        let listener = self.listener.as_ref().unwrap_or_else(|| panic!("no listener"));
        let listener = listener
            .try_clone()
            .unwrap_or_else(|error| panic!("dup: {error}"));
        // The shell puts the listener at 3 and knows the pid that the app will have, without a line of unsafe code here.
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", "export LISTEN_PID=$$; exec \"$@\" 3<&0 0</dev/null", "sh"])
            .args(self.program.words())
            .stdin(Stdio::from(listener))
            .env("LISTEN_FDS", "1")
            .env("LISTEN_FDNAMES", "listen1")
            .env("NOTIFY_SOCKET", &path)
            .env("SEGUE_GENERATION", self.generation.to_string())
            .env(MARK, self.directory.path());
        let process = Process::start(&mut command);
        let mut buffer = [0; 4096];
        loop {
            match notify.recv(&mut buffer) {
                Ok(length)
                    if buffer[..length]
                        .split(|byte| *byte == b'\n')
                        .any(|line| line == b"READY=1") =>
                {
                    return process;
                }
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => panic!("no READY=1: {error}; log:\n{}", process.stderr()),
            }
        }
    }
}

/// Binds an address that was ours a moment ago. A child that another test forks just now may still hold the old socket
/// until its exec, or a client of another test may have been given the port: both pass. (std sets SO_REUSEADDR, so that
/// connections in TIME_WAIT do not stand in the way.)
fn bind_again(address: &std::net::SocketAddr) -> std::io::Result<TcpListener> {
    let end = Instant::now() + crate::patience();
    loop {
        match TcpListener::bind(address) {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && Instant::now() < end => {
                std::thread::sleep(crate::LOOK);
            }
            bound => return bound,
        }
    }
}
