//! Handshakes that began before a takeover and are completed after it: the kernel puts such a client into the slot of the old version,
//! which may have nobody who accepts any more. The clients are in user space, behind a TUN device in a network namespace of the test's own.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use segue_tests::figures::{say, scale};
use segue_tests::needs;
use segue_tests::process::Process;
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};

/// The address of this machine on the device.
const ADDRESS: &str = "10.9.0.1";
const PORT: u16 = 8080;

/// The clients, and the namespace in which they are.
struct Peer(Process);

impl Peer {
    fn start(words: &[String]) -> Self {
        let mut command = Command::new("unshare");
        command
            .args([
                "--net",
                "python3",
                concat!(env!("CARGO_MANIFEST_DIR"), "/servers/late.py"),
            ])
            .args(words);
        let peer = Process::start(command.stdin(Stdio::null()));
        peer.wait_for_output("up");
        Self(peer)
    }

    /// Words before a program that is to run in the same network.
    fn network(&self) -> [String; 3] {
        [
            "nsenter".to_owned(),
            format!("--net=/proc/{}/ns/net", self.0.pid()),
            "--".to_owned(),
        ]
    }

    fn begin(&self) {
        self.0.signal(Signal::SIGUSR1);
    }

    /// What it has found.
    fn finish(self) -> serde_json::Value {
        let ended = self.0.finish();
        let last = ended.stdout.lines().last().unwrap_or_default();
        let found = serde_json::from_str(last);
        found.unwrap_or_else(|error| panic!("{error}: {ended:?}"))
    }
}

fn can_be_played(test: &str) -> bool {
    let device = || {
        let made = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/net/tun");
        made.map(drop).map_err(|error| format!("/dev/net/tun: {error}"))
    };
    let programs = ["unshare", "nsenter", "ip", "python3"].map(needs::program);
    let able = needs::root().and_then(|()| programs.into_iter().collect::<Result<(), _>>());
    needs::or_skip(test, able.and_then(|()| device())).is_some()
}

/// The numbers of the relief workers that were started.
fn relief_workers(segue: &Segue) -> Vec<String> {
    let log = segue.process().stderr();
    let lines = log
        .lines()
        .filter(|line| line.contains(", a relief worker, is started"));
    let number = |line: &str| Some(line.split_once(": generation ")?.1.split_once(',')?.0.to_owned());
    lines.filter_map(number).collect()
}

#[test]
fn late_handshakes_are_answered_across_reloads() {
    if !can_be_played("late handshakes") {
        return;
    }
    let clients = scale(150, 10_000);
    // A reload takes less than a second; each of these clients takes one on average.
    let rate = 50;
    let peer = Peer::start(&[
        ADDRESS.to_owned(),
        PORT.to_string(),
        clients.to_string(),
        rate.to_string(),
    ]);
    let setup = Setup::new(Program::fixture("good")).listen(format!("{ADDRESS}:{PORT},steer,slots=8"));
    // Each old version closes its socket as soon as it may, and relief workers have slots beside those of the reloads.
    let segue = setup.flags(["--linger", "0s"]).opened_by(peer.network()).start();
    peer.begin();
    let mut reloads = 0;
    while peer.0.is_running() {
        segue.reload_ok(&[]);
        reloads += 1;
    }
    let found = peer.finish();
    let relief = relief_workers(&segue);
    let by: BTreeMap<String, u64> = serde_json::from_value(found["generations"].clone()).unwrap_or_default();
    let relieved: u64 = relief.iter().filter_map(|number| by.get(number)).sum();
    say(format_args!(
        "late handshakes: {} of {} answered across {reloads} reloads, {relieved} of them by {} relief workers; lost: {}",
        found["answered"],
        found["sent"],
        relief.len(),
        found["lost"]
    ));
    assert_eq!(
        found["answered"],
        clients,
        "{found}\nlog:\n{}",
        segue.process().stderr()
    );
    assert!(relieved > 0, "no relief worker was needed: {found}");
    segue.stop();
}

#[test]
fn control_without_relief_late_handshakes_wait_for_ever() {
    if !can_be_played("late handshakes, control") {
        return;
    }
    let peer = Peer::start(&["control".to_owned(), "50".to_owned()]);
    peer.begin();
    let found = peer.finish();
    say(format_args!(
        "late handshakes, control: of {}, {} ended in a socket in which nobody accepts any more",
        found["sent"], found["stranded"]
    ));
    assert_ne!(found["stranded"], 0, "{found}");
}
