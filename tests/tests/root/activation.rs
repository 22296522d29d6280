//! Local development: somebody else opens the sockets. systemd-socket-activate and systemfd, each in front of the app
//! alone and in front of Segue, which hands on what it inherits.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot look at its subject has failed"
)]

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::Signal;
use segue_tests::binaries::Binary;
use segue_tests::http::{Client, Target, get_and_close};
use segue_tests::needs;
use segue_tests::process::Process;
use segue_tests::program::Program;
use segue_tests::segue::Setup;

/// An address that no other test and no server uses: these tools bind what they are told and cannot pick a port.
fn own_address(number: u8) -> SocketAddr {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    SocketAddr::from((Ipv4Addr::new(127, 1 + high % 200, low, number), 8642))
}

/// A connection that is made as soon as somebody listens.
fn connect(address: SocketAddr) -> Client {
    let end = std::time::Instant::now() + segue_tests::patience();
    loop {
        if let Ok(client) = Target::Tcp(address).connect() {
            return client;
        }
        assert!(std::time::Instant::now() < end, "nobody listens on {address}");
        std::thread::sleep(segue_tests::LOOK);
    }
}

/// Two programs that open sockets for others.
enum Opener {
    /// Waits for the first connection before it starts anything.
    SocketActivate,
    /// Starts the program at once.
    Systemfd(PathBuf),
}

impl Opener {
    fn words(&self, address: SocketAddr) -> Vec<String> {
        match self {
            Self::SocketActivate => {
                let words = ["systemd-socket-activate", "--fdname=http"].map(str::to_owned);
                let env = ["PATH", segue_tests::proc::MARK, "XDG_RUNTIME_DIR"]
                    .map(|name| format!("--setenv={name}"));
                let listen = format!("--listen={address}");
                words.into_iter().chain(env).chain([listen]).collect()
            }
            Self::Systemfd(path) => {
                let words = ["--quiet", "--backlog", "4096", "--socket"].map(str::to_owned);
                let path = path.display().to_string();
                let last = [address.to_string(), "--".to_owned()];
                std::iter::once(path).chain(words).chain(last).collect()
            }
        }
    }
}

fn socket_activate(test: &str) -> Option<Opener> {
    needs::or_skip(test, needs::program("systemd-socket-activate")).map(|()| Opener::SocketActivate)
}

fn systemfd(test: &str) -> Option<Opener> {
    needs::or_skip(test, needs::tool("systemfd", "bin/systemfd")).map(Opener::Systemfd)
}

fn app_alone(opener: &Opener, address: SocketAddr) {
    let words = opener.words(address);
    let server = Process::start(
        Command::new(&words[0])
            .args(&words[1..])
            .arg(Binary::App.path())
            .args(["--message", "lent"]),
    );
    // The connection that wakes it is answered too.
    let response = connect(address).ask(&get_and_close("/ping")).unwrap();
    assert!(response.text().contains("lent"), "{response:?}");
    server.signal(Signal::SIGTERM);
    let exit = server.wait_for_exit();
    assert_eq!(exit.code(), Some(0), "{}", server.stderr());
}

/// Names and descriptors of the listeners, as the app was born with them.
fn lent(target: &Target) -> (String, usize) {
    let mut client = target.connect().unwrap();
    let birth: serde_json::Value =
        serde_json::from_str(&client.ask(&get_and_close("/birth")).unwrap().text()).unwrap();
    let env = |key: &str| birth["env"][key].as_str().unwrap().to_owned();
    (env("LISTEN_FDNAMES"), env("LISTEN_FDS").parse().unwrap())
}

#[test]
fn a_socket_that_came_twice_is_handed_on_twice_to_every_generation() {
    let Some(opener) = systemfd("a_socket_that_came_twice_is_handed_on_twice_to_every_generation") else {
        return;
    };
    let twice = "exec 4<&3; export LISTEN_FDS=2 LISTEN_FDNAMES=web:admin LISTEN_PID=$$; exec \"$@\"";
    let address = own_address(5);
    let mut words = opener.words(address);
    words.extend(["sh", "-c", twice, "sh"].map(str::to_owned));
    let segue = Setup::new(Program::fixture("good"))
        .opened_by(words)
        .listen(address.to_string())
        .start();
    let target = segue.target();
    let first = lent(&target);
    assert_eq!(first, ("web:admin".to_owned(), 2));
    for _ in 0..2 {
        segue.reload_ok(&["--drained"]);
        assert_eq!(lent(&target), first);
    }
    segue.stop();
}

/// Segue inherits the socket and hands it on; its own `--listen` with that address stands aside.
fn supervised(opener: &Opener, address: SocketAddr, name: &str) {
    let segue = Setup::new(Program::app())
        .opened_by(opener.words(address))
        .listen(address.to_string())
        .spawn();
    let mut first = connect(address);
    let response = first.ask(&get_and_close("/ping")).unwrap();
    assert_eq!(response.header("x-segue-generation"), "1");
    let status = segue.wait_until("it serves", |status| status.state() == "serving");
    let listeners = status.0["listeners"].as_array().unwrap();
    assert_eq!(listeners.len(), 1, "{status:?}");
    assert_eq!(listeners[0]["name"], name, "{status:?}");
    segue.reload_under_load();
    segue.stop();
}

#[test]
fn the_app_serves_under_systemd_socket_activate() {
    let Some(opener) = socket_activate("the_app_serves_under_systemd_socket_activate") else {
        return;
    };
    app_alone(&opener, own_address(1));
}

#[test]
fn segue_hands_on_what_systemd_socket_activate_opened() {
    let Some(opener) = socket_activate("segue_hands_on_what_systemd_socket_activate_opened") else {
        return;
    };
    supervised(&opener, own_address(2), "http");
}

#[test]
fn the_app_serves_under_systemfd() {
    let Some(opener) = systemfd("the_app_serves_under_systemfd") else {
        return;
    };
    app_alone(&opener, own_address(3));
}

#[test]
fn segue_hands_on_what_systemfd_opened() {
    let Some(opener) = systemfd("segue_hands_on_what_systemfd_opened") else {
        return;
    };
    supervised(&opener, own_address(4), "unknown");
}
