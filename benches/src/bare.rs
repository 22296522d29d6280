//! The floor: the barest possible handoff, without a supervisor, a shell, or any policy.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use segue_tests::program::Program;
use tempfile::TempDir;

/// Where the listeners go in the child, `SD_LISTEN_FDS_START`.
const FIRST: RawFd = 3;

/// Listeners, and an app on them.
pub(crate) struct Bare {
    directory: TempDir,
    program: Program,
    /// At numbers to which none of them goes.
    listeners: Vec<OwnedFd>,
    /// At all numbers to which they go, so that nothing else lies there that is needed until exec.
    _taken: Vec<OwnedFd>,
    address: Option<SocketAddr>,
    workers: usize,
    apps: Vec<Child>,
    retired: Vec<Child>,
    generation: u64,
}

impl Bare {
    /// One worker of the sample app on a TCP port.
    pub(crate) fn start() -> Self {
        let directory = segue_tests::segue::directory();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().ok();
        Self::begin(directory, Program::app(), vec![listener.into()], address, 1)
    }

    /// So many workers of a program, on so many Unix listeners.
    pub(crate) fn many(program: Program, listeners: usize, workers: usize) -> Self {
        let directory = segue_tests::segue::directory();
        let bind = |number| UnixListener::bind(directory.path().join(format!("l{number}"))).unwrap();
        let listeners = (0..listeners).map(|number| bind(number).into()).collect();
        Self::begin(directory, program, listeners, None, workers)
    }

    fn begin(
        directory: TempDir,
        program: Program,
        listeners: Vec<OwnedFd>,
        address: Option<SocketAddr>,
        workers: usize,
    ) -> Self {
        let end = FIRST + RawFd::try_from(listeners.len()).unwrap();
        let nothing = || OwnedFd::from(File::open("/dev/null").unwrap());
        let mut taken: Vec<OwnedFd> = std::iter::repeat_with(nothing)
            .take_while(|fd| fd.as_raw_fd() < end)
            .collect();
        let copies = listeners.iter().map(|fd| fd.try_clone().unwrap()).collect();
        taken.extend(listeners);
        let mut bare = Self {
            listeners: copies,
            directory,
            program,
            _taken: taken,
            address,
            workers,
            apps: Vec::new(),
            retired: Vec::new(),
            generation: 0,
        };
        bare.handoff();
        bare
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address.expect("it listens on TCP")
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Spawn, exec, READY of each worker; then the old ones get SIGTERM. Returns how long it took until READY.
    pub(crate) fn handoff(&mut self) -> Duration {
        self.generation += 1;
        let path = self.directory.path().join(format!("n{}", self.generation));
        let notify = UnixDatagram::bind(&path).unwrap();
        notify.set_read_timeout(Some(segue_tests::patience())).unwrap();
        let start = Instant::now();
        let apps: Vec<Child> = (0..self.workers).map(|_| self.spawn(&path)).collect();
        (0..self.workers).for_each(|_| wait_for_ready(&notify));
        let took = start.elapsed();
        let old = std::mem::replace(&mut self.apps, apps);
        old.iter().for_each(stop);
        self.retired.extend(old);
        self.retired
            .retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        took
    }

    fn spawn(&self, notify: &std::path::Path) -> Child {
        let places: Vec<(RawFd, RawFd)> = self
            .listeners
            .iter()
            .map(|fd| fd.as_raw_fd())
            .zip(FIRST..)
            .collect();
        let names: Vec<String> = places
            .iter()
            .map(|(_, number)| format!("listen{number}"))
            .collect();
        let (program, arguments) = self.program.words().split_first().expect("a program has a name");
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .env("LISTEN_FDS", places.len().to_string())
            .env("LISTEN_FDNAMES", names.join(":"))
            .env("NOTIFY_SOCKET", notify)
            .env("SEGUE_GENERATION", self.generation.to_string());
        // SAFETY: between fork and exec only dup2(2) is called, which is async-signal-safe. No listener is at a number to which one
        // goes, so that none is closed before its turn, and each copy is without close-on-exec.
        unsafe {
            command.pre_exec(move || {
                for (fd, number) in &places {
                    Errno::result(libc::dup2(*fd, *number))?;
                }
                Ok(())
            });
        }
        command.spawn().unwrap()
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        for mut child in self.apps.drain(..).chain(self.retired.drain(..)) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn wait_for_ready(notify: &UnixDatagram) {
    let mut buffer = [0; 4096];
    loop {
        let length = notify.recv(&mut buffer).expect("READY=1");
        let mut words = buffer[..length].split(|byte| *byte == b'\n');
        if words.any(|word| word == b"READY=1") {
            return;
        }
    }
}

fn stop(child: &Child) {
    let _ = kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM);
}
