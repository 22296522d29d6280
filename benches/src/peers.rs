//! Tools that others use to bring up a new version, each in its own way, under the same load: Segue and the barest loop come first.
//!
//! Debian has `libserver-starter-perl nginx-light haproxy puma`; `tests/setup.sh systemfd gunicorn peers` installs the others. One that is
//! not here is left out, and is named on stderr.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use segue_tests::binaries::Binary;
use segue_tests::http::{Target, get_and_close};
use segue_tests::process::Process;
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup, kill_marked};
use segue_tests::{executable, needs, proc};
use tempfile::TempDir;

use crate::bare::Bare;
use crate::stats::{median, ms, ratio};
use crate::takeover::{Handoff, RATE, Watch, address};
use crate::{Extent, Row};

/// How many handoffs of one that takes seconds are watched.
const SLOW: usize = 5;

/// The file in which a version finds its number, in the directory of its peer.
const NUMBER: &str = "number";

/// How the sample app is started by a tool that names its listener in another way: its number is read, and the fd becomes fd 3.
const APP: &str = r#"#!/bin/sh
read -r SEGUE_GENERATION <number
listener=${1:-${SERVER_STARTER_PORT##*=}}
[ "${listener:-3}" = 3 ] || eval "exec 3<&$listener"
export SEGUE_GENERATION LISTEN_FDS=1
exec {app} 2>/dev/null
"#;

/// What cargo-watch and its like do below systemfd: the old one ends, then the new one is started.
const LOOP: &str = r#"#!/bin/sh
trap 'kill $app' HUP
trap 'kill $app; exit' TERM
while :; do
    ./app.sh & app=$!
    wait $app
    wait $app
done
"#;

const NGINX: &str = r#"daemon off;
pid {dir}/nginx.pid;
error_log stderr error;
worker_processes 1;
events { worker_connections 512; }
http {
    access_log off;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    server {
        listen {address};
        location = /ping { add_header x-segue-generation {number}; return 200 '{"message": "nginx"}'; }
    }
}
"#;

const HAPROXY: &str = r#"global
    maxconn 200
    stats socket {dir}/stats level admin expose-fd listeners
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend http
    bind {address}
    http-request return status 200 content-type text/plain hdr x-segue-generation {number} string pong
"#;

const CIRCUS: &str = r#"[circus]
endpoint = ipc://{dir}/endpoint
pubsub_endpoint = ipc://{dir}/pubsub
[watcher:web]
cmd = {dir}/app.sh $(circus.sockets.web)
working_dir = {dir}
copy_env = True
use_sockets = True
[socket:web]
host = {host}
port = {port}
"#;

const WSGI: &str = r#"with open("number") as file:
    NUMBER = file.read().strip()

def app(environ, start_response):
    start_response("200 OK", [("x-segue-generation", NUMBER), ("content-length", "4")])
    return [b"pong"]
"#;

const RACK: &str = r#"number = File.read('number').strip
run(lambda { |_| [200, { 'x-segue-generation' => number, 'content-length' => '4' }, ['pong']] })
"#;

/// How a tool is asked for the next version.
#[derive(Clone, Copy)]
enum Ask {
    Signal(Signal),
    /// A command of its own, in its directory.
    Command(&'static str, &'static [&'static str]),
}

/// One tool.
struct Peer {
    name: &'static str,
    /// What it runs, and how it is asked.
    how: &'static str,
    /// Looked up in `PATH`, or below the tools that `tests/setup.sh` has installed.
    program: &'static str,
    arguments: &'static [&'static str],
    /// What it is told by, written before its start and before each version.
    files: &'static [(&'static str, &'static str)],
    ask: Ask,
    /// How long nothing of the old version has been heard when it is gone.
    rest: Duration,
    handoffs: usize,
}

const QUICKLY: Peer = Peer {
    name: "",
    how: "",
    program: "",
    arguments: &[],
    files: &[("app.sh", APP)],
    ask: Ask::Signal(Signal::SIGHUP),
    rest: Duration::from_millis(500),
    handoffs: usize::MAX,
};

const PEERS: [Peer; 7] = [
    Peer {
        name: "Server::Starter",
        how: "sample app, HUP",
        program: "start_server",
        arguments: &["--port", "{address}", "--", "./app.sh"],
        rest: Duration::from_secs(2),
        handoffs: 2 * SLOW,
        ..QUICKLY
    },
    Peer {
        name: "systemfd and a loop that ends the old one first",
        how: "sample app, HUP",
        program: "bin/systemfd",
        arguments: &["--no-pid", "-s", "tcp::{address}", "--", "./loop.sh"],
        files: &[("app.sh", APP), ("loop.sh", LOOP)],
        ..QUICKLY
    },
    Peer {
        name: "nginx",
        how: "one worker, HUP",
        program: "nginx",
        arguments: &["-p", "{dir}", "-c", "{dir}/nginx.conf"],
        files: &[("nginx.conf", NGINX)],
        ..QUICKLY
    },
    Peer {
        name: "HAProxy",
        how: "master and worker, USR2",
        program: "haproxy",
        arguments: &["-W", "-q", "-f", "{dir}/haproxy.cfg"],
        files: &[("haproxy.cfg", HAPROXY)],
        ask: Ask::Signal(Signal::SIGUSR2),
        ..QUICKLY
    },
    Peer {
        name: "circus",
        how: "sample app, `circusctl reload`",
        program: "peers/bin/circusd",
        arguments: &["{dir}/circus.ini"],
        files: &[("app.sh", APP), ("circus.ini", CIRCUS)],
        ask: Ask::Command(
            "peers/bin/circusctl",
            &["--endpoint", "ipc://{dir}/endpoint", "reload", "web"],
        ),
        rest: Duration::from_secs(2),
        handoffs: SLOW,
    },
    Peer {
        name: "Gunicorn",
        how: "two sync workers, HUP",
        program: "gunicorn/bin/gunicorn",
        arguments: &[
            "--bind",
            "{address}",
            "--workers",
            "2",
            "--log-level",
            "error",
            "version:app",
        ],
        files: &[("version.py", WSGI)],
        rest: Duration::from_secs(2),
        handoffs: SLOW,
        ..QUICKLY
    },
    Peer {
        name: "Puma",
        how: "two workers, USR1 (phased)",
        program: "puma",
        arguments: &[
            "--quiet",
            "--bind",
            "tcp://{address}",
            "--workers",
            "2",
            "--threads",
            "4:4",
            "config.ru",
        ],
        files: &[("config.ru", RACK)],
        ask: Ask::Signal(Signal::SIGUSR1),
        rest: Duration::from_secs(10),
        handoffs: SLOW,
    },
];

pub(crate) fn rows(extent: Extent) -> Vec<Row> {
    let barest = watched(Loop::start(), extent.handoffs);
    let floor = barest.first();
    let segue = watched(Ours::start(), extent.handoffs);
    let mut rows = vec![
        barest.row("barest loop", "sample app", floor),
        segue.row("Segue", "sample app, HUP", floor),
    ];
    for peer in &PEERS {
        match program(peer.program) {
            Ok(path) => {
                let seen = watched(Yard::start(peer, &path), extent.handoffs.min(peer.handoffs));
                rows.push(seen.row(peer.name, peer.how, floor));
            }
            Err(reason) => eprintln!("left out: {}: {reason}", peer.name),
        }
    }
    rows
}

/// Something that serves, and is asked for the next version.
trait Subject {
    fn address(&self) -> SocketAddr;
    fn generation(&self) -> u64;
    /// Asks for the version after that.
    fn ask(&mut self);
    /// How long nothing of the old version has been heard when it is gone.
    fn rest(&self) -> Duration;
}

/// What was seen of all handoffs of one.
struct Watched(Vec<Handoff>);

fn watched(mut subject: impl Subject, handoffs: usize) -> Watched {
    let handoff = |_| {
        let old = subject.generation();
        let watch = Watch::start(subject.address());
        let begin = Instant::now();
        subject.ask();
        watch.handoff_until(old, begin, subject.rest())
    };
    Watched((0..handoffs).map(handoff).collect())
}

impl Watched {
    fn first(&self) -> Duration {
        median(&self.0.iter().map(|seen| seen.first).collect::<Vec<_>>())
    }

    fn row(&self, name: &str, how: &str, floor: Duration) -> Row {
        let mixed: Vec<Duration> = self.0.iter().map(|seen| seen.overlap).collect();
        let lost: u64 = self.0.iter().map(|seen| seen.lost).sum();
        let asked: u64 = self.0.iter().map(|seen| seen.asked).sum();
        Row {
            what: format!(
                "{name} ({how}): to the first new answer, both answer for, lost at up to {RATE} a second (medians of {})",
                self.0.len()
            ),
            measured: format!("{}, {}, {lost} of {asked}", ms(self.first()), ms(median(&mixed))),
            beside: format!("{} of the barest loop", ratio(self.first(), floor)),
            goal: "-",
        }
    }
}

struct Loop(Bare);

impl Loop {
    fn start() -> Self {
        Self(Bare::start())
    }
}

impl Subject for Loop {
    fn address(&self) -> SocketAddr {
        self.0.address()
    }

    fn generation(&self) -> u64 {
        self.0.generation()
    }

    fn ask(&mut self) {
        self.0.handoff();
    }

    fn rest(&self) -> Duration {
        QUICKLY.rest
    }
}

struct Ours(Segue);

impl Ours {
    fn start() -> Self {
        Self(Setup::new(Program::app()).flags(["--probation", "0s"]).start())
    }
}

impl Subject for Ours {
    fn address(&self) -> SocketAddr {
        address(&self.0)
    }

    fn generation(&self) -> u64 {
        self.0.status().generation()
    }

    fn ask(&mut self) {
        self.0.signal(Signal::SIGHUP);
    }

    fn rest(&self) -> Duration {
        QUICKLY.rest
    }
}

/// One tool, running.
struct Yard {
    peer: &'static Peer,
    directory: TempDir,
    address: SocketAddr,
    number: u64,
    process: Process,
}

impl Yard {
    fn start(peer: &'static Peer, path: &Path) -> Self {
        let directory = segue_tests::segue::directory();
        let port = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = port.local_addr().unwrap();
        drop(port);
        write(peer, directory.path(), address, 1);
        let mut command = Command::new(path);
        let words = peer
            .arguments
            .iter()
            .map(|word| fill(word, directory.path(), address, 1));
        command
            .args(words)
            .current_dir(directory.path())
            .env(proc::MARK, directory.path());
        let process = Process::start(&mut command);
        let yard = Self {
            peer,
            directory,
            address,
            number: 1,
            process,
        };
        segue_tests::wait_until("it serves", || {
            assert!(
                yard.process.is_running(),
                "{}: {}",
                peer.name,
                yard.process.stderr()
            );
            let answer = Target::Tcp(address)
                .connect()
                .and_then(|mut client| client.ask(&get_and_close("/ping")));
            answer.is_ok()
        });
        // A master may be asked a little later than its workers: HAProxy would miss it.
        std::thread::sleep(peer.rest);
        yard
    }
}

impl Subject for Yard {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn generation(&self) -> u64 {
        self.number
    }

    fn ask(&mut self) {
        self.number += 1;
        write(self.peer, self.directory.path(), self.address, self.number);
        match self.peer.ask {
            Ask::Signal(signal) => self.process.signal(signal),
            Ask::Command(name, words) => {
                let words = words
                    .iter()
                    .map(|word| fill(word, self.directory.path(), self.address, self.number));
                let done = Command::new(program(name).unwrap()).args(words).output().unwrap();
                assert!(done.status.success(), "{}: {done:?}", self.peer.name);
            }
        }
    }

    fn rest(&self) -> Duration {
        self.peer.rest
    }
}

impl Drop for Yard {
    fn drop(&mut self) {
        self.process.signal(Signal::SIGTERM);
        let _ = self.process.wait_for_exit();
        kill_marked(&self.directory.path().to_string_lossy());
    }
}

/// Puts the next version in place.
fn write(peer: &Peer, directory: &Path, address: SocketAddr, number: u64) {
    std::fs::write(directory.join(NUMBER), format!("{number}\n")).unwrap();
    for (name, text) in peer.files {
        let text = fill(text, directory, address, number);
        if !name.ends_with(".sh") {
            std::fs::write(directory.join(name), text).unwrap();
        } else if number == 1 {
            executable::write(&directory.join(name), text.as_bytes());
        }
    }
}

fn fill(text: &str, directory: &Path, address: SocketAddr, number: u64) -> String {
    text.replace("{dir}", &directory.to_string_lossy())
        .replace("{address}", &address.to_string())
        .replace("{host}", &address.ip().to_string())
        .replace("{port}", &address.port().to_string())
        .replace("{number}", &number.to_string())
        .replace("{app}", &Binary::App.path().to_string_lossy())
}

/// Where a program is.
fn program(name: &str) -> Result<PathBuf, String> {
    match name.split_once('/') {
        Some((setup, _)) => needs::tool(if setup == "bin" { "systemfd" } else { setup }, name),
        None => needs::program(name).map(|()| name.into()),
    }
}
