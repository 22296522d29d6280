//! What the tests share: a listener of the test's own, handed to real processes as a supervisor would, and a client
//! that speaks HTTP/1.1 by hand and can be as slow and as odd as it likes.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// No step of a test takes this long unless something hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// So many random cases: all with `SEGUE_LONG=1`, a tenth otherwise.
pub(crate) fn cases(all: u32) -> u32 {
    let long = std::env::var_os("SEGUE_LONG").is_some_and(|value| value == "1");
    if long { all } else { all / 10 }
}

pub(crate) fn app() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_app"))
}

/// The path of an example program; cargo is asked to build it if it has not (`cargo test --test NAME` does not).
pub(crate) fn example(name: &str) -> PathBuf {
    let path = app().parent().unwrap().join("examples").join(name);
    if !path.exists() {
        let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args([
            "build",
            "--quiet",
            "-p",
            "segue-app",
            "--example",
            name,
            "--profile",
            profile,
        ]);
        let built = cargo.status().unwrap();
        assert!(built.success(), "build the example {name}");
    }
    path
}

/// A listener that outlives every server, as the supervisor's does.
pub(crate) fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

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

/// A command that runs `program` with `socket` at fd 3 and LISTEN_PID right, which only exec after fork can do.
pub(crate) fn command(program: &Path, socket: OwnedFd) -> Command {
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", "LISTEN_PID=$$ exec \"$0\" \"$@\" 3<&0 </dev/null"])
        .arg(program)
        .stdin(Stdio::from(socket));
    command.env("LISTEN_FDS", "1");
    for name in [
        "LISTEN_FDNAMES",
        "NOTIFY_SOCKET",
        "WATCHDOG_USEC",
        "SEGUE_DRAIN_TIMEOUT_MS",
        "APP_MESSAGE",
    ] {
        command.env_remove(name);
    }
    command
}

pub(crate) fn start(program: &Path, listener: &TcpListener, environment: &[(&str, &str)]) -> Running {
    let mut command = command(program, listener.try_clone().unwrap().into());
    command.envs(environment.iter().copied());
    Running::start(command)
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Running {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let notifications = UnixDatagram::bind(&path).unwrap();
        notifications.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut child = command
            .env("NOTIFY_SOCKET", &path)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pipe = child.stderr.take().unwrap();
        let (sender, stderr) = mpsc::channel();
        thread::spawn(move || {
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

    pub(crate) fn notification(&mut self) -> String {
        let mut buffer = [0; 4096];
        let length = self.notifications.recv(&mut buffer).expect("a notification");
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Tells it to stop, and waits for its word that it has heard: from then on it drains.
    pub(crate) fn drain(&mut self) {
        self.signal(Signal::SIGTERM);
        loop {
            if self.notification().starts_with("STOPPING=1\n") {
                return;
            }
        }
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

/// A response as it came over the wire.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn closes(&self) -> bool {
        self.header("connection") == Some("close")
    }
}

/// A connection that is used by hand.
pub(crate) struct Client<S: Read + Write> {
    reader: BufReader<S>,
}

impl Client<TcpStream> {
    pub(crate) fn connect(address: SocketAddr) -> Client<TcpStream> {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client {
            reader: BufReader::new(stream),
        }
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        self.reader.get_ref()
    }
}

impl<S: Read + Write> Client<S> {
    pub(crate) fn new(stream: S) -> Client<S> {
        Client {
            reader: BufReader::new(stream),
        }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.reader.get_mut().write_all(bytes).unwrap();
    }

    pub(crate) fn get(&mut self, path: &str) -> Response {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes());
        self.response()
    }

    /// Reads one response with its body; a HEAD response has none.
    pub(crate) fn response(&mut self) -> Response {
        self.response_to("GET")
    }

    pub(crate) fn response_to(&mut self, method: &str) -> Response {
        let mut response = self.head();
        if method == "HEAD" || matches!(response.status, 100..=199 | 204 | 304) {
            return response;
        }
        if response.header("transfer-encoding").is_some() {
            loop {
                let size = usize::from_str_radix(self.line().trim(), 16).unwrap();
                let mut chunk = vec![0; size];
                self.reader.read_exact(&mut chunk).unwrap();
                response.body.extend(chunk);
                assert_eq!(self.line(), "");
                if size == 0 {
                    break;
                }
            }
        } else if let Some(length) = response.header("content-length") {
            response.body = vec![0; length.parse().unwrap()];
            self.reader.read_exact(&mut response.body).unwrap();
        } else {
            self.reader.read_to_end(&mut response.body).unwrap();
        }
        response
    }

    pub(crate) fn head(&mut self) -> Response {
        let status = self.line();
        let status = status
            .split(' ')
            .nth(1)
            .unwrap_or_else(|| panic!("no status line: {status:?}"))
            .parse()
            .unwrap();
        let mut headers = Vec::new();
        loop {
            let line = self.line();
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').unwrap();
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Response {
            status,
            headers,
            body: Vec::new(),
        }
    }

    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        line.trim_end_matches(['\r', '\n']).to_owned()
    }

    pub(crate) fn read_exact(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.reader.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Everything until the end, and how it ended.
    pub(crate) fn rest(&mut self) -> (Vec<u8>, Option<ErrorKind>) {
        let mut bytes = Vec::new();
        let end = self
            .reader
            .read_to_end(&mut bytes)
            .err()
            .map(|error| error.kind());
        (bytes, end)
    }

    /// The server has closed in an orderly way, with nothing more to say.
    pub(crate) fn expect_end(&mut self) {
        assert_eq!(self.rest(), (Vec::new(), None));
    }
}
