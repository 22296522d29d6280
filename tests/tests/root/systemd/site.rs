//! One app under the template units: its settings, its releases, its socket, its unit.

use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};

use segue_tests::binaries::Binary;
use segue_tests::http::{Target, get_and_close};
use segue_tests::machine::{Machine, PAUSE};
use segue_tests::process::Finished;
use segue_tests::segue::Status;

/// The units, beside this package.
pub(crate) const UNITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../systemd");

/// The deploy script, at the top of the repository.
pub(crate) const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy.sh");

/// Puts programs and units where an administrator would.
pub(crate) fn install(machine: &Machine) {
    for binary in [Binary::Segue, Binary::SeguePoll, Binary::App, Binary::Fixture] {
        let path = binary.path();
        let name = path.file_name().unwrap().to_str().unwrap();
        machine.install(&path, &format!("/usr/bin/{name}"));
    }
    machine.install(Path::new(DEPLOY), "/usr/bin/deploy.sh");
    for unit in [
        "segue@.service",
        "segue@.socket",
        "segue-cleanup@.service",
        "segue-recheck@.service",
        "segue-tmp@.service",
    ] {
        copy(machine, unit, &format!("/etc/systemd/system/{unit}"));
    }
    machine.ok(&["systemctl", "daemon-reload"]);
}

/// Copies a file of `systemd/`.
pub(crate) fn copy(machine: &Machine, file: &str, path: &str) {
    let text = std::fs::read_to_string(Path::new(UNITS).join(file));
    machine.write(path, &text.unwrap_or_else(|error| panic!("{file}: {error}")));
}

fn next_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(2000);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// An app of a scene. Dropping it stops it.
pub(crate) struct Site<'a> {
    machine: &'a Machine,
    pub(crate) name: String,
    pub(crate) unit: String,
    pub(crate) socket: String,
    port: u16,
}

impl<'a> Site<'a> {
    /// Sets an app up, on a port of its own, with a first release that runs this command line. Nothing is started.
    pub(crate) fn new(machine: &'a Machine, name: &str, command: &str) -> Self {
        Self::on_port(machine, name, next_port(), command)
    }

    /// A service and a socket unit that know nothing of Segue. Nothing is started.
    pub(crate) fn without_segue(machine: &'a Machine, name: &str, service: &str) -> Self {
        let site = Self {
            machine,
            name: name.to_owned(),
            unit: format!("{name}.service"),
            socket: format!("{name}.socket"),
            port: next_port(),
        };
        let write = |unit: &str, text: &str| machine.write(&format!("/etc/systemd/system/{unit}"), text);
        write(&site.unit, service);
        write(
            &site.socket,
            &format!("[Socket]\nListenStream=127.0.0.1:{}\n", site.port),
        );
        machine.ok(&["systemctl", "daemon-reload"]);
        site
    }

    /// The same on that port.
    pub(crate) fn on_port(machine: &'a Machine, name: &str, port: u16, command: &str) -> Self {
        let site = Self {
            machine,
            name: name.to_owned(),
            unit: format!("segue@{name}.service"),
            socket: format!("segue@{name}.socket"),
            port,
        };
        site.settings("");
        site.drop_in(
            &site.socket,
            &format!("[Socket]\nListenStream=\nListenStream=127.0.0.1:{port}\n"),
        );
        site.release(command);
        site
    }

    /// Writes `/etc/segue/NAME.toml`, with further keys.
    pub(crate) fn settings(&self, more: &str) {
        let name = &self.name;
        self.machine.write(
            &format!("/etc/segue/{name}.toml"),
            &format!("chdir = \"/srv/{name}/current\"\ncommand = [\"./{name}\"]\n{more}"),
        );
    }

    /// Writes a drop-in for a unit and lets systemd read it.
    pub(crate) fn drop_in(&self, unit: &str, text: &str) {
        let directory = format!("/etc/systemd/system/{unit}.d");
        let number = std::fs::read_dir(self.machine.path(&directory)).map_or(0, Iterator::count);
        self.machine.write(&format!("{directory}/{number}.conf"), text);
        self.machine.ok(&["systemctl", "daemon-reload"]);
    }

    /// Makes a release that runs this command line, and points `current` to it as a deploy does.
    pub(crate) fn release(&self, command: &str) {
        let root = format!("/srv/{}", self.name);
        let releases = self.machine.path(&format!("{root}/releases"));
        let number = std::fs::read_dir(releases).map_or(0, Iterator::count) + 1;
        let program = format!("{root}/releases/{number}/{}", self.name);
        self.machine
            .write(&program, &format!("#!/bin/sh\nexec {command}\n"));
        self.machine.ok(&["chmod", "755", &program]);
        let (target, beside) = (format!("releases/{number}"), format!("{root}/current.new"));
        self.machine.ok(&["ln", "-s", &target, &beside]);
        self.machine
            .ok(&["mv", "-T", &beside, &format!("{root}/current")]);
    }

