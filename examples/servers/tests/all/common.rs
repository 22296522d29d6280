//! A listener of the test's own, handed to real processes as a supervisor would; certificates; a client that trusts them.

use std::io::Read as _;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;

/// No step of a test takes this long unless something hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A server process that has said READY=1.
pub(crate) struct Running {
    child: Child,
    stderr: mpsc::Receiver<String>,
    notifications: UnixDatagram,
    _directory: tempfile::TempDir,
}

pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stderr: String,
}

pub(crate) fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

/// Starts a program of this package with the listener at fd 3. LISTEN_PID can only be right by exec after fork.
pub(crate) fn start(program: &str, arguments: &[&str], listener: &TcpListener) -> Running {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let notifications = UnixDatagram::bind(&path).unwrap();
    notifications.set_read_timeout(Some(PATIENCE)).unwrap();
    let socket = OwnedFd::from(listener.try_clone().unwrap());
    let mut child = Command::new("/bin/sh")
        .args(["-c", "LISTEN_PID=$$ exec \"$0\" \"$@\" 3<&0 </dev/null", program])
        .args(arguments)
        .stdin(Stdio::from(socket))
        .stderr(Stdio::piped())
        .env("LISTEN_FDS", "1")
        .env("NOTIFY_SOCKET", &path)
        .env_remove("LISTEN_FDNAMES")
        .env_remove("WATCHDOG_USEC")
        .env_remove("SEGUE_DRAIN_TIMEOUT_MS")
        .spawn()
        .unwrap();
    let mut pipe = child.stderr.take().unwrap();
    let (sender, stderr) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        pipe.read_to_string(&mut text).unwrap();
        // The test may have ended without asking.
        let _ = sender.send(text);
    });
    let mut running = Running {
        child,
        stderr,
        notifications,
        _directory: directory,
    };
    let first = running.notification();
    assert!(first.starts_with("READY=1\n"), "{first}");
    running
}

impl Running {
    fn notification(&mut self) -> String {
        let mut buffer = [0; 4096];
        let length = self.notifications.recv(&mut buffer).expect("a notification");
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Tells it to stop, and waits for its word that it has heard: from then on it drains.
    pub(crate) fn drain(&mut self) {
        kill(self.pid(), Signal::SIGTERM).unwrap();
        while !self.notification().starts_with("STOPPING=1\n") {}
    }

    /// Waits for its end. Its stderr ends with it.
    pub(crate) fn end(mut self) -> Ended {
        let stderr = self
            .stderr
            .recv_timeout(PATIENCE)
            .expect("the server does not end");
        Ended {
            status: self.child.wait().unwrap(),
            stderr,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has usually ended; then both say so.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A certificate for localhost, in files, and who trusts it.
pub(crate) struct Certificate {
    directory: tempfile::TempDir,
    der: CertificateDer<'static>,
}

impl Certificate {
    /// One for all tests.
    pub(crate) fn get() -> &'static Certificate {
        static CERTIFICATE: OnceLock<Certificate> = OnceLock::new();
        CERTIFICATE.get_or_init(|| {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            let directory = tempfile::tempdir().unwrap();
            std::fs::write(directory.path().join("cert.pem"), made.cert.pem()).unwrap();
            std::fs::write(directory.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
            Certificate {
                directory,
                der: made.cert.der().clone(),
            }
        })
    }

    /// The two paths, as the servers take them.
    pub(crate) fn paths(&self) -> [String; 2] {
        ["cert.pem", "key.pem"].map(|name| self.directory.path().join(name).display().to_string())
    }

    /// The settings of a client that trusts it.
    pub(crate) fn config(&self) -> Arc<rustls::ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    }
}

/// `SEGUE_TRIALS`, or few.
pub(crate) fn trials() -> usize {
    let given = std::env::var("SEGUE_TRIALS").ok();
    given.and_then(|text| text.parse().ok()).unwrap_or(500)
}