    pub(crate) fn systemctl(&self, verb: &str) -> Finished {
        self.machine.run(&["systemctl", verb, &self.unit])
    }

    /// `systemctl VERB`, which must succeed.
    #[track_caller]
    pub(crate) fn systemctl_ok(&self, verb: &str) {
        let done = self.systemctl(verb);
        assert_eq!(
            done.code,
            Some(0),
            "systemctl {verb}: {}\n{}",
            done.stderr,
            self.journal()
        );
    }

    pub(crate) fn property(&self, name: &str) -> String {
        self.machine.property(&self.unit, name)
    }

    /// Waits until a property of the unit has this value: what Segue tells systemd may be on its way when a client has its answer.
    #[track_caller]
    pub(crate) fn wait_for_property(&self, name: &str, value: &str) {
        self.machine
            .wait_for_property(&self.unit, name, |now| now == value);
    }

    /// Waits until the status text of the unit contains this, and returns it.
    #[track_caller]
    pub(crate) fn wait_for_status_text(&self, part: &str) -> String {
        self.machine
            .wait_for_property(&self.unit, "StatusText", |now| now.contains(part))
    }

    pub(crate) fn main_pid(&self) -> String {
        self.property("MainPID")
    }

    /// All that the unit has said.
    pub(crate) fn journal(&self) -> String {
        self.machine.journal(&["-u", &self.unit])
    }

    /// Waits until the unit has said this.
    #[track_caller]
    pub(crate) fn wait_for_line(&self, text: &str) {
        let end = std::time::Instant::now() + segue_tests::patience();
        while !self.journal().contains(text) {
            assert!(
                std::time::Instant::now() < end,
                "not said: {text}\n{}",
                self.journal()
            );
            std::thread::sleep(PAUSE);
        }
    }

    /// The port of its socket unit.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn target(&self) -> Target {
        Target::Tcp(([127, 0, 0, 1], self.port).into())
    }

    /// What `/ping` answers; waits in the queue until somebody does.
    #[track_caller]
    pub(crate) fn ping(&self) -> String {
        let answer = self
            .target()
            .connect()
            .and_then(|mut client| client.ask(&get_and_close("/ping")));
        answer
            .unwrap_or_else(|loss| panic!("ping: {loss:?}\n{}", self.journal()))
            .text()
    }

    /// Asks until this version answers: right after a reload the one before may do so once more.
    #[track_caller]
    pub(crate) fn wait_for_message(&self, wanted: &str) {
        let end = std::time::Instant::now() + segue_tests::patience();
        loop {
            let answer = self.ping();
            if answer.contains(&format!("\"{wanted}\"")) {
                return;
            }
            assert!(
                std::time::Instant::now() < end,
                "{wanted:?} should serve: {answer}\n{}",
                self.journal()
            );
        }
    }

    /// `segue WORD --name NAME ARGS`, as root from outside the sandbox.
    pub(crate) fn segue(&self, word: &str, args: &[&str]) -> Finished {
        let words = [&["segue", word, "--name", &self.name], args].concat();
        self.machine.run(&words)
    }

    #[track_caller]
    pub(crate) fn status(&self) -> Status {
        // A supervisor that has just been killed may have had this client in its queue, or have answered a part of it.
        let end = std::time::Instant::now() + segue_tests::patience();
        loop {
            let done = self.segue("status", &["--json"]);
            match Status::told(&done.stdout) {
                Some(status) => return status,
                None => assert!(
                    std::time::Instant::now() < end,
                    "status: {done:?}\n{}",
                    self.journal()
                ),
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Waits until the status satisfies a condition.
    #[track_caller]
    pub(crate) fn wait_until(&self, what: &str, condition: impl Fn(&Status) -> bool) {
        let end = std::time::Instant::now() + segue_tests::patience();
        while !condition(&self.status()) {
            assert!(
                std::time::Instant::now() < end,
                "not in time: {what}\n{}",
                self.journal()
            );
            std::thread::sleep(PAUSE);
        }
    }
}

impl Drop for Site<'_> {
    fn drop(&mut self) {
        // In this order: what is killed while it is being stopped is not started again.
        let units = [self.socket.as_str(), &self.unit];
        let stop = |flags: &[&str]| {
            let words = [&["systemctl", "stop"], flags, &units].concat();
            self.machine.run(&words)
        };
        let _ = stop(&["--no-block"]);
        let killed = self
            .machine
            .run(&["systemctl", "kill", "--signal=KILL", &self.unit]);
        let stopped = stop(&[]);
        if !std::thread::panicking() && stopped.code != Some(0) {
            panic!("stop: {killed:?} {stopped:?}");
        }
    }
}
